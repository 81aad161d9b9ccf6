// tests/tools/measure/stats_test.cpp: what is said of numbers that vary, and how often it is wrong.
#include "tools/measure/stats.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace bus::tools::measure {
namespace {

std::vector<double> one_to(int n) {
  std::vector<double> values;
  for (int i = n; i >= 1; --i) values.push_back(i);  // falling: order must not matter
  return values;
}

/// Repetitions of two contenders in blocks: what a block's machine is like hits both, the rest each by itself.
struct Blocks {
  std::vector<double> a, b;
};
Blocks noisy_blocks(std::mt19937_64& random, double factor, double disturbances = 0.05) {
  std::lognormal_distribution<double> of_block(0, 0.15), of_one(0, 0.04);
  std::bernoulli_distribution disturbed(disturbances);
  Blocks result;
  for (int i = 0; i < 10; ++i) {
    const double machine = 700 * of_block(random);
    const auto one = [&] { return machine * of_one(random) * (disturbed(random) ? 1.5 : 1.0); };
    result.a.push_back(one() * factor);
    result.b.push_back(one());
  }
  return result;
}

/// Slices whose p50 follows `level`, with noise of `spread` that is correlated by `correlation` with its neighbour's.
template <class F>
std::vector<Slice> timeline(std::mt19937_64& random, std::size_t n, double spread, double correlation, F&& level) {
  std::normal_distribution<double> normal;
  std::vector<Slice> slices(n);
  double noise = normal(random);
  for (std::size_t i = 0; i < n; ++i) {
    slices[i].at_seconds = static_cast<double>(i) * 0.1;
    slices[i].seconds = 0.1;
    slices[i].count = 1000;
    slices[i].p50 = static_cast<std::uint64_t>(1000 * level(static_cast<double>(i) / static_cast<double>(n - 1)) *
                                               std::max(1 + spread * noise, 0.1));
    noise = correlation * noise + std::sqrt(1 - correlation * correlation) * normal(random);
  }
  return slices;
}
double level(double) { return 1; }

}  // namespace

TEST_CASE("a quantile may be printed when at least ten samples lie beyond it", "[measure]") {
  struct Case {
    double q;
    std::uint64_t enough;
  };
  for (const auto& [q, enough] :
       {Case{0.5, 20}, Case{0.9, 100}, Case{0.99, 1000}, Case{0.999, 10'000}, Case{0.9999, 100'000}}) {
    CAPTURE(q);
    REQUIRE(may_print_quantile(q, enough));
    REQUIRE_FALSE(may_print_quantile(q, enough - 1));
  }
  REQUIRE_FALSE(may_print_quantile(0.5, 0));
  REQUIRE_FALSE(may_print_quantile(1, 1'000'000'000));
}

TEST_CASE("the interval of a median is the narrowest pair of ranks that holds it with 95 %", "[measure]") {
  // n, low, high, confidence. Source: Le Boudec, "Performance evaluation" (2010), table A.1; 1 - 2 P(Bin(n, 1/2) <
  // low).
  struct Case {
    std::size_t n, low, high;
    double confidence;
  };
  const std::array<Case, 8> table{{{6, 1, 6, 0.96875},
                                   {7, 1, 7, 0.984375},
                                   {8, 1, 8, 0.9921875},
                                   {9, 2, 8, 0.9609375},
                                   {10, 2, 9, 0.978515625},
                                   {20, 6, 15, 0.958610534667969},
                                   {30, 10, 21, 0.957226},
                                   {50, 18, 33, 0.967164}}};
  for (const Case& expected : table) {
    CAPTURE(expected.n);
    const auto ranks = median_ranks(expected.n);
    REQUIRE(ranks);
    REQUIRE(ranks->low == expected.low);
    REQUIRE(ranks->high == expected.high);
    REQUIRE(ranks->confidence == Approx(expected.confidence).epsilon(1e-5));
    const Figure figure = median_of(one_to(static_cast<int>(expected.n)));
    REQUIRE(figure.low == static_cast<double>(expected.low));
    REQUIRE(figure.high == static_cast<double>(expected.high));
    REQUIRE(figure.value == (static_cast<double>(expected.n) + 1) / 2);
  }
}

TEST_CASE("fewer than six repetitions have a median and no interval", "[measure]") {
  for (int n = 0; n < 6; ++n) {
    CAPTURE(n);
    const Figure figure = median_of(one_to(n));
    REQUIRE(figure.value == (n == 0 ? 0 : (n + 1) / 2.0));
    REQUIRE_FALSE(figure.low);
    REQUIRE_FALSE(figure.high);
    REQUIRE(figure.confidence == 0);
  }
}

TEST_CASE("the interval of a median holds the true one as often as it says", "[measure]") {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> skewed(0, 1);  // median 1
  int held = 0;
  constexpr int kTries = 4000;
  for (int i = 0; i < kTries; ++i) {
    std::vector<double> values(10);
    for (double& value : values) value = skewed(random);
    const Figure figure = median_of(values);
    held += *figure.low <= 1 && 1 <= *figure.high;
  }
  CAPTURE(held);
  REQUIRE(std::abs(held / double{kTries} - 0.9785) < 0.01);
}

TEST_CASE("a ratio is the median of the pairs' ratios, and what hits both of a pair cancels out", "[measure]") {
  // Each block's machine is very different; the ratio is 1.25 in each.
  const std::vector<double> b{100, 900, 40, 5000, 70, 300, 20};
  std::vector<double> a;
  for (const double value : b) a.push_back(1.25 * value);
  const Figure ratio = ratio_of(a, b, 1);
  REQUIRE(ratio.value == Approx(1.25));
  REQUIRE(*ratio.low == Approx(1.25));
  REQUIRE(*ratio.high == Approx(1.25));
  REQUIRE(ratio.confidence == 0.95);
  REQUIRE(say(ratio, Better::lower) == "slower");
  // Without the pairs the same numbers show nothing.
  REQUIRE(say(ratio_of_unpaired(a, b, 1), Better::lower) == "no difference shown");
}

TEST_CASE("the same seed gives the same interval, and pairs without a value are left out", "[measure]") {
  std::mt19937_64 random(3);
  Blocks blocks = noisy_blocks(random, 1.1);
  const Figure first = ratio_of(blocks.a, blocks.b, 42), second = ratio_of(blocks.a, blocks.b, 42);
  REQUIRE(first.low == second.low);
  REQUIRE(first.high == second.high);
  REQUIRE(*first.low <= first.value);
  REQUIRE(first.value <= *first.high);

  blocks.a.push_back(0);
  blocks.b.push_back(5);
  REQUIRE(ratio_of(blocks.a, blocks.b, 42).value == first.value);
  REQUIRE(ratio_of({}, {}, 1).value == 0);
}

TEST_CASE("faster is less of a duration and more of a rate", "[measure]") {
  const std::vector<double> less{80, 81, 79, 80, 82, 78, 80}, more{100, 101, 99, 100, 102, 98, 100};
  REQUIRE(compare("x", less, more, Better::lower, true, 1).says == "faster");
  REQUIRE(compare("x", more, less, Better::lower, true, 1).says == "slower");
  REQUIRE(compare("x", less, more, Better::higher, true, 1).says == "slower");
  REQUIRE(compare("x", more, less, Better::higher, true, 1).says == "faster");
  REQUIRE(compare("x", more, less, Better::higher, true, 1).against == "x");
}

TEST_CASE("a verdict is kept back where it would not hold", "[measure]") {
  const std::vector<double> a{104, 104.1, 103.9, 104, 104, 104}, b(6, 100.0);
  // Sure, and below the least effect.
  REQUIRE(compare("x", a, b, Better::lower, true, 1).says == "no difference shown");
  REQUIRE(compare("x", b, a, Better::lower, true, 1).says == "no difference shown");
  REQUIRE(compare("x", a, b, Better::lower, false, 1).says == "invalid");
  const std::vector<double> twice(5, 200.0), once(5, 100.0);
  const Verdict few = compare("x", twice, once, Better::lower, true, 1);
  REQUIRE(few.says == "too few repetitions");
  REQUIRE(few.ratio.value == 2);
  REQUIRE_FALSE(few.ratio.low);
  REQUIRE(compare("x", {}, {}, Better::lower, true, 1).says == "too few repetitions");
}

TEST_CASE("A against A shows no difference, and a delay of 20 % is found", "[measure]") {
  int none = 0, found = 0, found_in_calm = 0, wrong_way = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < 20; ++i) {
      const Blocks same = noisy_blocks(random, 1), slowed = noisy_blocks(random, 1.2);
      const Blocks calm = noisy_blocks(random, 1.2, 0);
      const auto says = [&](const Blocks& blocks) {
        return compare("a", blocks.a, blocks.b, Better::lower, true, seed * 100 + i).says;
      };
      const std::string of_slowed = says(slowed), of_calm = says(calm);
      none += says(same) == "no difference shown";
      found += of_slowed == "slower";
      found_in_calm += of_calm == "slower";
      wrong_way += of_slowed == "faster" || of_calm == "faster";
    }
  }
  WARN("of 400: A against A says no difference " << none << ", 20 % slower is found " << found
                                                 << ", on a machine without disturbances " << found_in_calm);
  REQUIRE(none >= 380);
  REQUIRE(found >= 360);  // one repetition in twenty takes half as long again
  REQUIRE(found_in_calm >= 396);
  REQUIRE(wrong_way == 0);
}

TEST_CASE("independent runs of the same thing show no difference, and a delay of 20 % is found", "[measure]") {
  int none = 0, found = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    std::lognormal_distribution<double> noise(0, 0.04);
    std::vector<double> before(10), after(10), slower(10);
    for (double& value : before) value = noise(random);
    for (double& value : after) value = noise(random);
    for (double& value : slower) value = 1.2 * noise(random);
    none += say(ratio_of_unpaired(after, before, seed), Better::lower) == "no difference shown";
    found += say(ratio_of_unpaired(slower, before, seed), Better::lower) == "slower";
  }
  REQUIRE(none >= 95);
  REQUIRE(found >= 95);
}

TEST_CASE("a drift is seen through noise, whichever way it goes", "[measure]") {
  int down = 0, up = 0, step = 0;
  constexpr int kTries = 100;
  for (std::uint64_t seed = 1; seed <= kTries; ++seed) {
    std::mt19937_64 random(seed);
    down += drifts(timeline(random, 50, 0.05, 0, [](double at) { return 1.2 - 0.2 * at; }));
    up += drifts(timeline(random, 50, 0.05, 0, [](double at) { return 1 + 0.2 * at; }));
    step += drifts(timeline(random, 50, 0.05, 0, [](double at) { return at < 0.5 ? 1.2 : 1.0; }));
  }
  CAPTURE(down, up, step);
  REQUIRE(down >= 95);
  REQUIRE(up >= 95);
  REQUIRE(step >= 75);  // half way through: the hardest place to tell from noise by ranks
}

TEST_CASE("noise without a drift is seldom taken for one", "[measure]") {
  constexpr int kTries = 2000;
  int independent = 0, correlated = 0, spikes = 0, few = 0;
  for (std::uint64_t seed = 1; seed <= kTries; ++seed) {
    std::mt19937_64 random(seed);
    independent += drifts(timeline(random, 50, 0.1, 0, level));
    correlated += drifts(timeline(random, 50, 0.1, 0.5, level));
    few += drifts(timeline(random, 10, 0.1, 0, level));
    auto slices = timeline(random, 50, 0.02, 0, level);
    slices[random() % 50].p50 *= 100;
    spikes += drifts(slices);
  }
  WARN("false alarms of " << kTries << ": independent " << independent << ", correlated by 0.5 " << correlated
                          << ", with a spike " << spikes << ", ten slices " << few);
  REQUIRE(independent < kTries / 100);
  REQUIRE(correlated < kTries / 20);
  REQUIRE(spikes < kTries / 100);
  REQUIRE(few < kTries / 50);
}

TEST_CASE("a drift too small to matter, or slices too few to tell, are no drift", "[measure]") {
  std::mt19937_64 random(1);
  const auto slope = [](double at) { return 1 + 0.02 * at; };
  REQUIRE(trend_of(std::vector<double>{1, 2, 3, 4, 5, 6, 7}).probability == 1);
  REQUIRE_FALSE(drifts(timeline(random, 50, 0.001, 0, slope)));  // sure, and 2 %
  REQUIRE_FALSE(drifts(timeline(random, 7, 0.001, 0, [](double at) { return 1 + at; })));
  REQUIRE_FALSE(drifts({}));
  REQUIRE_FALSE(drifts(std::vector<Slice>(50)));
}

TEST_CASE("without durations the drift of the rate counts", "[measure]") {
  std::vector<Slice> slices(30);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    slices[i].seconds = 0.1;
    slices[i].count = 1000 - 10 * i;
  }
  REQUIRE(drifts(slices));
  const Trend trend = trend_of(std::vector<double>{100, 101, 102, 103, 104, 105, 106, 107, 108, 109});
  REQUIRE(trend.change == Approx(9 / 104.5));
  REQUIRE(trend.probability < 0.001);
}

}  // namespace bus::tools::measure
