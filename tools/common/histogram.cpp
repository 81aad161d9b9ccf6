// tools/common/histogram.cpp: see histogram.hpp.
#include "tools/common/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace bus::tools {

Histogram::Histogram() : buckets_(kLinear + (64 - kLinearBits) * kPerOctave) {}

std::uint64_t Histogram::middle_of(std::size_t index) noexcept {
  if (index < kLinear) return index;
  const std::uint64_t shift = (index - kLinear) / kPerOctave + 1;
  const std::uint64_t mantissa = (index - kLinear) % kPerOctave + kPerOctave;
  return (mantissa << shift) + (std::uint64_t{1} << (shift - 1));
}

std::uint64_t Histogram::quantile(double q) const noexcept {
  if (count_ == 0) return 0;
  // The product is cut to 9 digits, so that 0.9 of 10 is 9 and not 9.000000000000002.
  const double exact = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_);
  const auto rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::ceil(exact - 1e-9)), 1, count_);
  if (rank == count_) return greatest_;
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::clamp(middle_of(i), least_, greatest_);
  }
  return greatest_;
}

}  // namespace bus::tools
