// tools/measure/diff.hpp: two results of the same measurement, row by row: what has become better or worse.
//
// The runs were made at different times, so that their repetitions have no pairs: whatever the machine did to one of
// them as a whole shows as a difference. Floor rows tell: they contain nothing of ours.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// A row of both results, by its main figure.
struct RowDifference {
  std::string id;
  Family family = Family::ours;
  Measure measure = Measure::latency;
  Figure before, after;
  Figure ratio;      // after over before; bootstrap over each side by itself
  std::string says;  // of after: as Verdict::says
  bool regression = false;
};

struct Difference {
  double limit = 0;  // 0.1: a regression is worse by more than 10 %, with an interval that does not hold 1
  std::vector<RowDifference> rows;
  std::vector<std::string> only_before, only_after;  // ids
  std::vector<std::string> warnings;                 // the machines differ, the conditions of a row differ ...

  [[nodiscard]] std::size_t regressions() const noexcept;
  [[nodiscard]] std::size_t invalid() const noexcept;
  /// Rows of which nothing can be said: too few repetitions.
  [[nodiscard]] std::size_t unjudged() const noexcept;
};

/// Both have to be summarized. Worse by 10 % is a duration above 110 % and a rate below 90 % of before.
[[nodiscard]] Difference diff(const Result& before, const Result& after, double limit);

/// A verdict, warnings, and a table of at most `width` columns.
[[nodiscard]] std::string to_text(const Difference& difference, bool colour, int width = 100);
/// Objects of the types "row", "only" and "warning", a line each; the last one is the "summary".
[[nodiscard]] std::string to_json_lines(const Difference& difference);

}  // namespace bus::tools::measure
