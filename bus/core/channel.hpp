// bus/core/channel.hpp: a connected two-way link that carries whole messages: the interface that programs use.
//
//     bus::Channel channel = bus::connect("shm://lab");
//     if (auto error = channel.send(bus::bytes_of("hello"))) ...
//     bus::Result<bus::Message> reply = channel.receive(bus::in(1s));
//
// Threads: one sender thread (send, try_send, loan, send_some, flush) and one receiver thread (receive,
// try_receive, poll, readable_fd) at a time; the two may run at once. Two senders, or two receivers, need the
// caller's lock; debug builds detect violations. close(), books(), traits() and peer() are safe from any
// thread; close() wakes whoever waits, with `closed`.
// Boundaries are kept on every transport that says so in traits(); loss and order vary, and traits() tells.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <utility>

#include "bus/core/books.hpp"
#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/message.hpp"
#include "bus/core/result.hpp"
#include "bus/core/traits.hpp"

namespace bus {

class ChannelImpl;
class ChannelState;
enum class WaitMode : unsigned char;

/// Memory for one outgoing message: write into bytes(), then publish(). Destroying it unpublished drops it.
/// One loan at a time per channel; while it is open, sending on that channel gives `busy`.
/// Belongs to the sender's thread; must not outlive its channel.
class Loan {
 public:
  Loan(Loan&& other) noexcept : state_(std::exchange(other.state_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
  Loan& operator=(Loan&& other) noexcept;
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  ~Loan() { drop(); }

  [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }
  [[nodiscard]] std::byte* data() noexcept { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

  /// Sends the message, or its first `used` bytes. The loan is over, whatever the outcome.
  /// Errors: closed, peer_died, message_too_large (`used` above size()).
  [[nodiscard]] std::error_code publish() noexcept { return publish(bytes_.size()); }
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept;
  void drop() noexcept;

 private:
  friend class Channel;
  Loan(ChannelState* state, std::span<std::byte> bytes) noexcept : state_(state), bytes_(bytes) {}
  ChannelState* state_;
  std::span<std::byte> bytes_;
};

class Channel {
 public:
  /// A channel that is not there: every call gives `closed`. Assign one from connect() or accept().
  Channel() noexcept;
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  /// close(), then frees: waits for nobody if a close has timed out. Needs every other call to have returned.
  ~Channel();

  /// Queues a copy of `payload` as one message, or returns at once. An empty payload is a message.
  /// Ownership: `payload` is the caller's again on return.
  /// Errors: would_block (no room, nothing was queued), closed or peer_died (for good), message_too_large
  ///         (above traits().max_message), busy (a loan is open).
  /// Cost: no allocation; shm makes no system call unless the reader sleeps, sockets one at most.
  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept;

  /// The same for a message that is in two pieces: they need not be put together before.
  [[nodiscard]] std::error_code try_send(std::span<const std::byte> head, std::span<const std::byte> tail) noexcept;

  /// As try_send(), but waits for room until the deadline. Adds: timed_out (nothing was queued).
  [[nodiscard]] std::error_code send(std::span<const std::byte> payload, Deadline = forever) noexcept;

  /// Takes the next message, in place where traits().receives_in_place. Destroying it gives its room back.
  /// Errors: would_block (none waiting), closed or peer_died (only after all that was published was taken),
  ///         corrupt (the peer broke the format; the channel is over).
  /// Cost: no allocation per message; shm makes no system call, a socket one for many messages.
  [[nodiscard]] Result<Message> try_receive() noexcept;

  /// As try_receive(), but waits until the deadline. Adds: timed_out.
  [[nodiscard]] Result<Message> receive(Deadline = forever) noexcept;

  /// Memory for a message of `size` bytes, to be written in place and published.
  /// Errors: as send().
  [[nodiscard]] Result<Loan> loan(std::size_t size, Deadline = forever) noexcept;
  [[nodiscard]] Result<Loan> try_loan(std::size_t size) noexcept;

  /// Sends a row of messages with one flush, without waiting. Returns how many were accepted; `error` says why
  /// it stopped before the end (would_block: no more room), or is empty.
  [[nodiscard]] std::size_t send_some(std::span<const std::span<const std::byte>> payloads,
                                      std::error_code& error) noexcept;

  /// The same for messages that come one by one, by send(), try_send() and loans: what is sent between the two calls is
  /// gathered, and the receiver need not be woken before the second.
  void begin_batch() noexcept;
  void end_batch() noexcept;

  /// Hands up to `limit` waiting messages to `on_message(Message&&)`, without waiting. Returns how many.
  /// Why it stopped early shows in the next call.
  template <class F>
  std::size_t poll(F&& on_message, std::size_t limit) {
    std::size_t count = 0;
    for (; count < limit; ++count) {
      Result<Message> message = try_receive();
      if (!message) break;
      on_message(std::move(*message));
    }
    return count;
  }

  /// Hands everything that was gathered to the kernel, or to the peer's memory. Errors: as send().
  [[nodiscard]] std::error_code flush(Deadline = forever) noexcept;
  /// As much of it as goes without waiting. Errors: would_block (some is left; it leaves by itself, or with later
  /// calls), closed, peer_died.
  [[nodiscard]] std::error_code try_flush() noexcept;

  /// A descriptor for epoll, Asio, asyncio: level-triggered, readable while receive() would return at once.
  /// Wait for it to be readable, then try_receive() until would_block. Owned by the channel. Throws Error.
  [[nodiscard]] int readable_fd();
  /// A receiver that uses readable_fd() or a Poller goes on looking (try_receive()) for so long after a message before
  /// it sleeps: until then an empty channel tells no writer that it has to be woken. Without: some 16 us. Nothing
  /// changes with `wait=block`, on one CPU, and where the kernel does the waking.
  void stay_awake(std::chrono::nanoseconds) noexcept;

  [[nodiscard]] Books books() const noexcept;
  [[nodiscard]] Traits traits() const noexcept;
  [[nodiscard]] Peer peer() const;
  /// The address that this channel was made with.
  [[nodiscard]] std::string_view address() const noexcept;

  /// Sends what is queued, tells the peer how many messages there were, and ends the channel; what the peer
  /// had sent and was not received is dropped, reason `closed`. Waits at most 5 s for a peer that does not
  /// take what is queued, and not again when a close, with a deadline or without, has waited in vain before; what
  /// the peer had not taken then never leaves, and stays open in the books.
  void close() noexcept;
  /// close(), and waits until the peer has said what became of our messages, so that books() can close.
  /// The peer says so when it has received all of them, or closes. May follow close(), or a close that timed out. The
  /// deadline is kept beside another thread's close(), too. One that is over already only wakes whoever waits.
  /// Errors: timed_out, peer_died.
  std::error_code close(Deadline deadline) noexcept;

  /// Wraps a transport's implementation: for transports and tests.
  Channel(std::unique_ptr<ChannelImpl> impl, WaitMode wait, std::string address);

 private:
  friend class Poller;  // waits for room behind the transport's arm(), as send() does
  std::unique_ptr<ChannelState> state_;
};

/// Connects to a listener, waiting for it to appear and to accept until the deadline: the two may start in any order.
/// Throws Error: bad_address, no_peer (nobody listened in time), timed_out (somebody listens and did not accept),
/// refused, version_mismatch, permission_denied, closed (`stop` was requested first), or the system's.
/// A stop ends the wait at once, from any thread; only the lookup of a host's name, where that asks a name server,
/// goes on to its own end.
[[nodiscard]] Channel connect(std::string_view address, Deadline = in(std::chrono::seconds(5)),
                              const std::stop_token& stop = {});

}  // namespace bus
