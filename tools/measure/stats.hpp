// tools/measure/stats.hpp: what may be said of numbers that vary: medians, ratios and trends, with how sure that is.
//
// Nothing here assumes a distribution: latencies have tails that no bell fits. All numbers given must be finite.
// Anchors: Hoefler & Belli, "Scientific benchmarking of parallel computing systems" (2015); Kalibera & Jones,
// "Rigorous benchmarking in reasonable time" (2013); Le Boudec, "Performance evaluation" (2010), appendix A.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// Fewer repetitions give no interval of 95 %.
inline constexpr std::size_t kLeastRepetitions = 6;
inline constexpr double kConfidence = 0.95;
/// A smaller difference than this is not called one, however sure it is.
inline constexpr double kLeastEffect = 0.05;

/// Whether quantile q of n samples may be printed: at least ten of them must lie beyond it.
[[nodiscard]] bool may_print_quantile(double q, std::uint64_t n) noexcept;

/// The ranks, from 1, of the order statistics that hold the median of n values: the narrowest symmetric pair whose
/// confidence is 95 % or more. None below six.
struct Ranks {
  std::size_t low = 0, high = 0;
  double confidence = 0;
};
[[nodiscard]] std::optional<Ranks> median_ranks(std::size_t n);

/// The median and its interval. The median of nothing is 0.
[[nodiscard]] Figure median_of(std::span<const double> values);

/// The ratio of a to b, measured in pairs (one of each in a block, at about the same time): the median of the pairs'
/// ratios. Interval: bootstrap over the pairs, percentiles, from six pairs. Pairs with a value that is not above zero
/// are left out. A value of 0: there was no pair.
/// The spans have the same length. The same seed gives the same interval.
[[nodiscard]] Figure ratio_of(std::span<const double> a, std::span<const double> b, std::uint64_t seed);

/// The same for repetitions that have no pairs, such as those of two runs: the ratio of the medians; bootstrap over
/// each side by itself. Interval from six on both sides.
[[nodiscard]] Figure ratio_of_unpaired(std::span<const double> a, std::span<const double> b, std::uint64_t seed);

/// Which way of a figure is good: less of a duration, more of a rate.
enum class Better : unsigned char { lower, higher };

/// What a ratio says of a, that stands above the line: "faster", "slower", "no difference shown" (the interval has 1 in
/// it, or the effect is below kLeastEffect) or "too few repetitions" (no interval).
[[nodiscard]] std::string say(const Figure& ratio, Better better);

/// a against b in pairs. `valid`: both count; else it says "invalid" whatever the ratio.
[[nodiscard]] Verdict compare(std::string against, std::span<const double> a, std::span<const double> b, Better better,
                              bool valid, std::uint64_t seed);

/// How a series goes up or down.
struct Trend {
  double change = 0;       // from the first to the last, as a part of the median: 0.1 is 10 % up. Theil-Sen
  double probability = 1;  // of a trend as clear as this or clearer where there is none. Mann-Kendall, two-sided
};
/// Values next to each other are first put together to at most 20 medians, because neighbours resemble each other,
/// which the test would take for a trend. Fewer than 8 values show no trend.
[[nodiscard]] Trend trend_of(std::span<const double> values);

/// Whether a repetition got faster or slower while it was timed, so that more warm-up (or a quieter machine) is due: a
/// trend of 5 % or more with a probability below 1 %. Looks at the slices' p50, and where there is none at their rate.
/// False alarms: see tests/tools/measure/stats_test.cpp; below 1 % of repetitions with independent slices, and below 5
/// % where neighbours are correlated by 0.5.
[[nodiscard]] bool drifts(std::span<const Slice> timeline);

}  // namespace bus::tools::measure
