// tools/common/json.cpp: the one place at which JSON becomes text.
#include "tools/common/json.hpp"

namespace bus::tools {

std::string json_text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string json_line(const Json& json) { return json_text(json).append("\n"); }

}  // namespace bus::tools
