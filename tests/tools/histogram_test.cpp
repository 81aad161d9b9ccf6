// tests/tools/histogram_test.cpp: quantiles of durations.
#include "tools/common/histogram.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
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

TEST_CASE("every value lies in its bucket, and buckets follow each other without a gap", "[tools]") {
  using Axis = ThreeDigitAxis;
  for (int i = 0; i < Axis::kBuckets; ++i) {
    const std::uint64_t least = Axis::least_of(i), greatest = least + (Axis::width_of(i) - 1);
    if (Axis::index_of(least) != i || Axis::index_of(greatest) != i) FAIL("bucket " << i << " from " << least);
    if (i + 1 < Axis::kBuckets && Axis::least_of(i + 1) != greatest + 1) FAIL("a gap above bucket " << i);
    if (Axis::width_of(i) > std::max<std::uint64_t>(1, least / 1000)) FAIL("bucket " << i << " is too wide");
  }
  REQUIRE(Axis::least_of(0) == 0);
  REQUIRE(Histogram::greatest_alike(std::numeric_limits<std::uint64_t>::max()) ==
          std::numeric_limits<std::uint64_t>::max());
  REQUIRE(Histogram::least_alike(2049) == 2048);
  REQUIRE(Histogram::greatest_alike(2048) == 2049);
}

namespace {

using Buckets = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
Buckets buckets_of(const Histogram& histogram) {
  Buckets buckets;
  histogram.for_each([&](std::uint64_t least, std::uint64_t count) { buckets.emplace_back(least, count); });
  return buckets;
}

Histogram made(unsigned seed, int n) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> distribution(8, 2);
  Histogram histogram;
  for (int i = 0; i < n; ++i) histogram.add(nanoseconds(static_cast<std::int64_t>(distribution(random))));
  return histogram;
}

bool are_alike(const Histogram& a, const Histogram& b) {
  return buckets_of(a) == buckets_of(b) && a.count() == b.count() && a.least() == b.least() &&
         a.greatest() == b.greatest();
}

}  // namespace

TEST_CASE("a histogram is visited in rising order, by the least value of each bucket", "[tools]") {
  Histogram histogram;
  for (const int ns : {5000, 7, 7, 5001, 2047}) histogram.add(nanoseconds(ns));
  REQUIRE(buckets_of(histogram) == Buckets{{7, 2}, {2047, 1}, {5000, 2}});
  REQUIRE(buckets_of(Histogram()).empty());
}

TEST_CASE("a histogram is the same after its buckets were read back", "[tools]") {
  const Histogram original = made(1, 5000);
  Histogram copy;
  for (const auto& [least, count] : buckets_of(original)) copy.add(least, count);
  copy.add(123, 0);  // none of it
  REQUIRE(buckets_of(copy) == buckets_of(original));
  REQUIRE(copy.count() == original.count());
  REQUIRE(copy.mean() == original.mean());
}

TEST_CASE("merged histograms are the histogram of all values", "[tools]") {
  Histogram a = made(1, 5000), b = made(2, 300), all = made(1, 5000);
  b.for_each([&](std::uint64_t least, std::uint64_t count) { all.add(least, count); });
  const bool compact = GENERATE(false, true);
  CAPTURE(compact);
  if (compact) b.compact();
  a.merge(b);
  REQUIRE(buckets_of(a) == buckets_of(all));
  REQUIRE(a.count() == 5300);
  REQUIRE(a.least() == std::min(made(1, 5000).least(), b.least()));
  REQUIRE(a.greatest() == std::max(made(1, 5000).greatest(), b.greatest()));

  const Histogram before = a;
  a.merge(Histogram());
  REQUIRE(are_alike(a, before));
  Histogram empty;
  empty.merge(before);
  REQUIRE(are_alike(empty, before));
}

TEST_CASE("a compact histogram says and takes the same", "[tools]") {
  Histogram histogram = made(3, 2000);
  const Histogram original = histogram;
  histogram.compact();
  histogram.compact();  // again is nothing
  REQUIRE(are_alike(histogram, original));
  for (const double q : {0.0, 0.5, 0.99, 1.0}) REQUIRE(histogram.quantile(q) == original.quantile(q));
  REQUIRE(histogram.mean() == original.mean());

  Histogram more = original;
  more.add(nanoseconds(12345));
  histogram.add(nanoseconds(12345));
  REQUIRE(are_alike(histogram, more));
  histogram.compact();
  histogram.add(99, 3);
  more.add(99, 3);
  REQUIRE(are_alike(histogram, more));

  Histogram moved = std::move(histogram);
  REQUIRE(are_alike(moved, more));
  Histogram nothing;
  nothing.compact();
  REQUIRE(nothing.quantile(0.5) == 0);
  REQUIRE(nothing.mean() == 0);
}

TEST_CASE("the mean is exact for small values and right to a thousandth for all", "[tools]") {
  Histogram small;
  for (int i = 1; i <= 1000; ++i) small.add(nanoseconds(i));
  REQUIRE(small.mean() == 500.5);
  Histogram large;
  double sum = 0;
  std::mt19937_64 random(4);
  for (int i = 0; i < 10'000; ++i) {
    const auto value = static_cast<std::int64_t>(random() % 1'000'000'000'000);
    large.add(nanoseconds(value));
    sum += static_cast<double>(value);
  }
  REQUIRE(large.mean() == Approx(sum / 10'000).epsilon(0.001));
}

TEST_CASE("what adding to a histogram costs", "[tools][.speed]") {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> distribution(8, 1);
  std::vector<nanoseconds> values(1 << 16);
  for (nanoseconds& value : values) value = nanoseconds(static_cast<std::int64_t>(distribution(random)));
  Histogram histogram;
  constexpr int kRounds = 300;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) {
    for (const nanoseconds value : values) histogram.add(value);
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  WARN("one add() takes " << took.count() / kRounds / static_cast<double>(values.size()) << " ns");
  REQUIRE(histogram.count() == kRounds * values.size());
}

}  // namespace bus::tools
