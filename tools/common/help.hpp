// tools/common/help.hpp: help and version, from the table of verbs and the list of transports.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tools/common/verb.hpp"

namespace bus::tools {

/// "bus 0.1.0 (compiler, build type)".
[[nodiscard]] std::string version_text();
/// All verbs, a line each, the forms of addresses and the exit codes.
[[nodiscard]] std::string overview(std::span<const Verb* const> verbs);
/// Usage, options, examples of one verb, and the transports of this build.
[[nodiscard]] std::string help_of(const Verb& verb);
/// Null when there is none of that name.
[[nodiscard]] const Verb* find_verb(std::span<const Verb* const> verbs, std::string_view name) noexcept;
/// Why there is none, and what was perhaps meant.
[[nodiscard]] std::string unknown_verb(std::span<const Verb* const> verbs, std::string_view name);

}  // namespace bus::tools
