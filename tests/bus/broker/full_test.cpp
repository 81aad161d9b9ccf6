// tests/bus/broker/full_test.cpp: what becomes of a message when a subscription, or the memory, is full.
#include "bus/broker/core.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::Errc;
using bus::Reason;
using bus::broker::ClientId;
using bus::test::Bench;
using bus::test::count_of;

/// A publisher that keeps to the window that it was told, as sessions do.
struct Honest {
  Bench& bench;
  ClientId id;
  std::uint64_t published = 0;

  [[nodiscard]] bool publish(std::string_view payload, Level level, std::uint32_t history) {
    const Welcome window = bench.told<Welcome>(id).back();
    const auto receipts = bench.told<Receipt>(id);
    const std::uint64_t settled = level == Level::delivered ? bench.told<Outcome>(id).size() : published;
    const std::uint64_t open = published - std::min(settled, receipts.empty() ? 0 : receipts.back().sequence);
    if (open >= window.window_messages || open * payload.size() >= window.window_bytes) return false;
    bench.say(id, Publish{++published, level, false, false, history, "a", {}, {}, bus::bytes_of(payload)});
    return true;
  }
};

}  // namespace

TEST_CASE("a subscription that blocks holds its publishers back, in order, and lets them go", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2);
  for (std::uint64_t i = 1; i <= 3; ++i) bench.publish(sender, i, "a");
  bench.publish(sender, 4, "b");
  bench.say(sender, Flush{7, 4});
  CHECK(bench.got(receiver, 1) == "1,2");
  CHECK(bench.told<Flushed>(sender).empty());
  CHECK(bench.told<Receipt>(sender).back().sequence == 2);
  bench.say(receiver, Taken{1, 1, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3");
  CHECK(bench.told<Flushed>(sender).size() == 1);
  CHECK(bench.told<Receipt>(sender).back().sequence == 4);
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("a publisher that is let go message by message gets no receipt for each", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.window_messages = 40;
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  for (std::uint64_t i = 1; i <= 40; ++i) bench.publish(sender, i, "a");
  for (std::uint64_t i = 1; i <= 40; ++i) bench.say(receiver, Taken{1, i, 0});
  CHECK(bench.told<Receipt>(sender).size() == 4);
  CHECK(bench.told<Receipt>(sender).back().sequence == 40);
}

TEST_CASE("a bye waits for what is held back before it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  bench.say(sender, Bye{2});
  CHECK(bench.told<Farewell>(sender).empty());
  bench.say(receiver, Taken{1, 1, 0});
  REQUIRE(bench.told<Farewell>(sender).size() == 1);
  CHECK(bench.told<Farewell>(sender)[0].accepted == 2);
  CHECK(bench.hung_up.at(sender).empty());
}

TEST_CASE("the end of a subscription that blocks lets its publishers go", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  SECTION("it unsubscribes") { bench.say(receiver, Unsubscribe{1}); }
  SECTION("it dies") { bench.core.disconnected(receiver, true, bench.now); }
  SECTION("it says bye") { bench.say(receiver, Bye{0}); }
  CHECK(bench.core.totals().accepted == 2);
}

TEST_CASE("drop_new drops what comes at its depth, and tells", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2, Full::drop_new);
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  CHECK(bench.got(receiver, 1) == "1,2");
  bench.say(receiver, Taken{1, 2, 0});
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].count == 3);
  bench.publish(sender, 6, "a");
  CHECK(bench.got(receiver, 1) == "1,2,6");
  CHECK(bench.core.totals().dropped[bus::test::count_of(Reason::queue_full)] == 3);
}

TEST_CASE("drop_old keeps the newest that its depth allows", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2, Full::drop_old);
  bench.room[receiver] = 0;
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  CHECK(bench.got(receiver, 1) == "4,5");
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].count == 3);
}

TEST_CASE("drop_old keeps within the memory, whatever the sizes of what comes and goes", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 100'000;
  limits.client_bytes = GENERATE(50'000U, 8U << 20);
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  const std::uint32_t depth = GENERATE(1'000U, 100'000U);
  CAPTURE(limits.client_bytes, depth);
  bench.subscribe(receiver, 1, "a", depth, Full::drop_old);
  bench.room[receiver] = 0;
  const std::string large(2'000, 'x');
  std::uint64_t sequence = 0, most = 0;
  const auto look = [&] { most = std::max(most, bench.core.totals().memory); };
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i, sequence += 500, look()) bench.publish_batch(sender, sequence + 1, 500, "a");
    for (int i = 0; i < 1'000; ++i, look()) bench.publish(sender, ++sequence, "a");
    for (int i = 0; i < 100; ++i, look()) {
      bench.say(sender, Publish{++sequence, Level::accepted, false, false, 0, "a", {}, {}, bus::bytes_of(large)});
    }
  }
  CHECK(most <= limits.memory + 2 * (500 * 8 + 257));  // one batch more, and one of which some are left
  CHECK(most > limits.memory / 4);
  CHECK(bench.core.totals().accepted == sequence);
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  const auto totals = bench.core.totals();
  CHECK(totals.memory == 0);
  CHECK(totals.copies == totals.delivered + totals.dropped[bus::test::count_of(Reason::queue_full)]);
  const std::string last = std::to_string(sequence);
  CHECK(bench.got(receiver, 1).ends_with("," + last));
}

TEST_CASE("disconnect ends the subscription at its depth, and the client goes on", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2, Full::disconnect);
  bench.subscribe(receiver, 2, "a");
  for (std::uint64_t i = 1; i <= 4; ++i) bench.publish(sender, i, "a");
  CHECK(bench.got(receiver, 1) == "1,2");
  CHECK(bench.got(receiver, 2) == "1,2,3,4");
  REQUIRE(bench.told<Refused>(receiver).size() == 1);
  CHECK(bench.told<Refused>(receiver)[0].why == Errc::no_room);
  CHECK(bench.core.totals().subscriptions == 1);
}

TEST_CASE("drops are told although nothing more is sent", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.client_bytes = 4;
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 10);
  bench.subscribe(receiver, 2, "b", 10, Full::drop_new);
  bench.room[receiver] = 0;
  for (std::uint64_t i = 1; i <= 3; ++i) bench.publish(sender, i, i < 3 ? "a" : "b");
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].subscription == 2);
}

TEST_CASE("drops are told soon although nothing is sent or taken any more", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2, Full::drop_new);
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  bench.pass(1s);
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].count == 3);
  CHECK_FALSE(bench.core.next_tick());
}

TEST_CASE("the last word on a subscription is how many were sent and dropped", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2, Full::drop_new);
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  SECTION("when it is unsubscribed") {
    bench.say(receiver, Unsubscribe{1});
    REQUIRE(bench.told<Progress>(receiver).size() == 1);
    CHECK(bench.told<Progress>(receiver)[0].subscription == 1);
    CHECK(bench.told<Progress>(receiver)[0].index == 2);
  }
  SECTION("when its node leaves") {
    bench.say(receiver, Bye{0});
    CHECK(bench.told<Farewell>(receiver).size() == 1);
  }
  SECTION("when the broker stops") {
    bench.core.stop(bench.now);
    CHECK(bench.told<Farewell>(receiver).size() == 1);
  }
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].count == 3);
}

TEST_CASE("who unsubscribes is told of what waited for it and goes to nobody", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 100, Full::block, "group");
  bench.room[receiver] = 2;
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  bench.publish(sender, 6, "a", Level::delivered);  // another member may get it
  bench.say(receiver, Unsubscribe{1});
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  REQUIRE(bench.told<Dropped>(receiver).size() == 1);
  CHECK(bench.told<Dropped>(receiver)[0].reason == Reason::closed);
  CHECK(bench.told<Dropped>(receiver)[0].count == 3);
  CHECK(bench.core.totals().dropped[bus::test::count_of(Reason::closed)] == 3);
  CHECK(bench.told<Progress>(receiver).back().index == 2);
}

TEST_CASE("a client that takes nothing and goes on asking is thrown out", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 4 << 20;
  Bench bench(limits);
  const ClientId silent = bench.join(1), other = bench.join(2);
  bench.room[silent] = bench.room[other] = 0;
  std::uint32_t asked = 0;
  while (!bench.hung_up.contains(silent) && asked < 100'000) {
    bench.say(silent, Flush{++asked, 0});
    if (asked % 100 == 0) bench.say(other, Flush{asked, 0});  // as it may: it is owed little
  }
  CHECK(bench.hung_up.at(silent) == "it takes nothing of what it is told");
  CHECK(asked > 2'000);
  CHECK(asked < 10'000);
  CHECK_FALSE(bench.hung_up.contains(other));
  bench.room.erase(other);
  bench.core.room(other, bench.now);
  CHECK(bench.told<Flushed>(other).size() == asked / 100);
}

TEST_CASE("a message too large for a client's channel is dropped for it, and it is told", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), wide = bench.join(2);
  const auto narrow = bench.core.connected({"bench", true, 40}, bench.now);
  REQUIRE(narrow);
  bench.say(*narrow, Hello{kVersion, Instance{3}, 3, 0, "node"});
  bench.subscribe(*narrow, 1, ">");
  bench.subscribe(wide, 1, ">");
  bench.publish(sender, 1, "a.subject.of.some.length", Level::delivered);
  bench.acknowledge(wide, 1, 1, 1);
  REQUIRE(bench.told<Dropped>(*narrow).size() == 1);
  CHECK(bench.told<Dropped>(*narrow)[0].reason == Reason::too_large);
  REQUIRE(bench.outcome(sender, 1));
  CHECK(bench.outcome(sender, 1)->failed == 1);
  CHECK(bench.outcome(sender, 1)->reason == Reason::too_large);
}

TEST_CASE("what one subscription has waiting does not stop another for ever", "[broker]") {
  auto limits = Bench::without_gathering();
  SECTION("bytes of one client") { limits.client_bytes = 4; }
  SECTION("memory in all") { limits.memory = 500; }  // a copy costs its two bytes and 256
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 10);
  bench.subscribe(receiver, 2, "b", 10);
  bench.room[receiver] = 0;
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  bench.publish(sender, 3, "b");  // nothing of its own waits: nothing of its own will wake the publisher
  CHECK(bench.core.totals().accepted == 2);
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  CHECK(bench.core.totals().accepted == 3);
  CHECK(bench.got(receiver, 2) == "3");
}

TEST_CASE("history that fills the memory does not stop those who can be sent at once", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 1;
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.publish(sender, 1, "a", Level::accepted, false, 1);
  bench.subscribe(receiver, 1, "b");
  bench.publish(sender, 2, "b");
  CHECK(bench.got(receiver, 1) == "2");
}

TEST_CASE("what waits, is held back, kept and not acknowledged fits the memory, and all of it comes", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.clients = 16;
  limits.memory = 1U << 20;
  const auto level = GENERATE(Level::accepted, Level::delivered);
  const std::uint32_t depth = GENERATE(4U, 100'000U);
  const std::uint32_t history = GENERATE(0U, 100U);
  CAPTURE(level, depth, history);
  Bench bench(limits);
  const ClientId receiver = bench.join(1);
  bench.subscribe(receiver, 1, "a", depth);
  bench.room[receiver] = 2;
  std::vector<Honest> publishers;
  for (std::uint8_t i = 0; i < 10; ++i) publishers.push_back({bench, bench.join(static_cast<std::uint8_t>(10 + i))});
  const std::string payload(4000, 'x');
  constexpr std::uint64_t kEach = 100;  // four times the memory in all
  std::uint64_t most = 0, taken = 0;
  for (bool any = true; any;) {
    any = false;
    for (Honest& publisher : publishers) {
      while (publisher.published < kEach && publisher.publish(payload, level, history)) any = true;
      most = std::max(most, bench.core.totals().memory);
    }
    bench.room[receiver] = 100;
    bench.core.room(receiver, bench.now);
    const auto messages = bench.told<Deliver>(receiver);
    for (; taken < messages.size(); ++taken, any = true) {
      bench.say(receiver, Taken{1, messages[taken].index, 0});
      const MessageId id = messages[taken].message;
      if (level == Level::delivered) bench.acknowledge(receiver, 1, id.publisher, id.sequence);
    }
    most = std::max(most, bench.core.totals().memory);
  }
  CHECK(most <= limits.memory + publishers.size() * (payload.size() + 257));  // one message more for each
  CHECK(most > limits.memory / 32);                                           // it was about that
  CHECK(taken == kEach * publishers.size());
  for (const Honest& publisher : publishers) CHECK_FALSE(bench.hung_up.contains(publisher.id));
  CHECK(bench.core.totals().memory <= (history > 0 ? limits.memory / 4 : 0));
}

TEST_CASE("a message to be delivered waits for memory, and goes when others have left some", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 500;  // two messages, and no more
  Bench bench(limits);
  const ClientId one = bench.join(1), other = bench.join(2), receiver = bench.join(3), last = bench.join(4);
  bench.subscribe(receiver, 1, "a");
  bench.publish(one, 1, "a", Level::delivered);
  bench.publish(one, 2, "a", Level::delivered);
  bench.publish(other, 1, "nobody", Level::delivered);  // needs none
  CHECK(bench.outcome(other, 1));
  bench.publish(other, 2, "a", Level::delivered);
  bench.publish(last, 1, "a");  // sent at once
  CHECK(bench.got(receiver, 1) == "1,2,1");
  CHECK(bench.core.totals().accepted == 4);
  SECTION("it is acknowledged") {
    bench.acknowledge(receiver, 1, 1, 1);
    bench.acknowledge(receiver, 1, 1, 2);
  }
  SECTION("its subscription ends, and nobody is left") { bench.say(receiver, Unsubscribe{1}); }
  SECTION("its publisher is gone, who waited, too") {
    bench.publish(one, 3, "a", Level::delivered);
    bench.core.disconnected(one, true, bench.now);
    bench.acknowledge(receiver, 1, 1, 1);
    bench.acknowledge(receiver, 1, 1, 2);
  }
  CHECK(bench.core.totals().accepted == 5);
}

TEST_CASE("a publisher is told a wider window when it fills its first one", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), lossy = bench.join(2, false);
  const Welcome first = bench.told<Welcome>(sender).back();
  CHECK(first.window_messages < 4096);
  for (std::uint64_t i = 1; i <= 2048; ++i) bench.publish(sender, i, "a");
  REQUIRE(bench.told<Welcome>(sender).size() == 2);
  CHECK(bench.told<Welcome>(sender).back().window_messages == 4096);
  CHECK(bench.told<Welcome>(sender).back().window_bytes == 8U << 20);
  for (std::uint64_t i = 1; i <= 2048; ++i) bench.publish(lossy, i, "a");
  CHECK(bench.told<Welcome>(lossy).size() > 2);  // again and again: one may be lost
}

TEST_CASE("those who wait for room in one subscription have it in turn", "[broker]") {
  Bench bench;
  const ClientId receiver = bench.join(1);
  bench.subscribe(receiver, 1, "a", 4);
  const std::array<ClientId, 3> senders{bench.join(11), bench.join(12), bench.join(13)};
  std::map<ClientId, std::uint64_t> published;
  for (const ClientId sender : senders) {
    for (int i = 0; i < 40; ++i) bench.publish(sender, ++published[sender], "a");
  }
  std::map<std::uint64_t, int> came;  // by publisher
  for (std::size_t taken = 0; taken < 80;) {
    const auto all = bench.told<Deliver>(receiver);
    REQUIRE(all.size() > taken);
    for (; taken < all.size(); ++taken) {
      ++came[all[taken].message.publisher];
      const ClientId sender = senders.at(all[taken].message.publisher - 11);
      bench.publish(sender, ++published[sender], "a");  // each has always more
    }
    bench.say(receiver, Taken{1, taken, 0});
  }
  CHECK(came[11] >= 20);
  CHECK(came[12] >= 20);
  CHECK(came[13] >= 20);
}

TEST_CASE("a publisher that a member of a group holds back goes on when another can take its message", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a", 1, Full::block, "q");
  bench.subscribe(other, 1, "a", 1, Full::drop_new, "q");
  for (std::uint64_t i = 1; i <= 3; ++i) bench.publish(sender, i, "a");
  CHECK(bench.got(one, 1) == "1");
  CHECK(bench.got(other, 1) == "2");
  bench.say(other, Taken{1, 1, 0});
  CHECK(bench.got(other, 1) == "2,3");
}

TEST_CASE("what a group drops is never counted as reaching nobody", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a", 1, Full::disconnect, "q");
  bench.subscribe(other, 1, "a", 1, Full::drop_new, "q");
  bench.publish_batch(sender, 1, 8, "a");
  CHECK(bench.core.totals().unreached == 0);
  CHECK(bench.core.totals().dropped[count_of(Reason::queue_full)] == 6);
}

TEST_CASE("what many subscriptions have of one message counts for each of them", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 1 << 20;
  Bench bench(limits);
  bench.collects = false;
  const ClientId sender = bench.join(1);
  SECTION("while it waits") {
    for (std::uint8_t i = 2; i < 34; ++i) {
      const ClientId receiver = bench.join(i);
      bench.subscribe(receiver, 1, "a", 1 << 20, Full::drop_new);
      bench.room[receiver] = 0;
    }
    for (std::uint64_t i = 1; i <= 4000; ++i) bench.publish(sender, i, "a");
    CHECK(bench.core.totals().memory <= limits.memory);
    CHECK(bench.core.totals().waiting < 32 * 1000);
    CHECK(bench.core.totals().dropped[count_of(Reason::queue_full)] > 32 * 3000);
  }
  SECTION("until it is acknowledged") {
    for (std::uint8_t i = 2; i < 34; ++i) bench.subscribe(bench.join(i), 1, "a", 1 << 20);
    for (std::uint64_t i = 1; i <= 400; ++i) bench.publish(sender, i, "a", Level::delivered);
    CHECK(bench.core.totals().accepted < 400);
    CHECK(bench.core.totals().memory <= limits.memory + 32 * 1024);
  }
}
