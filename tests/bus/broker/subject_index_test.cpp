// tests/bus/broker/subject_index_test.cpp: who gets a message: compared with a naive matcher, and its promises on cost.
#include "bus/broker/subject_index.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "tests/bus/broker/index_bench.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/failing_allocations.hpp"
#include "tests/support/sanitized.hpp"

using namespace bus::broker;
using namespace bus::test;

namespace {

// ---- the naive matcher ----

Strings split(const std::string& text) {
  Strings tokens(1);
  for (const char c : text) {
    if (c == '.') {
      tokens.emplace_back();
    } else {
      tokens.back() += c;
    }
  }
  return tokens;
}

bool naive_matches(const std::string& pattern, const std::string& subject) {
  const Strings wanted = split(pattern), given = split(subject);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (i >= given.size()) return false;
    if (wanted[i] == ">" && i + 1 == wanted.size()) return true;
    if (wanted[i] != "*" && wanted[i] != given[i]) return false;
  }
  return wanted.size() == given.size();
}

std::uint32_t no_turn = 0;

/// `routes` in the order of add().
Match naive_match(const std::vector<Route*>& routes, const std::string& subject) {
  Match match;
  for (Route* route : routes) {
    if (!naive_matches(route->pattern, subject)) continue;
    if (route->queue.empty()) {
      match.plain.push_back(route);
      continue;
    }
    auto group = std::find_if(match.groups.begin(), match.groups.end(),
                              [&](const Match::Group& other) { return other.queue == route->queue; });
    if (group != match.groups.end()) {
      group->members.push_back(route);
    } else {
      match.groups.push_back({route->queue, {route}, no_turn});
    }
  }
  return match;
}

bool same(const Match& a, const Match& b) {
  return a.plain == b.plain && std::equal(a.groups.begin(), a.groups.end(), b.groups.begin(), b.groups.end(),
                                          [](const Match::Group& left, const Match::Group& right) {
                                            return left.queue == right.queue && left.members == right.members;
                                          });
}

using Random = std::mt19937_64;

std::string made_subject(Random& random) {
  static const Strings tokens{"a", "b", "c", "", "_INBOX", "token-of-more-than-fifteen-bytes"};
  std::string subject;
  const std::size_t size = 1 + random() % 4;
  for (std::size_t i = 0; i < size; ++i) {
    if (i > 0) subject += '.';
    subject += tokens[std::min<std::size_t>(random() % 9, random() % tokens.size())];
  }
  return subject;
}

std::string made_pattern(Random& random) {
  Strings tokens = split(made_subject(random));
  for (std::string& token : tokens) {
    if (random() % 4 == 0) token = "*";
    if (random() % 16 == 0) token = ">";  // not always at the end: plain text there
    if (random() % 200 == 0) token = std::string(300, 'x');
  }
  if (random() % 6 == 0) tokens.back() = ">";
  std::string pattern = tokens.front();
  for (std::size_t i = 1; i < tokens.size(); ++i) pattern += "." + tokens[i];
  return pattern;
}

}  // namespace

TEST_CASE("patterns match as NATS documents them", "[broker]") {
  struct Case {
    const char* pattern;
    const char* subject;
    bool match;
  };
  const std::vector<Case> cases{
      {"time.us.east", "time.us.east", true},
      {"time.us.east", "time.us", false},
      {"time.us", "time.us.east", false},
      {"time.*.east", "time.us.east", true},
      {"time.*.east", "time.eu.east", true},
      {"time.*.east", "time.us.east.atlanta", false},
      {"time.*.east", "time.east", false},
      {"time.us.*", "time.us.east", true},
      {"time.us.*", "time.us", false},
      {"time.us.>", "time.us.east", true},
      {"time.us.>", "time.us.east.atlanta", true},
      {"time.us.>", "time.us", false},
      {"*.*.east.>", "time.us.east.atlanta", true},
      {"*.*.east.>", "time.us.east", false},
      {">", "time", true},
      {">", "time.us.east", true},
      {"*", "time", true},
      {"*", "time.us", false},
      {"*.*", "time.us", true},
      {"time", "times", false},
      {"times", "time", false},
      {"Time", "time", false},
      {"a.>.b", "a.x.b", false},  // `>` that is not the last is text
      {"a.>.b", "a.>.b", true},
      {"a*.b", "ax.b", false},  // and so is `*` that is not all of a token
      {"a.*", "a.*", true},
      {"a.b", "a.*", false},
      {"a.b", "a.>", false},
  };
  for (const Case& example : cases) {
    CAPTURE(example.pattern, example.subject);
    IndexBench bus;
    bus.add(example.pattern);
    CHECK(bus.index.match(example.subject).plain.size() == (example.match ? 1 : 0));
    CHECK(bus.index.count(example.subject) == (example.match ? 1 : 0));
    CHECK(bus::broker::matches(example.pattern, example.subject) == example.match);
    CHECK(naive_matches(example.pattern, example.subject) == example.match);
  }
}

TEST_CASE("matches come in the order of subscribing", "[broker]") {
  IndexBench bus;
  for (const char* pattern : {"a.>", "a.b", "*.b", "a.b", ">", "a.c"}) bus.add(pattern);
  const Strings all{"a.>", "a.b", "*.b", "a.b", ">"};
  REQUIRE(bus.match("a.b") == all);
  bus.index.remove(*bus.routes[0]);
  bus.index.add(*bus.routes[0]);  // now it is the youngest
  REQUIRE(bus.match("a.b") == Strings{"a.b", "*.b", "a.b", ">", "a.>"});
}

TEST_CASE("a queue is one group over all patterns that match", "[broker]") {
  IndexBench bus;
  bus.add("jobs.*", "workers");
  bus.add("jobs.print", "spare");
  bus.add("jobs.>", "workers");
  bus.add("jobs.print");
  bus.add("jobs.print", "workers");
  bus.add("jobs.scan", "workers");
  bus.add("jobs.*", "workers");
  REQUIRE(bus.match("jobs.print") ==
          Strings{"jobs.print", "workers: jobs.* jobs.> jobs.print jobs.*", "spare: jobs.print"});
  REQUIRE(bus.index.count("jobs.print") == 3);
  REQUIRE(bus.match("jobs.print.now") == Strings{"workers: jobs.>"});
  REQUIRE(bus.index.count("jobs.none.at.all") == 1);
  REQUIRE(bus.index.count("else") == 0);
}

TEST_CASE("a queue may be called like a token", "[broker]") {
  IndexBench bus;
  bus.add("a.b", "b");
  bus.add("a", "b");
  bus.add("b", "a");
  REQUIRE(bus.match("a.b") == Strings{"b: a.b"});
  REQUIRE(bus.match("a") == Strings{"b: a"});
  REQUIRE(bus.match("b") == Strings{"a: b"});
}

TEST_CASE("a group takes turns over subjects that never come again", "[broker]") {
  IndexBench bus;
  for (int i = 0; i < 4; ++i) bus.add("jobs.*", "workers");
  bus.add("other.*", "workers");
  std::vector<int> took(4);
  for (int i = 0; i < 100; ++i) {
    const Match::Group& group = bus.index.match("jobs." + std::to_string(i)).groups.front();
    const Route* chosen = group.members[group.next++ % group.members.size()];
    for (std::size_t member = 0; member < 4; ++member) took[member] += chosen == bus.routes[member].get();
    ++bus.index.match("other." + std::to_string(i)).groups.front().next;
  }
  REQUIRE(took == std::vector<int>(4, 25));
}

TEST_CASE("of two equal patterns one can go", "[broker]") {
  for (const std::string queue : {"", "q"}) {
    for (std::size_t gone = 0; gone < 3; ++gone) {
      CAPTURE(queue, gone);
      IndexBench bus;
      for (int i = 0; i < 3; ++i) bus.add("a.*", queue);
      bus.warm("a.b");
      bus.index.remove(*bus.routes[gone]);
      std::vector<Route*> left;
      for (std::size_t i = 0; i < 3; ++i) {
        if (i != gone) left.push_back(bus.routes[i].get());
      }
      REQUIRE(same(bus.index.match("a.b"), naive_match(left, "a.b")));
      REQUIRE(bus.index.size() == 2);
      bus.index.remove(*left[1]);
      left.pop_back();
      REQUIRE(same(bus.index.match("a.b"), naive_match(left, "a.b")));
      bus.index.remove(*left[0]);
      REQUIRE(bus.match("a.b").empty());
      REQUIRE(bus.index.size() == 0);
    }
  }
}

TEST_CASE("the index agrees with a naive matcher while subscriptions come and go", "[broker]") {
  const unsigned seed = GENERATE(1u, 2u, 3u, std::random_device{}());
  const std::size_t most = GENERATE(std::size_t{10}, std::size_t{300});  // subscriptions
  Random random(seed);
  std::size_t step = 0;
  INFO("seed " << seed << ", at most " << most << " subscriptions");
  SubjectIndex index;
  std::vector<std::unique_ptr<Route>> routes;
  std::vector<Route*> in;
  Strings wrong;
  for (; step < (bus::test::kSanitized ? 3'000 : 10'000) && wrong.empty(); ++step) {
    const std::size_t what = random() % 100;
    if (what < 15 && in.size() < most) {
      routes.push_back(route(made_pattern(random), Strings{"", "", "", "q", "r", "a"}[random() % 6]));
      index.add(*routes.back());
      in.push_back(routes.back().get());
    } else if (what < 25 && !in.empty()) {
      const auto gone = in.begin() + static_cast<std::ptrdiff_t>(random() % in.size());
      Route* const removed = *gone;
      in.erase(gone);
      index.remove(*removed);
      if (random() % 2 == 0) {  // its memory goes, too
        std::erase_if(routes, [&](const auto& route) { return route.get() == removed; });
      }
    } else {
      const std::string subject = made_subject(random);
      const Match expected = naive_match(in, subject);
      const auto say = [&](const char* call) { wrong.push_back(call + (" for \"" + subject) + '"'); };
      if (index.count(subject) != expected.plain.size() + expected.groups.size()) say("count()");
      if (!same(index.match(subject), expected)) say("match()");
      const std::string pattern = made_pattern(random);
      if (bus::broker::matches(pattern, subject) != naive_matches(pattern, subject)) say("matches()");
    }
    if (index.size() != in.size()) wrong.emplace_back("size()");
  }
  CAPTURE(step);
  REQUIRE(wrong == Strings{});
  CHECK(index.remembered().hits > step / 20);  // or this has tested the tree alone
  CHECK(index.remembered().misses > step / 20);
  for (Route* route : in) index.remove(*route);
}

TEST_CASE("without memory a subscription is not added, and the index is as it was", "[broker]") {
  const std::size_t others = GENERATE(range(std::size_t{0}, std::size_t{40}));  // tables grow at some of these
  const std::string queue = GENERATE("", "q", "a-queue-of-more-than-fifteen-bytes");
  const std::string pattern = "a.*.a-token-of-more-than-fifteen-bytes.b." + std::to_string(others) + ".>";
  const std::string subject = "a.x.a-token-of-more-than-fifteen-bytes.b." + std::to_string(others) + ".y";
  CAPTURE(others, queue);
  IndexBench bus;
  bus.add("a.*.>", "q");
  for (std::size_t i = 0; i < others; ++i) bus.add("a." + std::to_string(i) + ".*", std::to_string(i));
  bus.warm(subject);
  const Strings before = bus.match(subject);
  const auto added = route(pattern, queue);
  std::size_t failures = 0;
  for (std::size_t nth = 1;; ++nth) {
    bool failed = false;
    try {
      const FailingAllocation fail(nth);
      bus.index.add(*added);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    if (!failed) break;
    ++failures;
    REQUIRE(added->membership.list == nullptr);
    REQUIRE(bus.index.size() == others + 1);
    REQUIRE(bus.match(subject) == before);
    REQUIRE(bus.index.count(subject) == before.size());
  }
  REQUIRE(failures > 0);
  REQUIRE(bus.index.size() == others + 2);
  REQUIRE(bus.match(subject) != before);
  bus.index.remove(*added);
  REQUIRE(bus.match(subject) == before);
}

TEST_CASE("a subscription that failed for want of memory leaves none of it taken", "[broker]") {
  const std::size_t others = GENERATE(range(std::size_t{0}, std::size_t{40}));  // tables grow at some of these
  CAPTURE(others);
  constexpr std::size_t kLong = 20'000;  // more than all tables
  IndexBench bus;
  for (std::size_t i = 0; i < others; ++i) bus.add("a." + std::to_string(i));
  const std::ptrdiff_t before = bus::test::allocated_bytes();
  bool added = false;
  for (std::size_t nth = 1; !added; ++nth) {  // another pattern each time
    const auto one = route(std::string(kLong, 'x') + std::to_string(nth) + ".*.b", std::string(kLong, 'q'));
    try {
      const FailingAllocation fail(nth);
      bus.index.add(*one);
      added = true;
    } catch (const std::bad_alloc&) {
    }
    if (added) bus.index.remove(*one);
  }
  REQUIRE(bus::test::allocated_bytes() - before < static_cast<std::ptrdiff_t>(kLong));
}

TEST_CASE("without memory a match fails or is right", "[broker]") {
  for (const int asked : {0, 1, 2}) {
    for (std::size_t nth = 1, failures = 1; failures > 0; ++nth) {
      IndexBench bus;
      for (const char* queue : {"", "q", "r"}) {
        for (int i = 0; i < 3; ++i) bus.add("a.*", queue);
        bus.add("*.b", queue);
      }
      for (int i = 0; i < asked; ++i) (void)bus.index.match("a.b");
      bus.add("a.>");
      failures = 0;
      const Match* match = nullptr;
      try {
        const FailingAllocation fail(nth);
        match = &bus.index.match("a.b");
        failures += FailingAllocation::happened();
      } catch (const std::bad_alloc&) {
        ++failures;
      }
      if (match != nullptr) REQUIRE(match->plain.size() == 5);
      REQUIRE(bus.match("a.b").size() == 7);  // plain ones and two groups
    }
  }
}

TEST_CASE("subscriptions that are gone leave nothing that grows", "[broker]") {
  IndexBench bus;
  bus.add("a.>");
  const auto churn = [&](int from) {
    for (int i = from; i < from + 2000; ++i) {
      const std::string number = std::to_string(i);
      const auto one = route("a." + number + ".*.token-of-more-than-fifteen-bytes-" + number, "queue" + number);
      bus.index.add(*one);
      (void)bus.index.match("a." + std::to_string(i % 100));
      bus.index.remove(*one);
    }
  };
  churn(0);
  const std::ptrdiff_t before = bus::test::allocated_bytes();
  for (int round = 1; round < 20; ++round) churn(round * 2000);
  REQUIRE(bus::test::allocated_bytes() - before < 4096);
}

TEST_CASE("any number of tokens is safe", "[broker]") {
  IndexBench bus;
  std::string deep = "a";
  for (int i = 0; i < 30'000; ++i) deep += ".a";
  bus.add(deep);
  bus.add("a.>");
  std::string wild = deep;
  std::replace(wild.begin(), wild.end(), 'a', '*');
  bus.add(wild);
  REQUIRE(bus.match(deep).size() == 3);
  REQUIRE(bus.match(deep + ".a").size() == 1);
}

TEST_CASE("an index lets go of what is in it", "[broker]") {
  const auto one = route("a.*"), two = route("a.*", "q");
  {
    SubjectIndex index;
    index.add(*one);
    index.add(*two);
  }
  REQUIRE(one->membership.list == nullptr);
  SubjectIndex other;
  other.add(*one);
  REQUIRE(text(other.match("a.b")) == Strings{"a.*"});
  other.remove(*one);
}

// ---- what it costs ----

namespace {

using Clock = std::chrono::steady_clock;

/// Nanoseconds of each call, the best of some rounds.
template <class F>
double cost(std::size_t calls, F&& call) {
  double best = 1e18;
  for (int round = 0; round < 5; ++round) {
    const auto start = Clock::now();
    for (std::size_t i = 0; i < calls; ++i) call(i);
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  return best / static_cast<double>(calls);
}

/// Four tokens of a hundred each.
Strings plant_tokens(Random& random) {
  Strings tokens;
  for (const char* kind : {"site", "line", "machine", "sensor"})
    tokens.push_back(kind + std::to_string(random() % 100));
  return tokens;
}

std::string joined(const Strings& tokens) {
  std::string text = tokens.front();
  for (std::size_t i = 1; i < tokens.size(); ++i) text += "." + tokens[i];
  return text;
}

/// A third have one or two wildcards anywhere.
std::string plant_pattern(Random& random) {
  Strings tokens = plant_tokens(random);
  if (random() % 3 == 0) {
    for (std::size_t i = 0; i <= random() % 2; ++i) tokens[random() % tokens.size()] = "*";
    if (random() % 4 == 0) tokens.back() = ">";
  }
  return joined(tokens);
}

}  // namespace

TEST_CASE("what matching costs", "[broker][.speed]") {
  constexpr std::size_t kCalls = 100'000;
  for (const std::size_t subscriptions : std::vector<std::size_t>{1, 100, 10'000, 100'000}) {
    Random random(1);
    IndexBench bus;
    Strings hot;  // half of them are for someone
    Strings cold;
    std::vector<std::unique_ptr<Route>> routes;
    for (std::size_t i = 0; i < subscriptions; ++i) routes.push_back(route(plant_pattern(random)));
    for (std::size_t i = 0; i < 64; ++i) hot.push_back(joined(plant_tokens(random)));
    for (std::size_t i = 0; i < 64; i += 2) {
      std::string pattern = routes[random() % routes.size()]->pattern;
      if (pattern.find_first_of("*>") == std::string::npos) hot[i] = pattern;
    }
    for (std::size_t i = 0; i < 5 * kCalls; ++i) {
      Strings tokens = plant_tokens(random);
      tokens[random() % 4] += i % 2 == 0 ? "new" + std::to_string(i) : "";  // half have a token that no pattern has
      cold.push_back(joined(tokens));
    }

    const std::ptrdiff_t before = bus::test::allocated_bytes();
    const auto start = Clock::now();
    for (const auto& route : routes) bus.index.add(*route);
    const double adding = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    const double bytes = static_cast<double>(bus::test::allocated_bytes() - before);
    const double each = static_cast<double>(subscriptions);

    std::size_t next = 0, reached = 0;
    for (const std::string& subject : hot) bus.warm(subject);
    const double repeated = cost(kCalls, [&](std::size_t i) { reached += bus.index.match(hot[i % 64]).plain.size(); });
    const double fresh = cost(kCalls, [&](std::size_t) { reached += bus.index.match(cold[next++]).plain.size(); });
    const double tree = cost(kCalls, [&](std::size_t i) { reached += bus.index.count(cold[i]); });
    std::size_t expected = 0;
    for (const std::string& subject : cold) expected += bus.index.count(subject);

    // One subscription comes and goes for each message.
    const auto churn = [&](const std::string& pattern) {
      const auto one = route(pattern);
      return cost(kCalls, [&](std::size_t i) {
        bus.index.add(*one);
        reached += bus.index.match(hot[i % 64]).plain.size();
        bus.index.remove(*one);
      });
    };
    const double plain = churn("site1.line1.machine1.sensorX");
    const double wild = churn("site1.*.machine1.sensorX");
    const double inbox = churn("_INBOX.abcdefgh.*");
    const double all = churn(">");
    const auto end = Clock::now();
    for (const auto& route : routes) bus.index.remove(*route);
    const double removing = std::chrono::duration<double, std::nano>(Clock::now() - end).count();
    std::printf(
        "%zu subscriptions, %.0f bytes each beside their Route of %zu\n  add() %.0f ns, remove() %.0f ns\n"
        "  match() of 64 subjects in turn %.0f ns; of new subjects, which reach %.1f, %.0f ns; count() of these %.0f "
        "ns\n"
        "  add(), match(), remove() of a plain pattern %.0f ns, with wildcards %.0f ns, an inbox %.0f ns, '>' %.0f "
        "ns\n",
        subscriptions, bytes / each, sizeof(Route), adding / each, removing / each, repeated,
        static_cast<double>(expected) / static_cast<double>(cold.size()), fresh, tree, plain, wild, inbox, all);
    CHECK(reached > 0);
  }
}
