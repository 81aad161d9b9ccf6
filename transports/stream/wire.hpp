// transports/stream/wire.hpp: the one place where a stream socket is read and written.
//
// Threads: one reader and one writer at a time.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "bus/core/books.hpp"
#include "bus/core/os/fd.hpp"

namespace bus::stream {

struct Transfer {
  enum class State : unsigned char {
    moved,  // `count` bytes, more than none
    again,  // not now
    over,   // reading: the peer has ended its direction
    broken  // `error` is the errno
  };
  State state = State::again;
  std::size_t count = 0;
  int error = 0;
};

class Wire {
 public:
  /// A connected non-blocking stream socket.
  explicit Wire(os::Fd fd) noexcept : fd_(static_cast<os::Fd&&>(fd)) {}

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] Transfer read(std::span<std::byte> room) noexcept;
  /// Never raises SIGPIPE.
  [[nodiscard]] Transfer write(std::span<const iovec> parts) noexcept;

  /// Ends our direction: the peer reads what was written, and then the end.
  void end_writing() noexcept;
  void end_both() noexcept;
  /// Whether the peer has ended its direction, behind whatever waits to be read.
  [[nodiscard]] bool peer_ended_writing() const noexcept;
  /// TCP: whether the peer's kernel has all that was written, the end of our direction included.
  enum class Acknowledged : unsigned char { all, not_yet, never };
  [[nodiscard]] Acknowledged acknowledged() const noexcept;
  /// The last bytes of what waits to be read, without taking them. False if fewer wait, or somebody reads now.
  [[nodiscard]] bool peek_tail(std::span<std::byte> tail) const noexcept;

  /// System calls so far.
  [[nodiscard]] std::uint64_t reads() const noexcept { return reads_.get(); }
  [[nodiscard]] std::uint64_t writes() const noexcept { return writes_.get(); }

 private:
  os::Fd fd_;
  Counter reads_, writes_;
};

}  // namespace bus::stream
