// tools/measure/settings.hpp: the options that the measuring verbs share, and what becomes of a result.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "tools/common/arguments.hpp"
#include "tools/common/output.hpp"
#include "tools/measure/plan.hpp"

namespace bus::tools::measure {

// For the tables of verbs.
inline constexpr Option kSizes{'s', "sizes", Kind::text, "LIST", "bytes of a message, as 64,1KiB,1MiB", "64"};
/// The options of every measuring verb, which stand behind its own.
inline constexpr std::array kShared{
    Option{'d', "duration", Kind::duration, "D", "the timed part of a repetition", "1s"},
    Option{0, "warmup", Kind::duration, "D", "before it, thrown away", "200ms"},
    Option{'r', "repetitions", Kind::count, "N", "each of fresh processes; fewer than 6 give no interval", "10"},
    Option{'w', "wait", Kind::choice, "spin|hybrid|block", "how a process waits", "hybrid"},
    Option{0, "pin", Kind::text, "ROLES", "CPUs of the processes, as send=0,receive=1"},
    Option{0, "touch", Kind::choice, "none|first|all", "what the receiver reads of a payload", "all"},
    Option{0, "copy", Kind::flag, "", "the receiver copies the payload as well"},
    Option{0, "clock", Kind::choice, "monotonic|tsc", "CLOCK_MONOTONIC, or the processor's counter", "monotonic"},
    Option{0, "seed", Kind::count, "N", "of the order of rows, the payloads and the intervals", "1"},
    Option{'o', "save", Kind::text, "FILE", "the result as JSON; bus report and bus diff read it"},
    Option{0, "html", Kind::text, "FILE", "the report as a page of its own"},
    Option{0, "anonymise", Kind::flag, "", "without host, user, paths and addresses"}};

/// `own`, and behind them the shared ones.
template <std::size_t Count>
[[nodiscard]] consteval std::array<Option, Count + kShared.size()> with_shared(const std::array<Option, Count>& own) {
  std::array<Option, Count + kShared.size()> all{};
  std::copy(kShared.begin(), kShared.end(), std::copy(own.begin(), own.end(), all.begin()));
  return all;
}

/// "64,1KiB". Throws UsageError.
[[nodiscard]] std::vector<std::uint64_t> sizes_of(const Arguments&);
/// Wait, touch, copy, pin, durations and clock, as far as the verb has them. Throws UsageError or Error.
[[nodiscard]] RowOptions row_options(const Arguments&);
/// Kind, command, repetitions, seed. Throws UsageError.
[[nodiscard]] Plan plan_of(const Arguments&, std::string kind);

/// Calls `work` and returns its exit code, or that of the signal that stopped it.
template <class Work>
[[nodiscard]] Exit unless_stopped(Signals& signals, Work&& work) {
  try {
    return work();
  } catch (const Stopped&) {
    return signals.exit();
  }
}

/// Runs the plan with progress on a terminal, after saying how long it takes where that is long.
[[nodiscard]] Result run(const Plan&, Signals&);
/// Writes what the options ask for: text, or JSON with --json; --save; --html. Returns ok, or loss for an invalid
/// result.
[[nodiscard]] Exit publish(const Result&, const Arguments&, Output&);

}  // namespace bus::tools::measure
