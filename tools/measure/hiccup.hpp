// tools/measure/hiccup.hpp: the pauses of the machine itself, seen by a thread that reads the clock and does nothing
// else.
//
// After Gil Tene's jHiccup, Solarflare's sysjitter and redis-cli --intrinsic-latency. Two ways to look:
//   spin   reads the clock without a stop: a gap between two readings is a pause of this CPU. For the machine alone: it
//          takes the whole CPU. After each gap it asks the kernel whether another task ran (getrusage(2),
//          RUSAGE_THREAD).
//   sleep  wakes up at a fixed beat: what it wakes late is a pause. For use beside a measurement: a thousand short
//          wake-ups a second. A pause shorter than the time to the next beat is missed or seen in part.
// Counts cover every gap from the threshold on; of the gaps themselves the longest are kept.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "bus/core/deadline.hpp"
#include "tools/common/histogram.hpp"

namespace bus::tools::measure {

/// The clock is CLOCK_MONOTONIC: comparable with the samples of other processes.
struct Pause {
  Clock::time_point from, to;
  bool switched = false;  // another task ran meanwhile; false: an interrupt, the kernel, or the host (spin only)
  [[nodiscard]] std::chrono::nanoseconds length() const noexcept { return to - from; }
};

/// What was seen. The classes of lengths are 1-2-5 steps from 100 ns on, for a histogram that people read.
class PauseLog {
 public:
  /// Room for `most` pauses is made here; adding allocates nothing.
  explicit PauseLog(std::size_t most);

  void add(const Pause& pause) noexcept;

  [[nodiscard]] const Histogram& lengths() const noexcept { return lengths_; }
  [[nodiscard]] std::chrono::nanoseconds sum() const noexcept { return sum_; }
  [[nodiscard]] std::uint64_t switched() const noexcept { return switched_; }
  /// The longest ones, by time.
  [[nodiscard]] std::vector<Pause> longest() const;
  /// Of these the longest that overlaps with [from, to]: what may stand behind one slow message.
  [[nodiscard]] std::optional<Pause> longest_between(Clock::time_point from, Clock::time_point to) const noexcept;

  struct Class {
    std::chrono::nanoseconds from;  // and below the next class's
    std::uint64_t count = 0;
    std::chrono::nanoseconds sum{0};
  };
  static constexpr std::size_t kClasses = 27;  // 100 ns, 200, 500, 1 us ... 50 s
  [[nodiscard]] const std::array<Class, kClasses>& classes() const noexcept { return classes_; }

 private:
  std::size_t most_;
  std::vector<Pause> kept_;  // a heap, the shortest in front
  Histogram lengths_;
  std::chrono::nanoseconds sum_{0};
  std::uint64_t switched_ = 0;
  std::array<Class, kClasses> classes_;
};

class HiccupMeter {
 public:
  enum class Way : unsigned char { spin, sleep };
  struct Options {
    Way way = Way::sleep;
    std::chrono::nanoseconds threshold = std::chrono::microseconds(500);  // shorter gaps are not counted
    std::chrono::nanoseconds beat = std::chrono::milliseconds(1);         // sleep only
    std::optional<int> cpu{};                                             // else wherever the kernel likes
    std::size_t most = 4096;                                              // pauses that are kept
  };

  /// Starts the thread and waits until it reads: every pause from then on is seen. Throws std::system_error when the
  /// thread or its CPU cannot be had.
  explicit HiccupMeter(const Options& options);
  ~HiccupMeter();  // stops
  HiccupMeter(const HiccupMeter&) = delete;
  HiccupMeter& operator=(const HiccupMeter&) = delete;

  /// Ends the thread; more calls do nothing. What follows is for afterwards.
  void stop() noexcept;
  [[nodiscard]] const PauseLog& log() const noexcept { return log_; }
  [[nodiscard]] std::chrono::nanoseconds watched() const noexcept { return end_ - start_; }
  [[nodiscard]] Clock::time_point start() const noexcept { return start_; }
  [[nodiscard]] std::uint64_t readings() const noexcept { return readings_; }

  /// The thread's number, for those who want to look at it from outside.
  [[nodiscard]] int thread_id() const noexcept { return thread_id_.load(std::memory_order_acquire); }

 private:
  void spin(int id) noexcept;
  void sleep(int id) noexcept;

  const Options options_;
  PauseLog log_;                   // the thread's until stop()
  Clock::time_point start_, end_;  // the thread's until stop()
  std::uint64_t readings_ = 0;     // the thread's until stop()
  std::atomic<int> thread_id_{0};
  std::atomic<int> error_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace bus::tools::measure
