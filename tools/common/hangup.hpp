// tools/common/hangup.hpp: SIGHUP as a request, for services that read their configuration again.
//
// The signal's handler makes a descriptor readable; a thread of this object does the rest. Needs no descriptor and no
// memory when the signal comes.
#pragma once

#include <csignal>
#include <functional>
#include <thread>

#include "bus/core/os/fd.hpp"

namespace bus::tools {

class OnHangup {
 public:
  /// `action` runs once for each SIGHUP, one after the other; of those that come while it runs, one more. It throws
  /// nothing. One object at a time. Throws std::system_error.
  explicit OnHangup(std::function<void()> action);
  /// Waits for an action that runs. From then on a SIGHUP does what it did before.
  ~OnHangup();
  OnHangup(const OnHangup&) = delete;
  OnHangup& operator=(const OnHangup&) = delete;

 private:
  void watch() noexcept;

  std::function<void()> action_;
  os::Fd came_, end_;
  struct sigaction before_ {};
  std::thread watcher_;
};

}  // namespace bus::tools
