// tools/common/histogram.hpp: durations in nanoseconds, counted to three digits in fixed memory.
//
// Up to 2047 ns each value has a bucket of its own; above, each power of two is cut into 1024 buckets, so that a
// value is known to 0.1 %. Least and greatest are exact. 440 KB; adding is a few instructions and never allocates.
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>
#include <vector>

namespace bus::tools {

class Histogram {
 public:
  Histogram();

  void add(std::chrono::nanoseconds duration) noexcept {
    const std::uint64_t ns = duration.count() < 0 ? 0 : static_cast<std::uint64_t>(duration.count());
    ++buckets_[index_of(ns)];
    ++count_;
    if (ns < least_) least_ = ns;
    if (ns > greatest_) greatest_ = ns;
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t least() const noexcept { return count_ == 0 ? 0 : least_; }
  [[nodiscard]] std::uint64_t greatest() const noexcept { return greatest_; }
  /// The least value that at least `q` of all values do not exceed (nearest rank), in [0, 1].
  [[nodiscard]] std::uint64_t quantile(double q) const noexcept;

 private:
  static constexpr unsigned kLinearBits = 11;
  static constexpr std::uint64_t kLinear = std::uint64_t{1} << kLinearBits;
  static constexpr std::uint64_t kPerOctave = kLinear / 2;

  static std::size_t index_of(std::uint64_t ns) noexcept {
    if (ns < kLinear) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kLinearBits;
    return kLinear + (shift - 1) * kPerOctave + ((ns >> shift) - kPerOctave);
  }
  static std::uint64_t middle_of(std::size_t index) noexcept;

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0, least_ = ~std::uint64_t{0}, greatest_ = 0;
};

}  // namespace bus::tools
