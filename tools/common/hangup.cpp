// tools/common/hangup.cpp: see hangup.hpp.
#include "tools/common/hangup.hpp"

#include <poll.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <system_error>

namespace bus::tools {
namespace {

std::atomic<int> hangup_event{-1};  // what the handler makes readable

void note_hangup(int) noexcept { os::signal_event(hangup_event.load(std::memory_order_acquire)); }

}  // namespace

OnHangup::OnHangup(std::function<void()> action)
    : action_(std::move(action)), came_(os::make_event()), end_(os::make_event()) {
  hangup_event.store(came_.get(), std::memory_order_release);
  watcher_ = std::thread([this] { watch(); });
  struct sigaction handler {};
  handler.sa_handler = note_hangup;
  handler.sa_flags = SA_RESTART;
  sigemptyset(&handler.sa_mask);
  ::sigaction(SIGHUP, &handler, &before_);  // fails for signals only that cannot be caught
}

OnHangup::~OnHangup() {
  ::sigaction(SIGHUP, &before_, nullptr);
  hangup_event.store(-1, std::memory_order_release);
  os::signal_event(end_.get());
  watcher_.join();
}

void OnHangup::watch() noexcept {
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{came_.get(), POLLIN, 0}, pollfd{end_.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[1].revents != 0) return;
    os::clear_event(came_.get());
    action_();
  }
}

}  // namespace bus::tools
