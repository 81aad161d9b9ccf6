// tools/measure/sampler.hpp: takes the samples of the timed part: histograms by slices of time, and the worst of them.
//
// All memory is there and touched before the timed part; add() costs a comparison and a count.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/measure/job.hpp"
#include "tools/measure/usage.hpp"

namespace bus::tools::measure {

class Sampler {
 public:
  static constexpr std::size_t kSlices = 20;
  static constexpr std::size_t kWorst = 16;

  /// For a timed part of that length that will begin at begin().
  /// `spins`: its thread never sleeps of its own will.
  explicit Sampler(std::uint64_t timed_ns, bool spins = false);

  /// Times are those of the sample clock.
  void begin(std::uint64_t at) noexcept;

  /// A sample that was complete at `at`.
  void add(std::uint64_t at, std::uint64_t duration) noexcept {
    if (duration > threshold_) [[unlikely]]
      note(at, duration);  // before a new slice, which begins a new account
    if (at >= slice_end_) [[unlikely]]
      next_slice(at);
    histograms_[slice_].add(std::chrono::nanoseconds(static_cast<std::int64_t>(duration)));
  }

  /// What a reading of the clock and add() take together, in nanoseconds: what taking samples adds to each of them.
  [[nodiscard]] static double cost(const SampleClock& clock);

  /// Puts the whole histogram under `name`, the timeline and the worst into the findings.
  void report(const std::string& name, Findings&) const;

 private:
  void next_slice(std::uint64_t at) noexcept;
  void note(std::uint64_t at, std::uint64_t duration) noexcept;

  struct Noted {
    std::uint64_t at = 0, duration = 0, off_cpu = 0;
    Usage around;
  };

  const std::uint64_t slice_ns_;
  const bool spins_;
  std::vector<Histogram> histograms_;
  std::size_t slice_ = 0;
  std::uint64_t begin_ = 0, begin_monotonic_ns_ = 0, slice_end_ = ~std::uint64_t{0};
  std::uint64_t threshold_ = 0;  // only above it can a sample be among the worst
  std::vector<Noted> worst_;
  Usage mark_;  // of this thread, at the last note or slice
  std::uint64_t mark_at_ = 0;
};

}  // namespace bus::tools::measure
