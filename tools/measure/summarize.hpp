// tools/measure/summarize.hpp: what follows from the repetitions of a result: figures, verdicts, and which rows count.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tools/measure/result.hpp"
#include "tools/measure/stats.hpp"

namespace bus::tools::measure {

/// Fills every row's summary from its valid repetitions, and marks a row as invalid when one of its repetitions is, or
/// when it has none. May be called again: the same repetitions give the same.
///
/// A quantile is the median over the repetitions of each one's quantile; quantiles are never averaged. Where a single
/// repetition has too few samples for it, and all of them together have enough, it is that of the merged histograms,
/// without an interval. "max" is the greatest of all.
/// The floor's verdict compares with the row that Row::floor names; a cost serves as floor of a rate as one over it.
/// The baseline's compares with the row that crosses in the baseline's way under this row's conditions.
void summarize(Result& result);

/// The one figure that a row is judged by: "p50", "rate" or "cost".
[[nodiscard]] std::string_view main_figure(Measure measure) noexcept;
[[nodiscard]] Better better(Measure measure) noexcept;

/// That figure of each valid repetition, by block. A repetition without it (too few samples) is left out.
[[nodiscard]] std::map<std::uint64_t, double> main_values(const Row& row);

/// All valid repetitions of one of the histograms ("rtt", "response", "service", "send_lag"), merged.
[[nodiscard]] Histogram merged(const Row& row, std::string_view name);
/// The same of the main histogram. Empty in a row without latency.
[[nodiscard]] Histogram merged_main(const Row& row);

/// The row that crosses as `baseline` does, under the conditions of `row`: null when there is none, or it is `row`.
[[nodiscard]] const Row* baseline_for(const Result& result, const Row& row) noexcept;

/// A seed that depends on both, so that the order of rows does not change a row's interval.
[[nodiscard]] std::uint64_t seed_for(std::uint64_t seed, std::string_view id) noexcept;

}  // namespace bus::tools::measure
