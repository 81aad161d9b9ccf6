// tools/measure/clock.hpp: the clock that samples are taken with: CLOCK_MONOTONIC, or the processor's counter.
//
// Both tell nanoseconds since the same instant, and the same in every process of this machine: a counter is put on
// CLOCK_MONOTONIC's scale once, by the process that starts the others, and its scale goes with the job.
// Source of the conversion: ns = base_ns + ((ticks - base_ticks) * mult >> 32), as the kernel's clocksource has it.
#pragma once

#include <ctime>

#include <cstdint>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace bus::tools::measure {

[[nodiscard]] inline std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

__extension__ using Wide = unsigned __int128;

class SampleClock {
 public:
  /// How a counter's value becomes nanoseconds. mult 0: there is no counter in use.
  struct Scale {
    std::uint64_t base_ticks = 0, base_ns = 0, mult = 0;
  };

  SampleClock() = default;
  explicit SampleClock(const Scale& scale) noexcept : scale_(scale) {}

  /// Measures the counter against CLOCK_MONOTONIC for 50 ms. Throws Error(not_supported) when it does not run at one
  /// rate on all CPUs, or there is none.
  [[nodiscard]] static Scale calibrate_counter();
  [[nodiscard]] static bool counter_is_invariant() noexcept;

  [[nodiscard]] std::uint64_t now() const noexcept {
#if defined(__x86_64__)
    if (scale_.mult != 0) {
      unsigned cpu = 0;
      const std::uint64_t ticks = __rdtscp(&cpu) - scale_.base_ticks;
      return scale_.base_ns + static_cast<std::uint64_t>((static_cast<Wide>(ticks) * scale_.mult) >> 32);
    }
#endif
    return monotonic_ns();
  }

  /// What a call of now() takes, in nanoseconds: the median of many.
  [[nodiscard]] double cost() const noexcept;

 private:
  Scale scale_{};
};

}  // namespace bus::tools::measure
