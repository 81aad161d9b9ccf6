// tests/conformance/calls_test.cpp: blocking, trying and timed calls, full queues, batches.

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kFillingSize = 1000;  // of the messages that fill a queue

/// Receives what fill() has queued; an unreliable channel may have less.
Stream receive_queued(bus::Channel& channel, const Payloads& payloads, std::uint64_t first, std::uint64_t count) {
  const bool reliable = channel.traits().reliable;
  return receive_stream(channel, payloads, first, count, !reliable, reliable ? soon() : bus::in(1s));
}

}  // namespace

TEST_CASE("calls that try never wait", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  for (bus::Channel* channel : {&pair.client, &pair.server}) {
    const auto nothing = channel->try_receive();
    REQUIRE_FALSE(nothing);
    REQUIRE(nothing.error() == bus::Errc::would_block);
  }
  REQUIRE_FALSE(pair.client.try_send(bus::bytes_of("one")));
  bus::Result<bus::Message> message = bus::Errc::would_block;
  REQUIRE(eventually([&] { return static_cast<bool>(message = pair.server.try_receive()); }));
  REQUIRE(message->text() == "one");
  REQUIRE(pair.server.try_receive().error() == bus::Errc::would_block);
  close_books(pair);
}

TEST_CASE("a timed receive ends at its deadline and not before", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "wait=" + wait);
  const auto start = bus::Clock::now();
  const auto nothing = pair.server.receive(start + 30ms);
  REQUIRE(nothing.error() == bus::Errc::timed_out);
  REQUIRE(bus::Clock::now() >= start + 30ms);
  close_books(pair);
}

TEST_CASE("a deadline in the past still takes a message that is there", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  REQUIRE(pair.server.receive(bus::Clock::now() - 1s).error() == bus::Errc::timed_out);
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("here"), bus::Clock::now() - 1s));
  REQUIRE_FALSE(pair.client.flush(soon()));
  bus::Result<bus::Message> message = bus::Errc::timed_out;
  REQUIRE(eventually([&] { return static_cast<bool>(message = pair.server.receive(bus::Clock::now() - 1s)); }));
  REQUIRE(message->text() == "here");
  close_books(pair);
}

TEST_CASE("a blocked receiver gets the message that comes later", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "wait=block");
  // Several times, and without a deadline that would end a sleep: a lost wake-up shows.
  for (int round = 0; round < 50; ++round) {
    CAPTURE(round);
    InThread receiving([&] { return pair.server.receive(); });
    if (round % 2 == 0) receiving.wait_until_blocked();
    REQUIRE_FALSE(pair.client.send(bus::bytes_of("late"), soon()));
    const bool woken = eventually([&] { return receiving.done(); });
    if (!woken) pair.server.close();
    REQUIRE(woken);
    const auto message = receiving.get();
    REQUIRE(message);
    REQUIRE(message->text() == "late");
  }
  close_books(pair);
}

TEST_CASE("a full channel refuses a message and keeps the queued ones", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  Stream filled = fill(pair.client, payloads, 0, kFillingSize);
  REQUIRE(filled.end == bus::Errc::would_block);
  REQUIRE(filled.count > 0);

  std::error_code late;
  do {  // a kernel that has just found some more room is no failure
    const auto start = bus::Clock::now();
    late = pair.client.send(payloads.make(filled.count, kFillingSize), start + 20ms);
    if (late) REQUIRE(bus::Clock::now() >= start + 20ms);
    if (!late) ++filled.count;
  } while (!late);
  REQUIRE(late == bus::Errc::timed_out);

  const bus::Books books = pair.client.books();
  REQUIRE(books.accepted == filled.count);
  REQUIRE(books.refused[static_cast<std::size_t>(bus::Reason::queue_full)] >= 2);
  REQUIRE(books.offered == books.accepted + bus::total(books.refused));

  const Stream received = receive_queued(pair.server, payloads, 0, filled.count);
  REQUIRE(received.damaged == 0);
  REQUIRE(received.misplaced == 0);
  if (pair.client.traits().reliable) {
    REQUIRE(received.count == filled.count);
    REQUIRE(pair.server.try_receive().error() == bus::Errc::would_block);
  }
  // The room is there again, for good.
  REQUIRE(eventually([&] { return !pair.client.try_send(payloads.make(1, kFillingSize)); }));
  close_books(pair);
}

TEST_CASE("a blocked sender goes on as soon as there is room", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB&wait=block");
  const Payloads payloads;
  const Stream filled = fill(pair.client, payloads, 0, kFillingSize);
  REQUIRE(filled.end == bus::Errc::would_block);
  InThread sending([&] { return pair.client.send(payloads.make(filled.count, kFillingSize)); });
  sending.wait_until_blocked();
  const Stream received = receive_queued(pair.server, payloads, 0, filled.count + 1);
  const bool woken = eventually([&] { return sending.done(); });
  if (!woken) pair.client.close();
  REQUIRE(woken);
  REQUIRE_FALSE(sending.get());
  REQUIRE(received.damaged == 0);
  if (pair.client.traits().reliable) REQUIRE(received.count == filled.count + 1);
  close_books(pair);
}

TEST_CASE("a batch is sent with one call and taken with one call", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  std::vector<std::string> texts;
  for (int n = 0; n < 30; ++n) texts.push_back("message " + std::to_string(n));
  std::vector<std::span<const std::byte>> batch;
  for (const std::string& text : texts) batch.push_back(bus::bytes_of(text));
  std::size_t sent = 0;
  std::vector<std::string> received;
  const auto take = [&](bus::Message&& message) { received.emplace_back(message.text()); };
  // Where the queue is short, a batch goes in pieces.
  REQUIRE(eventually([&] {
    if (sent < batch.size()) {
      std::error_code error;
      sent += pair.client.send_some(std::span(batch).subspan(sent), error);
      if (error && error != bus::Errc::would_block) return true;
      if (!error && sent != batch.size()) return true;
    }
    const std::size_t before = received.size();
    const std::size_t limit = 4;
    const std::size_t count = pair.server.poll(take, limit);
    if (count > limit || received.size() != before + count) return true;
    return received.size() == texts.size();
  }));
  REQUIRE(sent == texts.size());
  REQUIRE(received == texts);
  std::error_code error = bus::Errc::busy;
  REQUIRE(pair.client.send_some({}, error) == 0);
  REQUIRE_FALSE(error);
  REQUIRE(pair.server.poll(take, 4) == 0);
  close_books(pair);
}

TEST_CASE("a batch that does not fit stops where the room ends and says so", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  std::vector<std::vector<std::byte>> messages;
  std::vector<std::span<const std::byte>> batch;
  for (std::uint64_t n = 0; n < 64; ++n) messages.push_back(payloads.make(n, kFillingSize));
  for (const auto& message : messages) batch.emplace_back(message);
  std::uint64_t accepted = 0;
  std::error_code error;
  // The same 64 again and again, until one call does not take all.
  do {
    const std::size_t count = pair.client.send_some(batch, error);
    accepted += count;
    REQUIRE((count == batch.size()) == !error);
  } while (!error);
  REQUIRE(error == bus::Errc::would_block);
  REQUIRE(pair.client.books().accepted == accepted);
  std::uint64_t received = 0, damaged = 0;
  const auto patience = [&] { return pair.server.traits().reliable ? soon() : bus::in(1s); };
  for (; received < accepted; ++received) {
    const auto message = pair.server.receive(patience());
    if (!message) break;
    const auto sequence = Payloads::sequence_of(message->bytes());
    if (!sequence || !payloads.matches(message->bytes(), *sequence)) ++damaged;
    if (pair.server.traits().reliable && sequence != received % 64) ++damaged;
  }
  REQUIRE(damaged == 0);
  if (pair.server.traits().reliable) REQUIRE(received == accepted);
  close_books(pair);
}

TEST_CASE("a message leaves by itself, without a flush and without another call", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  for (int n = 0; n < 10; ++n) REQUIRE_FALSE(pair.client.send(bus::bytes_of("alone"), soon()));
  for (int n = 0; n < 10; ++n) REQUIRE(pair.server.receive(soon()));
  REQUIRE_FALSE(pair.client.flush(soon()));
  REQUIRE_FALSE(pair.client.flush(bus::Clock::now() - 1s));  // nothing left to wait for
  close_books(pair);
}

TEST_CASE("a message above the receiver's limit is refused and the channel lives on", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=5000");
  for (auto [from, to] : {std::pair(&pair.client, &pair.server), std::pair(&pair.server, &pair.client)}) {
    REQUIRE(from->traits().max_message == 5000);
    const std::vector<std::byte> largest(5000), above(5001);
    REQUIRE(from->try_send(above) == bus::Errc::message_too_large);
    REQUIRE(from->send(above, soon()) == bus::Errc::message_too_large);
    REQUIRE(from->loan(5001, soon()).error() == bus::Errc::message_too_large);
    REQUIRE_FALSE(from->send(largest, soon()));
    const auto message = to->receive(soon());
    REQUIRE(message);
    REQUIRE(message->size() == 5000);
    REQUIRE(from->books().refused[static_cast<std::size_t>(bus::Reason::too_large)] == 3);
  }
  close_books(pair);
}
