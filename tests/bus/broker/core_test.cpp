// tests/bus/broker/core_test.cpp: what the broker's core does with the frames of its clients.
#include "bus/broker/core.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::Errc;
using bus::Reason;
using bus::broker::ClientId;
using bus::test::Bench;

std::size_t count_of(Reason reason) { return static_cast<std::size_t>(reason); }

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

// ---- who gets a message ----

TEST_CASE("each plain subscription that matches gets the message, and one of each queue group", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a.*");
  bench.subscribe(one, 2, "a.b");
  bench.subscribe(one, 3, "*");
  bench.subscribe(one, 4, ">", 100, Full::block, "q");
  bench.subscribe(other, 1, "a.>", 100, Full::block, "q");
  for (std::uint64_t i = 1; i <= 4; ++i) bench.publish(sender, i, "a.b");
  CHECK(bench.got(one, 1) == "1,2,3,4");
  CHECK(bench.got(one, 2) == "1,2,3,4");
  CHECK(bench.got(one, 3).empty());
  CHECK(bench.got(one, 4) == "1,3");
  CHECK(bench.got(other, 1) == "2,4");
  CHECK(bench.core.totals().copies == 12);
}

TEST_CASE("a queue group passes over members that are full", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a", 1, Full::block, "q");
  bench.subscribe(other, 1, "a", 10, Full::block, "q");
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a");
  CHECK(bench.got(one, 1) == "1");
  CHECK(bench.got(other, 1) == "2,3,4,5");
}

TEST_CASE("a publisher that a full queue group holds back goes on as soon as any member has room", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a", 1, Full::block, "q");
  bench.subscribe(other, 1, "a", 1, Full::block, "q");
  for (std::uint64_t i = 1; i <= 4; ++i) bench.publish(sender, i, "a");
  SECTION("the first") { bench.say(one, Taken{1, 1, 0}); }
  SECTION("the second") { bench.say(other, Taken{1, 1, 0}); }
  CHECK(bench.core.totals().accepted == 3);
}

TEST_CASE("a publisher is told when its message reached nobody", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1);
  bench.publish(sender, 1, "a", Level::accepted, false, 0, true);
  bench.publish(sender, 2, "a", Level::delivered);
  for (const std::uint64_t sequence : {1U, 2U}) {
    const auto outcome = bench.outcome(sender, sequence);
    REQUIRE(outcome);
    CHECK(outcome->reached + outcome->failed == 0);
    CHECK(outcome->reason == Reason::no_subscriber);
  }
  CHECK(bench.core.totals().unreached == 2);
}

// ---- batches ----

TEST_CASE("a batch goes on as a batch, with its payloads, to all who have room for it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a.*");
  bench.subscribe(other, 4, ">", 100, Full::drop_old);
  bench.publish(sender, 1, "a.b");
  bench.publish_batch(sender, 2, 9, "a.b");
  bench.publish(sender, 11, "a.b");
  CHECK(bench.got(one, 1) == "1,2,3,4,5,6,7,8,9,10,11");
  CHECK(bench.got(other, 4) == "1,2,3,4,5,6,7,8,9,10,11");
  const auto batches = bench.told<DeliverBatch>(one);
  REQUIRE(batches.size() == 1);
  CHECK(batches[0].index == 2);
  CHECK(batches[0].message == MessageId{1, 2});
  bus::protocol::Bytes items = batches[0].items;
  for (int i = 2; i <= 10; ++i) {
    const std::string expected = std::to_string(i);
    CHECK(std::ranges::equal(take_item(items), bus::bytes_of(expected)));
  }
  CHECK(bench.told<Deliver>(one).back().index == 11);
  const auto totals = bench.core.totals();
  CHECK(totals.accepted == 11);
  CHECK(totals.copies == 22);
  CHECK(totals.delivered == 22);
}

TEST_CASE("a batch that reaches nobody is accepted, and counted", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1);
  bench.publish_batch(sender, 1, 5, "a");
  bench.say(sender, Flush{1, 5});
  CHECK(bench.told<Receipt>(sender).back().accepted == 5);
  CHECK(bench.told<Receipt>(sender).back().unreached == 5);
}

TEST_CASE("of a batch a subscription that blocks gets what it has room for, and the rest in its turn", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 4);
  bench.publish_batch(sender, 1, 10, "a");
  bench.publish_batch(sender, 11, 2, "a");
  bench.say(sender, Flush{1, 12});
  CHECK(bench.got(receiver, 1) == "1,2,3,4");
  CHECK(bench.core.totals().accepted == 4);
  CHECK(bench.told<Receipt>(sender).back().sequence == 4);
  bench.say(receiver, Taken{1, 1, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3,4,5");
  bench.say(receiver, Taken{1, 4, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3,4,5,6,7,8");
  CHECK(bench.told<Flushed>(sender).empty());
  bench.say(receiver, Taken{1, 8, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3,4,5,6,7,8,9,10,11,12");
  CHECK(bench.told<Flushed>(sender).size() == 1);
  CHECK(bench.told<Receipt>(sender).back().sequence == 12);
  CHECK(bench.told<Receipt>(sender).back().accepted == 12);
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("a batch stops at none for whom it is not whole: each gets what its rule says", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), fast = bench.join(2), slow = bench.join(3), stuck = bench.join(4),
                 ends = bench.join(5);
  bench.subscribe(fast, 1, "a", 100);
  bench.subscribe(slow, 1, "a", 3, Full::drop_new);
  bench.subscribe(ends, 1, "a", 3, Full::disconnect);
  bench.subscribe(stuck, 1, "a", 3, Full::drop_old);
  bench.room[stuck] = 0;
  bench.publish_batch(sender, 1, 8, "a");
  CHECK(bench.got(fast, 1) == "1,2,3,4,5,6,7,8");
  CHECK(bench.told<DeliverBatch>(fast).size() == 1);
  CHECK(bench.got(slow, 1) == "1,2,3");
  CHECK(bench.got(ends, 1) == "1,2,3");
  CHECK(bench.told<Refused>(ends).size() == 1);
  bench.room.erase(stuck);
  bench.core.room(stuck, bench.now);
  CHECK(bench.got(stuck, 1) == "6,7,8");
  bench.say(sender, Flush{1, 8});
  CHECK(bench.told<Receipt>(sender).back().accepted == 8);
  CHECK(bench.told<Receipt>(sender).back().dropped == 5 + 1);  // those that the ended one was not offered are not its
  const auto totals = bench.core.totals();
  CHECK(totals.copies == totals.delivered + totals.dropped[count_of(Reason::queue_full)]);
}

TEST_CASE("a channel that is full in the midst of a batch gets the rest when it has room", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 100);
  bench.room[receiver] = 1;
  bench.publish_batch(sender, 1, 3, "a");
  bench.publish_batch(sender, 4, 3, "a");
  bench.publish(sender, 7, "a");
  CHECK(bench.got(receiver, 1) == "1,2,3");
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  CHECK(bench.got(receiver, 1) == "1,2,3,4,5,6,7");
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("batches wait in the broker, as the depth allows, for a channel that is full", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a", 10);
  bench.subscribe(other, 1, "a", 100, Full::drop_new);
  bench.room[one] = bench.room[other] = 0;
  bench.publish_batch(sender, 1, 4, "a");
  bench.publish_batch(sender, 5, 8, "a");
  bench.say(sender, Flush{1, 12});
  CHECK(bench.core.totals().accepted == 10);
  CHECK(bench.core.totals().waiting == 20);
  CHECK(bench.told<Flushed>(sender).empty());
  SECTION("and go when it has room") {
    bench.room[one] = 1;
    bench.core.room(one, bench.now);
    CHECK(bench.got(one, 1) == "1,2,3,4");
    bench.room.erase(one);
    bench.core.room(one, bench.now);
    CHECK(bench.got(one, 1) == "1,2,3,4,5,6,7,8,9,10");
    CHECK(bench.told<DeliverBatch>(one).size() == 2);
    bench.say(one, Taken{1, 10, 0});
    CHECK(bench.got(one, 1) == "1,2,3,4,5,6,7,8,9,10,11,12");
    CHECK(bench.told<Flushed>(sender).size() == 1);
    bench.room.erase(other);
    bench.core.room(other, bench.now);
    CHECK(bench.got(other, 1) == "1,2,3,4,5,6,7,8,9,10,11,12");
  }
  SECTION("and are dropped with their subscription") {
    bench.say(one, Unsubscribe{1});
    CHECK(bench.told<Flushed>(sender).size() == 1);
    CHECK(bench.core.totals().dropped[count_of(Reason::closed)] == 10);
    bench.say(other, Bye{});
    bench.core.disconnected(other, false, bench.now);
  }
  const auto totals = bench.core.totals();
  CHECK(totals.waiting == 0);
  CHECK(totals.memory == 0);
  CHECK(totals.copies == totals.delivered + totals.dropped[count_of(Reason::closed)]);
}

TEST_CASE("of a batch that waits the oldest messages go alone when they have to", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 4, Full::drop_new);
  bench.room[receiver] = 0;
  bench.publish_batch(sender, 1, 4, "a");
  bench.subscribe(receiver, 2, "a", 3, Full::drop_old);
  bench.publish_batch(sender, 5, 3, "a");  // waits for the second as a batch, of which the first is dropped:
  bench.publish(sender, 8, "a");
  bench.room.erase(receiver);
  bench.core.room(receiver, bench.now);
  CHECK(bench.got(receiver, 1) == "1,2,3,4");
  CHECK(bench.got(receiver, 2) == "6,7,8");
  bench.say(sender, Flush{1, 8});
  CHECK(bench.told<Receipt>(sender).back().accepted == 8);
  const auto totals = bench.core.totals();
  CHECK(totals.dropped[count_of(Reason::queue_full)] == 5);
  CHECK(totals.copies == totals.delivered + totals.dropped[count_of(Reason::queue_full)]);
  CHECK(totals.memory == 0);
}

TEST_CASE("the members of a queue group share a batch message by message", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3), all = bench.join(4);
  bench.subscribe(one, 1, "a", 100, Full::block, "q");
  bench.subscribe(other, 1, "a", 100, Full::block, "q");
  bench.subscribe(all, 1, "a");
  bench.publish_batch(sender, 1, 6, "a");
  CHECK(bench.got(one, 1) == "1,3,5");
  CHECK(bench.got(other, 1) == "2,4,6");
  CHECK(bench.got(all, 1) == "1,2,3,4,5,6");
}

TEST_CASE("a batch reaches a subscriber on a link that loses frames message by message", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2, false);
  bench.subscribe(receiver, 1, "a");
  bench.publish_batch(sender, 1, 4, "a");
  CHECK(bench.got(receiver, 1) == "1,2,3,4");
  CHECK(bench.told<DeliverBatch>(receiver).empty());
}

TEST_CASE("a batch that is out of its turn, too large or on a lossy link ends its client", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.max_payload = 2;
  Bench bench(limits);
  const ClientId sender = bench.join(1), lossy = bench.join(2, false);
  bench.publish_batch(sender, 1, 9, "a");
  CHECK_FALSE(bench.hung_up.contains(sender));
  SECTION("a gap") { bench.publish_batch(sender, 11, 2, "a"); }
  SECTION("once more") { bench.publish_batch(sender, 9, 2, "a"); }
  SECTION("too large") { bench.publish_batch(sender, 10, 2, "a"); }
  CHECK(bench.hung_up.contains(sender));
  bench.publish_batch(lossy, 1, 2, "a");
  CHECK(bench.hung_up.contains(lossy));
  CHECK(bench.core.totals().accepted == 9);
}

// ---- when a subscription is full ----

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
  CHECK(bench.core.totals().dropped[count_of(Reason::queue_full)] == 3);
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
  CHECK(totals.copies == totals.delivered + totals.dropped[count_of(Reason::queue_full)]);
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

// ---- watches and history ----

TEST_CASE("a watch is answered when there are enough subscribers", "[broker]") {
  Bench bench;
  const ClientId watcher = bench.join(1), receiver = bench.join(2);
  bench.say(watcher, Watch{5, 2, "a.b"});
  bench.subscribe(receiver, 1, "a.*");
  bench.subscribe(receiver, 2, "c");
  CHECK(bench.told<Watched>(watcher).empty());
  bench.subscribe(receiver, 3, ">");
  REQUIRE(bench.told<Watched>(watcher).size() == 1);
  CHECK(bench.told<Watched>(watcher)[0].token == 5);
  bench.say(watcher, Watch{6, 1, "a.b"});
  CHECK(bench.told<Watched>(watcher).size() == 2);
}

TEST_CASE("a watch that was taken back is answered once, takes no place, and never fires", "[broker]") {
  Bench bench;
  const ClientId watcher = bench.join(1), receiver = bench.join(2);
  for (std::uint32_t token = 1; token <= 1000; ++token) {
    bench.say(watcher, Watch{token, 2, "a.b"});
    bench.say(watcher, Watch{token, 0, "a.b"});
  }
  CHECK(bench.told<Refused>(watcher).empty());
  CHECK(bench.told<Watched>(watcher).size() == 1000);
  bench.say(watcher, Watch{2000, 2, "a.b"});
  bench.say(watcher, Watch{2001, 0, "a.b"});  // nobody's
  bench.subscribe(receiver, 1, "a.b");
  bench.subscribe(receiver, 2, "a.b");
  REQUIRE(bench.told<Watched>(watcher).size() == 1002);
  CHECK(bench.told<Watched>(watcher).back().token == 2000);
}

TEST_CASE("a late subscription gets the kept messages first, oldest first, and no more than it wants", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  for (std::uint64_t i = 1; i <= 6; ++i) {
    bench.publish(sender, i, i % 2 == 0 ? "a.even" : "a.odd", Level::accepted, false, 2);
  }
  bench.subscribe(receiver, 1, "a.*", 100, Full::block, {}, 5);
  bench.subscribe(receiver, 2, "a.even", 100, Full::block, {}, 1);
  bench.subscribe(receiver, 3, "a.even");
  bench.publish(sender, 7, "a.even");
  CHECK(bench.got(receiver, 1) == "3,4,5,6,7");
  CHECK(bench.got(receiver, 2) == "6,7");
  CHECK(bench.got(receiver, 3) == "7");
  CHECK(bench.told<Deliver>(receiver)[0].kept);
}

TEST_CASE("history takes a quarter of the memory: the oldest go, of whatever subject", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.memory = 4 * 10 * 260;  // of ten messages
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  for (std::uint64_t i = 1; i <= 30; ++i) {
    bench.publish(sender, i, "a." + std::to_string(i % 3), Level::accepted, false, i % 3 == 0 ? 2 : 100);
    CHECK(bench.core.totals().memory <= limits.memory / 4);
  }
  bench.subscribe(receiver, 1, "a.*", 100, Full::block, {}, 1000);
  CHECK(bench.got(receiver, 1) == "19,20,22,23,25,26,27,28,29,30");
}

TEST_CASE("a broker describes itself in JSON, whatever its clients are called", "[broker]") {
  Bench bench;
  const ClientId one = bench.connect();
  bench.say(one, Hello{kVersion, Instance{1}, 1, 0, "a \"name\"\n\xff"});
  bench.subscribe(one, 1, "a.\xfe", 7, Full::drop_old, "q\\");
  bench.publish(one, 1, "b", Level::accepted, false, 1);
  bench.say(one, Query{1, "status"});
  bench.say(one, Query{2, "subscriptions"});
  bench.say(one, Query{3, "secrets"});
  const auto answers = bench.told<Answer>(one);
  REQUIRE(answers.size() == 2);
  const auto parsed = [](const Answer& answer) {
    return nlohmann::json::parse(reinterpret_cast<const char*>(answer.payload.data()),
                                 reinterpret_cast<const char*>(answer.payload.data()) + answer.payload.size());
  };
  const auto status = parsed(answers[0]);
  CHECK(status["accepted"] == 1);
  CHECK(status["up_seconds"] == 0.0);
  CHECK(status["clients"][0]["name"] == "a \"name\"\n\xef\xbf\xbd");
  CHECK(status["dropped"].empty());
  const auto subscriptions = parsed(answers[1]);
  CHECK(subscriptions["subscriptions"][0]["queue"] == "q\\");
  CHECK(subscriptions["subscriptions"][0]["depth"] == 7);
  CHECK(bench.told<Refused>(one).back().why == Errc::not_supported);
}

// ---- who does not keep to the protocol ----

TEST_CASE("a client that breaks the protocol is refused, and the others notice nothing", "[broker]") {
  Bench bench;
  const ClientId good = bench.join(1);
  bench.subscribe(good, 1, ">");
  ClientId bad = 0;
  SECTION("a second hello") {
    bad = bench.join(2);
    bench.say(bad, Hello{kVersion, Instance{2}, 2, 0, "node"});
  }
  SECTION("a frame before the hello") {
    bad = bench.connect();
    bench.publish(bad, 1, "a");
  }
  SECTION("a frame that is none") {
    bad = bench.join(2);
    bench.core.received(bad, bus::bytes_of("garbage"), bench.now);
  }
  SECTION("a frame that only brokers send") {
    bad = bench.join(2);
    bench.say(bad, Flushed{1});
  }
  SECTION("a sequence number left out") {
    bad = bench.join(2);
    bench.publish(bad, 2, "a");
  }
  SECTION("a sequence number twice") {
    bad = bench.join(2, true, 5);
    bench.publish(bad, 5, "a");
  }
  SECTION("a message taken that was not sent") {
    bad = bench.join(2);
    bench.subscribe(bad, 1, "a");
    bench.say(bad, Taken{1, 1, 0});
  }
  SECTION("no hello in time") {
    bad = bench.connect();
    bench.pass(3s);
  }
  REQUIRE(bench.told<Refused>(bad).size() == 1);
  CHECK(bench.told<Refused>(bad)[0].id == 0);
  CHECK_FALSE(bench.hung_up.at(bad).empty());
  CHECK_FALSE(bench.hung_up.contains(good));
  CHECK(bench.core.totals().clients == 1);
  CHECK(bench.got(good, 1).empty());
}

TEST_CASE("gaps and doubles of a lossy link are counted, and what is late is not lost", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1, false), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a");
  for (const std::uint64_t sequence : {1U, 4U, 4U, 2U}) bench.publish(sender, sequence, "a");
  CHECK(bench.got(receiver, 1) == "1,4,2");
  CHECK(bench.core.totals().lost_coming == 1);
  bench.say(sender, Flush{1, 6});
  CHECK(bench.core.totals().lost_coming == 3);
  bench.publish(sender, 6, "a", Level::delivered, true);
  CHECK(bench.core.totals().lost_coming == 2);
  CHECK(bench.got(receiver, 1) == "1,4,2,6");
}

TEST_CASE("what is sent again on a lossy link while it is held back is held back once", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.window_messages = 4;
  Bench bench(limits);
  const ClientId sender = bench.join(1, false), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a", Level::delivered);
  for (int i = 0; i < 100; ++i) {
    bench.publish(sender, 2, "a", Level::delivered, true);
    bench.say(sender, Bye{2});
  }
  CHECK_FALSE(bench.hung_up.contains(sender));
  bench.say(receiver, Taken{1, 1, 0});
  CHECK(bench.got(receiver, 1) == "1,2");
}

TEST_CASE("each limit is kept", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.clients = 3;
  limits.strangers = 1;
  limits.subscriptions = 1;
  limits.window_messages = 2;
  limits.max_payload = 10;
  Bench bench(limits);
  const ClientId one = bench.join(1);
  const ClientId stranger = bench.connect();
  SECTION("strangers") {
    CHECK(bench.connect() == 0);
    bench.core.disconnected(stranger, true, bench.now);
    CHECK(bench.connect() != 0);
  }
  SECTION("clients") {
    bench.core.disconnected(stranger, true, bench.now);
    bench.join(2);
    bench.join(3);
    CHECK(bench.connect() == 0);
  }
  SECTION("subscriptions") {
    bench.subscribe(one, 1, "a");
    bench.subscribe(one, 2, "a");
    REQUIRE(bench.told<Refused>(one).size() == 1);
    CHECK(bench.told<Refused>(one)[0].id == 2);
    CHECK(bench.told<Refused>(one)[0].why == Errc::no_room);
  }
  SECTION("the size of a message") {
    bench.publish(one, 1, "abcdefghij");
    CHECK(bench.told<Refused>(one)[0].why == Errc::message_too_large);
  }
  SECTION("the window") {
    bench.subscribe(one, 1, "a", 1);
    for (std::uint64_t i = 1; i <= 100; ++i) bench.publish(one, i, "a");
    CHECK(bench.told<Refused>(one).size() == 1);
    CHECK(bench.core.totals().memory == 0);
  }
}

// ---- delivered ----

TEST_CASE("a message to be delivered is settled when all have acknowledged it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  bench.subscribe(one, 1, "a");
  bench.subscribe(other, 1, "a");
  bench.publish(sender, 1, "a", Level::delivered);
  CHECK(bench.told<Deliver>(one)[0].acknowledge);
  bench.acknowledge(one, 1, 1, 1);
  bench.acknowledge(one, 1, 1, 1);
  CHECK_FALSE(bench.outcome(sender, 1));
  bench.acknowledge(other, 1, 1, 1);
  REQUIRE(bench.outcome(sender, 1));
  CHECK(bench.outcome(sender, 1)->reached == 2);
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("a message that a node drops for want of room has failed there", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1, Full::drop_old);
  bench.publish(sender, 1, "a", Level::delivered);
  bench.say(receiver, Acknowledge{1, {1, 1}, true});
  REQUIRE(bench.outcome(sender, 1));
  CHECK(bench.outcome(sender, 1)->reached == 0);
  CHECK(bench.outcome(sender, 1)->failed == 1);
}

TEST_CASE("what a member of a group leaves unacknowledged goes to another", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2);
  bench.subscribe(one, 1, "a", 10, Full::block, "q");
  bench.publish(sender, 1, "a", Level::delivered);
  ClientId other = 0;
  SECTION("that is there, when it is killed") {
    other = bench.join(3);
    bench.subscribe(other, 1, "a", 10, Full::block, "q");
    bench.core.disconnected(one, true, bench.now);
  }
  SECTION("that is there with another pattern, when it unsubscribes") {
    other = bench.join(3);
    bench.subscribe(other, 1, ">", 10, Full::block, "q");
    bench.say(one, Unsubscribe{1});
  }
  SECTION("that comes") {
    bench.core.disconnected(one, true, bench.now);
    bench.pass(5s);
    CHECK_FALSE(bench.outcome(sender, 1));
    other = bench.join(3);
    bench.subscribe(other, 1, ">", 10, Full::block, "q");
  }
  bench.pass(1ms);
  REQUIRE(bench.got(other, 1) == "1");
  CHECK(bench.told<Deliver>(other)[0].again);
  bench.acknowledge(other, 1, 1, 1);
  CHECK(bench.outcome(sender, 1)->reached == 1);
}

TEST_CASE("a plain subscription that comes back gets what it had not acknowledged", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), before = bench.join(2);
  bench.subscribe(before, 7, "a");
  bench.publish(sender, 1, "a", Level::delivered);
  bench.publish(sender, 2, "a", Level::delivered);
  bench.acknowledge(before, 7, 1, 1);
  bool told = true;
  SECTION("after its connection was lost") { bench.core.disconnected(before, true, bench.now); }
  SECTION("before the loss is noticed") { told = false; }
  const ClientId after = bench.join(2);
  CHECK(bench.hung_up.contains(before) != told);
  bench.subscribe(after, 7, "a");
  CHECK(bench.got(after, 7) == "2");
  bench.acknowledge(after, 7, 1, 2);
  CHECK(bench.outcome(sender, 2)->reached == 1);
}

TEST_CASE("what a plain subscription left goes to a newcomer with its pattern, and to nobody who had it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), lost = bench.join(2), there = bench.join(3);
  bench.subscribe(lost, 1, "a");
  bench.subscribe(there, 1, "a");
  bench.pass(1ms);
  bench.publish(sender, 1, "a", Level::delivered);
  bench.acknowledge(there, 1, 1, 1);
  bench.core.disconnected(lost, true, bench.now);
  bench.pass(2s);
  CHECK(bench.got(there, 1) == "1");
  const ClientId newcomer = bench.join(4);
  bench.subscribe(newcomer, 1, "a");
  CHECK(bench.got(newcomer, 1) == "1");
}

TEST_CASE("what nobody comes for has failed after the time to linger", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a");
  bench.publish(sender, 1, "a", Level::delivered);
  bench.core.disconnected(receiver, true, bench.now);
  bench.pass(9s);
  CHECK_FALSE(bench.outcome(sender, 1));
  bench.pass(2s);
  REQUIRE(bench.outcome(sender, 1));
  CHECK(bench.outcome(sender, 1)->reason == Reason::peer_died);
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("a subscription that ends on being given what others left loses none of it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), lost = bench.join(2);
  bench.subscribe(lost, 1, "a", 10, Full::block, "q");
  for (std::uint64_t i = 1; i <= 4; ++i) bench.publish(sender, i, "a", Level::delivered);
  bench.core.disconnected(lost, true, bench.now);
  const ClientId heir = bench.join(3);
  bench.subscribe(heir, 1, "a", 1, Full::disconnect, "q");
  bench.core.disconnected(heir, true, bench.now);
  bench.pass(30s);
  for (std::uint64_t i = 1; i <= 4; ++i) CHECK(bench.outcome(sender, i));
  CHECK(bench.core.totals().memory == 0);
}

TEST_CASE("a publisher that asks again is told what is known, and is not delivered twice", "[broker]") {
  Bench bench;
  const ClientId receiver = bench.join(2);
  ClientId sender = bench.join(1);
  bench.subscribe(receiver, 1, "a");
  bench.publish(sender, 1, "a", Level::delivered);
  bench.publish(sender, 2, "a", Level::delivered);
  bench.acknowledge(receiver, 1, 1, 1);
  bench.core.disconnected(sender, true, bench.now);
  sender = bench.join(1, true, 2);
  bench.publish(sender, 1, "a", Level::delivered, true);
  bench.publish(sender, 2, "a", Level::delivered, true);
  CHECK(bench.outcome(sender, 1)->reached == 1);
  CHECK_FALSE(bench.outcome(sender, 2));
  CHECK(bench.got(receiver, 1) == "1,2");
  bench.acknowledge(receiver, 1, 1, 2);
  CHECK(bench.outcome(sender, 2)->reached == 1);
}

TEST_CASE("two nodes that use one publisher's number do no harm", "[broker]") {
  Bench bench;
  const ClientId one = bench.join(1), receiver = bench.join(2), other = bench.connect();
  bench.say(other, Hello{kVersion, Instance{3}, 1, 0, "node"});
  bench.subscribe(receiver, 1, "a");
  bench.publish(one, 1, "a", Level::delivered);
  bench.publish(other, 1, "a", Level::delivered);
  CHECK(bench.got(receiver, 1) == "1");
  bench.acknowledge(receiver, 1, 1, 1);
  CHECK(bench.core.totals().memory == 0);
  bench.core.disconnected(receiver, true, bench.now);
  bench.pass(30s);
}

TEST_CASE("a window of one message opens after that was held back", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.window_messages = 1;
  Bench bench(limits);
  const ClientId sender = bench.join(1), other = bench.join(3), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  bench.publish(other, 1, "a");
  bench.publish(sender, 1, "a");
  CHECK(bench.told<Receipt>(sender).empty());
  bench.say(receiver, Taken{1, 1, 0});
  REQUIRE(bench.told<Receipt>(sender).size() == 1);
  CHECK(bench.told<Receipt>(sender)[0].sequence == 1);
}

TEST_CASE("a broker that starts gathers before it delivers: nobody who comes back in time misses a message",
          "[broker]") {
  Bench bench{bus::broker::Limits{}};
  const ClientId sender = bench.join(1, true, 1);
  bench.publish(sender, 1, "a", Level::delivered, true);
  bench.publish(sender, 2, "a", Level::delivered);
  bench.publish(sender, 3, "a");
  bench.pass(200ms);
  const ClientId late = bench.join(2);
  bench.subscribe(late, 1, "a");
  CHECK(bench.got(late, 1).empty());
  bench.pass(200ms);
  CHECK(bench.got(late, 1) == "1,2,3");
}

// ---- leaving ----

TEST_CASE("after a bye nothing more is sent to its subscriptions, and their group goes on without it", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), leaving = bench.join(2), other = bench.join(3);
  bench.subscribe(leaving, 1, "a", 10, Full::block, "q");
  bench.subscribe(other, 1, "a", 10, Full::block, "q");
  bench.room[leaving] = 0;
  bench.say(leaving, Bye{0});
  for (std::uint64_t i = 1; i <= 4; ++i) bench.publish(sender, i, "a");
  CHECK(bench.got(other, 1) == "1,2,3,4");
}

TEST_CASE("a broker that drains takes what was on its way, and says farewell when all is delivered", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 2);
  bench.publish(sender, 1, "a", Level::delivered);
  bench.core.drain(bench.now);
  CHECK(bench.connect() == 0);
  REQUIRE(bench.told<Farewell>(sender).size() == 1);
  REQUIRE(bench.told<Farewell>(sender)[0].stays);
  bench.publish(sender, 2, "a");  // it has not heard of that yet
  bench.publish(sender, 3, "a");
  bench.say(sender, Bye{3, true});
  bench.say(receiver, Bye{0, true});
  CHECK(bench.got(receiver, 1) == "1,2");
  CHECK_FALSE(bench.core.drained());  // the third is held back
  bench.acknowledge(receiver, 1, 1, 1);
  bench.say(receiver, Taken{1, 2, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3");
  CHECK(bench.core.drained());
  bench.core.stop(bench.now);
  REQUIRE(bench.told<Farewell>(sender).size() == 2);
  CHECK_FALSE(bench.told<Farewell>(sender)[1].stays);
  CHECK(bench.told<Farewell>(sender)[1].accepted == 3);
  CHECK(bench.told<Receipt>(sender).back().sequence == 3);
  CHECK(bench.core.totals().clients == 0);
}

TEST_CASE("a broker has not drained before each of its publishers has said that nothing more comes", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), lossy = bench.join(2, false);
  static_cast<void>(lossy);           // who may never hear of it is not waited for
  CHECK_FALSE(bench.connect() == 0);  // nor who has said nothing yet
  bench.core.drain(bench.now);
  CHECK_FALSE(bench.core.drained());
  SECTION("it stays") { bench.say(sender, Bye{0, true}); }
  SECTION("it leaves") { bench.say(sender, Bye{0, false}); }
  SECTION("it dies") { bench.core.disconnected(sender, true, bench.now); }
  CHECK(bench.core.drained());
}

TEST_CASE("a new broker delivers what nodes bring that have lost another only when their receivers may be there",
          "[broker]") {
  Bench bench{bus::broker::Limits{}};
  const ClientId fresh = bench.join(1), moved = bench.connect();
  bench.say(moved, Hello{kVersion, Instance{2}, 2, 0, "node", true});
  bench.publish(fresh, 1, "b");
  bench.publish(moved, 1, "a");
  CHECK(bench.core.totals().accepted == 1);
  bench.pass(200ms);
  const ClientId late = bench.join(3);
  bench.subscribe(late, 1, "a");
  bench.pass(200ms);
  CHECK(bench.got(late, 1) == "1");
}

TEST_CASE("the end of a subscription on a lossy link is told until it is heard", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), receiver = bench.join(2, false);
  bench.subscribe(receiver, 1, "a", 1, Full::disconnect);
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  bench.pass(1s);
  CHECK(bench.told<Refused>(receiver).size() > 2);
  bench.subscribe(receiver, 1, "a");  // an old request, late: it is over nevertheless
  CHECK(bench.core.totals().subscriptions == 0);
  bench.say(receiver, Unsubscribe{1});
  const std::size_t so_far = bench.told<Refused>(receiver).size();
  bench.pass(1s);
  CHECK(bench.told<Refused>(receiver).size() == so_far);
}
