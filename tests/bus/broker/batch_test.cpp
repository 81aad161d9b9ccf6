// tests/bus/broker/batch_test.cpp: messages that come and go together.
#include "bus/broker/core.hpp"

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using bus::Reason;
using bus::broker::ClientId;
using bus::test::Bench;

}  // namespace

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
  CHECK(totals.copies == totals.delivered + totals.dropped[bus::test::count_of(Reason::queue_full)]);
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
    CHECK(bench.core.totals().dropped[bus::test::count_of(Reason::closed)] == 10);
    bench.say(other, Bye{});
    bench.core.disconnected(other, false, bench.now);
  }
  const auto totals = bench.core.totals();
  CHECK(totals.waiting == 0);
  CHECK(totals.memory == 0);
  CHECK(totals.copies == totals.delivered + totals.dropped[bus::test::count_of(Reason::closed)]);
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
  CHECK(totals.dropped[bus::test::count_of(Reason::queue_full)] == 5);
  CHECK(totals.copies == totals.delivered + totals.dropped[bus::test::count_of(Reason::queue_full)]);
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
