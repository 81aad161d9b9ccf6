// tools/measure/trace.hpp: counts the system calls of processes between two marks, by ptrace(2).
//
// Tracing makes every call many times slower, so it is done in a run of its own whose times are not used. A thread
// marks the beginning and the end of what counts by calling mark().
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "bus/core/deadline.hpp"

namespace bus::tools::measure {

class CallCounter {
 public:
  struct Counts {
    std::uint64_t calls = 0;   // without the yields
    std::uint64_t yields = 0;  // sched_yield
  };

  CallCounter() = default;
  ~CallCounter();
  CallCounter(const CallCounter&) = delete;
  CallCounter& operator=(const CallCounter&) = delete;

  /// Begins to trace all threads of a process. Only by the thread that calls run(). Throws Error (permission_denied).
  void attach(pid_t process);
  /// Traces until so many marks were made, or a process has ended; then lets them go. False at the deadline.
  [[nodiscard]] bool run(std::uint64_t marks, Deadline deadline);
  [[nodiscard]] Counts counts() const noexcept { return counts_; }

  /// In the traced process.
  static void mark() noexcept;

 private:
  struct Thread {
    pid_t process = 0;
    bool in_call = false;
  };
  void attach_thread(pid_t process, pid_t thread);
  void on_stop(pid_t thread, int status);
  void on_call(pid_t thread, Thread& of);
  void detach_all() noexcept;

  std::map<pid_t, Thread> threads_;
  std::uint64_t marks_ = 0, wanted_ = 0;
  bool ended_ = false;  // one of the processes
  Counts counts_;
};

}  // namespace bus::tools::measure
