// tools/measure/ends/descriptor.hpp: settings of descriptors that an end cannot do without.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {

/// Throws Error.
inline void set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    throw Error(last_system_error(), "measure: cannot make a descriptor non-blocking");
  }
}

/// Throws Error.
inline void set_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) {
    throw Error(last_system_error(), "measure: cannot set an option of a socket");
  }
}

}  // namespace bus::tools::measure
