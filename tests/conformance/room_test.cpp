// tests/conformance/room_test.cpp: a loop that waits for room to send, in many channels at once.
#include <array>
#include <deque>
#include <thread>
#include <vector>

#include "bus/core/poller.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

constexpr bus::Poller::Key kRoom = 7;

/// Whether the poller reports room in time. Nothing else may be in it.
bool reports_room(bus::Poller& poller, bus::Deadline deadline = soon()) {
  std::array<bus::Poller::Key, 4> ready{};
  const std::size_t count = poller.wait(ready, deadline);
  if (count == 0) return false;
  REQUIRE(count == 1);
  REQUIRE(ready[0] == kRoom);
  return true;
}

/// Receives what is there and what comes, until the end. How many.
std::uint64_t drain(bus::Channel& channel) {
  std::uint64_t count = 0;
  while (channel.receive(soon())) ++count;
  return count;
}

}  // namespace

TEST_CASE("a stream is sent by trying and by waiting for room in a poller", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::uint64_t kCount = 3'000;
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=64KiB");
  const Payloads payloads;
  InThread receiving([&] { return drain(pair.server); });
  bus::Poller poller;
  std::vector<std::byte> payload;
  for (std::uint64_t sequence = 0; sequence < kCount; ++sequence) {
    payload.resize(mixed_size(sequence, true));
    payloads.fill(payload, sequence);
    for (;;) {
      const std::error_code outcome = pair.client.try_send(payload);
      if (!outcome) break;
      REQUIRE(outcome == bus::Errc::would_block);
      poller.want_room(pair.client, kRoom);
      REQUIRE(reports_room(poller));
    }
  }
  for (;;) {  // what is gathered goes by the same means
    const std::error_code outcome = pair.client.try_flush();
    if (!outcome) break;
    REQUIRE(outcome == bus::Errc::would_block);
    poller.want_room(pair.client, kRoom);
    REQUIRE(reports_room(poller));
  }
  poller.remove(pair.client);
  pair.client.close();
  const std::uint64_t received = receiving.get();
  if (pair.server.traits().reliable) REQUIRE(received == kCount);
  close_books(pair);
}

TEST_CASE("a poller that has no wish left keeps its deadline", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  if (fill(pair.client, payloads, 0, 1000).end != bus::Errc::would_block) return;  // it drops: there is always room
  bus::Poller poller;
  poller.want_room(pair.client, kRoom);
  SECTION("it was reported") {
    InThread receiving([&] { return pair.server.receive(soon()).has_value(); });
    static_cast<void>(reports_room(poller));
    REQUIRE(receiving.get());
  }
  SECTION("it was taken back") { poller.remove(pair.client); }
  std::array<bus::Poller::Key, 4> ready{};
  InThread waiting([&] { return poller.wait(ready, bus::in(300ms)); });  // longer than any transport's slice
  REQUIRE(waiting.get() == 0);
}

TEST_CASE("a poller sleeps while there is no room, and says when there is some", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  const Stream filled = fill(pair.client, payloads, 0, 1000);
  if (filled.end != bus::Errc::would_block) return;  // what drops instead has always room
  bus::Poller poller;
  std::uint64_t more = 0;
  std::vector<std::byte> payload(1000);
  // Nobody receives. Now and then a report may be in vain; a poller that did not sleep would give thousands.
  unsigned reports = 0;
  poller.want_room(pair.client, kRoom);
  for (const bus::Deadline until = bus::in(100ms); reports_room(poller, until); ++reports) {
    if (!pair.client.try_send(payload)) ++more;
    poller.want_room(pair.client, kRoom);
  }
  REQUIRE(reports < 100);
  REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
  // One that has slept for a while is woken.
  InThread receiving([&] {
    std::uint64_t count = 0;
    while (count < filled.count && pair.server.receive(bus::in(pair.server.traits().reliable ? 20s : 1s))) ++count;
    return count;
  });
  REQUIRE(eventually([&] {
    if (!reports_room(poller)) return false;
    if (!pair.client.try_send(payload)) return true;
    poller.want_room(pair.client, kRoom);
    return false;
  }));
  static_cast<void>(receiving.get());
  close_books(pair);
}

TEST_CASE("a wish for room ends with its report, with a send, with remove(), and when it is taken back",
          "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  bus::Poller poller;
  std::vector<std::byte> payload(1000);

  // There is room: said once, and not again.
  poller.want_room(pair.client, kRoom);
  REQUIRE(reports_room(poller));
  REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
  // A second wish replaces the first.
  poller.want_room(pair.client, kRoom + 1);
  poller.want_room(pair.client, kRoom);
  REQUIRE(reports_room(poller));
  REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
  // Removed in time.
  poller.want_room(pair.client, kRoom);
  poller.remove(pair.client);
  REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
  // Taken back, once and again.
  poller.want_room(pair.client, kRoom);
  poller.forget_room(pair.client);
  poller.forget_room(pair.client);
  REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));

  const Stream filled = fill(pair.client, payloads, 0, 1000);
  if (filled.end == bus::Errc::would_block) {
    poller.want_room(pair.client, kRoom);
    std::uint64_t received = 0;
    REQUIRE(eventually([&] {
      while (pair.server.try_receive()) ++received;
      return !pair.client.try_send(payload);  // ends the wish
    }));
    REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
    REQUIRE_FALSE(reports_room(poller, bus::Clock::now()));
    // Blocking sends work after a wish as before.
    poller.want_room(pair.client, kRoom);
    InThread receiving([&] { return drain(pair.server); });
    for (int i = 0; i < 100; ++i) REQUIRE_FALSE(pair.client.send(payload, soon()));
    poller.remove(pair.client);
    pair.client.close();
    static_cast<void>(receiving.get());
  }
  close_books(pair);
}

TEST_CASE("whoever waits for room in a poller learns that the peer has closed", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  if (fill(pair.client, payloads, 0, 1000).end != bus::Errc::would_block) return;
  bus::Poller poller;
  poller.want_room(pair.client, kRoom);
  InThread closing([&] {
    pair.server.close();
    return true;
  });
  const std::vector<std::byte> payload(1000);
  REQUIRE(eventually([&] {
    if (!reports_room(poller)) return false;
    const std::error_code outcome = pair.client.try_send(payload);
    if (outcome == bus::Errc::closed) return true;
    // A closing end may take some more before it says so.
    REQUIRE((!outcome || outcome == bus::Errc::would_block));
    poller.want_room(pair.client, kRoom);
    return false;
  }));
  REQUIRE(closing.get());
  close_books(pair);
}

TEST_CASE("one loop echoes for several clients that all send faster than they receive", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).reliable) return;  // who waits for a lost echo waits for ever
  constexpr std::size_t kClients = 4;
  constexpr std::uint64_t kCount = 1'500;
  struct Served {
    bus::Channel channel;
    std::deque<std::vector<std::byte>> held;  // echoes that found no room, in order
    bool wants = false;
  };
  bus::Listener listener = bus::listen(fresh_address(scheme, "capacity=8KiB&max_message=4KiB"));
  std::array<bus::Channel, kClients> clients;
  std::array<Served, kClients> served;
  for (std::size_t n = 0; n < kClients; ++n) open_more(listener, clients[n], served[n].channel);

  const Payloads payloads;
  std::deque<InThread<Stream>> sending, receiving;
  for (bus::Channel& client : clients) {
    sending.emplace_back([&] { return send_stream(client, payloads, 0, kCount, always(700)); });
    receiving.emplace_back([&] { return receive_stream(client, payloads, 0, kCount); });
  }

  // Keys below kClients: readable; from kClients on: room.
  bus::Poller poller;
  for (std::size_t n = 0; n < kClients; ++n) poller.add(served[n].channel, n);
  std::uint64_t echoed = 0;
  std::array<bus::Poller::Key, 3> ready{};  // fewer than may be ready
  while (echoed < kClients * kCount) {
    const std::size_t count = poller.wait(ready, soon());
    REQUIRE(count > 0);
    for (std::size_t i = 0; i < count; ++i) {
      Served& one = served.at(ready[i] % kClients);
      if (ready[i] >= kClients) one.wants = false;
      for (int turns = 0; ready[i] < kClients && turns < 16; ++turns) {
        const auto message = one.channel.try_receive();
        if (!message) {
          REQUIRE(message.error() == bus::Errc::would_block);
          break;
        }
        one.held.emplace_back(message->data(), message->data() + message->size());
      }
      while (!one.held.empty() && !one.wants) {
        const std::error_code outcome = one.channel.try_send(one.held.front());
        if (!outcome) {
          one.held.pop_front();
          ++echoed;
          continue;
        }
        REQUIRE(outcome == bus::Errc::would_block);
        poller.want_room(one.channel, kClients + ready[i] % kClients);
        one.wants = true;
      }
    }
  }
  for (Served& one : served) REQUIRE_FALSE(one.channel.flush(soon()));
  for (InThread<Stream>& one : sending) REQUIRE(one.get().count == kCount);
  for (InThread<Stream>& one : receiving) {
    const Stream stream = one.get();
    CHECK(stream.damaged == 0);
    REQUIRE(stream.count == kCount);
  }
  for (std::size_t n = 0; n < kClients; ++n) {
    poller.remove(served[n].channel);
    close_books(clients[n], served[n].channel);
  }
}
