// bus/core/wait.hpp: how a caller waits: the policy, and the one place that sleeps.
//
//   spin    pause, and sched_yield every few dozen tries; never sleeps
//   hybrid  pause for about 1.5 us, sched_yield for about 15 us, then sleep in the kernel
//   block   sleep at once
//
// A process that may use only one CPU never pauses: the peer needs that CPU. It yields.
// Source of the two times: a wake of a sleeper on another core takes 7.7 us, a cache line there and back
// 0.5 us, and pausing with both ends on one CPU 8000 us a round trip where sched_yield takes 1.6.
#pragma once

#include <poll.h>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "bus/core/deadline.hpp"

namespace bus {

enum class WaitMode : unsigned char { spin, hybrid, block };
[[nodiscard]] std::optional<WaitMode> parse_wait_mode(std::string_view) noexcept;
[[nodiscard]] std::string_view name(WaitMode) noexcept;

/// What a thread that has armed a wait sleeps on: a few descriptors and how long at most.
class WaitSet {
 public:
  static constexpr std::size_t kMost = 6;

  void add(int fd, short events) noexcept {
    if (count_ < kMost) fds_[count_++] = pollfd{fd, events, 0};
  }
  /// Wake after this long even if nothing happened, because some evidence has no descriptor.
  void at_most(std::chrono::nanoseconds slice) noexcept { slice_ = slice < slice_ ? slice : slice_; }

  /// Sleeps until a descriptor is ready, the slice is over or the deadline has passed.
  /// A signal may end it early: callers look again in a loop.
  void sleep(Deadline deadline) noexcept;

  /// The outcome of the last sleep for a descriptor that was added: its revents, or 0.
  [[nodiscard]] short ready(int fd) const noexcept;

  /// What was added, for a sleep in epoll instead: see RoomWatch.
  [[nodiscard]] std::span<const pollfd> descriptors() const noexcept { return std::span(fds_).first(count_); }
  [[nodiscard]] std::chrono::nanoseconds slice() const noexcept { return slice_; }

 private:
  std::array<pollfd, kMost> fds_{};
  std::size_t count_ = 0;
  std::chrono::nanoseconds slice_ = std::chrono::nanoseconds::max();
};

/// How long `hybrid` yields before it sleeps.
inline constexpr std::chrono::nanoseconds kYieldFor = std::chrono::microseconds(15);
/// The part of a wait that does not sleep. One object per wait.
class Spinner {
 public:
  /// `yield_for`: how long it yields with `hybrid`, before it is time to sleep.
  explicit Spinner(WaitMode mode, std::chrono::nanoseconds yield_for = kYieldFor) noexcept;
  /// Lets a little time pass; false when it is time to sleep.
  [[nodiscard]] bool turn() noexcept;

 private:
  enum class Phase : unsigned char { pause, yield, sleep };
  WaitMode mode_;
  Phase phase_;
  unsigned turns_ = 0;
  Clock::time_point until_{};
  std::chrono::nanoseconds yield_for_;
};

/// A loop's waits, one after the other, where what is waited for goes through a third process, as on a bus: three need
/// longer than two to answer. With 15 us all of them slept at every hop, and a question and its answer took 110 us
/// instead of 20 (shm, two CPUs, medians of three alternating runs).
///
/// So a wait goes on looking for kStayAwake; where that was in vain, the next waits are ordinary ones, at first one,
/// then twice as many each time, until something comes in time again. Who has little to do sleeps at once.
class Patience {
 public:
  static constexpr std::chrono::nanoseconds kStayAwake = std::chrono::microseconds(150);

  /// For the next wait.
  [[nodiscard]] Spinner next() noexcept;
  /// It ended before it was time to sleep; it was time to sleep.
  void in_time() noexcept {
    if (long_) in_vain_ = 0;
  }
  void in_vain() noexcept;

 private:
  static constexpr unsigned kMostInVain = 6;
  bool long_ = false;
  unsigned in_vain_ = 0, skip_ = 0;
};

/// How long a caller that found nothing may go on looking before it pays for a sleep; for those who wait on a
/// descriptor, and so have no Spinner. None with `block`, and none for a process that may use only one CPU.
[[nodiscard]] std::chrono::nanoseconds time_awake(WaitMode) noexcept;

/// How many CPUs this process may use; looked up once.
[[nodiscard]] unsigned usable_cpus() noexcept;

}  // namespace bus
