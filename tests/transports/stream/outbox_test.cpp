// tests/transports/stream/outbox_test.cpp: what leaves when, and in how few system calls.
#include "transports/stream/outbox.hpp"

#include <catch2/catch.hpp>
#include <numeric>
#include <thread>

#include "bus/core/os/ticks.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/payload.hpp"
#include "tests/transports/stream/sockets.hpp"

using namespace bus;
using namespace bus::stream;
using bus::test::append;
using bus::test::framed;
using bus::test::Payloads;

namespace {

constexpr std::size_t kCapacity = std::size_t{256} << 10;

struct Outgoing {
  explicit Outgoing(std::size_t capacity = kCapacity, int buffer_bytes = 0, Framing framing = Framing::bus)
      : sockets(test::unix_sockets(buffer_bytes)), wire(std::move(sockets.one)), outbox(wire, framing, capacity) {}

  [[nodiscard]] int far() const { return sockets.other.get(); }

  test::Sockets sockets;
  Wire wire;
  Outbox outbox;
};

std::vector<std::byte> frames(const Payloads& payloads, std::uint64_t count, std::size_t size) {
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < count; ++i) append(bytes, framed(payloads.make(i, size)));
  return bytes;
}

}  // namespace

TEST_CASE("a message alone is with the kernel when send returns", "[stream]") {
  Outgoing stream;
  for (int i = 0; i < 20; ++i) {
    const auto before = os::ticks();
    REQUIRE(test::eventually([&] { return os::ticks() - before > 2 * os::kTicksOfABurst; }));
    REQUIRE_FALSE(stream.outbox.send(bytes_of("alone")));
    REQUIRE(stream.outbox.held() == 0);
  }
  REQUIRE(stream.wire.writes() == 20);
}

TEST_CASE("a burst takes few system calls, in the order in which it was sent", "[stream]") {
  constexpr std::uint64_t kCount = 20000;
  const Payloads payloads(21);
  Outgoing stream;
  std::vector<std::vector<std::byte>> made;
  for (std::uint64_t i = 0; i < kCount; ++i) made.push_back(payloads.make(i, 64));
  auto expected = frames(payloads, kCount, 64);
  std::vector<std::byte> got;
  std::jthread reader([&] { got = test::read_exactly(stream.far(), expected.size()); });
  stream.outbox.begin_batch();  // a burst whatever the machine does meanwhile
  std::uint64_t refused = 0;
  for (const auto& payload : made) {
    while (stream.outbox.send(payload) == Errc::would_block) {
      ++refused;
      std::this_thread::yield();
    }
  }
  stream.outbox.end_batch();
  REQUIRE(test::eventually([&] { return stream.outbox.held() == 0; }));
  reader.join();
  REQUIRE(got == expected);
  REQUIRE(stream.wire.writes() < kCount / 100 + 2 * refused);
  REQUIRE(stream.outbox.accepted() == kCount);
}

TEST_CASE("gathered messages leave although the caller does nothing more", "[stream]") {
  Outgoing stream;
  stream.outbox.begin_batch();
  REQUIRE_FALSE(stream.outbox.send(bytes_of("one")));
  REQUIRE(stream.outbox.held() != 0);
  stream.outbox.end_batch();
  REQUIRE(stream.outbox.held() == 0);
  auto expected = framed(bytes_of("one"));
  REQUIRE(test::read_exactly(stream.far(), expected.size()) == expected);

  // A tight loop gathers sooner or later, unless the machine takes the CPU away between every two sends.
  expected.clear();
  bool gathered = false;
  for (int i = 0; i < 100000 && !gathered; ++i) {
    REQUIRE_FALSE(stream.outbox.send(bytes_of("x")));
    append(expected, framed(bytes_of("x")));
    gathered = stream.outbox.held() != 0;
    if (expected.size() > 50000) {
      REQUIRE(test::read_exactly(stream.far(), expected.size()) == expected);
      expected.clear();
    }
  }
  REQUIRE(gathered);
  REQUIRE(test::read_exactly(stream.far(), expected.size()) == expected);
  REQUIRE(test::eventually([&] { return stream.outbox.held() == 0; }));
}

TEST_CASE("the flusher sleeps while nothing is gathered", "[stream]") {
  Outgoing stream;
  for (int i = 0; i < 100; ++i) {
    for (int j = 0; j < 5; ++j) REQUIRE_FALSE(stream.outbox.send(bytes_of("x")));
    static_cast<void>(test::read_exactly(stream.far(), 5 * 9));
  }
  REQUIRE(test::eventually([&] { return stream.outbox.held() == 0; }));
  // It may look once more after the last burst; then it sleeps until somebody wakes it.
  const auto flushers = test::threads_named("bus-flusher");
  REQUIRE(flushers.size() == 1);
  REQUIRE(test::eventually([&] { return test::sleeps_without_limit(flushers.front()); }));
}

TEST_CASE("what the kernel took only in part leaves by itself", "[stream]") {
  const Payloads payloads(22);
  for (const std::size_t size : {std::size_t{100000}, std::size_t{3000000}}) {
    CAPTURE(size);
    Outgoing stream(kCapacity, 4096);
    const auto payload = payloads.make(1, size);
    REQUIRE_FALSE(stream.outbox.send(payload));
    REQUIRE(stream.outbox.held() > 0);
    // From here on only the reader does something.
    REQUIRE(test::read_exactly(stream.far(), size + kHeaderBytes) == framed(payload));
    REQUIRE(test::eventually([&] { return stream.outbox.held() == 0; }));
  }
}

TEST_CASE("a full outbox refuses a message and keeps what it has", "[stream]") {
  const Payloads payloads(23);
  Outgoing stream(16384, 4096);
  std::uint64_t count = 0;
  std::error_code error;
  while (!(error = stream.outbox.send(payloads.make(count, 1000)))) ++count;
  REQUIRE(error == Errc::would_block);
  REQUIRE(stream.outbox.held() <= 16384);
  REQUIRE(stream.outbox.held() >= 16384 - 2016);
  REQUIRE(stream.outbox.send(payloads.make(count, 1000)) == Errc::would_block);
  REQUIRE(stream.outbox.flush() == Errc::would_block);
  REQUIRE(stream.outbox.accepted() == count);
  const auto expected = frames(payloads, count, 1000);
  REQUIRE(test::read_exactly(stream.far(), expected.size()) == expected);
  REQUIRE(test::eventually([&] { return stream.outbox.held() == 0; }));
  REQUIRE_FALSE(stream.outbox.send(bytes_of("again")));
  REQUIRE(test::read_exactly(stream.far(), 13) == framed(bytes_of("again")));
}

TEST_CASE("a large payload goes with what was gathered before it, uncopied", "[stream]") {
  Outgoing stream;
  stream.outbox.begin_batch();
  auto expected = std::vector<std::byte>();
  for (int i = 0; i < 10; ++i) {
    REQUIRE_FALSE(stream.outbox.send(bytes_of("small")));
    append(expected, framed(bytes_of("small")));
  }
  const auto large = Payloads(24).make(0, 40000);
  REQUIRE(stream.wire.writes() == 0);
  REQUIRE_FALSE(stream.outbox.send(large));
  append(expected, framed(large));
  REQUIRE(stream.wire.writes() == 1);
  REQUIRE(stream.outbox.held() == 0);
  stream.outbox.end_batch();
  REQUIRE(test::read_exactly(stream.far(), expected.size()) == expected);
}

TEST_CASE("loans are sent as they were written, and dropped ones are not", "[stream]") {
  const Payloads payloads(25);
  Outgoing stream;
  std::vector<std::byte> expected;
  for (const std::size_t size : {0U, 1U, 100U, 20000U, 300000U}) {
    auto dropped = stream.outbox.loan(size);
    REQUIRE(dropped);
    stream.outbox.drop_loan();
    auto loan = stream.outbox.loan(size + 10);
    REQUIRE(loan);
    REQUIRE(loan->size() == size + 10);
    payloads.fill(loan->first(size), size);
    std::jthread reader([&] { expected = test::read_exactly(stream.far(), size + kHeaderBytes); });
    REQUIRE_FALSE(stream.outbox.publish(size));
    reader.join();
    REQUIRE(expected == framed(payloads.make(size, size)));
  }
}

TEST_CASE("lines get their newline, and a message that holds one is refused", "[stream]") {
  Outgoing stream(kCapacity, 0, Framing::line);
  REQUIRE_FALSE(stream.outbox.send(bytes_of("one")));
  REQUIRE_FALSE(stream.outbox.send(bytes_of("")));
  REQUIRE(stream.outbox.send(bytes_of("a\nb")) == Errc::not_supported);
  REQUIRE(stream.outbox.send(bytes_of("c\r")) == Errc::not_supported);
  REQUIRE_FALSE(stream.outbox.flush());
  REQUIRE(test::read_exactly(stream.far(), 5) == test::vector_of("one\n\n"));
  REQUIRE(stream.outbox.accepted() == 2);
}

TEST_CASE("a broken connection is an error, not a signal", "[stream]") {
  Outgoing stream;
  stream.sockets.other.reset();
  const std::error_code error = stream.outbox.send(bytes_of("x"));
  REQUIRE(error == std::errc::broken_pipe);
  REQUIRE(stream.outbox.send(bytes_of("x")) == std::errc::broken_pipe);
  stream.outbox.stop(Errc::peer_died);
  REQUIRE(stream.outbox.send(bytes_of("x")) == Errc::peer_died);
}

TEST_CASE("a channel's sender, receiver and the flusher share an outbox", "[stream]") {
  constexpr std::uint64_t kCount = 30000;
  const Payloads payloads(26);
  Outgoing stream(65536, 8192);
  std::atomic<bool> done{false};
  std::jthread receiver([&] {  // as try_receive() does when it has nothing to give
    while (!done) {
      stream.outbox.flush_gathered();
      std::this_thread::yield();
    }
  });
  std::jthread sender([&] {
    for (std::uint64_t i = 0; i < kCount; ++i) {
      const auto payload = payloads.make(i, test::mixed_size(i));
      while (stream.outbox.send(payload) == Errc::would_block) std::this_thread::yield();
    }
  });
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const auto expected = framed(payloads.make(i, test::mixed_size(i)));
    if (test::read_exactly(stream.far(), expected.size()) != expected) ++wrong;
  }
  done = true;
  REQUIRE(wrong == 0);
}
