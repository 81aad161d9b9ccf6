// tests/bus/broker/backlog_test.cpp: frames that wait come out as they went in.
#include "bus/broker/backlog.hpp"

#include <random>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/failing_allocations.hpp"
#include "tests/support/sanitized.hpp"

namespace {

using bus::broker::Backlog;
using Bytes = std::vector<std::byte>;

Bytes some_bytes(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  std::mt19937_64 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

bool is(bus::protocol::Bytes frame, const Bytes& expected) {
  return std::equal(frame.begin(), frame.end(), expected.begin(), expected.end());
}

}  // namespace

TEST_CASE("frames of any size come out of a backlog in order, whole, while others go in", "[broker]") {
  std::mt19937_64 random(GENERATE(1u, 2u, 3u));
  Backlog backlog;
  std::uint64_t in = 0, out = 0, bytes = 0;
  const auto size_of = [](std::uint64_t number) {
    constexpr std::size_t kSizes[] = {0, 1, 63, 100, 5000, 16384, 16385, 100'000};
    return kSizes[number * 7 % std::size(kSizes)];
  };
  constexpr unsigned kSteps = bus::test::repetitions(5000);
  for (unsigned step = 0; step < kSteps; ++step) {
    const bool fills = step * 10 / kSteps % 2 == 0;
    if (random() % 4 < (fills ? 3 : 1)) {
      const Bytes frame = some_bytes(size_of(in), in);
      backlog.push({Backlog::Kind::message, {}, in % 2 == 0, in, in % 10}, frame);
      bytes += frame.size();
      ++in;
    } else if (!backlog.empty()) {
      REQUIRE(backlog.front().number == out);
      REQUIRE(backlog.front().again == (out % 2 == 0));
      REQUIRE(is(backlog.frame(), some_bytes(size_of(out), out)));
      bytes -= backlog.frame().size();
      backlog.pop();
      ++out;
    }
    REQUIRE(backlog.size() == in - out);
    REQUIRE(backlog.bytes() == bytes);
  }
  std::uint64_t cost = 0;
  for (std::uint64_t i = out; i < in; ++i) cost += i % 10;
  REQUIRE(backlog.cost() == cost);
  REQUIRE(out > kSteps / 5);
}

TEST_CASE("a backlog keeps no memory once it is empty", "[broker]") {
  const Bytes frame = some_bytes(1000, 1);
  Backlog backlog;
  const std::ptrdiff_t before = bus::test::allocated_bytes();
  for (std::uint64_t i = 0; i < 1000; ++i) backlog.push({Backlog::Kind::message, {}, false, i, 1000}, frame);
  // (A sanitizer's own operator new[] is not counted.)
  if (!bus::test::kSanitized) REQUIRE(bus::test::allocated_bytes() - before > 1'000'000);
  while (!backlog.empty()) backlog.pop();
  REQUIRE(bus::test::allocated_bytes() - before < 4096);
  REQUIRE(backlog.cost() == 0);
}

TEST_CASE("a backlog without memory is as it was", "[broker]") {
  const Bytes frame = some_bytes(10'000, 1);
  Backlog backlog;
  std::uint64_t in = 0;
  int failures = 0;
  for (int round = 0; round < 50; ++round) {  // blocks and the list of frames grow at some of these
    bool pushed = false;
    for (std::size_t nth = 1; !pushed; ++nth) {
      try {
        const bus::test::FailingAllocation fail(nth);
        backlog.push({Backlog::Kind::message, {}, false, in, 1}, frame);
        pushed = true;
      } catch (const std::bad_alloc&) {
        ++failures;
        REQUIRE(backlog.size() == in);
        REQUIRE(backlog.bytes() == in * frame.size());
        REQUIRE(backlog.cost() == in);
      }
    }
    ++in;
  }
  REQUIRE(failures > 50);
  for (std::uint64_t i = 0; i < in; ++i, backlog.pop()) {
    REQUIRE(backlog.front().number == i);
    REQUIRE(is(backlog.frame(), frame));
  }
  REQUIRE(backlog.empty());
}

TEST_CASE("a backlog knows what is in it", "[broker]") {
  const Bytes frame = some_bytes(8, 1);
  Backlog backlog;
  backlog.push({Backlog::Kind::message, {}, false, 7, 0}, frame);
  backlog.push({Backlog::Kind::flush, {}, false, 8, 0}, frame);
  REQUIRE(backlog.has(Backlog::Kind::message, 7));
  REQUIRE(backlog.has(Backlog::Kind::flush, 8));
  REQUIRE_FALSE(backlog.has(Backlog::Kind::flush, 7));
  REQUIRE_FALSE(backlog.has(Backlog::Kind::bye, 8));
  backlog.pop();
  REQUIRE_FALSE(backlog.has(Backlog::Kind::message, 7));
}
