// tests/transports/mq/handshake_test.cpp: golden bytes, and everything that must be refused.
#include "transports/mq/handshake.hpp"

#include <random>
#include <string>
#include "tests/support/catch.hpp"

#include "bus/core/errc.hpp"
#include "bus/core/transport.hpp"

using namespace bus;
using namespace bus::mq;

namespace {

Id id_from(std::uint8_t first) {
  Id id{};
  for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(first + i);
  return id;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text.push_back(kDigits[std::to_integer<unsigned>(b) >> 4]);
    text.push_back(kDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return text;
}

template <std::size_t N>
std::array<std::byte, N> with(std::array<std::byte, N> bytes, std::size_t at, unsigned value) {
  bytes[at] = static_cast<std::byte>(value);
  return bytes;
}

}  // namespace

TEST_CASE("HELLO, WELCOME and the counts have the documented bytes", "[mq]") {
  CHECK(hex(encode(Hello{4, id_from(0x10), 0x100000, 0x40000})) ==
        "6970636275734d51"
        "01000000"
        "04000000"
        "101112131415161718191a1b1c1d1e1f"
        "0000100000000000"
        "0000040000000000");
  Welcome welcome;
  welcome.instance = id_from(0x20);
  welcome.max_message = 64;
  welcome.up_depth = 4096;
  welcome.down_depth = 4;
  welcome.token = id_from(0x30);
  CHECK(hex(encode(welcome)) ==
        "6970636275734d51"
        "01000000"
        "00000000"
        "202122232425262728292a2b2c2d2e2f"
        "4000000000000000"
        "00100000"
        "04000000"
        "303132333435363738393a3b3c3d3e3f");
  CHECK(hex(encode(Counts{Kind::end, true, 3, 2, 0})) ==
        "01000000"
        "01000000"
        "0300000000000000"
        "0200000000000000"
        "0000000000000000");
}

TEST_CASE("what was encoded is decoded", "[mq]") {
  const auto hello = decode_hello(encode(Hello{65536, id_from(1), Options::kMostMaxMessage, Options::kMostCapacity}));
  REQUIRE(hello);
  CHECK(hello->depth == 65536);
  CHECK(hello->instance == id_from(1));
  CHECK(hello->max_message == Options::kMostMaxMessage);
  CHECK(hello->capacity == Options::kMostCapacity);

  const auto welcome = decode_welcome(encode(Welcome{Status::welcome, id_from(2), 5, 1, 65536, id_from(3)}));
  REQUIRE(welcome);
  CHECK(welcome->instance == id_from(2));
  CHECK(welcome->max_message == 5);
  CHECK(welcome->up_depth == 1);
  CHECK(welcome->down_depth == 65536);
  CHECK(welcome->token == id_from(3));

  const auto counts = decode_counts(encode(Counts{Kind::ack, false, 1, ~std::uint64_t{0}, 3}));
  REQUIRE(counts);
  CHECK(counts->kind == Kind::ack);
  CHECK(counts->accepted == 1);
  CHECK(counts->received == ~std::uint64_t{0});
  CHECK(counts->dropped == 3);
}

TEST_CASE("a greeting that is wrong in any field is refused", "[mq]") {
  const auto hello = encode(Hello{4, id_from(0), 1024, 4096});
  CHECK(decode_hello(with(hello, 0, 'X')).error() == Errc::corrupt);
  CHECK(decode_hello(with(hello, 7, 'X')).error() == Errc::corrupt);
  CHECK(decode_hello(with(hello, 8, 2)).error() == Errc::version_mismatch);
  CHECK(decode_hello(with(hello, 11, 1)).error() == Errc::version_mismatch);
  CHECK(decode_hello(with(hello, 12, 0))->depth == 0);
  CHECK(decode_hello(with(hello, 14, 1)).error() == Errc::corrupt);  // too deep
  CHECK(decode_hello(with(hello, 39, 1)).error() == Errc::corrupt);  // too large
  CHECK(decode_hello(encode(Hello{4, {}, Options::kMostMaxMessage + 1, 0})).error() == Errc::corrupt);

  CHECK(decode_hello(with(hello, 47, 1)).error() == Errc::corrupt);
  CHECK(decode_hello(encode(Hello{4, {}, 0, Options::kMostCapacity + 1})).error() == Errc::corrupt);

  const auto welcome = encode(Welcome{Status::welcome, {}, 1024, 4, 4, {}});
  CHECK(decode_welcome(with(welcome, 3, 0)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 8, 0)).error() == Errc::version_mismatch);
  CHECK(decode_welcome(with(welcome, 12, 3)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 39, 1)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 40, 0)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 43, 1)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 44, 0)).error() == Errc::corrupt);
  CHECK(decode_welcome(with(welcome, 47, 1)).error() == Errc::corrupt);
  CHECK(decode_welcome(encode(Welcome{Status::no_room, {}, 0, 0, 0, {}}))->status == Status::no_room);

  const auto counts = encode(Counts{Kind::end, false, 1, 2, 3});
  CHECK(decode_counts(with(counts, 0, 0)).error() == Errc::corrupt);
  CHECK(decode_counts(with(counts, 0, 3)).error() == Errc::corrupt);
  CHECK(decode_counts(with(counts, 3, 1)).error() == Errc::corrupt);
  CHECK(decode_counts(with(counts, 4, 1))->more);
  CHECK(decode_counts(with(counts, 4, 2)).error() == Errc::corrupt);
  CHECK(decode_counts(with(with(counts, 0, 2), 4, 1)).error() == Errc::corrupt);  // an ACK never has more
  for (std::size_t at = 5; at < 8; ++at) CHECK(decode_counts(with(counts, at, 1)).error() == Errc::corrupt);
}

TEST_CASE("random bytes are never taken for a greeting", "[mq]") {
  std::mt19937_64 random(7);
  std::array<std::byte, Welcome::kBytes> bytes{};
  for (int i = 0; i < 20000; ++i) {
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    REQUIRE_FALSE(decode_hello(std::span(bytes).first<Hello::kBytes>()));
    REQUIRE_FALSE(decode_welcome(bytes));
    const auto counts = decode_counts(std::span(bytes).first<Counts::kBytes>());
    if (counts) REQUIRE(hex(encode(*counts)) == hex(std::span(bytes).first<Counts::kBytes>()));
  }
}
