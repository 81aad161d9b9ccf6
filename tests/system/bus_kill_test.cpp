// tests/system/bus_kill_test.cpp: the bus while its processes are killed at random moments. Each case ends with the
// auditor: what was promised came, or somebody counted it.
//
//   BUS_KILL_CYCLES=N  kills in all cases together (ordinarily 200)   BUS_KILL_SEED=S  the same choices once more
#include <algorithm>
#include <list>
#include <optional>
#include <random>

#include "tests/support/sanitized.hpp"
#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

/// So many of all kills, for each of `among`; one at least.
std::uint64_t kills(std::uint64_t of_200, std::uint64_t among) {
  constexpr std::uint64_t kOrdinary = kSanitized ? 20 : 200;  // processes start many times slower
  return std::max<std::uint64_t>(1, setting("BUS_KILL_CYCLES", kOrdinary) * of_200 / 200 / among);
}

/// Chance, the same for the same seed; says it.
class Chance {
 public:
  explicit Chance(const std::string& about)
      : seed_(setting("BUS_KILL_SEED", std::random_device{}())), engine_(seed_ ^ std::hash<std::string>{}(about)) {
    std::cout << about << ": BUS_KILL_SEED=" << seed_ << "\n";
  }
  [[nodiscard]] std::chrono::microseconds between(std::chrono::microseconds least, std::chrono::microseconds most) {
    return least + std::chrono::microseconds(engine_() % static_cast<std::uint64_t>((most - least).count() + 1));
  }
  [[nodiscard]] std::uint64_t below(std::uint64_t end) { return engine_() % end; }

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;
};

}  // namespace

TEST_CASE("a broker that is killed again and again loses nothing that was to be delivered", "[system][kill]") {
  Chance chance("kills of brokers");
  const std::uint64_t each = kills(81, kSchemes.size());
  struct Torn : Line {
    using Line::Line;
    std::uint64_t killed = 0;
    Deadline next{};
  };
  std::list<Torn> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  // While it starts and is found; about the end of its gathering; at work.
  const auto moment = [&]() -> std::chrono::microseconds {
    const std::uint64_t kind = chance.below(10);
    return kind < 3   ? chance.between(0ms, 30ms)
           : kind < 6 ? chance.between(270ms, 330ms)
                      : chance.between(310ms, 400ms);
  };
  for (Torn& one : all) one.next = in(moment());
  const auto left = [&] {
    return std::any_of(all.begin(), all.end(), [&](const Torn& one) { return one.killed < each; });
  };
  while (left()) {
    for (Torn& one : all) {
      one.publish(3);
      if (one.killed == each || Clock::now() < one.next) continue;
      INFO(one.scheme << " " << one.broker.err());
      REQUIRE(one.broker.kill(SIGKILL));  // and it had not ended by itself
      REQUIRE(one.broker.wait() == ExitStatus{-1, SIGKILL});
      one.broker = broker_on(one.bus);
      ++one.killed;
      one.next = in(moment());
    }
    let_pass(2ms);  // the pace of the publishers, so that each kill has some messages around it
  }
  for (Torn& one : all) {
    std::cout << one.scheme << ": " << one.killed << " kills of the broker; " << in_short(one.close()) << "\n";
  }
}

TEST_CASE("a subscriber that is killed loses nothing for its group", "[system][kill]") {
  Chance chance("kills of subscribers");
  const std::string scheme = GENERATE("unix", "shm", "tcp");
  const std::uint64_t each = kills(66, kSchemes.size());
  const std::string bus = fixed_bus(scheme), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  std::uint64_t made = 0, published = 0;
  const auto start = [&] {
    return Polite(start_bus(node_words("sub", "jobs.*", bus,
                                       {"--queue", "workers", "--format", "none", "--depth", "64", "--record",
                                        folder + "/sub" + std::to_string(++made)})));
  };
  std::array<Polite, 2> members{start(), start()};
  for (Process& member : members) wait_subscribed(member);
  Polite pub = pub_on(bus, "jobs.x", folder + "/pub");
  const auto publish = [&] { pub.write_stdin(std::to_string(++published) + "\n"); };
  for (std::uint64_t i = 0; i < each; ++i) {
    Polite& member = members[chance.below(2)];
    // A random moment for the kill, amid messages at a pace that two members keep up with.
    for (const Deadline until = in(chance.between(0ms, 25ms)); Clock::now() < until; let_pass(1ms)) {
      publish();
      publish();
    }
    REQUIRE(member.kill(SIGKILL));
    REQUIRE(member.wait() == ExitStatus{-1, SIGKILL});
    member = start();
    wait_subscribed(member);
  }
  finish_publisher(pub);
  for (Process& member : members) end_subscriber(member);
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("expected") == published);
  REQUIRE(sum.at("delivered") == published);
  std::cout << scheme << ": " << each << " kills of subscribers; " << in_short(sum) << "\n";
}

TEST_CASE("what a killed publisher was told to be accepted comes", "[system][kill]") {
  Chance chance("kills of publishers");
  const std::string scheme = GENERATE("unix", "shm", "tcp");
  const std::uint64_t each = kills(48, kSchemes.size());
  const std::string bus = fixed_bus(scheme), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub"});
  // The broker gathers no more: what it holds back of a publisher that dies, it forgets.
  const auto live = [&](const std::string& record) {
    const Finished pub =
        run_bus(node_words("pub", "a", bus, {"--level", "delivered", "--count", "1", "--record", folder + record}));
    INFO(pub.err);
    REQUIRE(pub.status == exited(0));
  };
  live("/first");
  for (std::uint64_t i = 0; i < each; ++i) {
    const std::string record = folder + "/pub" + std::to_string(i);
    Process pub = start_bus(node_words(
        "pub", "a", bus, {"--size", "200", "--rate", "20k", "--level", "delivered", "--json", "--record", record}));
    pub.wait_for_output("\"joined\"");
    let_pass(chance.between(0ms, 30ms));  // a random moment for the kill
    REQUIRE(pub.kill(SIGKILL));
    REQUIRE(pub.wait() == ExitStatus{-1, SIGKILL});
  }
  live("/last");  // and everything before it is through
  REQUIRE(eventually([&] { return status_of(bus).at("waiting") == 0; }));
  let_pass(10ms);  // the auditor's margin is a length of time (1 ms): what is younger counts as in flight
  end_subscriber(sub);
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("delivered").get<std::uint64_t>() > each);
  REQUIRE(sum.at("in_flight") == 0);
  std::cout << scheme << ": " << each << " kills of publishers; " << in_short(sum) << "\n";
}

// Of a broker, a subscriber and a publisher.
TEST_CASE("any two that are killed together take nothing of the others with them", "[system][kill]") {
  Chance chance("kills of two");
  const std::uint64_t each = kills(30, kSchemes.size());
  struct Torn : Line {
    explicit Torn(const std::string& its_scheme)
        : Line(its_scheme, {"--queue", "workers", "--format", "none"}), others{start(0), start(1), start(2)} {}
    /// The broker; one more of the group; one more who publishes.
    Polite start(std::size_t which) {
      const std::string record = folder + "/other" + std::to_string(++made);
      if (which == 0) return made > 1 ? broker_on(bus) : std::move(broker);
      if (which == 1) {
        return Polite(
            start_bus(node_words("sub", "a", bus, {"--queue", "workers", "--format", "none", "--record", record})));
      }
      return Polite(start_bus(
          node_words("pub", "a", bus, {"--size", "100", "--rate", "2k", "--level", "delivered", "--record", record})));
    }
    std::uint64_t made = 0;
    std::array<Polite, 3> others;
    std::uint64_t killed = 0;
    Deadline next = in(500ms);
  };
  std::list<Torn> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  while (std::any_of(all.begin(), all.end(), [&](const Torn& one) { return one.killed < each; })) {
    for (Torn& one : all) {
      one.publish(3);
      if (one.killed == each || Clock::now() < one.next) continue;
      const std::size_t spared = chance.below(3);
      for (std::size_t i = 0; i < 3; ++i) {
        INFO(one.scheme << " " << i << " " << one.others[i].err());
        if (i != spared) REQUIRE(one.others[i].kill(SIGKILL));  // and it had not ended by itself
      }
      for (std::size_t i = 0; i < 3; ++i) {
        if (i == spared) continue;
        REQUIRE(one.others[i].wait() == ExitStatus{-1, SIGKILL});
        one.others[i] = one.start(i);
      }
      ++one.killed;
      one.next = in(chance.between(0ms, 450ms));
    }
    let_pass(2ms);  // the pace of the publishers
  }
  for (Torn& one : all) {
    for (const std::size_t i : {std::size_t{2}, std::size_t{1}}) {
      one.others[i].kill(SIGTERM);
      static_cast<void>(one.others[i].wait());
    }
    finish_publisher(one.pub);
    end_subscriber(one.sub);
    const Json sum = audited(one.folder);
    INFO(one.scheme << ": " << sum.dump());
    REQUIRE(sum.at("delivered").get<std::uint64_t>() >= one.published);
    std::cout << one.scheme << ": " << one.killed << " times two of three killed; " << in_short(sum) << "\n";
  }
}

TEST_CASE("nodes that were long without a broker are all back before it delivers", "[system][kill]") {
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  Polite broker = broker_on(bus);
  std::list<Polite> subs;
  for (int i = 0; i < 8; ++i) {
    subs.push_back(sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub" + std::to_string(i)}));
  }
  Polite pub = pub_on(bus, "a", folder + "/pub");
  pub.write_stdin("1\n");
  REQUIRE(eventually([&] { return status_of(bus).at("delivered") == 8; }));
  REQUIRE(broker.kill(SIGKILL));
  REQUIRE(broker.wait() == ExitStatus{-1, SIGKILL});
  std::uint64_t published = 1;
  const auto is_told = [&] {  // the first may still be on its way to who is dead
    pub.write_stdin(std::to_string(++published) + "\n");
    return pub.err().find("the broker on " + bus + "?embed=never is gone; waiting for another") != std::string::npos;
  };
  REQUIRE(eventually(is_told));
  let_pass(1200ms);  // until they try as seldom as they ever do
  const auto start = Clock::now();
  broker = broker_on(bus);
  finish_publisher(pub);
  std::cout << "from the start of a broker to the end of the publisher that waited for it: "
            << spread({Clock::now() - start}) << "\n";
  for (Process& sub : subs) end_subscriber(sub);
  const Json sum = audited(folder);
  REQUIRE(sum.at("expected") == 8 * published);
  REQUIRE(sum.at("delivered") == 8 * published);
}

TEST_CASE("when the process that hosts the broker is killed, another takes over", "[system][kill]") {
  const std::string scheme = GENERATE("unix", "shm");
  const std::uint64_t each = kills(10, 2);
  const std::string bus = scheme + "://" + fresh_name(), folder = temporary_folder();
  const auto start_spare = [&] {
    Polite spare(start_bus({"sub", "nothing", "--bus", bus, "--format", "none"}));
    wait_subscribed(spare);
    return spare;
  };
  std::list<Polite> spares;
  for (int i = 0; i < 3; ++i) spares.push_back(start_spare());
  Polite sub = sub_on(bus, "a", {"--record", folder + "/sub"});
  Polite plain = sub_on(bus, "b", {});
  Polite pub = pub_on(bus, "a", folder + "/pub");
  Polite plain_pub = pub_on(bus, "b", "/dev/null", {"--level", "accepted"});
  std::uint64_t written = 0;
  const auto both_get = [&](const std::string& line) {
    pub.write_stdin(line);
    ++written;
    plain_pub.write_stdin(line);
    sub.wait_for_output(line);
    plain.wait_for_output(line);
  };
  both_get("first\n");
  std::vector<Millis> delivered, accepted;
  for (std::uint64_t i = 0; i < each; ++i) {
    const Finished list = run_bus({"list", "--json"});
    std::optional<pid_t> host;
    for (const Json& one : objects(list.out)) {
      if (one.value("address", "") == bus && one.contains("pid")) host = one.at("pid").get<pid_t>();
    }
    INFO(list.out);
    REQUIRE(host);
    const auto victim =
        std::find_if(spares.begin(), spares.end(), [&](const Process& spare) { return spare.pid() == *host; });
    REQUIRE(victim != spares.end());
    const auto killed = Clock::now();
    REQUIRE(victim->kill(SIGKILL));
    const std::string mark = "after " + std::to_string(i) + "\n";
    pub.write_stdin(mark);
    ++written;
    // What is only accepted reaches who is there: it is published until somebody is.
    std::optional<Millis> took;
    const std::string plain_mark = "plain " + std::to_string(i) + " ";
    std::uint64_t looks = 0;
    const auto both_came = [&] {
      if (!took && plain.out().find(plain_mark) != std::string::npos) took = Clock::now() - killed;
      if (!took && looks++ % 4 == 0) plain_pub.write_stdin(plain_mark + std::to_string(looks) + "\n");
      return took && sub.out().find(mark) != std::string::npos;
    };
    if (!eventually(both_came, killed + 20s)) {
      FAIL("cycle " << i << ": " << (took ? "" : "nothing plain comes; ") << pub.err() << sub.err() << plain_pub.err()
                    << plain.err() << run_bus({"broker", "--status", "--bus", bus}).out);
    }
    delivered.emplace_back(Clock::now() - killed);
    accepted.push_back(*took);
    spares.erase(victim);
    spares.push_back(start_spare());
  }
  std::cout << scheme << ": from the host's death to the first delivery: accepted " << spread(accepted)
            << "; delivered " << spread(delivered) << "\n";
  REQUIRE(*std::max_element(delivered.begin(), delivered.end()) < 10s);
  finish_publisher(pub);
  finish_bereaved(plain_pub);
  end_subscriber(sub);
  const Json sum = audited(folder);
  REQUIRE(sum.at("expected") == written);
  REQUIRE(sum.at("delivered") == written);
}

namespace {

std::size_t lines_with(const std::string& path, std::string_view text) {
  std::ifstream file(path);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.find(text) != std::string::npos ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a subscriber that drops and is killed leaves no hole: its record says what it dropped", "[system][kill]") {
  const std::string full = GENERATE(as<std::string>{}, "drop-new", "drop-old");
  CAPTURE(full);
  const std::string bus = fixed_bus("shm"), folder = temporary_folder();
  Polite broker = broker_on(bus);
  wait_listening(broker);
  Polite sub =
      sub_on(bus, "load", {"--full", full, "--depth", "4", "--exec", "sleep 0.02", "--record", folder + "/sub"});
  Polite pub(start_bus(node_words("pub", "load", bus,
                                  {"--size", "64", "--rate", "500", "--duration", "1h", "--record", folder + "/pub"})));
  REQUIRE(eventually([&] { return lines_with(folder + "/sub", "\"received\"") >= 20; }));
  REQUIRE(sub.kill(SIGKILL));
  REQUIRE(sub.wait() == ExitStatus{-1, SIGKILL});
  REQUIRE(pub.kill(SIGTERM));
  REQUIRE(pub.wait() == exited(143));
  const Json sum = audited(folder);
  REQUIRE(sum.at("delivered") >= 20);
  REQUIRE(sum.at("dropped") > 0);
}

}  // namespace bus::test
