// tests/tools/histogram_test.cpp: quantiles of durations.
#include "tools/common/histogram.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace bus::tools {

using std::chrono::nanoseconds;

TEST_CASE("an empty histogram has zeros", "[tools]") {
  const Histogram histogram;
  REQUIRE(histogram.count() == 0);
  REQUIRE(histogram.least() == 0);
  REQUIRE(histogram.quantile(0.5) == 0);
}

TEST_CASE("quantiles of small values are exact by nearest rank", "[tools]") {
  Histogram histogram;
  for (int i = 1; i <= 10; ++i) histogram.add(nanoseconds(i * 100));
  REQUIRE(histogram.least() == 100);
  REQUIRE(histogram.greatest() == 1000);
  REQUIRE(histogram.quantile(0) == 100);
  REQUIRE(histogram.quantile(0.5) == 500);
  REQUIRE(histogram.quantile(0.9) == 900);
  REQUIRE(histogram.quantile(0.99) == 1000);
  REQUIRE(histogram.quantile(1) == 1000);
}

TEST_CASE("quantiles of any values are right to a thousandth", "[tools]") {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> distribution(10, 3);
  Histogram histogram;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    const auto value = static_cast<std::uint64_t>(distribution(random));
    values.push_back(value);
    histogram.add(nanoseconds(value));
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const auto exact = static_cast<double>(values[static_cast<std::size_t>(std::ceil(q * 20'000)) - 1]);
    CAPTURE(q, exact);
    REQUIRE(std::abs(static_cast<double>(histogram.quantile(q)) - exact) <= exact / 1000 + 1);
  }
  REQUIRE(histogram.least() == values.front());
  REQUIRE(histogram.greatest() == values.back());
}

TEST_CASE("the ends of the range fit", "[tools]") {
  Histogram histogram;
  histogram.add(nanoseconds(-5));
  histogram.add(nanoseconds(0));
  histogram.add(nanoseconds(2047));
  histogram.add(nanoseconds(2048));
  histogram.add(nanoseconds::max());
  REQUIRE(histogram.least() == 0);
  REQUIRE(histogram.quantile(0.6) == 2047);
  REQUIRE(histogram.quantile(0.8) - 2048 <= 2);
  REQUIRE(histogram.quantile(1) == static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

}  // namespace bus::tools
