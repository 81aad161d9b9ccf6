// tests/support/eventually.hpp: waits on a condition with a deadline, for what has no descriptor to wait on.
#pragma once

#include <unistd.h>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "bus/core/deadline.hpp"

namespace bus::test {

/// Long enough for a loaded machine under a sanitizer; only a failing test waits that long.
[[nodiscard]] inline Deadline soon() { return in(std::chrono::seconds(20)); }

/// Asks until `condition` holds; false when the deadline passed first. The short sleep between two looks leaves
/// the CPU to whoever makes it true; no outcome depends on its length.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition, Deadline deadline = soon()) {
  while (!condition()) {
    if (Clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  return true;
}

/// The state letter of a thread or process as the kernel sees it: R runs, S sleeps, T is stopped, Z is a zombie; '?'
/// gone. Source: proc(5). `task` is a path such as /proc/123 or /proc/self/task/124.
[[nodiscard]] inline char kernel_state(const std::string& task) {
  std::ifstream stat(task + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return '?';
  const auto name_end = line.rfind(')');  // the name may contain anything, blanks and brackets too
  return name_end == std::string::npos || name_end + 2 >= line.size() ? '?' : line[name_end + 2];
}

/// Waits until a process sleeps in the kernel, as one does that is blocked in a call.
[[nodiscard]] inline bool sleeps(pid_t pid) {
  return eventually([task = "/proc/" + std::to_string(pid)] { return kernel_state(task) == 'S'; });
}

/// The same for a thread of this process, by its gettid().
[[nodiscard]] inline bool thread_sleeps(pid_t tid) {
  return eventually([task = "/proc/self/task/" + std::to_string(tid)] { return kernel_state(task) == 'S'; });
}

}  // namespace bus::test
