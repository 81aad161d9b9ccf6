// tests/bus/client/session_test.cpp: a node's side of the protocol, told frame by frame.
#include "bus/client/session.hpp"

#include <array>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "bus/core/message.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace bus::protocol;
using namespace std::chrono_literals;
using bus::Errc;
using bus::Reason;
using bus::client::Session;
using bus::client::SubscribeOptions;

constexpr std::uint64_t kOther = 77;  // another publisher

/// A session on the bench: the test plays the broker.
struct Bench final : bus::client::SessionEvents {
  Bench() : session({Instance{1}, 1, "node"}, *this) {}

  bool send(Bytes head, Bytes tail) noexcept override {
    if (!room) return false;
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    sent.push_back(std::move(bytes));
    return true;
  }
  void deliver(std::uint32_t, const Deliver& message) override {
    if (no_memory) throw std::bad_alloc();
    delivered.push_back(message.message.sequence);
  }
  void deliver(std::uint32_t, const DeliverBatch& batch) override {
    for (std::uint64_t i = 0; i < batch.count; ++i) delivered.push_back(batch.message.sequence + i);
  }
  void subscribed(std::uint32_t) noexcept override {}
  void unsubscribed(std::uint32_t subscription, const bus::ReasonCounts& dropped) noexcept override {
    last_words.emplace_back(subscription, dropped);
  }
  void ended(std::uint32_t subscription, Errc, std::string_view) override { over.push_back(subscription); }
  void outcome(const Outcome& one) noexcept override { outcomes[one.sequence] = one; }
  void flushed(std::uint32_t) noexcept override { ++flushes; }
  void watched(std::uint32_t token, std::uint32_t) noexcept override { watches.push_back(token); }
  void answer(std::uint32_t, Bytes) override {}
  void failed(std::uint32_t token, Errc why) noexcept override { failures[token] = why; }
  void up(const Welcome&) noexcept override {}
  void hang_up(Errc why, std::string_view, bool) override { hung_up = why; }
  void window_open() noexcept override { ++windows_opened; }

  void say(const Frame& frame) {
    std::vector<std::byte> bytes;
    encode(frame, bytes);
    session.received(bytes, now);
  }
  void welcome(bool reliable = true, std::uint32_t messages = 100, std::uint32_t bytes = 1U << 20) {
    session.connected(reliable, max_frame, now);
    say(Welcome{kVersion, Instance{2}, messages, bytes, max_payload, 100, "broker"});
  }
  std::uint32_t subscribe(const SubscribeOptions& options = {}) {
    const auto number = session.subscribe("a", options, now);
    say(Subscribed{number});
    return number;
  }
  std::error_code publish(Level level = Level::accepted, bool tell = false) {
    const auto sequence = session.publish("a", bus::bytes_of("x"), {{}, {}, level, tell, 0}, now);
    return sequence ? std::error_code() : sequence.error();
  }
  /// With more to follow at once.
  std::error_code gather(std::string_view subject = "a", std::string_view payload = "x",
                         const bus::client::PublishOptions& options = {}) {
    const auto sequence = session.publish(subject, bus::bytes_of(payload), options, now, true);
    return sequence ? std::error_code() : sequence.error();
  }
  /// "first+count" of each batch that was sent, and "sequence" of each message alone.
  std::string published() const {
    std::string text;
    for (const auto& bytes : sent) {
      const auto frame = decode(bytes);
      if (const auto* one = std::get_if<Publish>(&*frame)) text += std::to_string(one->sequence) + " ";
      if (const auto* batch = std::get_if<PublishBatch>(&*frame)) {
        text += std::to_string(batch->sequence) + "+" + std::to_string(batch->count) + " ";
      }
      if (std::get_if<Flush>(&*frame) != nullptr) text += "flush ";
      if (std::get_if<Bye>(&*frame) != nullptr) text += "bye ";
    }
    return text;
  }
  void give(std::uint32_t number, std::uint64_t index, std::uint64_t sequence, bool acknowledge = false,
            bool again = false) {
    say(Deliver{number, index, {kOther, sequence}, acknowledge, again, false, "a", {}, {}, bus::bytes_of("x")});
  }
  void pass(std::chrono::nanoseconds time) {
    const auto until = now + time;
    while (session.next_tick() && *session.next_tick() <= until) {
      now = std::max(now, *session.next_tick());
      session.tick(now);
    }
    now = until;
  }
  template <class T>
  std::vector<T> said() const {
    std::vector<T> found;
    for (const auto& bytes : sent) {
      const auto frame = decode(bytes);
      if (!frame) continue;
      if (const T* const one = std::get_if<T>(&*frame)) found.push_back(*one);
    }
    return found;
  }

  bus::client::Time now{1h};
  bool room = true, no_memory = false;
  std::size_t max_frame = std::size_t{1} << 20;
  std::uint32_t max_payload = 1U << 20;
  std::vector<std::vector<std::byte>> sent;
  std::vector<std::uint64_t> delivered;
  std::vector<std::uint32_t> over, watches;
  std::vector<std::pair<std::uint32_t, bus::ReasonCounts>> last_words;
  std::map<std::uint64_t, Outcome> outcomes;
  std::map<std::uint32_t, Errc> failures;
  int flushes = 0, windows_opened = 0;
  std::optional<Errc> hung_up;
  Session session;
};

}  // namespace

TEST_CASE("the books of a publisher close over a lost connection", "[client]") {
  Bench bench;
  bench.welcome();
  CHECK_FALSE(bench.publish());                  // 1: receipted
  CHECK_FALSE(bench.publish(Level::delivered));  // 2: receipted, not settled
  CHECK_FALSE(bench.publish());                  // 3: unknown
  CHECK_FALSE(bench.publish(Level::delivered));  // 4: on the way
  bench.say(Receipt{2, 1, 0, 0});
  CHECK(bench.session.books().accepted == 2);
  bench.session.disconnected();
  CHECK(bench.session.books().unknown_after_crash == 1);
  bench.welcome();
  CHECK(bench.said<Publish>().size() == 6);  // 2 and 4 again
  bench.say(Outcome{2, 1, 0, {}});
  bench.say(Outcome{4, 1, 0, {}});
  bench.say(Outcome{4, 1, 0, {}});
  const auto books = bench.session.books();
  CHECK(books.published == 4);
  CHECK(books.accepted == 3);
  CHECK(books.settled == 2);
  CHECK(books.accepted + books.lost + books.unknown_after_crash == books.published);
}

TEST_CASE("what the next broker would not take has failed, and is not sent there", "[client]") {
  Bench bench;
  bench.welcome();
  const auto deliver = [&](std::string_view payload) {
    REQUIRE(bench.session.publish("a", bus::bytes_of(payload), {{}, {}, Level::delivered, false, 0}, bench.now));
  };
  deliver("x");
  deliver(std::string(500, 'x'));  // 2: receipted
  bench.say(Receipt{2, 0, 0, 0});
  deliver(std::string(501, 'x'));  // 3: nobody knows whether it had come
  bench.session.disconnected();
  const bool channel = GENERATE(false, true);  // which of both does not take it
  CAPTURE(channel);
  if (channel) bench.max_frame = 100;
  if (!channel) bench.max_payload = 100;
  bench.sent.clear();
  bench.welcome();
  CHECK(bench.published() == "1 ");
  REQUIRE(bench.outcomes.size() == 2);
  for (const std::uint64_t sequence : {std::uint64_t{2}, std::uint64_t{3}}) {
    const Outcome& outcome = bench.outcomes.at(sequence);
    CHECK(outcome.reached == 0);
    CHECK(outcome.failed == 1);
    CHECK(outcome.reason == Reason::too_large);
  }
  bench.say(Receipt{3, 0, 0, 0});
  bench.say(Outcome{1, 1, 0, {}});
  CHECK(bench.session.all_settled());
  const auto books = bench.session.books();
  CHECK(books.undelivered[static_cast<std::size_t>(Reason::too_large)] == 2);
  CHECK(books.settled == 3);
  CHECK(books.published == books.accepted + books.unknown_after_crash);
  CHECK(books.accepted == 2);
  for (int i = 0; i < 100; ++i) REQUIRE_FALSE(bench.publish());  // the window is empty
}

TEST_CASE("what a lossy link lost on the way to the broker is in the books", "[client]") {
  Bench bench;
  bench.welcome(false);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(bench.publish());
  bench.say(Receipt{5, 3, 0, 0});
  CHECK(bench.session.books().accepted == 3);
  CHECK(bench.session.books().lost == 2);
  bench.say(Receipt{5, 4, 0, 0});  // one was late
  bench.say(Receipt{5, 3, 0, 0});  // so was this
  CHECK(bench.session.books().lost == 1);
}

TEST_CASE("what is kept to be sent again is within the window, in bytes too", "[client]") {
  Bench bench;
  bench.welcome(true, 100, 50);
  CHECK_FALSE(bench.publish(Level::delivered));
  bench.say(Receipt{1, 0, 0, 0});
  int more = 0;
  while (!bench.publish(Level::delivered)) {
    bench.say(Receipt{static_cast<std::uint64_t>(++more) + 1, 0, 0, 0});
    REQUIRE(more < 50);
  }
  bench.say(Outcome{1, 1, 0, {}});
  CHECK_FALSE(bench.publish(Level::delivered));
}

TEST_CASE("an outcome that a lossy link lost is given up, and the window opens", "[client]") {
  Bench bench;
  bench.welcome(false, 1);
  CHECK_FALSE(bench.publish(Level::accepted, true));
  bench.pass(300ms);
  CHECK_FALSE(bench.said<Flush>().empty());  // it asks for a receipt
  bench.say(Receipt{1, 1, 0, 0});
  CHECK(bench.publish() == Errc::would_block);
  bench.pass(2s);
  CHECK(bench.outcomes.at(1).reason == Reason::network);
  CHECK_FALSE(bench.publish());
}

TEST_CASE("a full window asks for a receipt as long as it is full", "[client]") {
  Bench bench;
  bench.welcome(false, 1);
  CHECK_FALSE(bench.publish());
  CHECK(bench.publish() == Errc::would_block);
  bench.pass(2s);
  CHECK(bench.said<Flush>().size() > 5);
}

TEST_CASE("a welcome that comes once more widens the window, and never makes it smaller", "[client]") {
  Bench bench;
  bench.welcome(true, 1);
  CHECK_FALSE(bench.publish());
  CHECK(bench.publish() == Errc::would_block);
  bench.say(Welcome{kVersion, Instance{2}, 2, 1U << 20, 1U << 20, 100, "broker"});
  CHECK_FALSE(bench.publish());
  CHECK(bench.publish() == Errc::would_block);
  bench.say(Welcome{kVersion, Instance{2}, 1, 1, 1U << 20, 100, "broker"});
  bench.say(Receipt{1, 1, 0, 0});
  CHECK_FALSE(bench.publish());
  CHECK(bench.windows_opened == 3);  // by two welcomes and the receipt
}

TEST_CASE("a flush is done when its receipt is here, too", "[client]") {
  Bench bench;
  bench.welcome(false);
  CHECK_FALSE(bench.publish());
  const auto token = bench.session.flush(bench.now);
  bench.say(Flushed{token});
  CHECK(bench.flushes == 0);
  bench.pass(500ms);
  CHECK(bench.said<Flush>().size() > 1);
  bench.say(Receipt{1, 1, 0, 0});
  bench.say(Flushed{token});
  CHECK(bench.flushes == 1);
  CHECK(bench.session.all_accepted());
}

TEST_CASE("a flush tells once that nobody knows what became of messages when a broker died", "[client]") {
  Bench bench;
  bench.welcome();
  REQUIRE_FALSE(bench.publish());
  bench.say(Receipt{1, 1, 0, 0});
  REQUIRE_FALSE(bench.publish());  // 2: unknown
  const bool is_pending = GENERATE(true, false);
  CAPTURE(is_pending);
  std::uint32_t token = 0;
  if (is_pending) token = bench.session.flush(bench.now);
  bench.session.disconnected();
  bench.welcome();
  if (!is_pending) token = bench.session.flush(bench.now);
  CHECK(bench.failures.empty());  // what is sent again is waited for
  CHECK(bench.session.has_untold_loss());
  bench.say(Flushed{token});
  CHECK(bench.failures == std::map<std::uint32_t, Errc>{{token, Errc::peer_died}});
  CHECK(bench.flushes == 0);
  CHECK_FALSE(bench.session.has_untold_loss());
  bench.say(Flushed{bench.session.flush(bench.now)});
  CHECK(bench.failures.size() == 1);
  CHECK(bench.flushes == 1);
}

TEST_CASE("a flush fails only for messages that it is about", "[client]") {
  Bench bench;
  bench.welcome();
  SECTION("not for those that are sent again") { REQUIRE_FALSE(bench.publish(Level::delivered)); }
  SECTION("not for those that were published after it") {
    const auto before = bench.session.flush(bench.now);
    REQUIRE_FALSE(bench.publish());
    bench.session.disconnected();
    bench.welcome();
    bench.say(Flushed{before});
    CHECK(bench.flushes == 1);
    const auto after = bench.session.flush(bench.now);
    bench.say(Flushed{after});
    CHECK(bench.failures.contains(after));
    return;
  }
  SECTION("not for those that the broker had accepted") {
    REQUIRE_FALSE(bench.publish());
    bench.say(Receipt{1, 1, 0, 0});
  }
  const auto token = bench.session.flush(bench.now);
  bench.session.disconnected();
  bench.welcome();
  bench.say(Flushed{token});
  CHECK(bench.flushes == 1);
  CHECK(bench.failures.empty());
}

TEST_CASE("two who wait for the same messages are both told that nobody knows what became of them", "[client]") {
  Bench bench;
  bench.welcome();
  REQUIRE_FALSE(bench.publish());
  const std::array<std::uint32_t, 2> tokens{bench.session.flush(bench.now), bench.session.flush(bench.now)};
  bench.session.disconnected();
  bench.welcome();
  for (const std::uint32_t token : tokens) bench.say(Flushed{token});
  CHECK(bench.failures.size() == 2);
  CHECK(bench.flushes == 0);
}

TEST_CASE("what the channel does not take is said, and not sent", "[client]") {
  Bench bench;
  const std::string pattern(200, 'a');
  bench.max_frame = 100;
  const auto number = bench.session.subscribe(pattern, {}, bench.now);
  const auto small = bench.session.subscribe("a", {}, bench.now);
  const auto watch = bench.session.watch(pattern, 1, bench.now);
  CHECK(bench.session.takes(Subscribe{0, pattern}));  // no channel yet
  bench.welcome();
  CHECK(bench.over == std::vector<std::uint32_t>{number});
  CHECK(bench.failures == std::map<std::uint32_t, Errc>{{watch, Errc::message_too_large}});
  REQUIRE(bench.said<Subscribe>().size() == 1);
  CHECK(bench.said<Subscribe>()[0].subscription == small);
  CHECK(bench.said<Watch>().empty());
  CHECK_FALSE(bench.session.takes(Subscribe{0, pattern}));
  CHECK(bench.session.takes(Subscribe{0, "a"}));
  CHECK_FALSE(bench.hung_up);
}

TEST_CASE("a watch that nobody waits for any more is taken back", "[client]") {
  Bench bench;
  const bool reliable = GENERATE(true, false);
  CAPTURE(reliable);
  bench.welcome(reliable);
  const std::uint32_t token = bench.session.watch("a", 2, bench.now);
  bench.session.forget(token);
  REQUIRE(bench.said<Watch>().size() == 2);
  CHECK(bench.said<Watch>()[1].token == token);
  CHECK(bench.said<Watch>()[1].count == 0);
  bench.pass(450ms);
  CHECK(bench.said<Watch>().size() == (reliable ? 2 : 4));  // lost, perhaps: until it is answered
  bench.say(Watched{token, 0});
  bench.pass(1s);
  CHECK(bench.said<Watch>().size() == (reliable ? 2 : 4));
  CHECK(bench.watches.empty());
}

TEST_CASE("a watch that was given up while there was no broker is not asked of the next one", "[client]") {
  Bench bench;
  const bool before = GENERATE(true, false);
  bench.welcome(false);
  const std::uint32_t token = bench.session.watch("a", 2, bench.now);
  if (before) bench.session.forget(token);
  bench.session.disconnected();
  if (!before) bench.session.forget(token);
  bench.sent.clear();
  bench.welcome(false);
  bench.pass(1s);
  CHECK(bench.said<Watch>().empty());
}

TEST_CASE("a duplicate gives no credit for what the application has not taken", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe({{}, 4, Full::block, 0});
  for (std::uint64_t i = 1; i <= 3; ++i) bench.give(number, i, i, true);
  bench.give(number, 4, 1, true, true);
  CHECK(bench.said<Taken>().empty());
  CHECK(bench.delivered.size() == 3);
  bench.session.taken(number, 3, false, bench.now);
  REQUIRE(bench.said<Taken>().size() == 1);
  CHECK(bench.said<Taken>()[0].index == 4);
}

TEST_CASE("a message that comes again although it was acknowledged is acknowledged again, and not delivered",
          "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe();
  bench.give(number, 1, 1, true);
  bench.session.acknowledge(number, {kOther, 1}, bench.now);
  bench.session.disconnected();
  bench.welcome();
  bench.give(number, 1, 1, true, true);
  bench.give(number, 2, 1, false, true);
  CHECK(bench.delivered.size() == 1);
  CHECK(bench.said<Acknowledge>().size() == 3);
  CHECK(bench.session.books().duplicates == 2);
}

TEST_CASE("the last messages that a lossy link lost are given credit for and counted, and may be late", "[client]") {
  Bench bench;
  bench.welcome(false);
  const auto number = bench.subscribe({{}, 4, Full::block, 0});
  bench.give(number, 1, 1);
  bench.say(Progress{number, 4});
  CHECK(bench.session.books().missing == 3);
  bench.session.taken(number, 1, false, bench.now);
  CHECK(bench.said<Taken>().back().index == 4);
  bench.give(number, 3, 3);
  CHECK(bench.delivered.size() == 2);
  CHECK(bench.session.books().missing == 2);
}

TEST_CASE("a message to be delivered that drop_old throws away is said to be dropped, and may come again", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe({{}, 1, Full::drop_old, 0});
  bench.give(number, 1, 1, true);
  bench.give(number, 2, 2);
  bench.session.taken(number, 1, true, bench.now);
  bench.session.taken(number, 2, true, bench.now);
  REQUIRE(bench.said<Acknowledge>().size() == 1);
  CHECK(bench.said<Acknowledge>()[0].dropped);
  CHECK(bench.said<Acknowledge>()[0].message == MessageId{kOther, 1});
  bench.give(number, 3, 1, true, true);
  CHECK(bench.delivered == std::vector<std::uint64_t>{1, 2, 1});
}

TEST_CASE("a message for which there was no memory has not come, and comes with the next connection", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe();
  bench.no_memory = true;
  CHECK_THROWS_AS(bench.give(number, 1, 1, true), std::bad_alloc);
  CHECK(bench.session.books().received == 0);
  bench.no_memory = false;
  bench.session.disconnected();
  bench.welcome();
  bench.give(number, 1, 1, true, true);
  CHECK(bench.delivered == std::vector<std::uint64_t>{1});
  CHECK(bench.session.books(number).received == 1);
}

TEST_CASE("a message that was refused and came again is remembered as long as any", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe();
  std::uint64_t index = 0;
  bench.give(number, ++index, 1, true);
  bench.session.refuse(number, {kOther, 1}, bench.now);
  bench.give(number, ++index, 1, true, true);
  for (std::uint64_t i = 2; i <= 8192; ++i) bench.give(number, ++index, i, true);
  bench.delivered.clear();
  bench.give(number, ++index, 1, true, true);
  CHECK(bench.delivered.empty());
  bench.give(number, ++index, 8193, true);  // one too many
  bench.give(number, ++index, 1, true, true);
  CHECK(bench.delivered == std::vector<std::uint64_t>{8193, 1});
}

TEST_CASE("what drop_old throws away is dropped, and no longer received", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe({{}, 2, Full::drop_old, 0});
  for (std::uint64_t i = 1; i <= 10; ++i) bench.give(number, i, i);
  for (std::uint64_t i = 1; i <= 8; ++i) bench.session.taken(number, i, true, bench.now);
  for (std::uint64_t i = 9; i <= 10; ++i) bench.session.taken(number, i, false, bench.now);
  constexpr auto kFull = static_cast<std::size_t>(Reason::queue_full);
  CHECK(bench.session.books(number).received == 2);
  CHECK(bench.session.books(number).dropped[kFull] == 8);
  CHECK(bench.session.books().received == 2);
  CHECK(bench.session.books().dropped[kFull] == 8);
}

TEST_CASE("a broker that goes on with a subscription that is over is told again on a lossy link", "[client]") {
  Bench bench;
  bench.welcome(false);
  const auto number = bench.subscribe();
  bench.session.unsubscribe(number, bench.now);
  const std::size_t once = bench.said<Unsubscribe>().size();
  SECTION("with a message") { bench.give(number, 1, 1); }
  SECTION("with a confirmation") { bench.say(Subscribed{number}); }
  SECTION("with its progress") { bench.say(Progress{number, 1}); }
  SECTION("with nothing") { bench.pass(500ms); }
  CHECK(bench.said<Unsubscribe>().size() > once);
  CHECK(bench.delivered.empty());
}

TEST_CASE("a second bye says nothing more", "[client]") {
  Bench bench;
  bench.welcome();
  bench.session.bye(bench.now);
  bench.session.bye(bench.now);
  CHECK(bench.said<Bye>().size() == 1);
  bench.say(Farewell{0, 0});
  bench.session.disconnected();
  bench.session.bye(bench.now);
  CHECK(bench.session.said_farewell());
}

TEST_CASE("a bye without a broker is said to the next one", "[client]") {
  Bench bench;
  bench.welcome();
  bench.session.disconnected();
  bench.session.bye(bench.now);
  bench.welcome();
  CHECK(bench.said<Bye>().size() == 1);
  CHECK_FALSE(bench.session.said_farewell());
  bench.say(Farewell{0, 0});
  CHECK(bench.session.said_farewell());
}

TEST_CASE("what is sent again keeps to the window of the new broker, and nothing overtakes it", "[client]") {
  Bench bench;
  bench.welcome();
  for (int i = 1; i <= 5; ++i) REQUIRE_FALSE(bench.publish(Level::delivered));
  bench.session.disconnected();
  bench.sent.clear();
  const bool in_bytes = GENERATE(false, true);
  in_bytes ? bench.welcome(true, 100, 40) : bench.welcome(true, 2);  // 18 each
  CHECK(bench.published() == "1 2 ");
  CHECK_FALSE(bench.session.may_publish());
  CHECK(bench.publish() == Errc::would_block);
  const auto token = bench.session.flush(bench.now);
  CHECK(bench.published() == "1 2 ");
  bench.say(Outcome{2, 1, 0, {}});
  CHECK(bench.published() == "1 2 3 ");
  SECTION("a wider window takes more at once") {
    bench.say(Welcome{kVersion, Instance{2}, 4, 1U << 20, 1U << 20, 100, "broker"});
    CHECK(bench.published() == "1 2 3 4 5 flush ");
    for (const std::uint64_t i : {1U, 3U, 4U}) bench.say(Outcome{i, 1, 0, {}});
  }
  SECTION("a message after the other") {
    bench.say(Outcome{1, 1, 0, {}});
    CHECK(bench.published() == "1 2 3 4 ");
    bench.say(Outcome{4, 1, 0, {}});
    CHECK(bench.published() == "1 2 3 4 5 flush ");
    bench.say(Outcome{3, 1, 0, {}});
  }
  SECTION("a broker that is lost meanwhile: the next gets all that is not settled") {
    bench.session.disconnected();
    bench.sent.clear();
    bench.welcome();
    CHECK(bench.published() == "1 3 4 5 flush ");
    for (const std::uint64_t i : {1U, 3U, 4U}) bench.say(Outcome{i, 1, 0, {}});
  }
  bench.say(Flushed{token});
  CHECK(bench.flushes == 1);
  CHECK(bench.session.may_publish());
  REQUIRE_FALSE(bench.publish());
  bench.say(Outcome{5, 1, 0, {}});
  CHECK(bench.session.all_settled());
}

TEST_CASE("what still comes for a subscription that was left is dropped and counted, up to the last word on it",
          "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe();
  bench.give(number, 1, 1);
  bench.say(Dropped{number, Reason::queue_full, 3});
  REQUIRE(bench.session.unsubscribe(number, bench.now));
  bench.give(number, 2, 2);
  const auto items = std::array{std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0}, std::byte{'x'}};
  bench.say(DeliverBatch{number, 3, {kOther, 3}, 2, "a", items});
  bench.say(Dropped{number, Reason::queue_full, 7});
  CHECK(bench.last_words.empty());
  SECTION("the broker says it") { bench.say(Progress{number, 4}); }
  SECTION("the broker had ended it") { bench.say(Refused{number, Errc::no_room, "full"}); }
  SECTION("the broker is lost") { bench.session.disconnected(); }
  REQUIRE(bench.last_words.size() == 1);
  CHECK(bench.last_words[0].first == number);
  CHECK(bench.last_words[0].second[static_cast<std::size_t>(Reason::closed)] == 3);
  CHECK(bench.last_words[0].second[static_cast<std::size_t>(Reason::queue_full)] == 4);
  CHECK(bench.session.books().dropped[static_cast<std::size_t>(Reason::closed)] == 3);
  CHECK(bench.session.books().dropped[static_cast<std::size_t>(Reason::queue_full)] == 7);
  CHECK(bench.delivered.size() == 1);
  CHECK(bench.over.empty());
}

TEST_CASE("a node tells a broker of how many subscriptions the one before it had", "[client]") {
  Bench bench;
  bench.welcome();
  CHECK(bench.said<Hello>().back().subscribed == 0);
  Welcome welcome{kVersion, Instance{2}, 100, 1U << 20, 1U << 20, 100, "broker", 7};
  bench.say(welcome);
  welcome.subscribed = 5;
  bench.say(welcome);
  bench.session.disconnected();
  bench.welcome();
  CHECK(bench.said<Hello>().back().subscribed == 5);
  bench.session.disconnected();
  bench.welcome();
  CHECK(bench.said<Hello>().back().subscribed == 0);
}

TEST_CASE("a node publishes no more where the broker is about to stop, and goes on with the next", "[client]") {
  Bench bench;
  bench.welcome();
  CHECK_FALSE(bench.said<Hello>().back().again);
  REQUIRE(bench.session.publish("a", {}, {}, bench.now));
  bench.say(Farewell{0, 0, true});
  REQUIRE(bench.said<Bye>().size() == 1);
  CHECK(bench.said<Bye>()[0].stays);
  CHECK(bench.said<Bye>()[0].sequence == 1);
  CHECK(bench.session.publish("a", {}, {}, bench.now).error() == Errc::would_block);
  CHECK_FALSE(bench.session.may_publish());
  CHECK_FALSE(bench.hung_up);
  bench.say(Farewell{0, 0, true});  // said twice, answered once
  CHECK(bench.said<Bye>().size() == 1);
  bench.say(Receipt{1, 1, 0, 0});
  bench.say(Farewell{1, 0, false});
  CHECK(bench.hung_up == Errc::closed);
  bench.session.disconnected();
  CHECK(bench.session.books().unknown_after_crash == 0);
  bench.welcome();
  CHECK(bench.said<Hello>().back().again);
  CHECK(bench.session.publish("a", {}, {}, bench.now));
}

TEST_CASE("a node that leaves a broker that is about to stop is answered as any", "[client]") {
  Bench bench;
  bench.welcome();
  const bool knows = GENERATE(false, true);
  if (knows) bench.say(Farewell{0, 0, true});
  bench.session.bye(bench.now);
  if (!knows) bench.say(Farewell{0, 0, true});
  CHECK_FALSE(bench.said<Bye>().back().stays);
  CHECK_FALSE(bench.session.said_farewell());
  bench.say(Farewell{0, 0, false});
  CHECK(bench.session.said_farewell());
}

TEST_CASE("the farewell of a broker that stops is not the answer to a later bye", "[client]") {
  Bench bench;
  bench.welcome();
  bench.say(Farewell{0, 0});
  CHECK(bench.hung_up == Errc::closed);
  bench.session.disconnected();
  bench.welcome();
  bench.session.bye(bench.now);
  CHECK_FALSE(bench.session.said_farewell());
}

TEST_CASE("messages that follow each other share a frame, in their order", "[client]") {
  Bench bench;
  bench.welcome(true, 1000);
  CHECK_FALSE(bench.publish());
  for (int i = 0; i < 3; ++i) CHECK_FALSE(bench.gather());
  CHECK(bench.session.has_gathered());
  CHECK(bench.published() == "1 ");
  SECTION("until they are sent") {
    bench.session.send_gathered();
    CHECK(bench.published() == "1 2+3 ");
  }
  SECTION("before what comes alone") {
    CHECK_FALSE(bench.publish());
    CHECK(bench.published() == "1 2+3 5 ");
  }
  SECTION("before what is on another subject") {
    CHECK_FALSE(bench.gather("b"));
    CHECK_FALSE(bench.gather("b"));
    bench.session.send_gathered();
    CHECK(bench.published() == "1 2+3 5+2 ");
  }
  SECTION("before what is to be delivered, has headers, or is to be kept") {
    bus::client::PublishOptions options;
    SECTION("delivered") { options.level = Level::delivered; }
    SECTION("reply") { options.reply = "r"; }
    SECTION("told") { options.tell = true; }
    SECTION("kept") { options.history = 1; }
    CHECK_FALSE(bench.gather("a", "x", options));
    CHECK(bench.published() == "1 2+3 5 ");
  }
  SECTION("before a flush") {
    bench.session.flush(bench.now);
    CHECK(bench.published() == "1 2+3 flush ");
  }
  SECTION("before the last word") {
    bench.session.bye(bench.now);
    CHECK(bench.published() == "1 2+3 bye ");
  }
  SECTION("and leave when they are many") {
    for (int i = 0; i < 520; ++i) CHECK_FALSE(bench.gather());
    CHECK(bench.published() == "1 2+512 ");
    bench.session.send_gathered();
    CHECK(bench.published() == "1 2+512 514+11 ");
  }
  SECTION("and leave when they are large") {
    const std::string large(4096, 'l');
    for (int i = 0; i < 16; ++i) CHECK_FALSE(bench.gather("a", large));
    CHECK(bench.published() == "1 2+18 ");
    CHECK_FALSE(bench.gather("a", large + "l"));
    CHECK(bench.published() == "1 2+18 20+1 21 ");
  }
  CHECK_FALSE(bench.session.has_gathered());
}

TEST_CASE("what is gathered is no larger than the channel takes", "[client]") {
  Bench bench;
  bench.max_frame = 30;  // head 16, subject 1, and 2 and 1 for each message: four of them
  bench.welcome();
  for (int i = 0; i < 9; ++i) CHECK_FALSE(bench.gather());
  CHECK(bench.published() == "1+4 5+4 ");
  CHECK_FALSE(bench.gather("a", "12345678901"));
  CHECK(bench.published() == "1+4 5+4 9+1 ");
  CHECK_FALSE(bench.gather("a", "123456789012"));  // a frame of its own has nothing to say of its size
  CHECK(bench.published() == "1+4 5+4 9+1 10+1 11 ");
  for (std::size_t i = 1; i < bench.sent.size(); ++i) CHECK(bench.sent[i].size() <= 30);  // behind the hello
}

TEST_CASE("nothing is gathered on a link that loses frames", "[client]") {
  Bench bench;
  bench.welcome(false);
  CHECK_FALSE(bench.gather());
  CHECK_FALSE(bench.gather());
  CHECK(bench.published() == "1 2 ");
}

TEST_CASE("what is gathered counts against the window, and leaves when that is full", "[client]") {
  Bench bench;
  bench.welcome(true, 5);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(bench.gather());
  CHECK(bench.gather() == Errc::would_block);
  CHECK(bench.published() == "1+5 ");
  bench.say(Receipt{5, 5, 0, 0});
  CHECK(bench.session.books().accepted == 5);
  CHECK_FALSE(bench.gather());
}

TEST_CASE("what is gathered waits for room, and keeps its place before what follows", "[client]") {
  Bench bench;
  bench.welcome();
  bench.room = false;
  for (int i = 0; i < 3; ++i) CHECK_FALSE(bench.gather());
  bench.session.send_gathered();
  CHECK(bench.session.has_gathered());
  CHECK(bench.publish() == Errc::would_block);
  SECTION("alone") {
    bench.room = true;
    bench.session.room(bench.now);
    CHECK(bench.published() == "1+3 ");
  }
  SECTION("with a question behind it") {
    bench.session.flush(bench.now);
    CHECK(bench.gather() == Errc::would_block);
    bench.room = true;
    bench.session.room(bench.now);
    CHECK(bench.published() == "1+3 flush ");
  }
  CHECK_FALSE(bench.gather());
}

TEST_CASE("what is gathered when the connection is lost is unknown, and counted once", "[client]") {
  Bench bench;
  bench.welcome();
  for (int i = 0; i < 3; ++i) CHECK_FALSE(bench.gather());
  bench.session.disconnected();
  CHECK(bench.session.books().unknown_after_crash == 3);
  bench.sent.clear();
  bench.welcome();
  CHECK(bench.published().empty());
  CHECK_FALSE(bench.publish());
  CHECK(bench.published() == "4 ");
}

TEST_CASE("a batch counts as the messages that are in it", "[client]") {
  Bench bench;
  bench.welcome();
  const auto number = bench.subscribe({.depth = 8});
  bench.give(number, 1, 1);
  const auto items = std::array{std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0}, std::byte{'x'}};
  bench.say(DeliverBatch{number, 2, {kOther, 2}, 2, "a", items});
  CHECK(bench.delivered == std::vector<std::uint64_t>{1, 2, 3});
  CHECK(bench.session.books(number).received == 3);
  bench.session.taken(number, 2, false, bench.now);
  REQUIRE(bench.said<Taken>().size() == 1);
  CHECK(bench.said<Taken>().back().index == 2);
  SECTION("one that leaves something out ends the connection") {
    bench.say(DeliverBatch{number, 5, {kOther, 5}, 2, "a", items});
    CHECK(bench.hung_up == Errc::corrupt);
  }
  SECTION("so does one that was here before") {
    bench.say(DeliverBatch{number, 3, {kOther, 3}, 2, "a", items});
    CHECK(bench.hung_up == Errc::corrupt);
  }
}
