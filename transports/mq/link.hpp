// transports/mq/link.hpp: what a finished handshake leaves in the hands of each end, and the names it used.
//
// Names. mq://NAME listens on the socket NAME.mq in the runtime directory. The two queues of a channel stand in
// /dev/shm only while it is set up: the listener makes them, the connector opens them, then the listener removes the
// names:
//     ipcbus.UID.INODE.NAME.TOKEN.up  and  .down       INODE: of the runtime directory, TOKEN: 32 random hex digits
// Who removes them when somebody dies before that: whoever of the two is left; else the next listener on NAME, which
// holds the lock that only one listener at a time can hold; else the next connector that finds no listener.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"
#include "transports/mq/handshake.hpp"
#include "transports/mq/queue.hpp"
#include "transports/mq/wake_page.hpp"

namespace bus::mq {

/// Where a NAME is. Throws Error for a name that cannot be.
struct Place {
  explicit Place(const Address&);
  std::string path;    // of the listener's socket
  std::string prefix;  // of the names of its queues

  [[nodiscard]] std::string up(const Id& token) const;
  [[nodiscard]] std::string down(const Id& token) const;
};

/// Removes all queues of a place. Only for a listener that holds its lock and has not made any.
void remove_leftovers(const Place&) noexcept;
/// Removes what a listener has left, socket, lock and queues, if it is dead. Never harms a living one. False when the
/// lock is held: somebody lives there, or the kernel has not come to that lock yet while it takes a process apart.
bool sweep(const Place&) noexcept;
/// Whether the kernel has taken a process apart, with all that it held.
[[nodiscard]] bool has_ended(::pid_t) noexcept;

/// The eventfds of one queue: what wakes its reader, and what wakes its writer.
struct Events {
  os::Fd message, room;
};

struct Link {
  os::Fd control;
  Queue in, out;
  WakePage page;
  Events up, down;
  bool listens;             // this end is the listener's: its incoming queue is "up"
  std::size_t max_message;  // bytes; what the peer accepts
  Peer peer;
};

/// What an end asks of its incoming queue.
struct Wish {
  std::uint64_t max_message = 0;
  std::uint64_t capacity = 0;
  std::uint32_t depth = 0;  // 0: as many as is usual
  /// Throws Error(bad_address) when depth and max_message ask for more than a queue may take.
  [[nodiscard]] static Wish from(const Address&, const Options&);
};
/// How many messages the queue holds: what was asked for; else as many as the capacity, but at least what 16 MiB hold
/// (2 to 16), at most 4096, and so few that it takes no more than an eighth of what is free in /dev/shm, though one.
/// Throws Error(no_room) when more was asked for than a queue may take.
[[nodiscard]] std::uint32_t depth_for(const Wish&);
/// Bytes that each message of a queue takes: at least one, because Boost wants that.
[[nodiscard]] constexpr std::size_t slot_for(std::uint64_t max_message) noexcept {
  return max_message == 0 ? 1 : static_cast<std::size_t>(max_message);
}

/// 16 bytes from the kernel's generator.
[[nodiscard]] Id random_id() noexcept;

inline constexpr std::size_t kDescriptors = 5;

/// Sends all of `bytes`, which are few enough for the buffer of a socket that nothing else fills.
/// Errors: peer_died, no_room (the buffer is full all the same), or the system's.
[[nodiscard]] std::error_code send_frame(int socket, std::span<const std::byte> bytes,
                                         std::span<const int> descriptors = {}) noexcept;

/// Reads on until `frame` is full; `have` counts. Descriptors that are sent along are closed by the kernel.
/// Errors: would_block, peer_died (the stream ended), or the system's.
[[nodiscard]] std::error_code read_frame(int socket, std::span<std::byte> frame, std::size_t& have) noexcept;

}  // namespace bus::mq
