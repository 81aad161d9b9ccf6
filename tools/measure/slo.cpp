// tools/measure/slo.cpp: parsing and bisection.
#include "tools/measure/slo.hpp"

#include <charconv>
#include <cmath>

#include "bus/core/units.hpp"
#include "tools/common/arguments.hpp"

namespace bus::tools::measure {
namespace {

constexpr double kPrecision = 1.05;

[[noreturn]] void fail(std::string_view text) {
  throw UsageError("--slo " + std::string(text) + ": it is p99<200us or loss=0, with commas between several");
}

}  // namespace

ServiceLevel parse_service_level(std::string_view text) {
  ServiceLevel level;
  for (std::string_view rest = text;;) {
    const auto comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    if (part != "loss=0") {
      const auto below = part.find('<');
      double percent = 0;
      if (!part.starts_with('p') || below == std::string_view::npos) fail(text);
      const auto [end, error] = std::from_chars(part.data() + 1, part.data() + below, percent);
      const auto limit = parse_duration(part.substr(below + 1));
      if (error != std::errc{} || end != part.data() + below || !(percent > 0) || percent >= 100 || !limit) fail(text);
      level.limits.push_back({percent / 100, static_cast<std::uint64_t>(limit->count())});
    }
    if (comma == std::string_view::npos) return level;
    rest.remove_prefix(comma + 1);
  }
}

bool ServiceLevel::holds(const Row& row) const {
  if (row.repetitions.empty()) return false;
  for (const Repetition& repetition : row.repetitions) {
    if (no_loss && !repetition.invalid.empty()) return false;
    const Histogram* const histogram = main_histogram(repetition);
    if (histogram == nullptr || histogram->count() == 0) return false;
    for (const Limit& limit : limits) {
      if (histogram->quantile(limit.quantile) >= limit.below) return false;
    }
  }
  return true;
}

double highest_rate(double least, double most, const std::function<bool(double)>& holds) {
  if (!holds(least)) return 0;
  if (holds(most)) return most;
  while (most / least > kPrecision) {
    const double middle = std::sqrt(least * most);
    (holds(middle) ? least : most) = middle;
  }
  return least;
}

}  // namespace bus::tools::measure
