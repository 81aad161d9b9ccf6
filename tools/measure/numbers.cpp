// tools/measure/numbers.cpp: see numbers.hpp.
#include "tools/measure/numbers.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <span>
#include <string_view>

#include "bus/core/units.hpp"

namespace bus::tools::measure {
namespace {

struct Unit {
  double factor;
  std::string_view name;
};
constexpr std::array<Unit, 4> kDurations{{{1, "ns"}, {1e3, "us"}, {1e6, "ms"}, {1e9, "s"}}};
constexpr std::array<Unit, 4> kRates{{{1, ""}, {1e3, "k"}, {1e6, "M"}, {1e9, "G"}}};

/// The largest unit in which the value, rounded to three digits, is 1 or more.
const Unit& unit_of(double value, std::span<const Unit> units) {
  const Unit* chosen = &units.front();
  for (const Unit& unit : units) {
    if (value >= unit.factor * 0.9995) chosen = &unit;
  }
  return *chosen;
}

std::string fixed(double value, int decimals) {
  std::array<char, 352> text{};  // the largest double has 309 digits
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

std::string three_digits(double value) {
  if (value < 9.995) return fixed(value, 2);
  return fixed(value, value < 99.95 ? 1 : 0);
}

/// In the base unit whole numbers are exact, and are shown so: "7 ns".
std::string in_unit(double value, const Unit& unit) {
  const double scaled = value / unit.factor;
  const bool exact = unit.factor == 1 && scaled == std::floor(scaled);
  return exact ? fixed(scaled, 0) : three_digits(scaled);
}

std::string with_unit(double value, std::span<const Unit> units) {
  const Unit& unit = unit_of(value, units);
  std::string text = in_unit(value, unit);
  if (!unit.name.empty()) text.append(" ").append(unit.name);
  return text;
}

std::string interval(const Figure& figure, std::span<const Unit> units) {
  if (!figure.low || !figure.high) return {};
  const Unit& unit = unit_of(figure.value, units);
  return "[" + in_unit(*figure.low, unit) + ".." + in_unit(*figure.high, unit) + "]";
}

}  // namespace

std::string duration_text(double ns) { return with_unit(ns, kDurations); }
std::string duration_interval_text(const Figure& figure) { return interval(figure, kDurations); }
std::string rate_text(double rate) { return with_unit(rate, kRates); }
std::string rate_interval_text(const Figure& figure) { return interval(figure, kRates); }

std::string gib_text(double bytes_per_second) {
  const double gib = bytes_per_second / (1024.0 * 1024 * 1024);
  if (gib > 0 && gib < 0.001) return "<0.001";
  return gib < 0.9995 ? fixed(gib, 3) : three_digits(gib);
}

std::string number_text(double value) {
  if (value == std::floor(value) && value < 1e6) return fixed(value, 0);
  if (value > 0 && value < 0.005) return "<0.01";
  return value < 999.5 ? three_digits(value) : with_unit(value, kRates);
}

std::string ratio_text(double ratio) {
  if (ratio > 0 && ratio < 0.005) return "<0.01x";
  if (ratio < 9999.5) return three_digits(ratio) + "x";
  return ">9999x";
}

std::string size_text(std::uint64_t bytes) {
  std::string text = format_size(bytes);  // "64", "1KiB"
  const auto digits = text.find_first_not_of("0123456789");
  if (digits == std::string::npos) return text + " B";
  return text.insert(digits, " ");
}

std::string percent_text(double part) { return fixed(std::floor(part * 1000 + 0.5) / 10, 1) + " %"; }

std::string decade_text(unsigned decades) {
  if (decades == 0) return "0%";
  if (decades == 1) return "90%";
  std::string text = "99";
  if (decades > 2) text.append(".").append(decades - 2, '9');
  return text + "%";
}

}  // namespace bus::tools::measure
