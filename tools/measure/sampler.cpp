// tools/measure/sampler.cpp: slices, and why the worst were so.
#include "tools/measure/sampler.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "bus/core/units.hpp"
#include "tools/measure/clock.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::uint64_t kLeastSlice = 1'000'000;  // ns: shorter ones say little

/// What was seen around a sample, in words.
std::string cause_of(std::uint64_t duration, std::uint64_t off_cpu, bool slept, const Usage& around) {
  std::string cause;
  const auto append = [&cause](std::uint64_t count, const char* what) {
    if (count == 0) return;
    if (!cause.empty()) cause += ", ";
    cause += std::to_string(count).append(" ").append(what).append(count == 1 ? "" : "s");
  };
  append(around.involuntary, "involuntary context switch");
  if (cause.size() > 1 && around.involuntary > 1) cause.replace(cause.rfind("switchs"), 7, "switches");
  append(around.faults, "page fault");
  // Whoever sleeps is off the CPU by its own will; only a thread that was to run, and did not, was kept from it.
  if (off_cpu > duration / 2 && !slept) {
    if (!cause.empty()) cause += ", ";
    cause += "kept from the CPU for " + format_duration(std::chrono::nanoseconds(off_cpu));
  }
  return cause;
}

}  // namespace

Sampler::Sampler(std::uint64_t timed_ns, bool spins)
    : slice_ns_(std::max(timed_ns / kSlices, kLeastSlice)),
      spins_(spins),
      histograms_(std::clamp<std::size_t>(timed_ns / slice_ns_ + 1, 1, kSlices + 1)) {
  worst_.reserve(kWorst + 1);
}

void Sampler::begin(std::uint64_t at) noexcept {
  begin_ = mark_at_ = at;
  begin_monotonic_ns_ = monotonic_ns();
  slice_end_ = at + slice_ns_;
  mark_ = Usage::now(true);
}

void Sampler::next_slice(std::uint64_t at) noexcept {
  while (at >= slice_end_ && slice_ + 1 < histograms_.size()) {
    ++slice_;
    slice_end_ += slice_ns_;
  }
  if (slice_ + 1 == histograms_.size()) slice_end_ = ~std::uint64_t{0};  // what is late belongs to the last one
  mark_ = Usage::now(true);
  mark_at_ = at;
}

void Sampler::note(std::uint64_t at, std::uint64_t duration) noexcept {
  const Usage now = Usage::now(true);
  const Usage around = now.since(mark_);
  const auto wall = at - mark_at_;
  const auto ran = static_cast<std::uint64_t>(around.cpu_ns);
  worst_.push_back({at, duration, wall > ran ? std::min(wall - ran, duration) : 0, around});
  mark_ = now;
  mark_at_ = at;
  const auto less = [](const Noted& a, const Noted& b) { return a.duration > b.duration; };
  std::push_heap(worst_.begin(), worst_.end(), less);
  if (worst_.size() <= kWorst) return;
  std::pop_heap(worst_.begin(), worst_.end(), less);
  worst_.pop_back();
  threshold_ = worst_.front().duration;
}

double Sampler::cost(const SampleClock& clock) {
  constexpr std::uint64_t kSamples = 5000;
  std::array<double, 21> each{};  // the median of so many runs: the machine may do something else meanwhile
  Sampler sampler(1'000'000'000);
  std::uint64_t last = clock.now();
  sampler.begin(last);
  for (double& one : each) {
    const std::uint64_t begin = last = clock.now();
    for (std::uint64_t i = 0; i < kSamples; ++i) {
      const std::uint64_t now = clock.now();
      sampler.add(now, now - last);
      last = now;
    }
    one = static_cast<double>(last - begin) / static_cast<double>(kSamples);
  }
  std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
  return each[each.size() / 2];
}

void Sampler::report(const std::string& name, Findings& findings) const {
  Histogram all;
  for (std::size_t i = 0; i < histograms_.size(); ++i) {
    const Histogram& slice = histograms_[i];
    if (slice.count() == 0) continue;
    all.merge(slice);
    findings.timeline.push_back({static_cast<double>(i * slice_ns_) / 1e9, static_cast<double>(slice_ns_) / 1e9,
                                 slice.count(), slice.quantile(0.5), slice.quantile(0.99), slice.greatest()});
  }
  findings.histograms[name] = std::move(all);
  findings.worst_from_ns = begin_monotonic_ns_;
  auto worst = worst_;
  std::sort(worst.begin(), worst.end(), [](const Noted& a, const Noted& b) { return a.duration > b.duration; });
  for (const Noted& one : worst) {
    findings.worst.push_back({static_cast<double>(one.at - begin_) / 1e9, one.duration,
                              cause_of(one.duration, one.off_cpu, !spins_ && one.around.voluntary > 0, one.around)});
  }
}

}  // namespace bus::tools::measure
