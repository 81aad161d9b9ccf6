// transports/stream/acceptor.hpp: takes connections from a listening stream socket and greets them.
//
// Peers that have not finished their handshake live in a pool of their own: at most 64, each for at most 2 s
// (the oldest goes first), so that strangers never starve those that are let in. When descriptors run out, a
// reserve descriptor is spent to take the connection and close it; the listener lives and recovers by itself.
#pragma once

#include <functional>
#include <memory>

#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"

namespace bus::stream {

/// The handshake of one accepted connection, from the accepting side.
class Greeting {
 public:
  virtual ~Greeting() = default;
  /// Moves the handshake on without blocking. would_block: waiting for the peer (fd() for events()).
  /// Any other error: the peer is dropped, silently for others.
  [[nodiscard]] virtual Result<std::unique_ptr<ChannelImpl>> step() noexcept = 0;
  [[nodiscard]] virtual int fd() const noexcept = 0;
  [[nodiscard]] virtual short events() const noexcept = 0;  // POLLIN, POLLOUT
};

class Acceptor {
 public:
  /// Makes the Greeting of a fresh, non-blocking, close-on-exec connection. Null: drop it.
  using Greet = std::function<std::unique_ptr<Greeting>(os::Fd connection)>;

  /// `listening` is non-blocking and stays the caller's. Throws Error.
  Acceptor(int listening, Greet greet);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // As ListenerImpl has them.
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept;
  [[nodiscard]] bool arm(WaitSet&) noexcept;
  [[nodiscard]] int readable_fd() noexcept;  // always there; also readable when a handshake's time is over

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bus::stream
