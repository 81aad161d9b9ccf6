// tools/common/notify.hpp: tells the service manager how a service is doing, without linking its library.
//
// A datagram of "NAME=VALUE" lines to the socket that the environment's NOTIFY_SOCKET names: a path, or @ and a name in
// the abstract space. Source: sd_notify(3).
#pragma once

#include <string_view>

namespace bus::tools {

/// Does nothing where nobody wants to know. That nobody hears it is no failure, as with sd_notify().
void notify_service_manager(std::string_view state) noexcept;

}  // namespace bus::tools
