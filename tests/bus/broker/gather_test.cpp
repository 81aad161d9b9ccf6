// tests/bus/broker/gather_test.cpp: a broker that starts and the nodes that have lost another.
#include "bus/broker/core.hpp"

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::broker::ClientId;
using bus::test::Bench;

/// A node that has lost another broker, which told it of so many subscriptions.
ClientId join_again(Bench& bench, std::uint8_t number, std::uint32_t subscribed) {
  const ClientId id = bench.connect();
  bench.say(id, Hello{kVersion, Instance{number}, number, 0, "node", true, subscribed});
  return id;
}

void subscribe_again(Bench& bench, ClientId id, std::string_view pattern) {
  bench.say(id, Subscribe{1, pattern, {}, 100, Full::block, 0, true});
}

}  // namespace

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

TEST_CASE("a broker that starts waits longer for subscriptions that its nodes know of and that are not back",
          "[broker]") {
  Bench bench{bus::broker::Limits{}};
  const ClientId sender = join_again(bench, 1, 2);
  const ClientId other = bench.join(2), plain = join_again(bench, 3, 0);
  bench.publish(sender, 1, "a", Level::delivered);
  bench.publish(other, 1, "a", Level::delivered);
  bench.publish(plain, 1, "a");
  const ClientId first = join_again(bench, 4, 0), late = join_again(bench, 5, 0);
  subscribe_again(bench, first, "a");
  const ClientId fresh = bench.join(6);
  bench.subscribe(fresh, 1, "a");  // nobody waits for it
  bench.pass(900ms);
  CHECK(bench.got(first, 1).empty());
  SECTION("when the last is back it waits no longer") {
    subscribe_again(bench, late, "a");
    CHECK(bench.got(first, 1) == "1,1,1");
    CHECK(bench.got(late, 1) == "1,1,1");
  }
  SECTION("one that does not come is not waited for for ever") {
    bench.pass(100ms);
    CHECK(bench.got(first, 1) == "1,1,1");
    CHECK(bench.got(fresh, 1) == "1,1,1");
  }
}

TEST_CASE("a subscription that comes back twice is one", "[broker]") {
  Bench bench{bus::broker::Limits{}};
  const ClientId sender = join_again(bench, 1, 2);
  bench.publish(sender, 1, "a", Level::delivered);
  const ClientId first = join_again(bench, 2, 0);
  subscribe_again(bench, first, "a");
  bench.core.disconnected(first, true, bench.now);
  const ClientId again = join_again(bench, 2, 0);
  subscribe_again(bench, again, "a");
  bench.pass(700ms);
  const ClientId late = join_again(bench, 3, 0);
  CHECK(bench.got(again, 1).empty());
  subscribe_again(bench, late, "a");
  CHECK(bench.got(again, 1) == "1");
  CHECK(bench.got(late, 1) == "1");
}

TEST_CASE("who publishes what is to be delivered is told for how many subscriptions the next broker has to wait",
          "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), other = bench.join(2), receiver = bench.join(3);
  const auto own = bench.core.connected({"bench", true, std::size_t{1} << 20, true}, bench.now);
  REQUIRE(own);
  bench.say(*own, Hello{kVersion, Instance{4}, 4, 0, "node"});
  bench.subscribe(*own, 1, "b");  // ends with the broker
  bench.subscribe(receiver, 1, "a");
  bench.subscribe(receiver, 2, "c");
  const auto told = [&](ClientId id) { return bench.told<Welcome>(id).back().subscribed; };
  CHECK(told(sender) == 0);
  bench.publish(sender, 1, "a", Level::delivered);
  CHECK(told(sender) == 2);
  SECTION("at once when there are more") {
    bench.subscribe(other, 1, "d");
    CHECK(told(sender) == 3);
  }
  SECTION("soon when there are fewer; and then it has no more to hear") {
    const std::size_t words = bench.told<Welcome>(sender).size();
    bench.say(receiver, Unsubscribe{1});
    bench.say(receiver, Unsubscribe{2});
    CHECK(told(sender) == 2);
    bench.pass(1s);
    CHECK(told(sender) == 0);
    CHECK(bench.told<Welcome>(sender).size() == words + 1);
    bench.acknowledge(receiver, 1, 1, 1);
    bench.pass(1min);
    CHECK_FALSE(bench.core.next_tick());
  }
  SECTION("once for many that come and go") {
    const std::size_t words = bench.told<Welcome>(sender).size();
    for (std::uint32_t i = 1; i <= 100; ++i) {
      bench.subscribe(other, i, "d");
      bench.say(other, Unsubscribe{i});
    }
    CHECK(bench.told<Welcome>(sender).size() == words + 1);
    bench.pass(1s);
    CHECK(bench.told<Welcome>(sender).size() == words + 2);
    CHECK(told(sender) == 2);
  }
  SECTION("of those of a node that died") {
    bench.core.disconnected(receiver, true, bench.now);
    bench.pass(1s);
    CHECK(told(sender) == 0);
  }
  SECTION("and others are not") {
    bench.publish(other, 1, "a");
    bench.pass(1s);
    CHECK(told(other) == 0);
    CHECK(bench.told<Welcome>(other).size() == 1);
  }
}

TEST_CASE("while subscriptions are coming back a publisher is told of those that are expected", "[broker]") {
  Bench bench{bus::broker::Limits{}};
  const ClientId sender = join_again(bench, 1, 3);
  CHECK(bench.told<Welcome>(sender).back().subscribed == 3);
  subscribe_again(bench, join_again(bench, 2, 0), "a");
  bench.pass(500ms);
  CHECK(bench.told<Welcome>(sender).back().subscribed == 3);
  bench.pass(500ms);
  subscribe_again(bench, join_again(bench, 3, 0), "a");
  bench.pass(500ms);
  CHECK(bench.told<Welcome>(sender).back().subscribed == 2);
}
