// tools/common/signals.hpp: SIGINT and SIGTERM, and SIGHUP for who asks, as something to wait for, so that the program
// ends in good order.
//
// The signals are blocked in all threads; a thread of this object takes them. The first one makes fd() readable
// and runs what on_stop() registered (closing a channel wakes whoever is blocked in it). The second one ends the
// process at once. SIGPIPE is ignored: a write to a closed pipe gives EPIPE instead.
// Threads: construct before any other thread; the rest from any.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "bus/core/deadline.hpp"
#include "bus/core/os/fd.hpp"
#include "tools/common/exit_code.hpp"

namespace bus::tools {

class Signals {
 public:
  Signals();  // throws std::system_error
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// From now on SIGHUP is one of them, unless it is ignored (nohup(1)). Before any other thread is there. Throws
  /// std::system_error.
  void end_on_hangup();

  [[nodiscard]] bool stopped() const noexcept { return signal_.load(std::memory_order_acquire) != 0; }
  /// 128 + the signal; ok when there was none.
  [[nodiscard]] Exit exit() const noexcept { return stopped() ? static_cast<Exit>(128 + signal_.load()) : Exit::ok; }
  /// Readable, and stays so, once a signal has come. For a Poller.
  [[nodiscard]] int fd() const noexcept { return stopped_event_.get(); }

  /// Sleeps until the deadline or a signal; true when there is one.
  bool sleep_until(Deadline deadline) const noexcept;
  /// Waits until `fd` is ready for `events` (poll(2)); false when a signal came or the deadline passed first.
  [[nodiscard]] bool wait_for(int fd, short events, Deadline deadline = forever) const noexcept;

  /// Runs a function on the thread of this object when the first signal comes, or at once if it has come; for as
  /// long as this lives. After the destructor it neither runs nor will run.
  class OnStop {
   public:
    OnStop(Signals& signals, std::function<void()> action);
    ~OnStop();
    OnStop(const OnStop&) = delete;
    OnStop& operator=(const OnStop&) = delete;

   private:
    Signals& signals_;
    std::function<void()> before_;
  };

 private:
  void watch() noexcept;
  void stop_watching() noexcept;
  void act() noexcept;

  os::Fd source_, stopped_event_, end_event_;
  std::atomic<int> signal_{0};
  std::mutex mutex_;              // held while the action runs
  std::function<void()> action_;  // guarded by mutex_
  std::thread watcher_;
  std::thread actor_;  // started by the watcher at the first signal, which goes on listening
};

}  // namespace bus::tools
