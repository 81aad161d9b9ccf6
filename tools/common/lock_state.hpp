// tools/common/lock_state.hpp: whether a local name is somebody's: its lock is asked about, and not taken.
// Source: bus/core/os/local_socket.hpp, transports/mq/link.hpp; fcntl(2), F_OFD_GETLK.
#pragma once

#include <optional>
#include <string>

namespace bus::tools {

/// Whether somebody holds the lock of a local name. None: it cannot be looked at.
[[nodiscard]] std::optional<bool> is_held(const std::string& lock);

/// The same, looked at again when it is free: a listener that starts has made the file and not yet locked it.
[[nodiscard]] std::optional<bool> stays_held(const std::string& lock);

}  // namespace bus::tools
