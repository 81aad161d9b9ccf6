// tools/measure/anonymise.hpp: takes out of texts what tells of people and places, for results that are given away.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bus::tools::measure {

/// What stands where something was taken out.
inline constexpr std::string_view kAnonymised = "(anonymised)";

/// A word of a command line, an address, a flag. What goes: the name or host and path of an address (not loopback, and
/// not the scheme and the options), everything with a slash, HOST:PORT, names with an ending such as lab.json, and
/// words that contain this host's or user's name. What stays: options, numbers, other plain words.
///   shm://lab?wait=spin -> shm://(anonymised)?wait=spin      --json=/home/me/x -> --json=(anonymised)
[[nodiscard]] std::string anonymised(std::string_view word);

/// A whole command line; argv[0] becomes the program's bare name.
[[nodiscard]] std::vector<std::string> anonymised_command(const std::vector<std::string>& command);

/// This host's name, and this user's ($USER, $LOGNAME, else the number); empty when there is none.
[[nodiscard]] std::string host_name();
[[nodiscard]] std::string user_name();

}  // namespace bus::tools::measure
