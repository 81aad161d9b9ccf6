// tools/measure/table.cpp: see table.hpp.
#include "tools/measure/table.hpp"

#include <algorithm>
#include <cassert>

#include "tools/common/terminal_text.hpp"

namespace bus::tools::measure {
namespace {

std::string_view escape_of(Style style) noexcept {
  switch (style) {
    case Style::plain:
      break;
    case Style::bold:
      return "\x1b[1m";
    case Style::dim:
      return "\x1b[2m";
    case Style::good:
      return "\x1b[32m";
    case Style::bad:
      return "\x1b[31m";
    case Style::warning:
      return "\x1b[33m";
  }
  return {};
}

std::string markdown_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '\\' || c == '<' || c == '*' || c == '_' || c == '`' || c == '~') {
      escaped.push_back('\\');
    }
    escaped.push_back(c == '\n' || c == '\r' ? ' ' : c);
  }
  return escaped;
}

}  // namespace

std::string styled(std::string_view text, Style style, bool colour) {
  const std::string_view escape = colour ? escape_of(style) : std::string_view{};
  std::string result(escape);
  result.append(text);
  if (!escape.empty()) result.append("\x1b[0m");
  return result;
}

void Table::add(std::vector<Cell> row) {
  assert(row.size() == columns_.size());
  lines_.push_back({std::move(row), {}});
}

void Table::add_heading(std::string text) { lines_.push_back({{}, std::move(text)}); }

std::vector<std::size_t> Table::used_columns() const {
  std::vector<std::size_t> used;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const bool filled = std::any_of(lines_.begin(), lines_.end(), [i](const Line& line) {
      return !line.cells.empty() && !line.cells[i].text.empty();
    });
    if (filled) used.push_back(i);
  }
  return used;
}

std::size_t Table::total(const Layout& layout) const noexcept {
  std::size_t sum = 0;
  for (std::size_t n = 0; n < layout.shown.size(); ++n) {
    const std::size_t i = layout.shown[n];
    if (n > 0) sum += columns_[i].close ? 1 : layout.gap;
    sum += layout.widths[i];
  }
  return sum;
}

Table::Layout Table::layout(std::size_t width) const {
  Layout layout;
  layout.shown = used_columns();
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = width_of(columns_[i].title);
    for (const Line& line : lines_) {
      if (!line.cells.empty()) widest = std::max(widest, width_of(line.cells[i].text));
    }
    layout.widths.push_back(widest);
  }
  while (total(layout) > width && layout.shown.size() > 1) {
    if (layout.gap == 2) {
      layout.gap = 1;  // closer together before anything is left out
      continue;
    }
    const auto least = std::min_element(layout.shown.begin(), layout.shown.end(), [&](std::size_t a, std::size_t b) {
      return columns_[a].keep < columns_[b].keep;
    });
    layout.left_out.push_back(*least);
    layout.shown.erase(least);
    layout.gap = 2;
  }
  // The first column has names; a very long one is cut rather than the figures.
  if (!layout.shown.empty() && total(layout) > width) {
    std::size_t& first = layout.widths[layout.shown.front()];
    first = std::max<std::size_t>(first - std::min(first, total(layout) - width), 1);
  }
  return layout;
}

std::vector<std::string> Table::left_out(std::size_t width) const {
  std::vector<std::string> titles;
  for (const std::size_t i : layout(width).left_out) titles.push_back(columns_[i].title);
  return titles;
}

std::string Table::text(std::size_t width, bool colour) const {
  const Layout chosen = layout(width);
  std::string result;
  const auto write = [&](auto&& cell_of) {
    std::string line;
    std::size_t missing = 0;  // blanks that are written only if something follows: no line ends with blanks
    for (std::size_t n = 0; n < chosen.shown.size(); ++n) {
      const std::size_t i = chosen.shown[n];
      const Cell& cell = cell_of(i);
      const std::string text = shortened(cell.text, chosen.widths[i]);
      const std::size_t blanks = chosen.widths[i] - width_of(text);
      if (n > 0) missing += columns_[i].close ? 1 : chosen.gap;
      if (columns_[i].right) missing += blanks;
      if (!text.empty()) {
        line.append(missing, ' ').append(styled(text, cell.style, colour));
        missing = 0;
      }
      if (!columns_[i].right) missing += blanks;
    }
    result.append(line).append("\n");
  };
  std::vector<Cell> titles;
  for (const Column& column : columns_) titles.push_back({column.title, Style::bold});
  write([&](std::size_t i) -> const Cell& { return titles[i]; });
  for (const Line& line : lines_) {
    if (line.cells.empty()) {
      result.append(styled(shortened(line.heading, width), Style::dim, colour)).append("\n");
    } else {
      write([&](std::size_t i) -> const Cell& { return line.cells[i]; });
    }
  }
  return result;
}

std::string Table::markdown() const {
  const std::vector<std::size_t> used = used_columns();
  std::string head = "|", rule = "|", body;
  for (const std::size_t i : used) {
    head.append(" ").append(markdown_text(columns_[i].title)).append(" |");
    rule.append(columns_[i].right ? "---:|" : "---|");
  }
  for (const Line& line : lines_) {
    body.append("|");
    for (std::size_t n = 0; n < used.size(); ++n) {
      const std::string text = line.cells.empty() ? (n == 0 ? line.heading : "") : line.cells[used[n]].text;
      const bool emphasised = line.cells.empty() && n == 0;
      body.append(emphasised ? " *" : " ").append(markdown_text(text)).append(emphasised ? "* |" : " |");
    }
    body.append("\n");
  }
  return head + "\n" + rule + "\n" + body;
}

}  // namespace bus::tools::measure
