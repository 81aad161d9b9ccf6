// tools/measure/plot.hpp: a percentile plot of a few curves in Braille characters, each of 2 by 4 dots.
//
// The horizontal axis is log 1/(1-p), so that 90 %, 99 %, 99.9 % are equally far apart; the vertical one is log time.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/common/histogram.hpp"

namespace bus::tools::measure {

struct Curve {
  std::string label;
  Histogram histogram;
};

/// The most curves that can be told apart.
inline constexpr std::size_t kMostCurves = 8;

/// At most `width` columns; `height` lines of plot, and two of axis. A curve ends at the last quantile that may be
/// printed of it, and its label stands right of the plot at the height of its end. Curves of too few samples are left
/// out; the text is empty when there is none.
[[nodiscard]] std::string percentile_plot(const std::vector<Curve>& curves, std::size_t width, std::size_t height,
                                          bool colour);

}  // namespace bus::tools::measure
