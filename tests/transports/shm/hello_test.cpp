// tests/transports/shm/hello_test.cpp: the greeting's bytes.
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "bus/core/transport.hpp"
#include "transports/shm/hello.hpp"

using namespace bus;

namespace {

shm::Hello example() {
  shm::Hello hello;
  hello.has_membarrier = true;
  hello.max_message = 1 << 20;
  hello.capacity = 256 << 10;
  hello.pid = 0x01020304;
  for (std::uint8_t i = 0; i < 16; ++i) hello.instance[i] = static_cast<std::uint8_t>(0xa0 + i);
  return hello;
}

}  // namespace

TEST_CASE("the shm greeting has these bytes", "[shm]") {
  constexpr std::array<unsigned char, shm::kHelloBytes> kGolden{
      'B',  'S',  'H',  'M',  1,    0,    1,    0,     // magic, version, flags
      0,    0,    0x10, 0,    0,    0,    0,    0,     // max_message
      0,    0,    4,    0,    0,    0,    0,    0,     // capacity
      4,    3,    2,    1,    0,    0,    0,    0,     // pid, reserved
      0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,  // instance
      0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,  //
      0,    0,    0,    0,    0,    0,    0,    0};
  const auto bytes = shm::encode(example());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    CAPTURE(i);
    REQUIRE(std::to_integer<unsigned char>(bytes[i]) == kGolden[i]);
  }
  const Result<shm::Hello> back = shm::decode(bytes);
  REQUIRE(back);
  REQUIRE(back->instance == example().instance);
  REQUIRE(back->capacity == example().capacity);
  REQUIRE(back->max_message == example().max_message);
  REQUIRE(back->has_membarrier);
}

TEST_CASE("a cut, unknown or impossible shm greeting is corrupt", "[shm]") {
  const auto good = shm::encode(example());
  for (std::size_t size = 0; size < good.size(); ++size) {
    REQUIRE(shm::decode(std::span(good).first(size)).error() == Errc::corrupt);
  }
  const auto with = [&](std::size_t at, unsigned value) {
    auto bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return shm::decode(bytes);
  };
  REQUIRE(with(0, 'X').error() == Errc::corrupt);    // magic
  REQUIRE(with(6, 0xff).error() == Errc::corrupt);   // unknown flags
  REQUIRE(with(15, 0x80).error() == Errc::corrupt);  // max_message of 2^63
  REQUIRE(with(16, 1).error() == Errc::corrupt);     // capacity that is no power of two
  REQUIRE(with(23, 0x80).error() == Errc::corrupt);  // capacity of 2^63
  REQUIRE(with(28, 1).error() == Errc::corrupt);     // reserved
  REQUIRE(with(55, 1).error() == Errc::corrupt);
  const Result<shm::Hello> other = with(4, 9);
  REQUIRE(other);
  REQUIRE(other->version == 9);
}

TEST_CASE("random bytes are never a good shm greeting and never more than refused", "[shm]") {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    auto bytes = shm::encode(example());
    for (auto flips = random() % 20 + 1; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    const Result<shm::Hello> hello = shm::decode(std::span(bytes).first(random() % (bytes.size() + 1)));
    if (hello && hello->version == shm::kVersion) {
      REQUIRE(hello->max_message <= Options::kMostMaxMessage);
      REQUIRE((hello->capacity & (hello->capacity - 1)) == 0);
    }
  }
}
