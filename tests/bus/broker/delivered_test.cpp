// tests/bus/broker/delivered_test.cpp: messages of level `delivered`, until all have acknowledged them.
#include "bus/broker/core.hpp"

#include <array>

#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::Reason;
using bus::broker::ClientId;
using bus::test::Bench;

}  // namespace

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

TEST_CASE("what a member of a group leaves goes to those who have room and waits for the others", "[broker]") {
  const Full rule = GENERATE(Full::block, Full::drop_new, Full::drop_old, Full::disconnect);
  CAPTURE(rule);
  Bench bench;
  const ClientId sender = bench.join(1);
  const std::array<ClientId, 3> members{bench.join(2), bench.join(3), bench.join(4)};
  for (const ClientId member : members) bench.subscribe(member, 1, "a", 2, rule, "q");
  for (std::uint64_t i = 1; i <= 6; ++i) bench.publish(sender, i, "a", Level::delivered);
  bench.core.disconnected(members[0], true, bench.now);
  bench.pass(15s);  // longer than anything lingers
  CHECK(bench.told<Outcome>(sender).empty());
  CHECK(bench.told<Refused>(members[1]).empty());
  CHECK(bench.told<Refused>(members[2]).empty());

  const auto handle_all = [&](ClientId member) {
    const auto all = bench.told<Deliver>(member);
    for (const Deliver& one : all) bench.acknowledge(member, 1, one.message.publisher, one.message.sequence);
    bench.say(member, Taken{1, all.size(), 0});
  };
  for (int i = 0; i < 4; ++i) {
    for (const ClientId member : {members[1], members[2]}) handle_all(member);
    bench.pass(1s);
  }
  for (std::uint64_t i = 1; i <= 6; ++i) {
    CAPTURE(i);
    REQUIRE(bench.outcome(sender, i));
    CHECK(bench.outcome(sender, i)->reached == 1);
  }
}

TEST_CASE("a subscription that comes back gets all it had whatever its depth and rule", "[broker]") {
  const Full rule = GENERATE(Full::block, Full::drop_new, Full::disconnect);
  CAPTURE(rule);
  Bench bench;
  const ClientId sender = bench.join(1), first = bench.join(2);
  bench.room[first] = 3;  // a welcome, a confirmation, a message
  bench.subscribe(first, 1, "a", 2, rule);
  for (std::uint64_t i = 1; i <= 2; ++i) bench.publish(sender, i, "a", Level::delivered);
  bench.core.disconnected(first, true, bench.now);
  const ClientId second = bench.join(2);
  bench.subscribe(second, 1, "a", 1, rule);
  bench.say(second, Taken{1, 1, 0});
  CHECK(bench.got(second, 1) == "1,2");
}

TEST_CASE("what comes back unacknowledged is not sent once more from the history", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), first = bench.join(2);
  bench.subscribe(first, 1, "a", 10, Full::block, {}, 5);
  bench.publish(sender, 1, "a", Level::delivered, false, 5);
  bench.core.disconnected(first, true, bench.now);
  const ClientId second = bench.join(2);
  bench.subscribe(second, 1, "a", 10, Full::block, {}, 5);
  REQUIRE(bench.got(second, 1) == "1");
  CHECK(bench.told<Deliver>(second)[0].acknowledge);
}

TEST_CASE("many who come back at once cost what each of them has to get", "[broker]") {
  const std::uint32_t each = 256;
  std::array<double, 2> per_message{};
  for (const std::uint32_t clients : {50U, 400U}) {
    auto limits = Bench::without_gathering();
    limits.memory = std::uint64_t{1} << 30;
    Bench bench(limits);
    bench.collects = false;
    const ClientId sender = bench.join(1);
    std::vector<ClientId> receivers;
    const auto join = [&](std::uint32_t i) {
      const ClientId id = bench.connect();
      Instance instance{2};
      instance[1] = static_cast<std::uint8_t>(i);
      instance[2] = static_cast<std::uint8_t>(i >> 8);
      bench.say(id, Hello{kVersion, instance, 1000 + i, 0, "node"});
      return id;
    };
    for (std::uint32_t i = 0; i < clients; ++i) {
      receivers.push_back(join(i));
      bench.subscribe(receivers.back(), 1, "a", each);
    }
    for (std::uint64_t i = 1; i <= each; ++i) bench.publish(sender, i, "a", Level::delivered);
    for (const ClientId id : receivers) bench.core.disconnected(id, true, bench.now);
    const auto again = bench.core.totals().again;
    const auto start = bus::Clock::now();
    for (std::uint32_t i = 0; i < clients; ++i) {
      const ClientId id = join(i);
      bench.subscribe(id, 1, "a", each);
      bench.core.tick(bench.now);
    }
    const std::chrono::duration<double, std::nano> took = bus::Clock::now() - start;
    REQUIRE(bench.core.totals().again - again == std::uint64_t{clients} * each);
    per_message.at(clients == 50 ? 0 : 1) = took.count() / clients / each;
  }
  WARN("a message that is sent again: " << per_message[0] << " ns where 50 subscriptions come back, " << per_message[1]
                                        << " ns where 400 do");
}

TEST_CASE("a node that hangs up without a farewell may come back for what it had", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), first = bench.join(2);
  bench.subscribe(first, 1, "a");
  bench.publish(sender, 1, "a", Level::delivered);
  bench.core.disconnected(first, false, bench.now);
  CHECK_FALSE(bench.outcome(sender, 1));
  const ClientId second = bench.join(2);
  bench.subscribe(second, 1, "a");
  CHECK(bench.got(second, 1) == "1");
}
