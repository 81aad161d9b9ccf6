// tests/bus/broker/core_memory_test.cpp: memory that runs out, at every allocation of every call of the broker's core.
#include <array>
#include <functional>

#include "bus/broker/core.hpp"
#include "tests/bus/broker/bench.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/failing_allocations.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::broker::ClientId;
using bus::test::Bench;

/// A bus with something of everything in it: waiting, held back, unacknowledged, left behind, watched.
struct Busy {
  static bus::broker::Limits limits() {
    auto limits = Bench::without_gathering();
    limits.window_messages = 64;
    return limits;
  }
  explicit Busy(const bus::broker::Limits& limits) : bench(limits) {
    sender = bench.join(1);
    receiver = bench.join(2);
    member = bench.join(3);
    lossy = bench.join(4, false);
    lost = bench.join(5);
    stranger = bench.connect();
    bench.subscribe(receiver, 1, "a", 2);
    bench.subscribe(receiver, 2, "a", 2, Full::drop_new);
    bench.subscribe(receiver, 3, "a", 2, Full::drop_old);
    bench.subscribe(receiver, 4, "b", 1, Full::disconnect);
    bench.subscribe(receiver, 5, "g", 10, Full::block, "q");
    bench.subscribe(member, 1, "g", 10, Full::block, "q");
    bench.subscribe(lossy, 1, "l", 2);
    bench.subscribe(lost, 1, "p", 10);
    bench.say(member, Watch{9, 3, "w.something.that.is.longer.than.a.short.string"});
    bench.room[receiver] = 0;
    for (const char* const subject : {"a", "a", "g", "g", "g", "l", "l", "p", "b"}) {
      bench.publish(sender, ++sequence, subject, Level::delivered);
    }
    bench.core.disconnected(lost, true, bench.now);
    bench.publish(sender, ++sequence, "a");  // held back from here on
    bench.publish(sender, ++sequence, "a", Level::delivered);
    bench.say(sender, Flush{3, sequence});
    bench.publish(sender, ++sequence, "g", Level::delivered);
    other = bench.join(6);
  }

  static std::vector<std::byte> bytes(const Frame& frame) {
    std::vector<std::byte> encoded;
    encode(frame, encoded);
    return encoded;
  }

  Bench bench;
  ClientId sender, receiver, member, lossy, lost, stranger, other;
  std::uint64_t sequence = 0;
};

using Call = std::function<void(Busy&)>;

/// The call, with each of its allocations failing in turn. Whatever happens, the broker goes on for others, and when
/// all have gone it has forgotten everything.
std::size_t survives(const Call& call, const Call& prepare = {}, const bus::broker::Limits& limits = Busy::limits()) {
  std::size_t failures = 0;
  for (std::size_t nth = 1;; ++nth) {
    CAPTURE(nth);
    Busy busy(limits);
    Bench& bench = busy.bench;
    if (prepare) prepare(busy);
    bool happened = false;
    {
      bench.collects = false;
      const bus::test::FailingAllocation failing(nth);
      call(busy);
      happened = bus::test::FailingAllocation::happened();
    }
    bench.collects = true;
    if (happened) ++failures;

    const ClientId from = bench.join(20), to = bench.join(21);
    REQUIRE(from != 0);
    bench.subscribe(to, 1, "fresh");
    bench.publish(from, 1, "fresh", Level::delivered);
    bench.pass(limits.gather);
    bench.acknowledge(to, 1, 20, 1);
    CHECK(bench.got(to, 1) == "1");
    REQUIRE(bench.outcome(from, 1));
    CHECK(bench.outcome(from, 1)->reached == 1);

    bench.room.clear();
    for (ClientId id = 1; id <= to; ++id) {
      if (!bench.hung_up.contains(id)) bench.core.disconnected(id, true, bench.now);
    }
    bench.pass(60s);
    const auto totals = bench.core.totals();
    CHECK(totals.clients == 0);
    CHECK(totals.subscriptions == 0);
    CHECK(totals.waiting == 0);
    CHECK(totals.memory == 0);
    std::uint64_t dropped = 0;
    for (std::size_t i = 0; i < bus::kReasons; ++i) {
      if (i != static_cast<std::size_t>(bus::Reason::unknown_after_crash)) dropped += totals.dropped[i];
    }
    CHECK(totals.copies == totals.delivered + dropped);
    if (!happened) return failures;
  }
}

void frame_from(ClientId Busy::*who, const Frame& frame) {
  const auto bytes = Busy::bytes(frame);
  survives([&](Busy& busy) { busy.bench.core.received(busy.*who, bytes, busy.bench.now); });
}

Publish message(std::uint64_t sequence, std::string_view subject, Level level) {
  return {sequence, level, true, false, 0, subject, {}, {}, bus::bytes_of("x")};
}

/// Four messages of a byte each.
PublishBatch batch(std::uint64_t sequence, std::string_view subject) {
  static constexpr std::array<std::byte, 12> kItems{std::byte{1}, {}, {}, std::byte{1}, {}, {},
                                                    std::byte{1}, {}, {}, std::byte{1}, {}, {}};
  return {sequence, 4, subject, kItems};
}

}  // namespace

TEST_CASE("a broker without memory for a connection refuses it", "[broker]") {
  CHECK(survives([](Busy& busy) {
          const auto id = busy.bench.core.connected({}, busy.bench.now);
          if (!id) return;
          busy.bench.hung_up.emplace(*id, "");
          busy.bench.core.disconnected(*id, true, busy.bench.now);
        }) > 0);
}

TEST_CASE("a broker survives any frame without memory for it", "[broker]") {
  SECTION("hello") { frame_from(&Busy::stranger, Hello{kVersion, Instance{30}, 30, 0, "a name beyond short strings"}); }
  SECTION("hello of a node that is there") { frame_from(&Busy::stranger, Hello{kVersion, Instance{2}, 2, 0, "node"}); }
  SECTION("subscribe") { frame_from(&Busy::other, Subscribe{1, "w.>", {}, 4, Full::block, 0, false}); }
  SECTION("subscribe of an heir") { frame_from(&Busy::other, Subscribe{1, "g", "q", 4, Full::block, 0, false}); }
  SECTION("unsubscribe") { frame_from(&Busy::receiver, Unsubscribe{5}); }
  SECTION("unsubscribe of what held back") { frame_from(&Busy::receiver, Unsubscribe{1}); }
  SECTION("publish") { frame_from(&Busy::other, message(1, "g", Level::accepted)); }
  SECTION("publish to be delivered") { frame_from(&Busy::other, message(1, "g", Level::delivered)); }
  SECTION("publish to nobody") { frame_from(&Busy::other, message(1, "nobody", Level::delivered)); }
  SECTION("publish that is held back") { frame_from(&Busy::other, message(1, "a", Level::delivered)); }
  SECTION("publish that ends a subscription") { frame_from(&Busy::other, message(1, "b", Level::delivered)); }
  SECTION("publish on a lossy link with gaps") { frame_from(&Busy::lossy, message(100, "g", Level::delivered)); }
  SECTION("batch for a group") { frame_from(&Busy::other, batch(1, "g")); }
  SECTION("batch to nobody") { frame_from(&Busy::other, batch(1, "nobody")); }
  SECTION("batch that is held back") { frame_from(&Busy::other, batch(1, "a")); }
  SECTION("batch that ends a subscription") { frame_from(&Busy::other, batch(1, "b")); }
  SECTION("batch for a link that loses frames") { frame_from(&Busy::other, batch(1, "l")); }
  SECTION("taken") { frame_from(&Busy::lossy, Taken{1, 2, 0}); }
  SECTION("acknowledge") { frame_from(&Busy::lossy, Acknowledge{1, {1, 6}, false}); }
  SECTION("flush") { frame_from(&Busy::sender, Flush{4, 12}); }
  SECTION("watch") { frame_from(&Busy::other, Watch{1, 1, "another.subject.that.is.long"}); }
  SECTION("query") { frame_from(&Busy::other, Query{1, "status"}); }
  SECTION("query of subscriptions") { frame_from(&Busy::other, Query{1, "subscriptions"}); }
  SECTION("bye") { frame_from(&Busy::member, Bye{0}); }
  SECTION("bye behind what is held back") { frame_from(&Busy::sender, Bye{12}); }
}

TEST_CASE("a broker survives the end of any client without memory", "[broker]") {
  std::size_t failures = 0;
  for (const auto who : {&Busy::sender, &Busy::receiver, &Busy::member, &Busy::lossy, &Busy::stranger, &Busy::other}) {
    const auto end = [who](Busy& busy) {
      busy.bench.hung_up.emplace(busy.*who, "");
      busy.bench.core.disconnected(busy.*who, who != &Busy::member, busy.bench.now);
    };
    failures += survives(end);
  }
  CHECK(failures > 0);  // of what is let go by an end
}

TEST_CASE("a broker survives time and room without memory", "[broker]") {
  const auto tick = [](Busy& busy) { busy.bench.core.tick(busy.bench.now); };
  SECTION("a stranger's time is over") {
    CHECK(survives(tick, [](Busy& busy) { busy.bench.now += 2s; }) > 0);
  }
  SECTION("estates are handed over, and frames sent again") {
    CHECK(survives(tick, [](Busy& busy) {
            busy.bench.core.disconnected(busy.member, true, busy.bench.now);
            busy.bench.hung_up.emplace(busy.member, "");
            busy.bench.subscribe(busy.other, 1, "p");
            busy.bench.now += 1s;
          }) > 0);
  }
  SECTION("estates have failed") {
    CHECK(survives(tick, [](Busy& busy) { busy.bench.now += 20s; }) > 0);
  }
  SECTION("gathering is over") {
    auto limits = Busy::limits();
    limits.gather = 300ms;
    CHECK(survives(
              tick, [](Busy& busy) { busy.bench.now += 300ms; }, limits) > 0);
  }
  SECTION("a channel has room again, and publishers go on") {
    auto limits = Busy::limits();
    limits.client_bytes = 1;
    CHECK(survives([](Busy& busy) { busy.bench.core.room(busy.receiver, busy.bench.now); },
                   [](Busy& busy) {
                     busy.bench.room.erase(busy.receiver);
                     busy.bench.room[busy.sender] = 0;
                   },
                   limits) > 0);
  }
}

TEST_CASE("history is whole when there was no memory to keep a message", "[broker]") {
  for (std::size_t nth = 1;; ++nth) {
    CAPTURE(nth);
    Bench bench;
    const ClientId unlucky = bench.join(1), sender = bench.join(2), receiver = bench.join(3);
    bench.publish(sender, 1, "b", Level::accepted, false, 2);
    const auto bytes = Busy::bytes(Publish{1, Level::accepted, false, false, 2, "a", {}, {}, bus::bytes_of("x")});
    bool happened = false;
    {
      bench.collects = false;
      const bus::test::FailingAllocation failing(nth);
      bench.core.received(unlucky, bytes, bench.now);
      happened = bus::test::FailingAllocation::happened();
    }
    bench.collects = true;
    for (std::uint64_t i = 2; i <= 5; ++i) bench.publish(sender, i, "a", Level::accepted, false, 2);
    bench.subscribe(receiver, 1, ">", 100, Full::block, {}, 10);
    CHECK(bench.got(receiver, 1) == "1,4,5");
    CHECK(bench.core.totals().memory == 3 * (2 + 256));
    if (!happened) {
      CHECK(nth > 3);
      return;
    }
  }
}
