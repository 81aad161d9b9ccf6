// tests/support/eventually.hpp: waits on a condition with a deadline, for what has no descriptor to wait on.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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

/// Lets time pass where its length is itself what the test is about: a pause that it makes, or a random moment for a
/// kill. Never to give something the time to happen: that is eventually().
inline void let_pass(std::chrono::nanoseconds length) { std::this_thread::sleep_for(length); }

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

/// The threads of a process that have a name, as paths /proc/PID/task/TID.
[[nodiscard]] inline std::vector<std::string> threads_named(std::string_view name, const std::string& pid = "self") {
  std::vector<std::string> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task")) {
    std::string its_name;
    if (std::getline(std::ifstream(task.path() / "comm"), its_name) && its_name == name) found.push_back(task.path());
  }
  return found;
}

/// Whether a thread of this process sleeps on a futex without a time limit: it uses no CPU until somebody wakes it.
/// Source: futex(2), the fourth argument; proc(5), /proc/PID/syscall.
[[nodiscard]] inline bool sleeps_without_limit(const std::string& task) {
  std::ifstream file(task + "/syscall");
  long number = -1;
  std::string word, timeout;
  file >> number >> word >> word >> word >> timeout;
  return number == SYS_futex && timeout == "0x0";
}

}  // namespace bus::test
