// bus/core/wait.cpp: pausing, yielding, sleeping.
#include "bus/core/wait.hpp"

#include <sched.h>

#include <algorithm>
#include <ctime>

namespace bus {
namespace {

using namespace std::chrono_literals;

constexpr auto kPauseFor = 1500ns;
constexpr unsigned kPausesPerClockRead = 8;  // a pause is 21 ns, reading the clock 42
constexpr unsigned kPausesPerYield = 64;     // spin mode: the peer may need this CPU

inline void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

std::optional<WaitMode> parse_wait_mode(std::string_view text) noexcept {
  if (text == "spin") return WaitMode::spin;
  if (text == "hybrid") return WaitMode::hybrid;
  if (text == "block") return WaitMode::block;
  return {};
}

std::string_view name(WaitMode mode) noexcept {
  switch (mode) {
    case WaitMode::spin:
      return "spin";
    case WaitMode::hybrid:
      return "hybrid";
    case WaitMode::block:
      return "block";
  }
  return "unknown";
}

void WaitSet::sleep(Deadline deadline) noexcept {
  for (pollfd& fd : fds_) fd.revents = 0;
  timespec limit{};
  const timespec* timeout = nullptr;
  if (deadline != forever || slice_ != std::chrono::nanoseconds::max()) {
    auto rest = slice_;
    if (deadline != forever) rest = std::min<std::chrono::nanoseconds>(rest, deadline - Clock::now());
    rest = std::max(rest, 0ns);
    limit.tv_sec = static_cast<time_t>(rest / 1s);
    limit.tv_nsec = static_cast<long>((rest % 1s).count());
    timeout = &limit;
  }
  // EINTR and every other failure end the sleep early; callers look again and sleep anew.
  if (ppoll(fds_.data(), count_, timeout, nullptr) < 0) {
    for (pollfd& fd : fds_) fd.revents = 0;
  }
}

short WaitSet::ready(int fd) const noexcept {
  short events = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (fds_[i].fd == fd) events = static_cast<short>(events | fds_[i].revents);
  }
  return events;
}

std::chrono::nanoseconds time_awake(WaitMode mode) noexcept {
  return mode == WaitMode::block || usable_cpus() == 1 ? 0ns : kPauseFor + kYieldFor;
}

unsigned usable_cpus() noexcept {
  static const unsigned count = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1u;
    return std::max(1u, static_cast<unsigned>(CPU_COUNT(&set)));
  }();
  return count;
}

Spinner::Spinner(WaitMode mode, std::chrono::nanoseconds yield_for) noexcept
    : mode_(mode),
      phase_(mode == WaitMode::block ? Phase::sleep : (usable_cpus() > 1 ? Phase::pause : Phase::yield)),
      yield_for_(yield_for) {}

bool Spinner::turn() noexcept {
  switch (phase_) {
    case Phase::pause:
      pause_cpu();
      ++turns_;
      if (mode_ == WaitMode::spin) {
        if (turns_ % kPausesPerYield == 0) sched_yield();
        return true;
      }
      if (turns_ % kPausesPerClockRead == 0) {
        const auto now = Clock::now();
        if (until_ == Clock::time_point{}) {
          until_ = now + kPauseFor;
        } else if (now >= until_) {
          phase_ = Phase::yield;
          until_ = now + std::chrono::duration_cast<Clock::duration>(yield_for_);
        }
      }
      return true;
    case Phase::yield:
      sched_yield();
      if (mode_ == WaitMode::spin) return true;
      {
        const auto now = Clock::now();
        if (until_ == Clock::time_point{}) until_ = now + std::chrono::duration_cast<Clock::duration>(yield_for_);
        if (now >= until_) phase_ = Phase::sleep;
      }
      return true;
    case Phase::sleep:
      return false;
  }
  return false;
}

Spinner Patience::next() noexcept {
  long_ = skip_ == 0;
  if (long_) return Spinner(WaitMode::hybrid, kStayAwake);
  --skip_;
  return Spinner(WaitMode::hybrid);
}

void Patience::in_vain() noexcept {
  if (!long_) return;
  in_vain_ = std::min(in_vain_ + 1, kMostInVain);
  skip_ = (1U << in_vain_) - 1;
}

}  // namespace bus
