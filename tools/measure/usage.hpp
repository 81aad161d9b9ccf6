// tools/measure/usage.hpp: what a process has used so far, as the kernel counts it. Source: getrusage(2).
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>

namespace bus::tools::measure {

struct Usage {
  double cpu_ns = 0;
  std::uint64_t voluntary = 0, involuntary = 0, faults = 0;

  /// All threads of the process, or the calling one alone.
  [[nodiscard]] static Usage now(bool thread_alone = false) noexcept {
    rusage used{};
    ::getrusage(thread_alone ? RUSAGE_THREAD : RUSAGE_SELF, &used);
    const auto ns = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_usec) * 1e3;
    };
    return {ns(used.ru_utime) + ns(used.ru_stime), static_cast<std::uint64_t>(used.ru_nvcsw),
            static_cast<std::uint64_t>(used.ru_nivcsw), static_cast<std::uint64_t>(used.ru_minflt + used.ru_majflt)};
  }
  /// Another process, all its threads that are there now. What cannot be read is 0. Takes some 0.1 ms.
  [[nodiscard]] static Usage of(pid_t process);
  [[nodiscard]] Usage since(const Usage& before) const noexcept {
    return {cpu_ns - before.cpu_ns, voluntary - before.voluntary, involuntary - before.involuntary,
            faults - before.faults};
  }
  [[nodiscard]] Usage with(const Usage& other) const noexcept {
    return {cpu_ns + other.cpu_ns, voluntary + other.voluntary, involuntary + other.involuntary, faults + other.faults};
  }
};

}  // namespace bus::tools::measure
