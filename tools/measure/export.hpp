// tools/measure/export.hpp: results for the programs of others: CSV for spreadsheets, .hgrm for HdrHistogram's plotter.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// RFC 4180 (CRLF, a header): one line a row and repetition, one for a row without any. Durations are nanoseconds; what
/// is not known, or must not be printed (M9: at least ten samples beyond a quantile), is empty. `result` tells apart
/// the lines of several results, of which only the first needs the header.
[[nodiscard]] std::string to_csv(const Result& result, std::string_view name = {}, bool header = true);

/// HdrHistogram's percentile distribution, in microseconds with three decimals, so that no nanosecond is lost: five
/// steps for each halving of the distance to 100 %. Source: HdrHistogram's outputPercentileDistribution(), whose output
/// https://hdrhistogram.github.io/HdrHistogram/plotFiles.html reads.
[[nodiscard]] std::string to_hgrm(const Histogram& histogram);

/// A file for each histogram of each row that has one, all valid repetitions merged: a name that is safe in any folder
/// ("latency_shm_64_hybrid.rtt.hgrm"; `prefix` goes before it) and the text.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> hgrm_files(const Result& result,
                                                                          std::string_view prefix = {});

}  // namespace bus::tools::measure
