// transports/lane/pass_ring.hpp: a larger ring for a lane, passed on the control socket.
#pragma once

#include <cstddef>
#include <system_error>

#include "bus/core/os/fd.hpp"
#include "bus/core/result.hpp"

namespace bus::lane {

// The note that goes with a larger ring, little-endian:
//   offset  size  field     meaning
//        0     4  magic     "RING"
//        4     4  reserved  zero
//        8     8  capacity  bytes of the ring behind the descriptor
struct PassedRing {
  os::Fd memfd;
  std::size_t capacity = 0;
};
/// Errors: would_block (the socket's buffer is full), peer_died.
[[nodiscard]] std::error_code pass_ring(int socket, int memfd, std::size_t capacity) noexcept;
/// The ring must have been passed. Errors: corrupt.
[[nodiscard]] Result<PassedRing> take_ring(int socket) noexcept;

}  // namespace bus::lane
