// tools/measure/intrinsic.hpp: bus doctor --intrinsic: the pauses of the machine on some of its CPUs, measured and
// told.
//
// A message that comes in the midst of a pause waits for the rest of it: no program on this machine has better tails
// than these. The tables are after Solarflare's sysjitter.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/measure/hiccup.hpp"

namespace bus::tools::measure {

struct IntrinsicOfCpu {
  int cpu = 0;
  PauseLog log{0};
  std::chrono::nanoseconds watched{0};
  std::uint64_t readings = 0;
  Clock::time_point start;
};

/// Spins on all of `cpus` at once, a thread each, for as long as `wait` takes. Throws std::system_error when one of
/// them cannot be had.
[[nodiscard]] std::vector<IntrinsicOfCpu> watch_pauses(const std::vector<int>& cpus, std::chrono::nanoseconds threshold,
                                                       const std::function<void()>& wait);

/// Percentiles for each CPU, a histogram over all, the longest pauses. A percentile that fewer than ten pauses exceed
/// is not printed. At most 100 columns.
[[nodiscard]] std::string intrinsic_text(const std::vector<IntrinsicOfCpu>& results,
                                         std::chrono::nanoseconds threshold);
/// {"type":"pauses","cpu",...}, a line for each CPU, then {"type":"summary",...} over all; durations in ns, in the
/// names.
[[nodiscard]] std::string intrinsic_json(const std::vector<IntrinsicOfCpu>& results,
                                         std::chrono::nanoseconds threshold);

}  // namespace bus::tools::measure
