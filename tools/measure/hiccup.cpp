// tools/measure/hiccup.cpp: see hiccup.hpp.
#include "tools/measure/hiccup.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string>
#include <system_error>

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds kLeastBeat = 10us;  // a shorter one would be a spin that sleeps

constexpr std::chrono::nanoseconds kWriting = 20us;  // a system call and a few stores take less

bool longer(const Pause& a, const Pause& b) noexcept { return a.length() > b.length(); }
bool earlier(const Pause& a, const Pause& b) noexcept { return a.from < b.from; }

/// How often this thread was taken off its CPU.
long switches() noexcept {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

void sleep_until(Clock::time_point due) noexcept {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(due.time_since_epoch());
  timespec at{};
  at.tv_sec = static_cast<time_t>(ns / 1s);
  at.tv_nsec = static_cast<long>((ns % 1s).count());
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

int pin_to(int cpu) noexcept {
  if (cpu < 0 || cpu >= CPU_SETSIZE) return EINVAL;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : errno;
}

}  // namespace

PauseLog::PauseLog(std::size_t most) : most_(most) {
  kept_.reserve(most_);
  std::chrono::nanoseconds decade = 100ns;
  for (std::size_t i = 0; i < kClasses; ++i) {
    static constexpr std::array<int, 3> kSteps{1, 2, 5};
    classes_[i].from = decade * kSteps[i % 3];
    if (i % 3 == 2) decade *= 10;
  }
}

void PauseLog::add(const Pause& pause) noexcept {
  const auto length = pause.length();
  lengths_.add(length);
  sum_ += length;
  if (pause.switched) ++switched_;
  std::size_t index = kClasses - 1;
  while (index > 0 && classes_[index].from > length) --index;
  ++classes_[index].count;
  classes_[index].sum += length;
  if (most_ == 0) return;
  if (kept_.size() == most_) {
    if (length <= kept_.front().length()) return;
    std::pop_heap(kept_.begin(), kept_.end(), longer);
    kept_.pop_back();
  }
  kept_.push_back(pause);
  std::push_heap(kept_.begin(), kept_.end(), longer);
}

std::vector<Pause> PauseLog::longest() const {
  std::vector<Pause> result = kept_;
  std::sort(result.begin(), result.end(), earlier);
  return result;
}

std::optional<Pause> PauseLog::longest_between(Clock::time_point from, Clock::time_point to) const noexcept {
  std::optional<Pause> found;
  for (const Pause& pause : kept_) {
    if (pause.from <= to && pause.to >= from && (!found || longer(pause, *found))) found = pause;
  }
  return found;
}

HiccupMeter::HiccupMeter(const Options& options) : options_(options), log_(options.most) {
  thread_ = std::thread([this] {
    const int id = static_cast<int>(::syscall(SYS_gettid));
    if (options_.cpu) error_.store(pin_to(*options_.cpu), std::memory_order_relaxed);
    // Else the kernel may wake it 50 us late on purpose. Source: prctl(2), PR_SET_TIMERSLACK.
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    if (error_.load(std::memory_order_relaxed) != 0) {
      thread_id_.store(id, std::memory_order_release);
    } else if (options_.way == Way::spin) {
      spin(id);
    } else {
      sleep(id);
    }
  });
  // Not notified: a system call right before the first reading would look like a pause, or hide one.
  while (thread_id() == 0) std::this_thread::sleep_for(50us);
  if (const int error = error_.load(std::memory_order_relaxed); error != 0) {
    stop();
    throw std::system_error(error, std::system_category(),
                            "hiccup meter: cannot run on CPU " + std::to_string(*options_.cpu));
  }
}

HiccupMeter::~HiccupMeter() { stop(); }

void HiccupMeter::stop() noexcept {
  stop_.store(true, std::memory_order_relaxed);
  if (!thread_.joinable()) return;
  thread_.join();
}

void HiccupMeter::spin(int id) noexcept {
  const auto threshold = std::chrono::duration_cast<Clock::duration>(options_.threshold);
  long switched = switches();
  std::uint64_t readings = 0;
  start_ = Clock::now();
  auto last = start_;
  thread_id_.store(id, std::memory_order_release);  // from here on no pause is missed
  // A last reading after stop(): else a pause during which somebody stopped us would not be seen.
  for (bool ends = false; !ends;) {
    ends = stop_.load(std::memory_order_relaxed);
    const auto now = Clock::now();
    ++readings;
    if (now - last < threshold) {
      last = now;
      continue;
    }
    const long so_far = switches();
    log_.add({last, now, so_far != switched});
    // What writing it down took is no pause, unless it was interrupted itself: then the next round sees that.
    const auto written = Clock::now();
    if (written - now < kWriting) {
      last = written;
      switched = so_far;
    } else {
      last = now;
    }
  }
  end_ = last;
  readings_ = readings;
}

void HiccupMeter::sleep(int id) noexcept {
  const auto threshold = std::chrono::duration_cast<Clock::duration>(options_.threshold);
  const auto beat = std::chrono::duration_cast<Clock::duration>(std::max(options_.beat, kLeastBeat));
  std::uint64_t readings = 0;
  start_ = Clock::now();
  auto now = start_;
  thread_id_.store(id, std::memory_order_release);
  while (!stop_.load(std::memory_order_relaxed)) {
    const auto due = now + beat;
    sleep_until(due);
    now = Clock::now();
    ++readings;
    if (now - due >= threshold) log_.add({due, now, false});
  }
  // Somebody who stopped us during a pause wants to see it.
  end_ = Clock::now();
  if (end_ - now >= beat + threshold) log_.add({now + beat, end_, false});
  readings_ = readings;
}

}  // namespace bus::tools::measure
