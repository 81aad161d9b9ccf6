// tools/common/histogram.hpp: durations in nanoseconds, counted to three digits in fixed memory.
//
// A histogram of Boost.Histogram over an axis of our own: up to 2047 ns each value has a bucket of its own; above, each
// power of two is cut into 1024 buckets, so that a value is known to 0.1 %. That is how HdrHistogram lays out three
// significant digits, so that its files hold the same buckets. The whole range of 64 bits fits. Least and greatest are
// exact. 440 KB from the start, all pages touched; compact() leaves what is in use.
// Cost of add(): 3 to 4 ns and no allocation. Source: tests/tools/histogram_test.cpp, [.speed].
#pragma once

#include <bit>
#include <boost/histogram/axis/option.hpp>
#include <boost/histogram/histogram.hpp>
#include <boost/histogram/storage_adaptor.hpp>
#include <chrono>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

namespace bus::tools {

/// The axis: which bucket a value falls into. It covers every std::uint64_t, so there is no overflow.
class ThreeDigitAxis {
 public:
  static constexpr unsigned kLinearBits = 11;
  static constexpr std::uint64_t kLinear = std::uint64_t{1} << kLinearBits;
  static constexpr std::uint64_t kPerOctave = kLinear / 2;
  static constexpr int kBuckets = static_cast<int>(kLinear + (64 - kLinearBits) * kPerOctave);

  explicit ThreeDigitAxis(int buckets = kBuckets) noexcept : buckets_(buckets) {}

  // What Boost.Histogram asks of an axis.
  [[nodiscard]] int size() const noexcept { return buckets_; }
  [[nodiscard]] int index(std::uint64_t ns) const noexcept { return index_of(ns); }
  [[nodiscard]] static constexpr bool inclusive() noexcept { return true; }
  [[nodiscard]] static constexpr auto options() noexcept { return boost::histogram::axis::option::none_t{}; }
  bool operator==(const ThreeDigitAxis&) const noexcept = default;

  [[nodiscard]] static constexpr int index_of(std::uint64_t ns) noexcept {
    if (ns < kLinear) return static_cast<int>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kLinearBits;
    return static_cast<int>(kLinear + (shift - 1) * kPerOctave + ((ns >> shift) - kPerOctave));
  }
  [[nodiscard]] static constexpr std::uint64_t least_of(int index) noexcept {
    const auto i = static_cast<std::uint64_t>(index);
    if (i < kLinear) return i;
    return ((i - kLinear) % kPerOctave + kPerOctave) << ((i - kLinear) / kPerOctave + 1);
  }
  /// How many values share the bucket.
  [[nodiscard]] static constexpr std::uint64_t width_of(int index) noexcept {
    const auto i = static_cast<std::uint64_t>(index);
    return i < kLinear ? 1 : std::uint64_t{1} << ((i - kLinear) / kPerOctave + 1);
  }

 private:
  int buckets_;
};

class Histogram {
 public:
  Histogram() = default;

  void add(std::chrono::nanoseconds duration) noexcept {
    const std::uint64_t ns = duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count());
    if (dense_.size() == 0) [[unlikely]]
      expand();
    dense_(ns);
    ++count_;
    if (ns < least_) least_ = ns;
    if (ns > greatest_) greatest_ = ns;
  }
  /// The value `count` times: to read a histogram back. The sum of all counts must fit into 64 bits.
  void add(std::uint64_t ns, std::uint64_t count);
  void merge(const Histogram& other);

  /// Gives back the memory that only adding needs; 16 bytes a bucket in use are left. A later add() takes it again.
  void compact();

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t least() const noexcept { return count_ == 0 ? 0 : least_; }
  [[nodiscard]] std::uint64_t greatest() const noexcept { return greatest_; }
  /// The least value that at least `q` of all values do not exceed (nearest rank), in [0, 1].
  [[nodiscard]] std::uint64_t quantile(double q) const noexcept;
  /// Of the buckets' middles: right to 0.05 %, exact where all values are below 2048. 0 when empty.
  [[nodiscard]] double mean() const noexcept;

  /// Calls f(least value that falls into it, count) for each bucket that is not empty, in rising order.
  template <class F>
  void for_each(F&& f) const {
    for_each_bucket([&f](int index, std::uint64_t count) { f(ThreeDigitAxis::least_of(index), count); });
  }

  // The ends of the bucket into which a value falls.
  [[nodiscard]] static constexpr std::uint64_t least_alike(std::uint64_t ns) noexcept {
    return ThreeDigitAxis::least_of(ThreeDigitAxis::index_of(ns));
  }
  [[nodiscard]] static constexpr std::uint64_t greatest_alike(std::uint64_t ns) noexcept {
    return least_alike(ns) + (ThreeDigitAxis::width_of(ThreeDigitAxis::index_of(ns)) - 1);
  }

 private:
  using Dense = boost::histogram::histogram<std::tuple<ThreeDigitAxis>, boost::histogram::dense_storage<std::uint64_t>>;

  template <class F>
  void for_each_bucket(F&& f) const {
    for (const auto& [index, count] : compact_) f(index, count);
    for (int i = 0; i < static_cast<int>(dense_.size()); ++i) {
      if (const std::uint64_t count = dense_[i]; count != 0) f(i, count);
    }
  }
  void expand();

  Dense dense_{ThreeDigitAxis()};                       // empty after compact()
  std::vector<std::pair<int, std::uint64_t>> compact_;  // then: the buckets in use, in rising order
  std::uint64_t count_ = 0, least_ = ~std::uint64_t{0}, greatest_ = 0;
};

}  // namespace bus::tools
