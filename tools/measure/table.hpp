// tools/measure/table.hpp: a table of texts that fits a width, for people, for pipes and for Markdown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bus::tools::measure {

enum class Style : unsigned char { plain, bold, dim, good, bad, warning };

/// `text` in that style, with escapes if `colour`.
[[nodiscard]] std::string styled(std::string_view text, Style style, bool colour);

struct Column {
  std::string title;
  bool right = true;   // aligned at its end
  int keep = 0;        // what does not fit is left out, least first
  bool close = false;  // belongs to the column before it: one blank between them
};

struct Cell {
  std::string text;
  Style style = Style::plain;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void add(std::vector<Cell> row);
  /// A line across: a heading for what follows.
  void add_heading(std::string text);

  /// Columns that are empty in all rows are left out, then the ones that do not fit. Ends with a newline.
  [[nodiscard]] std::string text(std::size_t width, bool colour) const;
  /// A table of GitHub's Markdown: all columns that are not empty.
  [[nodiscard]] std::string markdown() const;
  /// The titles of columns that text(width) leaves out for want of room.
  [[nodiscard]] std::vector<std::string> left_out(std::size_t width) const;

 private:
  struct Line {
    std::vector<Cell> cells;
    std::string heading;
  };
  struct Layout {
    std::vector<std::size_t> shown, left_out;  // columns
    std::vector<std::size_t> widths;           // of all columns
    std::size_t gap = 2;
  };
  [[nodiscard]] std::vector<std::size_t> used_columns() const;
  [[nodiscard]] Layout layout(std::size_t width) const;
  [[nodiscard]] std::size_t total(const Layout& layout) const noexcept;

  std::vector<Column> columns_;
  std::vector<Line> lines_;
};

}  // namespace bus::tools::measure
