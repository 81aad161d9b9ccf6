// tools/measure/intrinsic.cpp: see intrinsic.hpp.
#include "tools/measure/intrinsic.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include "bus/core/units.hpp"
#include "tools/common/json.hpp"
#include "tools/measure/append.hpp"
#include "tools/measure/system_files.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kShown = 5;      // longest pauses
constexpr std::size_t kKept = 64;      // of each CPU
constexpr std::uint64_t kBeyond = 10;  // pauses that a printed percentile has above it, at least
constexpr std::array<std::pair<double, const char*>, 4> kQuantiles{
    {{0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}, {0.999, "p99.9"}}};

double seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

std::optional<std::uint64_t> quantile(const Histogram& lengths, double q) {
  const double beyond = static_cast<double>(lengths.count()) * (1 - q);
  if (beyond + 1e-9 < static_cast<double>(kBeyond)) return {};
  return lengths.quantile(q);
}

std::string duration(std::uint64_t ns) {
  return format_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(ns)));
}

double share(const IntrinsicOfCpu& result) {
  return result.watched.count() <= 0 ? 0 : seconds(result.log.sum()) / seconds(result.watched);
}

void append_table(std::string& to, const std::vector<IntrinsicOfCpu>& results) {
  append(to, "%5s %10s %10s %10s %9s %9s %9s %9s %9s %8s\n", "CPU", "pauses", "a second", "time lost", "p50", "p90",
         "p99", "p99.9", "longest", "tasks");
  for (const IntrinsicOfCpu& result : results) {
    const Histogram& lengths = result.log.lengths();
    const double time = seconds(result.watched);
    append(to, "%5d %10llu %10.1f %8.4f %%", result.cpu, static_cast<unsigned long long>(lengths.count()),
           time > 0 ? static_cast<double>(lengths.count()) / time : 0.0, 100 * share(result));
    for (const auto& [q, name] : kQuantiles) {
      const auto value = quantile(lengths, q);
      append(to, " %9s", value ? duration(*value).c_str() : "-");
    }
    append(to, " %9s %8llu\n", lengths.count() == 0 ? "-" : duration(lengths.greatest()).c_str(),
           static_cast<unsigned long long>(result.log.switched()));
  }
}

/// Counts in classes of lengths, over all CPUs. Bars are logarithmic: one pause of 10 ms matters beside a million of 2
/// us.
void append_histogram(std::string& to, const std::vector<IntrinsicOfCpu>& results) {
  std::array<PauseLog::Class, PauseLog::kClasses> sums = results.front().log.classes();
  for (std::size_t r = 1; r < results.size(); ++r) {
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i].count += results[r].log.classes()[i].count;
      sums[i].sum += results[r].log.classes()[i].sum;
    }
  }
  const auto is_used = [](const PauseLog::Class& one) { return one.count > 0; };
  const auto first = std::find_if(sums.begin(), sums.end(), is_used);
  if (first == sums.end()) return;
  const auto last = std::find_if(sums.rbegin(), sums.rend(), is_used).base();
  std::uint64_t most = 1;
  for (const PauseLog::Class& one : sums) most = std::max(most, one.count);
  constexpr double kWidth = 48;
  to.append("\n  from      pauses  time lost\n");
  for (auto one = first; one != last; ++one) {
    const double part = one->count == 0 ? 0
                                        : (1 + std::log10(static_cast<double>(one->count))) /
                                              (1 + std::log10(static_cast<double>(most)));
    const auto width = static_cast<std::size_t>(std::ceil(part * kWidth));
    append(to, "%6s %11llu %10s  ", format_duration(one->from).c_str(), static_cast<unsigned long long>(one->count),
           one->count == 0 ? "-" : format_duration(one->sum).c_str());
    to.append(width, '#').append("\n");
  }
  to.append("  (bars are logarithmic)\n");
}

struct Longest {
  int cpu;
  Pause pause;
  std::chrono::nanoseconds at;
};

std::vector<Longest> longest_of(const std::vector<IntrinsicOfCpu>& results) {
  std::vector<Longest> all;
  for (const IntrinsicOfCpu& result : results) {
    for (const Pause& pause : result.log.longest()) all.push_back({result.cpu, pause, pause.from - result.start});
  }
  std::sort(all.begin(), all.end(),
            [](const Longest& a, const Longest& b) { return a.pause.length() > b.pause.length(); });
  if (all.size() > kShown) all.resize(kShown);
  return all;
}

const char* cause_of(const Pause& pause) {
  return pause.switched ? "another task ran" : "an interrupt, the kernel or the host";
}

}  // namespace

std::vector<IntrinsicOfCpu> watch_pauses(const std::vector<int>& cpus, std::chrono::nanoseconds threshold,
                                         const std::function<void()>& wait) {
  std::vector<std::unique_ptr<HiccupMeter>> meters;
  meters.reserve(cpus.size());
  for (const int cpu : cpus) {
    meters.push_back(std::make_unique<HiccupMeter>(
        HiccupMeter::Options{.way = HiccupMeter::Way::spin, .threshold = threshold, .cpu = cpu, .most = kKept}));
  }
  wait();
  for (const auto& meter : meters) meter->stop();
  std::vector<IntrinsicOfCpu> results;
  results.reserve(cpus.size());
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    results.push_back({cpus[i], meters[i]->log(), meters[i]->watched(), meters[i]->readings(), meters[i]->start()});
  }
  return results;
}

std::string intrinsic_text(const std::vector<IntrinsicOfCpu>& results, std::chrono::nanoseconds threshold) {
  if (results.empty()) return {};
  std::vector<int> cpus;
  std::uint64_t readings = 0, pauses = 0;
  for (const IntrinsicOfCpu& result : results) {
    cpus.push_back(result.cpu);
    readings += result.readings;
    pauses += result.log.lengths().count();
  }
  std::sort(cpus.begin(), cpus.end());
  std::string text = "The machine's own pauses: " + format_duration(results.front().watched) +
                     " of reading the clock on " + (cpus.size() == 1 ? "CPU " : "CPUs ") + cpus_text(cpus) +
                     ".\nA pause is a gap of " + format_duration(threshold) + " or more between two readings";
  if (readings > 0) {
    // What one reading takes when nothing comes between.
    std::chrono::nanoseconds rest{0};
    for (const IntrinsicOfCpu& result : results) rest += result.watched - result.log.sum();
    append(text, ", which are %.0f ns apart", static_cast<double>(rest.count()) / static_cast<double>(readings));
  }
  text.append(".\n\n");
  append_table(text, results);
  if (pauses == 0) return text.append("\nNot one.\n");
  append_histogram(text, results);
  text.append("\nThe longest:\n");
  for (const Longest& one : longest_of(results)) {
    append(text, "%10s  at %.3f s on CPU %d: %s\n", format_duration(one.pause.length()).c_str(), seconds(one.at),
           one.cpu, cause_of(one.pause));
  }
  return text;
}

std::string intrinsic_json(const std::vector<IntrinsicOfCpu>& results, std::chrono::nanoseconds threshold) {
  std::string text;
  std::uint64_t pauses = 0, greatest = 0;
  std::chrono::nanoseconds lost{0}, watched{0};
  for (const IntrinsicOfCpu& result : results) {
    const Histogram& lengths = result.log.lengths();
    Json quantiles = Json::object();
    for (const auto& [q, name] : kQuantiles) {
      const auto value = quantile(lengths, q);
      quantiles[name] = value ? Json(*value) : Json(nullptr);
    }
    Json classes = Json::array();
    for (const PauseLog::Class& one : result.log.classes()) {
      if (one.count > 0)
        classes.push_back({{"from_ns", one.from.count()}, {"count", one.count}, {"sum_ns", one.sum.count()}});
    }
    Json longest = Json::array();
    std::vector<Pause> kept = result.log.longest();
    std::sort(kept.begin(), kept.end(), [](const Pause& a, const Pause& b) { return a.length() > b.length(); });
    for (const Pause& pause : kept) {
      longest.push_back({{"at_ns", std::chrono::nanoseconds(pause.from - result.start).count()},
                         {"length_ns", pause.length().count()},
                         {"another_task_ran", pause.switched}});
    }
    const Json object{{"type", "pauses"},
                      {"cpu", result.cpu},
                      {"watched_ns", result.watched.count()},
                      {"threshold_ns", threshold.count()},
                      {"readings", result.readings},
                      {"pauses", lengths.count()},
                      {"switched", result.log.switched()},
                      {"lost_ns", result.log.sum().count()},
                      {"quantiles_ns", quantiles},
                      {"max_ns", lengths.greatest()},
                      {"classes", classes},
                      {"longest", longest}};
    text.append(json_line(object));
    pauses += lengths.count();
    greatest = std::max(greatest, lengths.greatest());
    lost += result.log.sum();
    watched += result.watched;
  }
  const Json summary{{"type", "summary"}, {"cpus", results.size()},  {"watched_ns", watched.count()},
                     {"pauses", pauses},  {"lost_ns", lost.count()}, {"max_ns", greatest}};
  return text.append(json_line(summary));
}

}  // namespace bus::tools::measure
