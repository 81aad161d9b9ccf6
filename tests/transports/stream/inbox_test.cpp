// tests/transports/stream/inbox_test.cpp: where received bytes are kept, and for how long.
#include "transports/stream/inbox.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <thread>

#include "tests/support/payload.hpp"
#include "tests/transports/stream/sockets.hpp"

using namespace bus;
using namespace bus::stream;
using bus::test::append;
using bus::test::framed;
using bus::test::Payloads;

namespace {

constexpr std::size_t kLargest = std::size_t{64} << 20;

/// A stream with an inbox at its end.
struct Incoming {
  explicit Incoming(std::size_t max_message = kLargest, Framing framing = Framing::bus)
      : sockets(test::unix_sockets()), wire(std::move(sockets.one)), inbox(framing, max_message) {}

  /// The next message; reads as often as needed.
  Message next() {
    for (;;) {
      const Cut cut = inbox.next();
      if (cut.what == Cut::What::message) return inbox.take(cut);
      REQUIRE(cut.what == Cut::What::more);
      const Transfer transfer = inbox.fill(wire);
      if (transfer.state == Transfer::State::again) REQUIRE(test::wait_readable(wire.fd()));
      REQUIRE(transfer.state != Transfer::State::broken);
      REQUIRE(transfer.state != Transfer::State::over);
    }
  }

  test::Sockets sockets;
  Wire wire;
  Inbox inbox;
};

/// Bytes of a mapping that are in memory.
std::size_t resident(const std::byte* from, std::size_t bytes) {
  const auto start = reinterpret_cast<std::uintptr_t>(from) & ~std::uintptr_t{4095};
  const std::size_t pages = (reinterpret_cast<std::uintptr_t>(from) + bytes - start + 4095) / 4096;
  std::vector<unsigned char> in(pages);
  REQUIRE(::mincore(reinterpret_cast<void*>(start), pages * 4096, in.data()) == 0);
  return static_cast<std::size_t>(std::count_if(in.begin(), in.end(), [](unsigned char c) { return (c & 1) != 0; })) *
         4096;
}

}  // namespace

TEST_CASE("messages of all sizes arrive in place, whatever the pieces", "[stream]") {
  const Payloads payloads(11);
  std::mt19937 random(5);
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < 400; ++i) sizes.push_back(i % 50 == 7 ? random() % 700000 : test::mixed_size(i));
  for (const std::size_t size : test::kSizes) sizes.push_back(size);
  Incoming stream;
  std::jthread writer([&, fd = stream.sockets.other.get()] {
    std::mt19937 chunks(6);
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < sizes.size(); ++i) append(bytes, framed(payloads.make(i, sizes[i])));
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t piece = std::min<std::size_t>(bytes.size() - at, 1 + chunks() % (1 << (chunks() % 20)));
      test::write_all(fd, std::span(bytes).subspan(at, piece));
      at += piece;
    }
  });
  // A receiver that holds some of the messages for a while, and releases them in any order.
  std::vector<std::pair<std::size_t, Message>> held;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    Message message = stream.next();
    CAPTURE(i);
    REQUIRE(message.size() == sizes[i]);
    REQUIRE(payloads.matches(message.bytes(), i));
    if (random() % 3 == 0) held.emplace_back(i, std::move(message));
    if (held.size() > 20) {
      const std::size_t which = random() % held.size();
      REQUIRE(payloads.matches(held[which].second.bytes(), held[which].first));
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
  for (const auto& [i, message] : held) REQUIRE(payloads.matches(message.bytes(), i));
}

TEST_CASE("messages outlive the inbox and are released on other threads", "[stream]") {
  const Payloads payloads(12);
  std::vector<Message> held;
  {
    Incoming stream;
    std::jthread writer([&, fd = stream.sockets.other.get()] {
      for (std::uint64_t i = 0; i < 3000; ++i) test::write_all(fd, framed(payloads.make(i, 500)));
    });
    for (std::uint64_t i = 0; i < 3000; ++i) held.push_back(stream.next());
  }
  for (std::uint64_t i = 0; i < held.size(); ++i) REQUIRE(payloads.matches(held[i].bytes(), i));
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&held, t] {
      for (std::size_t i = t; i < held.size(); i += 4) held[i].reset();
    });
  }
  threads.clear();
  Chunk::trim();
  REQUIRE(Chunk::pooled() <= std::size_t{32} << 20);
}

TEST_CASE("a receiver that keeps up uses the same memory again and again", "[stream]") {
  Incoming stream;
  const auto frame = framed(std::vector<std::byte>(1000));
  std::vector<const std::byte*> places;
  for (int i = 0; i < 1000; ++i) {
    test::write_all(stream.sockets.other.get(), frame);
    const Message message = stream.next();
    if (std::find(places.begin(), places.end(), message.data()) == places.end()) places.push_back(message.data());
  }
  REQUIRE(places.size() == 1);
}

TEST_CASE("an announced message takes no more memory than has arrived of it", "[stream]") {
  Incoming stream;
  test::write_all(stream.sockets.other.get(), encode_header(kLargest, Kind::message));
  test::write_all(stream.sockets.other.get(), std::vector<std::byte>(10));
  REQUIRE(stream.inbox.next().what == Cut::What::more);
  REQUIRE(stream.inbox.fill(stream.wire).state == Transfer::State::moved);
  REQUIRE(stream.inbox.next().what == Cut::What::more);
  REQUIRE(stream.inbox.fill(stream.wire).state == Transfer::State::again);  // has made room for all of it
  const Cut cut = stream.inbox.next();
  REQUIRE(cut.whole == kLargest + kHeaderBytes);
  const std::byte* const front = stream.inbox.body(cut).data();
  REQUIRE(resident(front, kLargest) <= std::size_t{128} << 10);
}

TEST_CASE("a long line finds room without knowing its length", "[stream]") {
  constexpr std::size_t kLength = 3000000;
  Incoming stream(kLength, Framing::line);
  std::string line(kLength, 'x');
  std::jthread writer([&, fd = stream.sockets.other.get()] {
    test::write_all(fd, bytes_of(line));
    test::write_all(fd, bytes_of("\nshort\n"));
  });
  REQUIRE(stream.next().text() == line);
  REQUIRE(stream.next().text() == "short");
}

TEST_CASE("an idle inbox keeps no more than a little memory", "[stream]") {
  const std::size_t before = Chunk::pooled();
  std::vector<std::unique_ptr<Incoming>> streams;
  const auto large = framed(std::vector<std::byte>(150000));
  for (int i = 0; i < 50; ++i) {
    streams.push_back(std::make_unique<Incoming>());
    std::jthread writer([&, fd = streams.back()->sockets.other.get()] { test::write_all(fd, large); });
    REQUIRE(streams.back()->next().size() == 150000);
    streams.back()->inbox.rest();
  }
  // One chunk has served them all.
  REQUIRE(Chunk::pooled() <= before + 2 * Chunk::kStandard);
  // While a message is held, resting leaves it alone.
  test::write_all(streams[0]->sockets.other.get(), framed(bytes_of("kept")));
  const Message kept = streams[0]->next();
  streams[0]->inbox.rest();
  REQUIRE(kept.text() == "kept");
}
