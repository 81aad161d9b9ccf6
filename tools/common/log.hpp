// tools/common/log.hpp: what the program says to people, on stderr, a line each.
//
// Text lines begin with "bus: "; as JSON a line is {"time","level","text"}. Colour and the progress line appear on
// a terminal only, and not when NO_COLOR is set.
// Threads: any; lines do not mix.
#pragma once

#include <string_view>

namespace bus::tools::log {

/// `level` is one of debug, info, warn, error, off. Before this call: info, text.
void set_up(std::string_view level, bool json);

void debug(std::string_view text);
void info(std::string_view text);
void warn(std::string_view text);
void error(std::string_view text);

/// Several lines that somebody has asked for, without a prefix, at every level but off. As JSON: one object.
void block(std::string_view lines);

/// Whether a progress line can be shown at all.
[[nodiscard]] bool has_progress();
/// Replaces the progress line; an empty text takes it away. Other lines push it down.
void progress(std::string_view text);

}  // namespace bus::tools::log
