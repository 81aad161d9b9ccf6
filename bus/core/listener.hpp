// bus/core/listener.hpp: accepts channels. Any number of channels may live on one listener.
//
// A connecting peer is greeted by accept() and try_accept() alone: no thread works behind them. A program that
// connects to its own listener does so from another thread.
// Threads: one thread at a time; close() and address() from any.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bus/core/channel.hpp"

namespace bus {

class ListenerImpl;
class ListenerState;

class Listener {
 public:
  Listener() noexcept;  // not there: every call gives `closed`
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  /// The next channel. Errors: would_block, closed (this listener was), no_room (descriptors or memory ran out;
  /// the peer was turned away, the listener lives on).
  [[nodiscard]] Result<Channel> try_accept() noexcept;
  /// As try_accept(), but waits until the deadline. Adds: timed_out.
  [[nodiscard]] Result<Channel> accept(Deadline = forever) noexcept;

  /// Level-triggered, readable when try_accept() is worth calling. Owned by the listener. Throws Error.
  [[nodiscard]] int readable_fd();

  /// What reaches this listener: with the real port where 0 was asked for, and all options.
  [[nodiscard]] std::string_view address() const noexcept;

  /// Stops listening; accepted channels live on. Wakes a waiting accept() with `closed`.
  void close() noexcept;

  /// Wraps a transport's implementation: for transports and tests.
  Listener(std::unique_ptr<ListenerImpl> impl, WaitMode wait);

 private:
  std::unique_ptr<ListenerState> state_;
};

/// Starts to listen. `max_message` (bytes) is for an address that does not say it; 0: the default, 1 MiB. Throws Error:
/// bad_address, address_in_use (by which pid), permission_denied, or the system's.
[[nodiscard]] Listener listen(std::string_view address, std::size_t max_message = 0);

/// Takes over a socket that listens already and that this process was handed by number, as service managers do
/// (sd_listen_fds(3)): a Unix socket with a path, or a TCP socket. What it is called in the file system stays there: it
/// belongs to whoever made it. `options` is as behind the '?' of an address, `max_message` as for listen(). The
/// descriptor is the Listener's from this call on, also when it throws: Error, not_supported (says what the descriptor
/// is), permission_denied, bad_address (the options), or the system's.
[[nodiscard]] Listener listen_on(int socket, std::string_view options = {}, std::size_t max_message = 0);
/// The address that reaches such a socket. Throws Error(not_supported) that says what the descriptor is.
[[nodiscard]] std::string address_of_socket(int socket);

}  // namespace bus
