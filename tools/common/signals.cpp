// tools/common/signals.cpp: see signals.hpp.
#include "tools/common/signals.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <span>
#include <system_error>
#include <utility>

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

/// In this thread, and those that it starts.
void block(const sigset_t& set) {
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    throw std::system_error(error, std::system_category(), "pthread_sigmask");
  }
}

/// poll(2) until the deadline, whatever signals come meanwhile.
int poll_until(std::span<pollfd> fds, Deadline deadline) noexcept {
  for (;;) {
    timespec limit{};
    if (deadline != forever) {
      const auto rest = std::max<std::chrono::nanoseconds>(deadline - Clock::now(), 0ns);
      limit.tv_sec = static_cast<time_t>(rest / 1s);
      limit.tv_nsec = static_cast<long>((rest % 1s).count());
    }
    const int count = ::ppoll(fds.data(), fds.size(), deadline == forever ? nullptr : &limit, nullptr);
    if (count >= 0 || errno != EINTR) return count;
  }
}

}  // namespace

Signals::Signals() {
  std::signal(SIGPIPE, SIG_IGN);
  // Paced sending and ping intervals wake when they are due, not 50 us later. Source: prctl(2), PR_SET_TIMERSLACK.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  const sigset_t set = set_of({SIGINT, SIGTERM});
  block(set);
  source_ = os::Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!source_) throw std::system_error(errno, std::system_category(), "signalfd");
  stopped_event_ = os::make_event();
  end_event_ = os::make_event();
  watcher_ = std::thread([this] { watch(); });
}

void Signals::end_on_hangup() {
  struct sigaction now {};
  if (::sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) return;
  stop_watching();  // what comes meanwhile waits in source_
  const sigset_t set = set_of({SIGINT, SIGTERM, SIGHUP});
  block(set);
  if (::signalfd(source_.get(), &set, 0) < 0) throw std::system_error(errno, std::system_category(), "signalfd");
  os::clear_event(end_event_.get());
  watcher_ = std::thread([this] { watch(); });
}

void Signals::stop_watching() noexcept {
  os::signal_event(end_event_.get());
  if (watcher_.joinable()) watcher_.join();
}

Signals::~Signals() {
  stop_watching();
  if (actor_.joinable()) actor_.join();
}

void Signals::watch() noexcept {
  ::pthread_setname_np(::pthread_self(), "bus-signals");
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{source_.get(), POLLIN, 0}, pollfd{end_event_.get(), POLLIN, 0}};
    if (poll_until(fds, forever) < 0 || fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(source_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
    const int signal = static_cast<int>(info.ssi_signo);
    if (stopped()) {  // asked twice: at once, and as the signal itself would
      std::signal(signal, SIG_DFL);
      const sigset_t set = set_of({signal});
      ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      ::raise(signal);
      return;
    }
    signal_.store(signal, std::memory_order_release);
    os::signal_event(stopped_event_.get());
    // On a thread of its own, so that a second signal is heard while the action takes its time.
    actor_ = std::thread([this] { act(); });
  }
}

void Signals::act() noexcept {
  const std::lock_guard lock(mutex_);
  if (action_) action_();
}

bool Signals::sleep_until(Deadline deadline) const noexcept {
  std::array<pollfd, 1> fds{pollfd{fd(), POLLIN, 0}};
  poll_until(fds, deadline);
  return stopped();
}

bool Signals::wait_for(int descriptor, short events, Deadline deadline) const noexcept {
  std::array<pollfd, 2> fds{pollfd{descriptor, events, 0}, pollfd{fd(), POLLIN, 0}};
  poll_until(fds, deadline);
  return fds[0].revents != 0 && fds[1].revents == 0;
}

Signals::OnStop::OnStop(Signals& signals, std::function<void()> action) : signals_(signals) {
  const std::lock_guard lock(signals_.mutex_);
  before_ = std::exchange(signals_.action_, std::move(action));
  if (signals_.stopped()) signals_.action_();
}

Signals::OnStop::~OnStop() {
  const std::lock_guard lock(signals_.mutex_);
  signals_.action_ = std::move(before_);
}

}  // namespace bus::tools
