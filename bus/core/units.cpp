// bus/core/units.cpp: reading and writing quantities.
#include "bus/core/units.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace bus {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

/// A non-negative decimal number with one of the units behind it, in the unit of factor 1.
template <std::size_t N>
std::optional<double> parse(std::string_view text, const std::array<Unit, N>& units) noexcept {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || number < 0 || std::signbit(number)) return {};
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  for (const Unit& candidate : units) {
    if (candidate.name == unit) return number * candidate.factor;
  }
  return {};
}

constexpr std::array<Unit, 11> kSizes{{{"", 1},
                                       {"B", 1},
                                       {"kB", 1e3},
                                       {"KB", 1e3},
                                       {"MB", 1e6},
                                       {"GB", 1e9},
                                       {"KiB", 1024.0},
                                       {"MiB", 1048576.0},
                                       {"GiB", 1073741824.0},
                                       {"K", 1024.0},
                                       {"M", 1048576.0}}};
constexpr std::array<Unit, 6> kDurations{{{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};
constexpr std::array<Unit, 5> kRates{{{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}}};

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  const auto bytes = parse(text, kSizes);
  if (!bytes || *bytes != std::floor(*bytes) || *bytes >= 9007199254740992.0) return {};  // 2^53: exact up to here
  return static_cast<std::uint64_t>(*bytes);
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) noexcept {
  if (text == "0") return std::chrono::nanoseconds{0};
  const auto ns = parse(text, kDurations);
  if (!ns || *ns >= static_cast<double>(std::numeric_limits<std::int64_t>::max())) return {};
  return std::chrono::nanoseconds{static_cast<std::int64_t>(std::llround(*ns))};
}

std::optional<double> parse_rate(std::string_view text) noexcept {
  const auto rate = parse(text, kRates);
  if (!rate || *rate <= 0) return {};
  return rate;
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<std::pair<std::string_view, unsigned>, 3> kUnits{{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};
  for (const auto& [unit, shift] : kUnits) {
    const std::uint64_t size = std::uint64_t{1} << shift;
    if (bytes >= size && bytes % size == 0) return std::to_string(bytes >> shift).append(unit);
  }
  return std::to_string(bytes);
}

std::string format_duration(std::chrono::nanoseconds duration) {
  static constexpr std::array<std::pair<const char*, double>, 4> kUnits{
      {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}};
  const auto ns = static_cast<double>(duration.count());
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && std::abs(ns) >= kUnits[unit + 1].second) ++unit;
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.3g%s", ns / kUnits[unit].second, kUnits[unit].first);
  return text.data();
}

}  // namespace bus
