// tests/transports/udp/udp_history_test.cpp: each datagram is fresh, late or a duplicate, across every wrap.
#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "transports/udp/history.hpp"

using bus::udp::History;
using Arrival = History::Arrival;

TEST_CASE("arrivals in order are fresh, later ones late, repeated ones duplicates", "[udp]") {
  const std::uint64_t start = GENERATE(0ULL, (1ULL << 32) - 3, ~0ULL - 2, (1ULL << 63) - 2);
  CAPTURE(start);
  History history(start);
  CHECK(history.arrive(start) == Arrival::fresh);
  CHECK(history.arrive(start) == Arrival::duplicate);
  CHECK(history.arrive(start + 3) == Arrival::fresh);
  CHECK(history.arrive(start + 1) == Arrival::late);
  CHECK(history.arrive(start + 1) == Arrival::duplicate);
  CHECK(history.arrive(start + 2) == Arrival::late);
  CHECK(history.arrive(start + 3) == Arrival::duplicate);
  CHECK(history.arrive(start + 4) == Arrival::fresh);
  CHECK(history.known() == start + 5);
}

TEST_CASE("what was announced and arrives afterwards, in order, is fresh", "[udp]") {
  History history(10);
  CHECK(history.announce(13) == 3);
  CHECK(history.announce(13) == 0);
  CHECK(history.announce(12) == 0);
  CHECK(history.arrive(10) == Arrival::fresh);
  CHECK(history.arrive(12) == Arrival::fresh);
  CHECK(history.arrive(11) == Arrival::late);
  CHECK(history.arrive(12) == Arrival::duplicate);
}

TEST_CASE("a number's low half finds the number nearest to what is known", "[udp]") {
  History history((7ULL << 32) - 5);
  CHECK(history.extend(0xFFFFFFFBU) == (7ULL << 32) - 5);
  CHECK(history.extend(3) == (7ULL << 32) + 3);
  CHECK(history.extend(0xFFFFFFF0U) == (7ULL << 32) - 16);
  History wrapping(~0ULL);
  CHECK(wrapping.extend(2) == 2);
  CHECK(History::ahead(2, ~0ULL) == 3);
  CHECK(History::ahead(~0ULL, 2) == -3);
}

TEST_CASE("the history agrees with a list of all arrivals, whatever their order", "[udp]") {
  const std::uint64_t start = GENERATE(0ULL, (1ULL << 32) - 500, ~0ULL - 500);
  const std::uint64_t seed = GENERATE(1U, 2U, 3U);
  CAPTURE(start, seed);
  std::mt19937_64 random(seed);
  History history(start);
  std::map<std::uint64_t, bool> seen;  // by distance from start
  std::uint64_t newest = 0;            // one behind
  for (int i = 0; i < 30'000; ++i) {
    const std::uint64_t back = random() % 300;
    std::uint64_t number = newest + random() % 4;
    if (random() % 3 == 0) number = number > back ? number - back : 0;
    const Arrival expected = seen[number] ? Arrival::duplicate : (number < newest ? Arrival::late : Arrival::fresh);
    REQUIRE(history.arrive(start + number) == expected);
    seen[number] = true;
    newest = std::max(newest, number + 1);
  }
}

TEST_CASE("a jump over the whole memory forgets all of it", "[udp]") {
  History history;
  for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(history.arrive(n) == Arrival::fresh);
  const std::uint64_t far = 10 * History::kSpan + 7;
  CHECK(history.arrive(far) == Arrival::fresh);
  CHECK(history.arrive(far - 1) == Arrival::late);
  CHECK(history.arrive(far - History::kSpan + 1) == Arrival::late);
  CHECK(history.arrive(far - History::kSpan) == Arrival::duplicate);  // older than it remembers
  CHECK(history.arrive(5) == Arrival::duplicate);
}
