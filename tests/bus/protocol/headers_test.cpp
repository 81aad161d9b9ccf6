// tests/bus/protocol/headers_test.cpp: blocks of keys and values: golden bytes, limits, damage.
#include "bus/protocol/headers.hpp"

#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/bus/protocol/hex.hpp"
#include "tests/support/catch.hpp"

using namespace bus::protocol;
using bus::test::ByteVector;
using bus::test::hex;
using bus::test::join;
using bus::test::number;

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs(const Headers& headers) {
  Pairs found;
  for (const Header& header : headers) found.emplace_back(header.key, header.value);
  return found;
}

ByteVector bytes(const HeaderBlock& block) { return {block.bytes().begin(), block.bytes().end()}; }

const ByteVector kGolden =
    hex("04 00 04 00  74 79 70 65  6a 73 6f 6e"  // type: json
        "01 00 00 00  61"                        // a:
        "01 00 01 00  61 62");                   // a: b

}  // namespace

TEST_CASE("a block of headers has these bytes, and is read from them", "[protocol]") {
  HeaderBlock block;
  block.add("type", "json").add("a", "").add("a", "b");
  REQUIRE(bytes(block) == kGolden);
  const Headers headers(kGolden);
  REQUIRE(headers.valid());
  REQUIRE(pairs(headers) == Pairs{{"type", "json"}, {"a", ""}, {"a", "b"}});
}

TEST_CASE("a header is found by its key, the first one first", "[protocol]") {
  const Headers headers(kGolden);
  REQUIRE(headers.find("type") == "json");
  REQUIRE(headers.find("a") == "");
  REQUIRE_FALSE(headers.find("b"));
  REQUIRE_FALSE(headers.find("typ"));
  REQUIRE_FALSE(headers.find(""));
}

TEST_CASE("no headers are no bytes", "[protocol]") {
  HeaderBlock block;
  REQUIRE(block.bytes().empty());
  const Headers none;
  REQUIRE(none.valid());
  REQUIRE(none.empty());
  REQUIRE(none.begin() == none.end());
  block.add("a", "b");
  REQUIRE_FALSE(Headers(block.bytes()).empty());
  block.clear();
  REQUIRE(block.bytes().empty());
}

TEST_CASE("a header needs a key", "[protocol]") {
  HeaderBlock block;
  REQUIRE_THROWS_AS(block.add("", "value"), std::invalid_argument);
  REQUIRE(block.bytes().empty());
  REQUIRE_FALSE(Headers(hex("00 00 01 00 61")).valid());
  REQUIRE_FALSE(Headers(hex("00 00 00 00")).valid());
}

TEST_CASE("headers are at most 64 KiB in all", "[protocol]") {
  REQUIRE(kMaxHeaders == 65536);
  const std::string value(32000, 'v');
  HeaderBlock block;
  block.add("a", value).add("b", value);
  const std::size_t left = kMaxHeaders - block.bytes().size();
  const ByteVector before = bytes(block);
  REQUIRE_THROWS_AS(block.add("c", std::string(left - 4, 'v')), std::invalid_argument);  // one byte too many
  REQUIRE(bytes(block) == before);
  block.add("c", std::string(left - 5, 'v'));
  REQUIRE(block.bytes().size() == kMaxHeaders);
  REQUIRE(Headers(block.bytes()).valid());
  REQUIRE(pairs(Headers(block.bytes())).size() == 3);
  REQUIRE_THROWS_AS(block.add("d", ""), std::invalid_argument);

  const ByteVector more = join(bytes(block), hex("01 00 00 00 64"));
  REQUIRE_FALSE(Headers(more).valid());
  HeaderBlock one;
  REQUIRE_THROWS_AS(one.add("k", std::string(65536, 'v')), std::invalid_argument);
  REQUIRE_THROWS_AS(one.add(std::string(65536, 'k'), ""), std::invalid_argument);
  one.add("k", std::string(65531, 'v'));
  REQUIRE(Headers(one.bytes()).valid());
}

TEST_CASE("a part of a block is valid only where a pair ends", "[protocol]") {
  for (std::size_t size = 0; size <= kGolden.size(); ++size) {
    CAPTURE(size);
    const ByteVector part(kGolden.begin(), kGolden.begin() + static_cast<std::ptrdiff_t>(size));
    const bool whole = size == 0 || size == 12 || size == 17 || size == kGolden.size();
    CHECK(Headers(part).valid() == whole);
    const Pairs found = pairs(Headers(part));  // reads nothing behind the end, and what is whole
    CHECK(found.size() == (size < 12 ? 0U : size < 17 ? 1U : size < kGolden.size() ? 2U : 3U));
  }
}

TEST_CASE("sizes beyond the end of a block are no headers", "[protocol]") {
  for (const std::uint64_t size : {2U, 3U, 0x7fffU, 0x8000U, 0xfffeU, 0xffffU}) {
    CAPTURE(size);
    CHECK_FALSE(Headers(join(number(size, 2), hex("00 00 61"))).valid());
    CHECK_FALSE(Headers(join(hex("01 00"), number(size, 2), hex("61 62"))).valid());
    CHECK_FALSE(Headers(join(number(size, 2), number(size, 2), hex("61 62"))).valid());
  }
}

TEST_CASE("random headers come back as they were", "[protocol]") {
  const unsigned seed = Catch::rngSeed();
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    HeaderBlock block;
    Pairs wanted;
    for (std::size_t n = random() % 6; n > 0; --n) {
      const std::string key = bus::test::random_text(random, 1 + random() % 20, "abc\n");
      const std::string value = bus::test::random_text(random, random() % 40, "xyz.");
      block.add(key, value);
      wanted.emplace_back(key, value);
    }
    REQUIRE(Headers(block.bytes()).valid());
    REQUIRE(pairs(Headers(block.bytes())) == wanted);
    // Damaged ones are read to the end or to the damage, whatever it is.
    ByteVector damaged = bytes(block);
    if (damaged.empty()) continue;
    damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 + random() % 255);
    std::size_t read = 0;
    for (const auto& [key, value] : pairs(Headers(damaged))) read += 4 + key.size() + value.size();
    REQUIRE(Headers(damaged).valid() == (read == damaged.size()));
  }
}
