// tests/bus/broker/limits_test.cpp: other limits for a broker that works: what holds for whom from then on.
#include <algorithm>

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using bus::broker::ClientId;
using bus::broker::Limits;
using bus::test::Bench;

}  // namespace

TEST_CASE("new limits are for who comes and for what is decided from then on", "[broker]") {
  Limits limits = Bench::without_gathering();
  Bench bench(limits);
  const ClientId one = bench.join(1), other = bench.join(2);
  limits.clients = 1;
  limits.subscriptions = 1;
  bench.core.set_limits(limits, bench.now);
  CHECK(bench.core.totals().clients == 2);  // nobody goes
  CHECK(bench.connect() == 0);
  bench.subscribe(one, 1, "a");
  bench.subscribe(one, 2, "b");
  CHECK(bench.told<Subscribed>(one).size() == 1);
  CHECK(bench.told<Refused>(one).size() == 1);
  limits.clients = 3;
  limits.window_messages = 7;
  limits.max_payload = 70;
  bench.core.set_limits(limits, bench.now);
  const ClientId third = bench.join(3);
  REQUIRE(bench.told<Welcome>(third).size() == 1);
  CHECK(bench.told<Welcome>(third)[0].window_messages == 7);
  CHECK(bench.told<Welcome>(third)[0].max_payload == 70);
  bench.publish(other, 1, "a");
  CHECK(bench.got(one, 1) == "1");
}

TEST_CASE("what a client's welcome told it holds for it whatever the limits are later", "[broker]") {
  Limits limits = Bench::without_gathering();
  limits.window_messages = 40;
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 1);
  SECTION("a narrower window: nobody is refused for one that he was given") {
    limits.window_messages = 1;
    limits.max_payload = 1;
    bench.core.set_limits(limits, bench.now);
    for (std::uint64_t i = 1; i <= 40; ++i) bench.publish(sender, i, "a");
    CHECK_FALSE(bench.hung_up.contains(sender));
    for (std::uint64_t i = 1; i <= 40; ++i) bench.say(receiver, Taken{1, i, 0});
    CHECK(bench.core.totals().accepted == 40);
  }
  SECTION("a wider one: he is told of it when he makes use of his, and a receipt comes before his is full") {
    limits.window_messages = 1'000'000;
    bench.core.set_limits(limits, bench.now);
    for (std::uint64_t i = 1; i <= 10; ++i) bench.publish(sender, i, "b");
    CHECK(bench.told<Receipt>(sender).size() == 1);
    REQUIRE(bench.told<Welcome>(sender).size() == 2);
    CHECK(bench.told<Welcome>(sender)[1].window_messages > 40);
  }
  SECTION("who comes back to a narrower window may send again what the wider one let him") {
    for (std::uint64_t i = 1; i <= 40; ++i) bench.publish(sender, i, "a", Level::delivered);
    limits.window_messages = 1;
    bench.core.set_limits(limits, bench.now);
    bench.core.disconnected(sender, true, bench.now);
    const ClientId again = bench.join(1, true, 0);
    for (std::uint64_t i = 1; i <= 40; ++i) bench.publish(again, i, "a", Level::delivered, true);
    CHECK_FALSE(bench.hung_up.contains(again));
  }
}

TEST_CASE("more memory lets go who waited for it", "[broker]") {
  Limits limits = Bench::without_gathering();
  limits.memory = 4;
  Bench bench(limits);
  const ClientId sender = bench.join(1), receiver = bench.join(2);
  bench.subscribe(receiver, 1, "a", 10);
  bench.subscribe(receiver, 2, "b", 10);
  bench.room[receiver] = 0;
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  bench.publish(sender, 3, "b");
  REQUIRE(bench.core.totals().accepted == 1);
  limits.memory = 1 << 20;
  bench.core.set_limits(limits, bench.now);
  CHECK(bench.core.totals().accepted == 3);
}

TEST_CASE("a shorter history is that of the next message", "[broker]") {
  Limits limits = Bench::without_gathering();
  Bench bench(limits);
  const ClientId sender = bench.join(1), early = bench.join(2);
  for (std::uint64_t i = 1; i <= 5; ++i) bench.publish(sender, i, "a", Level::accepted, false, 10);
  bench.subscribe(early, 1, "a", 100, Full::block, {}, 10);
  CHECK(bench.got(early, 1) == "1,2,3,4,5");
  limits.history = 2;
  bench.core.set_limits(limits, bench.now);
  bench.publish(sender, 6, "a", Level::accepted, false, 10);
  const ClientId late = bench.join(3);
  bench.subscribe(late, 1, "a", 100, Full::block, {}, 10);
  CHECK(bench.got(late, 1) == "5,6");
}
