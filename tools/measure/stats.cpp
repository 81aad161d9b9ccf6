// tools/measure/stats.cpp: see stats.hpp.
#include "tools/measure/stats.hpp"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cassert>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace bus::tools::measure {
namespace {

constexpr double kLeastBeyond = 10;
constexpr std::size_t kResamples = 10'000;
constexpr std::size_t kMostBatches = 20;
constexpr std::size_t kLeastForTrend = 8;
constexpr double kTrendProbability = 0.01;

/// Reorders `values`, which must not be empty.
double median_in_place(std::span<double> values) {
  const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), half, values.end());
  if (values.size() % 2 == 1) return *half;
  return std::midpoint(*std::max_element(values.begin(), half), *half);
}

double median(std::span<const double> values) {
  std::vector<double> copy(values.begin(), values.end());
  return copy.empty() ? 0 : median_in_place(copy);
}

/// Draws as many of `from` as it has, each as likely every time.
void resample(std::span<const double> from, std::span<double> to, std::mt19937_64& random) {
  for (double& value : to) {
    // The high half of 32 by 32 bits: even to one in 2^32 / n, and much cheaper than a distribution object.
    value = from[static_cast<std::size_t>(((random() >> 32) * from.size()) >> 32)];
  }
}

/// What `statistic` says of 10 000 resamplings: the middle 95 % of it.
template <class F>
void set_bootstrap_interval(Figure& figure, F&& statistic) {
  std::vector<double> found(kResamples);
  for (double& value : found) value = statistic();
  const double outside = (1 - kConfidence) / 2;
  const auto low = found.begin() + static_cast<std::ptrdiff_t>(outside * static_cast<double>(kResamples));
  const auto high = found.begin() + static_cast<std::ptrdiff_t>((1 - outside) * static_cast<double>(kResamples)) - 1;
  std::nth_element(found.begin(), low, found.end());
  figure.low = *low;
  std::nth_element(low, high, found.end());
  figure.high = *high;
  figure.confidence = kConfidence;
}

std::vector<double> above_zero(std::span<const double> values) {
  std::vector<double> kept;
  std::copy_if(values.begin(), values.end(), std::back_inserter(kept), [](double value) { return value > 0; });
  return kept;
}

/// At most kMostBatches medians of neighbours; the batches differ by one value at most.
std::vector<double> batch_medians(std::span<const double> values) {
  const std::size_t batches = std::min(values.size(), kMostBatches);
  std::vector<double> medians;
  for (std::size_t i = 0; i < batches; ++i) {
    const std::size_t begin = i * values.size() / batches;
    const std::size_t end = (i + 1) * values.size() / batches;
    medians.push_back(median(values.subspan(begin, end - begin)));
  }
  return medians;
}

/// Mann-Kendall: how many pairs rise, less how many fall; normal approximation with continuity, corrected for ties.
/// Source: Kendall, "Rank correlation methods" (1975); the approximation is good from n = 8.
double kendall_probability(std::span<const double> values) {
  double rises = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    for (std::size_t j = i + 1; j < values.size(); ++j) {
      rises += values[j] > values[i] ? 1 : values[j] < values[i] ? -1 : 0;
    }
  }
  const auto spread = [](double n) { return n * (n - 1) * (2 * n + 5); };
  double variance = spread(static_cast<double>(values.size()));
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  for (auto first = sorted.begin(); first != sorted.end();) {
    const auto last = std::upper_bound(first, sorted.end(), *first);
    variance -= spread(static_cast<double>(last - first));
    first = last;
  }
  variance /= 18;
  if (variance <= 0) return 1;  // all alike
  const double z = std::max(std::abs(rises) - 1, 0.0) / std::sqrt(variance);
  return 2 * boost::math::cdf(boost::math::complement(boost::math::normal(), z));
}

/// The median of the slopes of all pairs, in values a step. Source: Sen (1968).
double theil_sen_slope(std::span<const double> values) {
  std::vector<double> slopes;
  for (std::size_t i = 0; i < values.size(); ++i) {
    for (std::size_t j = i + 1; j < values.size(); ++j) {
      slopes.push_back((values[j] - values[i]) / static_cast<double>(j - i));
    }
  }
  return median_in_place(slopes);
}

}  // namespace

bool may_print_quantile(double q, std::uint64_t n) noexcept {
  // 1 - 0.9999 is 0.00009999999999998899: the tolerance keeps 100 000 samples enough for it.
  return static_cast<double>(n) * (1 - q) >= kLeastBeyond - 1e-6;
}

std::optional<Ranks> median_ranks(std::size_t n) {
  if (n < kLeastRepetitions) return {};
  // The median lies below rank k when fewer than k of n values lie below the median, each of which does so with
  // probability one half; and the same above.
  const boost::math::binomial below(static_cast<double>(n), 0.5);
  std::optional<Ranks> best;
  for (std::size_t k = 1; k <= n / 2; ++k) {
    const double confidence = 1 - 2 * boost::math::cdf(below, static_cast<double>(k - 1));
    if (confidence < kConfidence) break;
    best = Ranks{k, n + 1 - k, confidence};
  }
  return best;
}

Figure median_of(std::span<const double> values) {
  Figure figure;
  if (values.empty()) return figure;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  figure.value = sorted.size() % 2 == 1 ? sorted[half] : std::midpoint(sorted[half - 1], sorted[half]);
  if (const auto ranks = median_ranks(sorted.size())) {
    figure.low = sorted[ranks->low - 1];
    figure.high = sorted[ranks->high - 1];
    figure.confidence = ranks->confidence;
  }
  return figure;
}

Figure ratio_of(std::span<const double> a, std::span<const double> b, std::uint64_t seed) {
  assert(a.size() == b.size());
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] > 0 && b[i] > 0) ratios.push_back(a[i] / b[i]);
  }
  Figure figure;
  if (ratios.empty()) return figure;
  figure.value = median(ratios);
  if (ratios.size() < kLeastRepetitions) return figure;
  std::mt19937_64 random(seed);
  std::vector<double> drawn(ratios.size());
  set_bootstrap_interval(figure, [&] {
    resample(ratios, drawn, random);
    return median_in_place(drawn);
  });
  return figure;
}

Figure ratio_of_unpaired(std::span<const double> a, std::span<const double> b, std::uint64_t seed) {
  const std::vector<double> above = above_zero(a), below = above_zero(b);
  Figure figure;
  if (above.empty() || below.empty()) return figure;
  figure.value = median(above) / median(below);
  if (std::min(above.size(), below.size()) < kLeastRepetitions) return figure;
  std::mt19937_64 random(seed);
  std::vector<double> drawn_above(above.size()), drawn_below(below.size());
  set_bootstrap_interval(figure, [&] {
    resample(above, drawn_above, random);
    resample(below, drawn_below, random);
    return median_in_place(drawn_above) / median_in_place(drawn_below);
  });
  return figure;
}

std::string say(const Figure& ratio, Better better) {
  if (!ratio.low || !ratio.high) return "too few repetitions";
  const bool holds_one = *ratio.low <= 1 && *ratio.high >= 1;
  const double effect = ratio.value >= 1 ? ratio.value : 1 / ratio.value;
  if (holds_one || effect < 1 + kLeastEffect) return "no difference shown";
  return (ratio.value > 1) == (better == Better::higher) ? "faster" : "slower";
}

Verdict compare(std::string against, std::span<const double> a, std::span<const double> b, Better better, bool valid,
                std::uint64_t seed) {
  Verdict verdict;
  verdict.against = std::move(against);
  verdict.ratio = ratio_of(a, b, seed);
  verdict.says = valid ? say(verdict.ratio, better) : "invalid";
  return verdict;
}

Trend trend_of(std::span<const double> values) {
  if (values.size() < kLeastForTrend) return {};
  const std::vector<double> series = batch_medians(values);
  const double middle = median(series);
  if (middle <= 0) return {};
  return {theil_sen_slope(series) * static_cast<double>(series.size() - 1) / middle, kendall_probability(series)};
}

bool drifts(std::span<const Slice> timeline) {
  const bool timed = std::any_of(timeline.begin(), timeline.end(), [](const Slice& slice) { return slice.p50 != 0; });
  std::vector<double> values;
  for (const Slice& slice : timeline) {
    if (timed && slice.count > 0) {
      values.push_back(static_cast<double>(slice.p50));
    } else if (!timed && slice.seconds > 0) {
      values.push_back(static_cast<double>(slice.count) / slice.seconds);
    }
  }
  const Trend trend = trend_of(values);
  return std::abs(trend.change) >= kLeastEffect && trend.probability < kTrendProbability;
}

}  // namespace bus::tools::measure
