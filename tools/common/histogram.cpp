// tools/common/histogram.cpp: see histogram.hpp.
#include "tools/common/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace bus::tools {
namespace {

double middle_of(int index) noexcept {
  return static_cast<double>(ThreeDigitAxis::least_of(index)) +
         static_cast<double>(ThreeDigitAxis::width_of(index) - 1) / 2;
}

}  // namespace

void Histogram::add(std::uint64_t ns, std::uint64_t count) {
  if (count == 0) return;
  if (dense_.size() == 0) expand();
  dense_[ThreeDigitAxis::index_of(ns)] += count;
  count_ += count;
  least_ = std::min(least_, ns);
  greatest_ = std::max(greatest_, ns);
}

void Histogram::merge(const Histogram& other) {
  if (other.count_ == 0) return;
  if (dense_.size() == 0) expand();
  other.for_each_bucket([this](int index, std::uint64_t count) { dense_[index] += count; });
  count_ += other.count_;
  least_ = std::min(least_, other.least_);
  greatest_ = std::max(greatest_, other.greatest_);
}

void Histogram::compact() {
  if (dense_.size() == 0) return;
  std::vector<std::pair<int, std::uint64_t>> in_use;
  for_each_bucket([&](int index, std::uint64_t count) { in_use.emplace_back(index, count); });
  in_use.shrink_to_fit();
  dense_ = Dense(ThreeDigitAxis(0));
  compact_ = std::move(in_use);
}

void Histogram::expand() {
  dense_ = Dense(ThreeDigitAxis());
  for (const auto& [index, count] : compact_) dense_[index] = count;
  compact_ = {};
}

std::uint64_t Histogram::quantile(double q) const noexcept {
  if (count_ == 0) return 0;
  // The product is cut to 9 digits, so that 0.9 of 10 is 9 and not 9.000000000000002.
  const double exact = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_);
  const double rounded_up = std::ceil(exact - 1e-9);
  if (rounded_up >= static_cast<double>(count_)) return greatest_;
  const auto rank = std::max<std::uint64_t>(static_cast<std::uint64_t>(rounded_up), 1);
  std::uint64_t seen = 0;
  int found = -1;
  for_each_bucket([&](int index, std::uint64_t count) {
    seen += count;
    if (found < 0 && seen >= rank) found = index;
  });
  if (found < 0) return greatest_;
  const std::uint64_t middle = ThreeDigitAxis::least_of(found) + ThreeDigitAxis::width_of(found) / 2;
  return std::clamp(middle, least_, greatest_);
}

double Histogram::mean() const noexcept {
  if (count_ == 0) return 0;
  double sum = 0;
  for_each_bucket([&](int index, std::uint64_t count) { sum += middle_of(index) * static_cast<double>(count); });
  return sum / static_cast<double>(count_);
}

}  // namespace bus::tools
