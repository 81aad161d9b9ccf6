// tests/tools/measure/made_result.hpp: results as a measurement could have left them, from a seed.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <utility>

#include "tools/measure/result.hpp"
#include "tools/measure/summarize.hpp"

namespace bus::test {

using tools::Histogram;
using tools::measure::Family;
using tools::measure::LoadModel;
using tools::measure::Measure;
using tools::measure::Repetition;
using tools::measure::Result;
using tools::measure::Row;

struct MadeRow {
  std::string name;
  double p50 = 1000;  // of latency and cost in nanoseconds
  double rate = 1e6;  // of throughput
  Measure measure = Measure::latency;
  Family family = Family::ours;
  std::uint64_t size = 64;
  std::string wait = "hybrid";
  std::string floor = {};
};

/// Puts together a result row by row. Each block's machine is a bit different, as real ones are.
class MadeResult {
 public:
  explicit MadeResult(std::uint64_t repetitions = 10, std::uint64_t seed = 1, std::uint64_t samples = 20'000)
      : repetitions_(repetitions), samples_(samples), seed_(seed) {
    result_.kind = "compare";
    result_.command = {"bus", "compare", "--seed", std::to_string(seed)};
    result_.started = "2026-01-01T12:00:00Z";
    result_.seconds = 48.125;
    result_.seed = seed;
    result_.environment = {{"build", {{"version", "0.1.0"}, {"compiler", "g++ 12.2.0"}}},
                           {"kernel", {{"release", "6.1.0-31-amd64"}}},
                           {"machine", {{"cpu", "Example CPU 9000"}, {"cpus_online", "8"}, {"hypervisor", "none"}}}};
    result_.order.resize(repetitions);
  }

  static std::string id_of(const MadeRow& row) {
    const char* const measure = row.measure == Measure::latency      ? "latency/"
                                : row.measure == Measure::throughput ? "throughput/"
                                                                     : "cost/";
    return measure + row.name + "/" + std::to_string(row.size) + "/" + row.wait;
  }

  Row& add(const MadeRow& made) {
    Row row;
    row.id = id_of(made);
    row.name = made.name;
    row.family = made.family;
    row.address = made.family == Family::ours ? made.name + "://made" : "";
    row.library = made.family == Family::peer ? made.name + " 1.2.3" : "";
    row.floor = made.floor;
    row.conditions.measure = made.measure;
    row.conditions.size = made.size;
    row.conditions.wait = made.wait;
    row.conditions.load_model = made.measure == Measure::latency      ? LoadModel::closed
                                : made.measure == Measure::throughput ? LoadModel::flood
                                                                      : LoadModel::none;
    row.conditions.pin = {{"send", 0}, {"receive", 1}};
    if (made.measure != Measure::cost) {
      row.copies = 1;
      row.syscalls = 0.02;
    }
    // The row's own noise depends on its name and the seed alone; the block's on the seed alone.
    std::seed_seq of_row{seed_, std::uint64_t{std::hash<std::string>{}(row.id)}};
    std::mt19937_64 own(of_row), blocks(seed_);
    for (std::uint64_t block = 0; block < repetitions_; ++block) {
      const double machine = std::lognormal_distribution<double>(0, 0.05)(blocks);
      row.repetitions.push_back(repetition(made, block, machine, own));
      result_.order[block].push_back(row.id);
    }
    result_.rows.push_back(std::move(row));
    return result_.rows.back();
  }

  [[nodiscard]] Result& raw() noexcept { return result_; }
  [[nodiscard]] Result summarized() const {
    Result copy = result_;
    tools::measure::summarize(copy);
    return copy;
  }

 private:
  Repetition repetition(const MadeRow& made, std::uint64_t block, double machine, std::mt19937_64& own) const {
    const double factor = machine * std::lognormal_distribution<double>(0, 0.02)(own);
    Repetition one;
    one.block = block;
    one.position = result_.rows.size();
    if (made.measure == Measure::cost) {
      one.cost = made.p50 * factor;
      return one;
    }
    one.messages = samples_;
    one.bytes = samples_ * made.size;
    if (made.measure == Measure::throughput) {
      one.achieved_rate = made.rate / factor;
    } else {
      one.achieved_rate = 1e9 / (made.p50 * factor * 1.1);
      std::lognormal_distribution<double> body(0, 0.08), tail(2, 1);
      std::bernoulli_distribution is_tail(0.004);
      Histogram& rtt = one.histograms["rtt"];
      for (std::uint64_t i = 0; i < samples_; ++i) {
        const double value = made.p50 * factor * body(own) * (is_tail(own) ? tail(own) : 1.0);
        rtt.add(std::chrono::nanoseconds(static_cast<std::int64_t>(value)));
      }
      one.worst.push_back({0.03, rtt.greatest(), "involuntary context switch"});
      rtt.compact();
    }
    one.seconds = static_cast<double>(samples_) / one.achieved_rate;
    one.cpu = 2e9 / one.achieved_rate;
    one.voluntary_switches = 0;
    one.involuntary_switches = 0.0001;
    one.page_faults = 0;
    for (int i = 0; i < 10; ++i) {
      const double length = one.seconds / 10;
      one.timeline.push_back({i * length, length, samples_ / 10, static_cast<std::uint64_t>(made.p50 * factor),
                              static_cast<std::uint64_t>(made.p50 * factor * 1.2),
                              static_cast<std::uint64_t>(made.p50 * factor * 30)});
    }
    return one;
  }

  std::uint64_t repetitions_, samples_, seed_;
  Result result_;
};

/// Something like what bus compare leaves: ours, floors and a peer, two sizes, latency, throughput and a cost.
inline MadeResult made_comparison(std::uint64_t repetitions = 10, std::uint64_t seed = 1,
                                  std::uint64_t samples = 20'000) {
  MadeResult made(repetitions, seed, samples);
  for (const std::uint64_t size : {std::uint64_t{64}, std::uint64_t{65536}}) {
    const double more = size == 64 ? 1 : 8;
    const std::string at = "/" + std::to_string(size) + "/";
    const auto latency = [&](const std::string& name, double p50, Family family, const std::string& wait,
                             const std::string& floor) {
      made.add({name, p50 * more, 0, Measure::latency, family, size, wait, floor.empty() ? "" : "latency/" + floor});
    };
    const auto throughput = [&](const std::string& name, double rate, Family family, const std::string& wait,
                                const std::string& floor) {
      made.add(
          {name, 0, rate / more, Measure::throughput, family, size, wait, floor.empty() ? "" : "throughput/" + floor});
    };
    latency("shm", 702, Family::ours, "hybrid", "ring" + at + "spins");
    latency("inproc", 310, Family::ours, "hybrid", "ring" + at + "spins");
    latency("unix", 15'200, Family::ours, "block", "raw unix" + at + "sleeps");
    latency("tcp", 31'400, Family::ours, "block", "raw tcp" + at + "sleeps");
    latency("ring", 290, Family::floor, "spins", "");
    latency("raw unix", 14'900, Family::floor, "sleeps", "");
    latency("raw tcp", 27'000, Family::floor, "sleeps", "");
    latency("ZeroMQ ipc", 48'000, Family::peer, "sleeps", "raw unix" + at + "sleeps");
    throughput("shm", 21e6, Family::ours, "hybrid", "ring" + at + "spins");
    throughput("unix", 1.1e6, Family::ours, "block", "raw unix" + at + "sleeps");
    throughput("ring", 52e6, Family::floor, "spins", "");
    throughput("raw unix", 0.9e6, Family::floor, "sleeps", "");
  }
  made.add({"timer", 21.5, 0, Measure::cost, Family::floor, 0, "", ""});
  made.raw().baseline = "latency/shm/64/hybrid";
  return made;
}

}  // namespace bus::test
