// tools/common/json.hpp: the one JSON type of the tools, and how it is written. Included only by .cpp files: it is
// heavy.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace bus::tools {

/// Members stay in the order in which they were put.
using Json = nlohmann::ordered_json;

/// Without white space. Strings need not be UTF-8 (names of files are bytes): what is none is replaced.
[[nodiscard]] std::string json_text(const Json& json);

/// The same and a newline: one line of JSON lines.
[[nodiscard]] std::string json_line(const Json& json);

}  // namespace bus::tools
