// tools/common/terminal_text.hpp: text for people: how wide it is, cut or wrapped to a width, and without control
// characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bus::tools {

/// Columns on a terminal: code points of UTF-8, which is right for all that is printed here.
[[nodiscard]] std::size_t width_of(std::string_view text) noexcept;

/// At most `width` columns of it; the last one is an ellipsis if something is missing.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t width);

/// Words in lines of at most `width` columns; the second line and later ones begin with `indent` blanks, and `used`
/// columns of the first are taken. A word that is too long stands alone. Ends with a newline.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t width, std::size_t indent, std::size_t used = 0);

/// The text with a question mark for each control character: what a document, a file or a process is called must not
/// steer a terminal.
[[nodiscard]] std::string harmless(std::string_view text);

/// "1 message", "2 messages".
[[nodiscard]] std::string counted(std::uint64_t n, std::string_view thing);

}  // namespace bus::tools
