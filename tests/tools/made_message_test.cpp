// tests/tools/made_message_test.cpp: the format of made messages, and the check of a stream of them.
#include "tools/common/made_message.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "bus/core/crc32c.hpp"
#include "tools/common/stream_check.hpp"

namespace bus::tools {
namespace {

std::vector<std::byte> made_payload(std::size_t size, std::uint64_t sequence) {
  std::vector<std::byte> message(size);
  make_message(message, sequence);
  return message;
}

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

StreamCounts counts_of(std::initializer_list<std::uint64_t> numbers, std::optional<std::uint64_t> sent = {}) {
  StreamCheck check;
  for (const std::uint64_t number : numbers) check.take(number);
  check.end(sent);
  return check.counts();
}

}  // namespace

TEST_CASE("made messages are these bytes", "[tools]") {
  // Computed by an independent implementation from the table in made_message.hpp.
  REQUIRE(made_payload(20, 1) ==
          bytes({1, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x16, 0xbd, 0x7e, 0xbb, 0x2a, 0xf8, 0x94, 0xfe}));
  REQUIRE(made_payload(16, 0) == bytes({0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x60, 0x04, 0x04, 0xc2}));
  REQUIRE(made_payload(33, 0x0102030405060708) ==
          bytes({8,    7,    6,    5,    4,    3,    2,    1,    0x21, 0,    0,    0,    0x11, 0x48, 0x7f, 0xc8, 0xbd,
                 0xef, 0x80, 0xd4, 0x7f, 0xf9, 0xe4, 0x77, 0xc0, 0xdc, 0x13, 0xa6, 0xb2, 0x43, 0x9a, 0x49, 0xc3}));
}

TEST_CASE("a made message is recognised and every flipped bit is noticed", "[tools]") {
  const auto size = GENERATE(values<std::size_t>({16, 17, 24, 31, 100}));
  auto message = made_payload(size, 77);
  REQUIRE(check_message(message) == 77u);
  for (std::size_t bit = 0; bit < 8 * size; ++bit) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    CAPTURE(bit);
    REQUIRE_FALSE(check_message(message));
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST_CASE("a message that is cut, too short or put together from two is damaged", "[tools]") {
  const auto one = made_payload(64, 1), two = made_payload(64, 2);
  for (std::size_t size = 0; size < 64; ++size) REQUIRE_FALSE(check_message(std::span(one).first(size)));
  auto mixed = one;
  std::copy(two.begin() + 32, two.end(), mixed.begin() + 32);
  REQUIRE_FALSE(check_message(mixed));
}

TEST_CASE("a stream is clean when every number comes once and in order", "[tools]") {
  REQUIRE(counts_of({0, 1, 2, 3}, 4).clean());
  REQUIRE(counts_of({}, 0).clean());
}

TEST_CASE("lost, duplicated and reordered messages are counted one by one", "[tools]") {
  REQUIRE(counts_of({0, 1, 4}, 7).lost == 4);  // 2, 3, 5, 6
  REQUIRE(counts_of({0, 0, 1, 0}, 2).duplicated == 2);
  const StreamCounts late = counts_of({0, 3, 1, 2}, 4);
  REQUIRE(late.reordered == 2);
  REQUIRE(late.lost == 0);
  const StreamCounts all = counts_of({5, 1, 1, 3, 5, 9}, 10);
  REQUIRE(all.lost == 6);  // 0, 2, 4, 6, 7, 8
  REQUIRE(all.reordered == 2);
  REQUIRE(all.duplicated == 2);
}

TEST_CASE("a damaged message is not counted as lost as well", "[tools]") {
  StreamCheck check;
  check.take(0);
  check.take(std::nullopt);
  check.take(2);
  check.end(3);
  REQUIRE(check.counts().damaged == 1);
  REQUIRE(check.counts().lost == 0);
}

TEST_CASE("a stream with very many gaps is checked in bounded memory", "[tools]") {
  StreamCheck check;
  for (std::uint64_t i = 1; i < 400'000; i += 2) check.take(i);
  check.end(400'000);
  REQUIRE(check.counts().lost == 200'000);
}

TEST_CASE("a number at the end of its range does no harm", "[tools]") {
  StreamCheck check;
  check.take(std::numeric_limits<std::uint64_t>::max());
  check.take(0);
  check.end(std::nullopt);
  REQUIRE(check.counts().checked == 2);
}

}  // namespace bus::tools
