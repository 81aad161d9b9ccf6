// tests/bus/simulation/world.hpp: a clock that jumps to the next event, chance from one seed, and a record of it all.
//
// Nothing here knows real time or threads: the same seed gives the same run, event by event.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bus/core/deadline.hpp"

namespace bus::simulation {

using Time = Clock::time_point;
using Nanos = std::chrono::nanoseconds;
using namespace std::chrono_literals;

/// Chance. No std distributions: they differ between libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t next() { return engine_(); }
  std::uint64_t below(std::uint64_t end) { return engine_() % end; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + below(most - least + 1); }
  bool percent(unsigned chance) { return below(100) < chance; }
  Nanos within(Nanos most) {
    return Nanos(static_cast<Nanos::rep>(below(static_cast<std::uint64_t>(most.count()) + 1)));
  }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

 private:
  std::mt19937_64 engine_;
};

class World {
 public:
  World(std::uint64_t seed, bool tracing) : random(seed), tracing_(tracing) {}
  Random random;

  [[nodiscard]] Time now() const noexcept { return now_; }
  [[nodiscard]] std::uint64_t events() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

  void at(Time when, std::function<void()> what) {
    queue_.push_back({std::max(when, now_), order_++, std::move(what)});
    std::push_heap(queue_.begin(), queue_.end(), later);
  }
  void after(Nanos delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  /// Runs what happens until then, and sets the clock to it. Ends early at the first violation.
  void run(Time until) {
    while (!failed() && !queue_.empty() && queue_.front().when <= until) {
      std::pop_heap(queue_.begin(), queue_.end(), later);
      Event event = std::move(queue_.back());
      queue_.pop_back();
      if (event.when != now_) same_instant_ = 0;
      now_ = event.when;
      mix(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
      if (++count_, ++same_instant_ > 20'000) fail("it does not come to rest: 20,000 events at one instant");
      event.what();
    }
    if (!failed()) now_ = std::max(now_, until);
  }

  /// The first violation ends the run.
  void fail(const std::string& text) {
    if (!failed()) {
      failure_ = text;
      note("VIOLATION: " + text);
    }
  }
  [[nodiscard]] bool failed() const noexcept { return !failure_.empty(); }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

  void mix(std::uint64_t value) noexcept {
    hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15U;
    hash_ ^= hash_ >> 29U;
  }
  void mix(std::span<const std::byte> bytes) noexcept {
    mix(bytes.size());
    for (const std::byte byte : bytes) hash_ = (hash_ ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3U;
  }

  [[nodiscard]] bool tracing() const noexcept { return tracing_; }
  void note(const std::string& text) {
    if (!tracing_) return;
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now_ - kStart).count();
    trace_ += std::to_string(micros) + " us  " + text + "\n";
  }
  [[nodiscard]] const std::string& trace() const noexcept { return trace_; }

  static constexpr Time kStart{std::chrono::hours(1)};

 private:
  struct Event {
    Time when;
    std::uint64_t order;
    std::function<void()> what;
  };
  static bool later(const Event& a, const Event& b) noexcept {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }

  Time now_ = kStart;
  std::vector<Event> queue_;  // a heap
  std::uint64_t order_ = 0, count_ = 0, hash_ = 0, same_instant_ = 0;
  std::string failure_, trace_;
  const bool tracing_;
};

}  // namespace bus::simulation
