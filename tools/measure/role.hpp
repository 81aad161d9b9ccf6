// tools/measure/role.hpp: the process that is one role of a repetition. It is this program again, started for that
// alone.
#pragma once

namespace bus::tools::measure {

/// The word that starts the program as a role; no verb, and in no help.
inline constexpr char kRoleWord[] = "--measure-role";
/// The role's descriptor of its Control; its resources follow.
inline constexpr int kControlFd = 3;

/// Does what it is told by its Control. Returns the process's exit code.
[[nodiscard]] int role_main() noexcept;

}  // namespace bus::tools::measure
