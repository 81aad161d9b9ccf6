// tools/measure/plot.cpp: see plot.hpp.
#include "tools/measure/plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "tools/common/terminal_text.hpp"
#include "tools/measure/numbers.hpp"
#include "tools/measure/stats.hpp"
#include "tools/measure/table.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::array<std::string_view, kMostCurves> kColours{"\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m",
                                                             "\x1b[34m", "\x1b[31m", "\x1b[96m", "\x1b[93m"};
// Where curves begin: the least value of all is as much of an outlier as the greatest.
constexpr double kFirst = 0.05;
constexpr std::string_view kPlain = "\x1b[0m";

/// Dots in cells of 2 by 4, as Unicode numbers them. Source: Unicode 15, block "Braille Patterns", U+2800.
class Canvas {
 public:
  Canvas(std::size_t columns, std::size_t rows) : columns_(columns), rows_(rows), cells_(columns * rows) {}

  [[nodiscard]] std::size_t width() const noexcept { return columns_ * 2; }
  [[nodiscard]] std::size_t height() const noexcept { return rows_ * 4; }

  /// `y` counts from the bottom.
  void dot(std::size_t x, std::size_t y, std::size_t curve) noexcept {
    static constexpr std::array<std::array<unsigned char, 2>, 4> kBits{
        {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
    const std::size_t down = height() - 1 - y;
    Cell& cell = cells_[(down / 4) * columns_ + x / 2];
    cell.dots = static_cast<unsigned char>(cell.dots | kBits[down % 4][x % 2]);
    cell.curve = curve;
  }

  [[nodiscard]] std::string line(std::size_t row, bool colour) const {
    std::string text;
    for (std::size_t i = 0; i < columns_; ++i) {
      const Cell& cell = cells_[row * columns_ + i];
      if (cell.dots == 0) {
        text.push_back(' ');
        continue;
      }
      if (colour) text.append(kColours[cell.curve % kColours.size()]);
      text.push_back(static_cast<char>(0xE2));  // U+2800 + dots in UTF-8
      text.push_back(static_cast<char>(0xA0 + (cell.dots >> 6)));
      text.push_back(static_cast<char>(0x80 + (cell.dots & 0x3F)));
      if (colour) text.append(kPlain);
    }
    return text;
  }

 private:
  struct Cell {
    unsigned char dots = 0;
    std::size_t curve = 0;
  };
  std::size_t columns_, rows_;
  std::vector<Cell> cells_;
};

/// How many decades of 1/(1-p) may be shown of n samples: ten of them lie beyond the last quantile.
double decades_of(std::uint64_t n) noexcept { return n < 20 ? 0 : std::log10(static_cast<double>(n) / 10); }

/// What a logarithm can be taken of.
double positive(std::uint64_t ns) noexcept { return std::max(static_cast<double>(ns), 1.0); }

struct Axes {
  double decades;    // from 0
  double low, high;  // log10 of nanoseconds

  [[nodiscard]] std::size_t y_of(double ns, std::size_t dots) const noexcept {
    const double part = std::clamp((std::log10(ns) - low) / (high - low), 0.0, 1.0);
    return static_cast<std::size_t>(std::lround(part * static_cast<double>(dots - 1)));
  }
};

Axes axes_of(const std::vector<Curve>& curves) {
  Axes axes{0, std::numeric_limits<double>::max(), 0};
  for (const Curve& curve : curves) {
    const Histogram& histogram = curve.histogram;
    const double decades = decades_of(histogram.count());
    if (decades <= 0) continue;
    axes.decades = std::max(axes.decades, decades);
    axes.low = std::min(axes.low, std::log10(positive(histogram.quantile(kFirst))));
    axes.high = std::max(axes.high, std::log10(positive(histogram.quantile(1 - std::pow(10, -decades)))));
  }
  // Whatever the curves do in less than a factor of two is noise that the eye should not take for a shape.
  const double missing = std::log10(2.0) - (axes.high - axes.low);
  if (missing > 0) {
    axes.low -= missing / 2;
    axes.high += missing / 2;
  }
  return axes;
}

/// 1, 2 or 5 of a unit, for the lines nearest to them; every line has one at most.
std::vector<std::string> axis_labels(const Axes& axes, std::size_t rows) {
  std::vector<std::string> labels(rows);
  std::optional<std::size_t> last;
  for (int decade = 0; decade < 20; ++decade) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double ns = digit * std::pow(10.0, decade);
      if (std::log10(ns) < axes.low || std::log10(ns) > axes.high) continue;
      const std::size_t row = rows - 1 - axes.y_of(ns, rows * 4) / 4;
      if (last && *last <= row + 1) continue;  // a free line between two labels
      // "1 us", not "1.00 us": ticks are whole numbers of a unit.
      const int thousands = decade / 3;
      const auto whole = static_cast<std::uint64_t>(std::lround(digit * std::pow(10.0, decade % 3)));
      static constexpr std::array<std::string_view, 4> kUnits{" ns", " us", " ms", " s"};
      if (thousands < 4) labels[row] = std::to_string(whole).append(kUnits[static_cast<std::size_t>(thousands)]);
      last = row;
    }
  }
  return labels;
}

struct End {
  std::size_t row;  // from the top
  std::size_t curve;
};

/// Labels in the order of their curves' ends, moved apart where two would share a line.
std::vector<std::optional<std::size_t>> place(std::vector<End> ends, std::size_t rows) {
  std::stable_sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.row < b.row; });
  std::vector<std::optional<std::size_t>> lines(rows);
  for (std::size_t n = 0; n < ends.size() && n < rows; ++n) {
    std::size_t row = ends[n].row;
    if (n > 0) row = std::max(row, ends[n - 1].row + 1);
    row = std::min(row, rows - (ends.size() - n));  // those that follow need lines, too
    ends[n].row = row;
    lines[row] = ends[n].curve;
  }
  return lines;
}

std::string axis_line(const Axes& axes, std::size_t columns, std::size_t margin) {
  std::string ticks(margin, ' '), names(margin + 1, ' ');
  ticks.append("└");
  std::size_t at = 0;
  for (unsigned decade = 0; static_cast<double>(decade) <= axes.decades + 1e-9; ++decade) {
    const auto column = static_cast<std::size_t>(std::lround(decade / axes.decades * static_cast<double>(columns - 1)));
    for (; at < column; ++at) ticks.append("─");
    ticks.append("┴");
    ++at;
    const std::string name = decade_text(decade);
    const std::size_t begin = margin + 1 + column - (decade == 0 ? 0 : std::min(name.size() / 2, column));
    if (begin < names.size() && decade > 0) continue;  // no room beside the one before
    names.append(begin - names.size(), ' ').append(name).push_back(' ');
  }
  for (; at < columns; ++at) ticks.append("─");
  names.erase(names.find_last_not_of(' ') + 1);
  return ticks + "\n" + names + "\n";
}

}  // namespace

std::string percentile_plot(const std::vector<Curve>& curves, std::size_t width, std::size_t height, bool colour) {
  const Axes axes = axes_of(curves);
  if (axes.decades <= 0 || height == 0) return {};
  const std::vector<std::string> labels = axis_labels(axes, height);
  std::size_t margin = 0, widest = 0;
  for (const std::string& label : labels) margin = std::max(margin, width_of(label));
  for (const Curve& curve : curves) widest = std::max(widest, width_of(curve.label));
  margin += 1;
  widest = std::min<std::size_t>(widest, 24);
  if (width < margin + widest + 2 + 20) return {};  // too narrow to show anything
  const std::size_t columns = width - margin - widest - 2;

  Canvas canvas(columns, height);
  std::vector<End> ends;
  for (std::size_t n = 0; n < curves.size(); ++n) {
    const Histogram& histogram = curves[n].histogram;
    const double decades = decades_of(histogram.count());
    if (decades <= 0) continue;
    std::optional<std::size_t> before;
    for (std::size_t x = 0; x < canvas.width(); ++x) {
      const double at = axes.decades * static_cast<double>(x) / static_cast<double>(canvas.width() - 1);
      if (at > decades + 1e-9) break;
      const std::size_t y =
          axes.y_of(positive(histogram.quantile(std::max(1 - std::pow(10, -at), kFirst))), canvas.height());
      for (std::size_t between = before.value_or(y); between != y; between += between < y ? 1 : std::size_t(-1)) {
        canvas.dot(x, between, n);
      }
      canvas.dot(x, y, n);
      before = y;
    }
    ends.push_back({height - 1 - before.value_or(0) / 4, n});
  }

  const auto lines = place(std::move(ends), height);
  std::string text;
  for (std::size_t row = 0; row < height; ++row) {
    std::string line(margin - 1 - width_of(labels[row]), ' ');
    line.append(labels[row]).append(labels[row].empty() ? " │" : " ┤").append(canvas.line(row, colour));
    if (lines[row]) {
      const std::size_t curve = *lines[row];
      const std::string label = shortened(curves[curve].label, widest);
      line.append(" ");
      if (colour) line.append(kColours[curve % kColours.size()]);
      line.append(label);
      if (colour) line.append(kPlain);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text.append(line).append("\n");
  }
  return text + axis_line(axes, columns, margin);
}

}  // namespace bus::tools::measure
