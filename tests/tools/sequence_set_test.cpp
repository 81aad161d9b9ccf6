// tests/tools/sequence_set_test.cpp: which sequence numbers were there.
#include "tools/common/sequence_set.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace bus::tools {

TEST_CASE("a set of sequences knows what it was given, and nothing else", "[tools]") {
  SequenceSet set;
  REQUIRE_FALSE(set.contains(0));
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t number :
       {std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{512}, std::uint64_t{0}, kMost}) {
    CAPTURE(number);
    REQUIRE_FALSE(set.contains(number));
    REQUIRE(set.insert(number));
    REQUIRE(set.contains(number));
    REQUIRE_FALSE(set.insert(number));
  }
  for (const std::uint64_t number : {std::uint64_t{2}, std::uint64_t{510}, std::uint64_t{513}, kMost - 1, kMost / 2}) {
    CAPTURE(number);
    REQUIRE_FALSE(set.contains(number));
  }
}

TEST_CASE("a set of sequences may be filled in any order", "[tools]") {
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same each time
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t i = 0; i < 5'000; ++i) numbers.push_back(i < 4'000 ? i * 3 : random());
  std::shuffle(numbers.begin(), numbers.end(), random);
  SequenceSet set;
  std::set<std::uint64_t> known;
  bool right = true;
  for (const std::uint64_t number : numbers) {
    right = right && set.insert(number) == known.insert(number).second;
    right = right && set.contains(number) && set.contains(number + 1) == known.contains(number + 1);
  }
  REQUIRE(right);
  for (const std::uint64_t number : numbers) right = right && !set.insert(number);
  REQUIRE(right);
}

}  // namespace bus::tools
