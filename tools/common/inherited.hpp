// tools/common/inherited.hpp: sockets that a service manager has opened for this process and handed over.
//
// LISTEN_FDS of them, from descriptor 3 on, for the process LISTEN_PID; LISTEN_FDNAMES has their names, with colons
// between them. Source: sd_listen_fds(3).
#pragma once

#include <string>
#include <vector>

namespace bus::tools {

struct InheritedSocket {
  int descriptor;
  std::string name;  // empty: it has none
};

/// Takes the three variables out of the environment, so that no child believes that they are for it. None where they
/// are for another process. Throws UsageError for a number that is none.
[[nodiscard]] std::vector<InheritedSocket> inherited_sockets();

/// "descriptor 3 (NAME)".
[[nodiscard]] std::string describe_inherited(const InheritedSocket& socket);

}  // namespace bus::tools
