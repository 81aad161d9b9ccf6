// tools/common/message_line.hpp: reads messages that are lines of JSON, as bus sub --json prints them (format.hpp).
//
// A line has "text" or "hex", and may have "subject", "reply" and "headers". Its other fields are left alone.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/client/node.hpp"

namespace bus::tools {

struct MessageLine {
  std::string subject, reply;  // empty: it says none
  std::vector<std::byte> payload;
  HeaderBlock headers;
};

/// Its headers stand behind those of `given`. None for a line that tells of something else than a message: its "type"
/// is joined, listening, came, went or summary. Throws UsageError that says what is wrong with it.
[[nodiscard]] std::optional<MessageLine> read_message_line(std::string_view line, const HeaderBlock& given);

}  // namespace bus::tools
