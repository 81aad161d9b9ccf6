// tests/bus/core/crc32c_test.cpp: the values of the standard, however they are computed.
#include "bus/core/crc32c.hpp"

#include <random>
#include <string_view>
#include <vector>

#include "tests/support/catch.hpp"

using namespace bus;

namespace {
using Bytes = std::vector<std::byte>;
}

TEST_CASE("CRC-32C gives the values of its standard, by instruction and by table, in pieces of any size", "[core]") {
  const std::string_view text = "123456789";
  const auto nine = std::as_bytes(std::span(text));
  CHECK(crc32c(nine) == 0xE3069283U);
  CHECK(crc32c({}) == 0U);
  CHECK(crc32c(Bytes(32, std::byte{0})) == 0x8A9136AAU);
  CHECK(crc32c(Bytes(32, std::byte{0xFF})) == 0x62A8AB43U);

  std::mt19937_64 random(1);
  Bytes bytes(70'000);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (const std::size_t size : {1U, 7U, 8U, 9U, 63U, 4031U, 4032U, 4033U, 8064U, 65507U, 70000U}) {
    const auto all = std::span<const std::byte>(bytes).first(size);
    const std::uint32_t whole = crc32c(all);
    CHECK(whole == crc32c_by_table(all));
    const std::size_t cut = random() % size;
    CHECK(whole == crc32c(all.subspan(cut), crc32c(all.first(cut))));
    CHECK(whole == crc32c_by_table(all.subspan(cut), crc32c_by_table(all.first(cut))));
  }
}
