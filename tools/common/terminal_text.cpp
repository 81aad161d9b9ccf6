// tools/common/terminal_text.cpp: see terminal_text.hpp.
#include "tools/common/terminal_text.hpp"

#include <algorithm>

namespace bus::tools {
namespace {

/// Whether this byte begins a code point.
bool begins(char c) noexcept { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

std::size_t width_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins));
}

std::string shortened(std::string_view text, std::size_t width) {
  if (width_of(text) <= width) return std::string(text);
  std::string kept;
  std::size_t columns = 0;
  for (const char c : text) {
    if (begins(c) && ++columns >= width) break;
    kept.push_back(c);
  }
  return kept + "…";
}

std::string wrapped(std::string_view text, std::size_t width, std::size_t indent, std::size_t used) {
  std::string result;
  std::size_t column = used;
  bool line_is_empty = true;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line_is_empty && column + 1 + width_of(word) > width) {
      result.append("\n").append(indent, ' ');
      column = indent;
      line_is_empty = true;
    }
    if (!line_is_empty) {
      result.push_back(' ');
      ++column;
    }
    result.append(word);
    column += width_of(word);
    line_is_empty = false;
  }
  return result + "\n";
}

std::string harmless(std::string_view text) {
  std::string result(text);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const auto byte = static_cast<unsigned char>(result[i]);
    // Below a blank, DEL, and in UTF-8 C2 80 to C2 9F, which some terminals take for escapes as well.
    const bool second = i > 0 && static_cast<unsigned char>(result[i - 1]) == 0xC2 && byte >= 0x80 && byte < 0xA0;
    if (byte < 0x20 || byte == 0x7F) result[i] = '?';
    if (second) {
      result.replace(i - 1, 2, "?");
      --i;
    }
  }
  return result;
}

std::string counted(std::uint64_t n, std::string_view thing) {
  return std::to_string(n).append(" ").append(thing).append(n == 1 ? "" : "s");
}

}  // namespace bus::tools
