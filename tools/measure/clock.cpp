// tools/measure/clock.cpp: the counter's scale, and what a reading costs.
#include "tools/measure/clock.hpp"

#include <algorithm>
#include <array>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

#if defined(__x86_64__)
constexpr std::uint64_t kCalibration = 50'000'000;  // ns

struct Reading {
  std::uint64_t ticks, ns;
};

/// Counter and clock at one instant: the try whose two counter readings lie closest together.
Reading read_both() noexcept {
  Reading best{0, 0};
  std::uint64_t least = ~std::uint64_t{0};
  unsigned cpu = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t before = __rdtscp(&cpu);
    const std::uint64_t ns = monotonic_ns();
    const std::uint64_t after = __rdtscp(&cpu);
    if (after - before >= least) continue;
    least = after - before;
    best = {before + (after - before) / 2, ns};
  }
  return best;
}
#endif

}  // namespace

bool SampleClock::counter_is_invariant() noexcept {
#if defined(__x86_64__)
  // Source: AMD64 and Intel manuals, CPUID 80000007h, EDX bit 8: "invariant TSC"; 80000001h, EDX bit 27: RDTSCP.
  unsigned a = 0, b = 0, c = 0, d = 0, features = 0;
  if (__get_cpuid(0x80000001, &a, &b, &c, &features) == 0 || (features & (1U << 27)) == 0) return false;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
#else
  return false;
#endif
}

SampleClock::Scale SampleClock::calibrate_counter() {
  if (!counter_is_invariant()) {
    throw Error(Errc::not_supported,
                "--clock tsc: this processor's counter does not promise one rate on all CPUs; use --clock monotonic");
  }
#if defined(__x86_64__)
  const Reading first = read_both();
  while (monotonic_ns() - first.ns < kCalibration) {
  }
  const Reading second = read_both();
  const auto ns = static_cast<Wide>(second.ns - first.ns) << 32;
  return {first.ticks, first.ns, static_cast<std::uint64_t>(ns / (second.ticks - first.ticks))};
#else
  return {};
#endif
}

double SampleClock::cost() const noexcept {
  constexpr std::uint64_t kCalls = 1000;
  std::array<double, 51> each{};
  for (double& one : each) {
    const std::uint64_t start = monotonic_ns();
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < kCalls; ++i) last |= now();
    const std::uint64_t end = monotonic_ns();
    one = static_cast<double>(end - start + (last == 0 ? 1 : 0)) / static_cast<double>(kCalls);
  }
  std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
  return each[each.size() / 2];
}

}  // namespace bus::tools::measure
