// bus/core/os/pass_fd.hpp: descriptors over a Unix socket, with everything that a peer can get wrong.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/result.hpp"

namespace bus::os {

/// Sends `bytes` with `fds` in one message. Errors: would_block, peer_died, or the system's.
[[nodiscard]] std::error_code send_with_fds(int socket, std::span<const std::byte> bytes,
                                            std::span<const int> fds) noexcept;

struct Received {
  std::size_t size = 0;  // bytes; 0: the peer is gone
  std::vector<Fd> fds;
};
/// Takes what is there, at most `bytes` and `most` descriptors, close-on-exec from the start. More descriptors, or
/// control data of another kind: corrupt, and every one that came is closed. Errors: would_block, peer_died, corrupt.
[[nodiscard]] Result<Received> receive_with_fds(int socket, std::span<std::byte> bytes, std::size_t most) noexcept;

/// Whether a peer passed an eventfd, and not something that blocks or is heard elsewhere. Makes it non-blocking.
[[nodiscard]] bool is_eventfd(int fd) noexcept;

}  // namespace bus::os
