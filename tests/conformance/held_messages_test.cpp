// tests/conformance/held_messages_test.cpp: messages that are kept, released in any order, anywhere, at any time.
#include <condition_variable>
#include <deque>
#include <mutex>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;

namespace {

std::size_t size_below_1100(std::uint64_t sequence) { return 200 + sequence * 37 % 900; }

}  // namespace

TEST_CASE("held messages keep their bytes and are released in any order", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=32KiB&max_message=4KiB");
  const Payloads payloads;
  constexpr std::uint64_t kHeld = 7, kCount = 700;
  InThread sending([&] { return send_stream(pair.client, payloads, 0, kCount, size_below_1100); });
  std::vector<std::pair<std::uint64_t, bus::Message>> held;
  std::uint64_t next = 0, damaged = 0;
  const bool reliable = pair.server.traits().reliable;
  while (next < kCount) {
    auto message = pair.server.receive(soon());
    if (!message && !reliable) break;
    REQUIRE(message);
    const std::uint64_t sequence = reliable ? next : Payloads::sequence_of(message->bytes()).value();
    held.emplace_back(sequence, std::move(*message));
    next = sequence + 1;
    if (held.size() < kHeld) continue;
    for (const auto& [of, kept] : held) damaged += payloads.matches(kept.bytes(), of) ? 0 : 1;
    // In an order that changes; the oldest is kept for a while, and not until the queue is full of what lies behind it.
    const std::size_t victim = next % 16 == 0 ? 0 : 1 + next * 5 % (kHeld - 1);
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(victim));
    if (next % 50 == 0) held.clear();
  }
  REQUIRE(damaged == 0);
  held.clear();
  const Stream sent = sending.get();
  REQUIRE(sent.count == kCount);
  close_books(pair);
}

TEST_CASE("holding messages holds the sender back and damages nothing", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  if (!pair.client.traits().reliable) return close_books(pair);  // it may drop instead
  const Payloads payloads;
  constexpr std::size_t kSize = 1000;
  REQUIRE_FALSE(pair.client.send(payloads.make(0, kSize), soon()));
  REQUIRE_FALSE(pair.client.send(payloads.make(1, kSize), soon()));
  auto first = pair.server.receive(soon());
  auto second = pair.server.receive(soon());
  REQUIRE(first);
  REQUIRE(second);
  const Stream filled = fill(pair.client, payloads, 2, kSize);
  REQUIRE(filled.end == bus::Errc::would_block);
  REQUIRE(payloads.matches(first->bytes(), 0));
  REQUIRE(payloads.matches(second->bytes(), 1));
  const Stream received = receive_stream(pair.server, payloads, 2, filled.count);
  REQUIRE(received.count == filled.count);
  REQUIRE(received.damaged == 0);
  REQUIRE(payloads.matches(first->bytes(), 0));
  // The later one first: only together they make room. A receiver that waits gives it back.
  second->reset();
  REQUIRE(payloads.matches(first->bytes(), 0));
  InThread sending([&] { return send_stream(pair.client, payloads, 0, 100, always(kSize)); });
  first->reset();
  REQUIRE(receive_stream(pair.server, payloads, 0, 100).damaged == 0);
  REQUIRE(sending.get().count == 100);
  close_books(pair);
}

TEST_CASE("a message may be released on another thread while more are received", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=16KiB&max_message=4KiB");
  const Payloads payloads;
  constexpr std::uint64_t kCount = 2'000;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::pair<std::uint64_t, bus::Message>> queue;
  bool over = false;
  InThread releasing([&] {
    std::uint64_t damaged = 0;
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return over || !queue.empty(); });
      if (queue.empty()) return damaged;
      auto [sequence, message] = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      damaged += payloads.matches(message.bytes(), sequence) ? 0 : 1;
    }
  });
  InThread sending([&] {
    Stream sent = send_stream(pair.client, payloads, 0, kCount, size_below_1100);
    pair.client.close();
    return sent;
  });
  std::uint64_t received = 0;
  for (;; ++received) {
    auto message = pair.server.receive(soon());
    if (!message) {
      CHECK(message.error() == bus::Errc::closed);
      break;
    }
    const std::uint64_t sequence = Payloads::sequence_of(message->bytes()).value();
    const std::lock_guard lock(mutex);
    queue.emplace_back(sequence, std::move(*message));
    changed.notify_one();
  }
  {
    const std::lock_guard lock(mutex);
    over = true;
  }
  changed.notify_one();
  REQUIRE(releasing.get() == 0);
  REQUIRE(sending.get().count == kCount);
  if (pair.server.traits().reliable) REQUIRE(received == kCount);
  close_books(pair);
}

TEST_CASE("messages outlive their channel and their listener", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Payloads payloads;
  std::vector<bus::Message> held;
  {
    Pair pair = open_pair(scheme, "max_message=256KiB");
    for (std::uint64_t n = 0; n < 5; ++n) {
      const std::size_t size = n == 3 ? 200'000 : 100;
      InThread sending([&] { return pair.client.send(payloads.make(n, size), soon()); });
      auto message = pair.server.receive(soon());
      REQUIRE_FALSE(sending.get());
      REQUIRE(message);
      held.push_back(std::move(*message));
    }
    close_books(pair);
    pair.listener.close();
  }
  for (std::uint64_t n = 0; n < held.size(); ++n) REQUIRE(payloads.matches(held[n].bytes(), n));
  std::swap(held[0], held[3]);
  held.pop_back();
  InThread releasing([&] {
    held.clear();
    return true;
  });
  REQUIRE(releasing.get());
}

TEST_CASE("a copy is independent of its message", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Payloads payloads;
  bus::Message copy;
  {
    Pair pair = open_pair(scheme);
    REQUIRE_FALSE(pair.client.send(payloads.make(5, 777), soon()));
    auto message = pair.server.receive(soon());
    REQUIRE(message);
    copy = message->copy();
    message->reset();
    REQUIRE(message->empty());
    close_books(pair);
  }
  REQUIRE(payloads.matches(copy.bytes(), 5));
}
