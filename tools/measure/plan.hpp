// tools/measure/plan.hpp: which rows are measured, in which order, and the run of them all.
//
// Blocks: each has every row once, shuffled anew with the recorded seed, so that a machine that drifts drifts for all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/signals.hpp"
#include "tools/measure/result.hpp"
#include "tools/measure/runner.hpp"

namespace bus::tools::measure {

struct PlannedRow {
  Row row;  // without repetitions
  Task task;
};

struct Plan {
  std::string kind;
  std::vector<std::string> command;
  std::vector<PlannedRow> rows;
  std::uint64_t repetitions = 10;
  std::uint64_t seed = 1;
  std::string baseline;  // name of a row; those of other names are compared with it where the rest is the same
  bool anonymise = false;
  std::vector<std::string> warnings;  // of the whole, known before it runs
};

/// What a row has in common with the others of a measurement.
struct RowOptions {
  Conditions conditions;
  Arrivals arrivals;
  std::chrono::nanoseconds warm_up{}, timed{};
  std::uint64_t most_messages = 0;
  SampleClock::Scale clock;
  std::string peer;  // an echo that already runs
};

/// A row of ipcbus' own on `address`: scheme://, or an address of which only the options are kept. Throws Error.
[[nodiscard]] PlannedRow plan_own(const std::string& address, const RowOptions&);
/// Through a broker of ours on `address`, which is as above and crosses processes. Throws Error.
[[nodiscard]] PlannedRow plan_own_broker(const std::string& address, const RowOptions&);
/// A floor, a peer, or another broker (brokers.hpp); none when it does not know that measure or size.
[[nodiscard]] std::optional<PlannedRow> plan_crossing(std::string_view id, const RowOptions&);
/// "timer" or "memcpy".
[[nodiscard]] PlannedRow plan_cost(std::string_view id, const RowOptions&);

/// Each row's floor: what there is in the plan to hold it against.
void set_floors(Plan&);

/// How long the plan will take, about.
[[nodiscard]] std::chrono::nanoseconds estimate(const Plan&);

/// Runs all repetitions and makes the summary. `progress` hears of each before it runs: its number from 0, how many
/// there are, and its row. Throws Error and Stopped.
[[nodiscard]] Result run_plan(const Plan&, Signals&,
                              const std::function<void(std::uint64_t, std::uint64_t, const Row&)>& progress);

}  // namespace bus::tools::measure
