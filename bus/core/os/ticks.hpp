// bus/core/os/ticks.hpp: a clock that is cheap enough to be read for each message, in units of its own.
//
// Only for "was that just now?": a difference is good to a factor of two. A thread that moves between CPUs whose
// counters differ gets a wrong answer once, which costs one system call or one message gathered more.
#pragma once

#include <cstdint>
#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#elif !defined(__aarch64__)
#include <chrono>
#endif

namespace bus::os {

#if defined(__x86_64__) || defined(__i386__)
[[nodiscard]] inline std::uint64_t ticks() noexcept { return __rdtsc(); }
inline constexpr std::uint64_t kTicksOfABurst = 2500;  // about 1 us: such counters run at 2 to 4 GHz
#elif defined(__aarch64__)
[[nodiscard]] inline std::uint64_t ticks() noexcept {
  std::uint64_t value;
  asm volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
}
inline constexpr std::uint64_t kTicksOfABurst = 50;  // 0.05 to 2 us: they run at 25 MHz to 1 GHz
#else
[[nodiscard]] inline std::uint64_t ticks() noexcept {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}
inline constexpr std::uint64_t kTicksOfABurst = 1000;
#endif

}  // namespace bus::os
