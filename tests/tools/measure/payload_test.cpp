// tests/tools/measure/payload_test.cpp: what a receiver of a measurement notices.
#include "tools/measure/payload.hpp"

#include <algorithm>
#include <array>

#include "tests/support/catch.hpp"

using namespace bus::tools::measure;

TEST_CASE("a stamp is read as it was written", "[measure]") {
  std::array<std::byte, 8> message{};
  for (const Phase phase : {Phase::warm_up, Phase::timed, Phase::end}) {
    for (const std::uint64_t sequence : {std::uint64_t{0}, std::uint64_t{1}, kSequenceMask}) {
      stamp(message.data(), {sequence, phase});
      REQUIRE(read_stamp(message.data()).sequence == sequence);
      REQUIRE(read_stamp(message.data()).phase == phase);
    }
  }
}

TEST_CASE("reading every byte finds any one that is wrong", "[measure]") {
  for (const std::size_t size : {8U, 9U, 15U, 16U, 31U, 64U, 100U, 1024U, 65537U}) {
    CAPTURE(size);
    Body sender(size, kCountHeader, 5), receiver(size, kCountHeader, 5);
    const auto message = sender.message(size);
    stamp(message.data(), {77, Phase::timed});
    sender.mark(message, 77);
    REQUIRE(receiver.read(message, 77, Touch::all));
    REQUIRE(receiver.copy_and_read(message, 77, Touch::all));
    for (std::size_t at = kCountHeader; at < size; at += 1 + size / 100) {
      message[at] ^= std::byte{0x10};
      REQUIRE_FALSE(receiver.read(message, 77, Touch::all));
      REQUIRE_FALSE(receiver.copy_and_read(message, 77, Touch::all));
      REQUIRE(receiver.read(message, 77, Touch::first));  // it was not asked to look
      message[at] ^= std::byte{0x10};
    }
    REQUIRE(receiver.read(message, 77, Touch::all));
  }
}

TEST_CASE("the body of another message, or of two, is found", "[measure]") {
  for (const std::size_t size : {16U, 24U, 64U, 4096U, 5000U, 65536U}) {
    CAPTURE(size);
    Body one(size, kCountHeader, 5), two(size, kCountHeader, 5), receiver(size, kCountHeader, 5);
    const auto first = one.message(size), second = two.message(size);
    one.mark(first, 10);
    two.mark(second, 11);
    REQUIRE(receiver.read(first, 10, Touch::all));
    REQUIRE_FALSE(receiver.read(first, 11, Touch::all));  // stale
    if (size < 32) continue;
    std::copy(second.begin() + static_cast<std::ptrdiff_t>(size / 2), second.end(),
              first.begin() + static_cast<std::ptrdiff_t>(size / 2));
    REQUIRE_FALSE(receiver.read(first, 10, Touch::all));
    REQUIRE_FALSE(receiver.read(first, 11, Touch::all));
  }
}

TEST_CASE("a shorter message of a run is known, too", "[measure]") {
  Body sender(1000, kTimeHeader, 5), receiver(1000, kTimeHeader, 5);
  for (std::size_t size = 1000; size >= kTimeHeader + 61; size -= 61) {
    const auto message = sender.message(size);
    sender.mark(message, size);
    REQUIRE(receiver.read(message, size, Touch::all));
    message[size - 1] ^= std::byte{1};
    REQUIRE_FALSE(receiver.read(message, size, Touch::all));
    message[size - 1] ^= std::byte{1};
  }
}

TEST_CASE("bodies of different seeds differ", "[measure]") {
  Body one(64, kCountHeader, 1), two(64, kCountHeader, 2);
  one.mark(one.message(64), 3);
  REQUIRE_FALSE(two.read(one.message(64), 3, Touch::all));
}
