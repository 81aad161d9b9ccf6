// tests/bus/broker/core_test.cpp: what the broker's core does with the frames of its clients.
#include "bus/broker/core.hpp"

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
  limits.memory = 4 * (10 * (260 + 48) + 3 * 320);  // of ten messages on three subjects
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
  CHECK_FALSE(bench.core.drained(bench.now));  // the third is held back
  bench.acknowledge(receiver, 1, 1, 1);
  bench.say(receiver, Taken{1, 2, 0});
  CHECK(bench.got(receiver, 1) == "1,2,3");
  CHECK(bench.core.drained(bench.now));
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
  CHECK_FALSE(bench.core.drained(bench.now));
  SECTION("it stays") { bench.say(sender, Bye{0, true}); }
  SECTION("it leaves") { bench.say(sender, Bye{0, false}); }
  SECTION("it dies") { bench.core.disconnected(sender, true, bench.now); }
  CHECK(bench.core.drained(bench.now));
}

TEST_CASE("who says hello to a broker that drains is told to publish no more", "[broker]") {
  Bench bench;
  const ClientId stranger = bench.connect();
  bench.core.drain(bench.now);
  bench.say(stranger, Hello{kVersion, Instance{1}, 1, 0, "node"});
  REQUIRE(bench.told<Farewell>(stranger).size() == 1);
  CHECK(bench.told<Farewell>(stranger)[0].stays);
  CHECK_FALSE(bench.core.drained(bench.now));
  bench.say(stranger, Bye{0, true});
  CHECK(bench.core.drained(bench.now));
}

TEST_CASE("a broker that drains waits for those who move and for others only so long", "[broker]") {
  auto limits = Bench::without_gathering();
  limits.stalled = 1s;
  Bench bench(limits);
  const ClientId sender = bench.join(1), slow = bench.join(2), stopped = bench.join(3);
  bench.subscribe(slow, 1, "a", 1);
  bench.publish(sender, 1, "a");
  bench.publish(sender, 2, "a");
  bench.core.drain(bench.now);
  bench.say(slow, Bye{0, true});
  bench.pass(900ms);
  bench.say(slow, Taken{1, 1, 0});
  bench.say(sender, Bye{2, true});
  CHECK_FALSE(bench.core.drained(bench.now));  // the stopped one might yet
  bench.pass(100ms);
  CHECK(bench.core.drained(bench.now));
  CHECK(bench.got(slow, 1) == "1,2");
  CHECK(bench.told<Farewell>(stopped).size() == 1);
}

TEST_CASE("an answer has as many subscriptions as one frame holds and the number of the others", "[broker]") {
  Bench bench;
  const auto id = bench.core.connected({"bench", true, 8192}, bench.now);
  REQUIRE(id);
  bench.say(*id, Hello{kVersion, Instance{1}, 1, 0, "node"});
  for (std::uint32_t i = 1; i <= 200; ++i) bench.subscribe(*id, i, "a." + std::to_string(i));
  bench.say(*id, Query{77, "subscriptions"});
  REQUIRE(bench.told<Answer>(*id).size() == 1);
  const auto payload = bench.told<Answer>(*id)[0].payload;
  const auto answer = nlohmann::json::parse(reinterpret_cast<const char*>(payload.data()),
                                            reinterpret_cast<const char*>(payload.data() + payload.size()));
  CHECK(answer.at("subscriptions").size() >= 10);
  CHECK(answer.at("subscriptions").size() + answer.at("left_out").get<std::size_t>() == 200);
}

TEST_CASE("a question whose answer no frame can hold is refused", "[broker]") {
  Bench bench;
  const auto id = bench.core.connected({"bench", true, 128}, bench.now);
  REQUIRE(id);
  bench.say(*id, Hello{kVersion, Instance{1}, 1, 0, "node"});
  bench.say(*id, Query{77, "status"});
  CHECK(bench.told<Answer>(*id).empty());
  REQUIRE(bench.told<Refused>(*id).size() == 1);
  CHECK(bench.told<Refused>(*id)[0].id == 77);
  CHECK(bench.told<Refused>(*id)[0].why == Errc::message_too_large);
}

TEST_CASE("a queue group gets the history once", "[broker]") {
  Bench bench;
  const ClientId sender = bench.join(1), one = bench.join(2), other = bench.join(3);
  for (std::uint64_t i = 1; i <= 3; ++i) bench.publish(sender, i, "a", Level::accepted, false, 3);
  bench.subscribe(one, 1, "a", 10, Full::block, "q", 3);
  bench.subscribe(other, 1, ">", 10, Full::block, "q", 3);
  bench.subscribe(other, 2, "a", 10, Full::block, "p", 3);
  CHECK(bench.got(one, 1) == "1,2,3");
  CHECK(bench.got(other, 1).empty());
  CHECK(bench.got(other, 2) == "1,2,3");
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
