// tools/measure/slo.hpp: a service level ("p99<200us,loss=0"), and the search for the highest rate that still holds it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

struct ServiceLevel {
  struct Limit {
    double quantile = 0;
    std::uint64_t below = 0;  // nanoseconds
  };
  std::vector<Limit> limits;
  bool no_loss = true;  // loss=0: nothing lost, nothing late to be sent

  /// Whether a row keeps it, in each of its repetitions.
  [[nodiscard]] bool holds(const Row&) const;
};

/// "p99<200us", "p99.9<1ms", "loss=0", with commas between. Throws UsageError.
[[nodiscard]] ServiceLevel parse_service_level(std::string_view text);

/// The highest rate between `least` and `most` for which `holds` is true, to 5 %: by bisection of their logarithms, for
/// `holds` is taken to be true below a rate and false above. 0: not even `least` holds.
[[nodiscard]] double highest_rate(double least, double most, const std::function<bool(double)>& holds);

}  // namespace bus::tools::measure
