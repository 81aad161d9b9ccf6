// bus/core/transport.hpp: the boundary: all that a transport implements.
//
// Every call here is non-blocking. bus::Channel, bus::Listener and bus::connect add blocking, deadlines and
// waiting on top, in one way for all transports:
//
//     try the call; while it says would_block: arm(), sleep on what arm() named, disarm(), try again
//
// arm() announces to the other side that this one is about to sleep and then looks again, so that no
// wake-up is lost. Between arm() and disarm() nothing else is called for that direction.
//
// Threads: calls marked [sender] come from one thread at a time, calls marked [receiver] from one thread at
// a time, and the two may run at once. [any] may come from any thread at any time. Closing calls come from
// one thread after all others have returned.
// Errors: expected outcomes are codes (see errc.hpp); setup throws bus::Error with its whole text.
// Trust: every byte that a peer can write is checked before use; a bad one gives `corrupt` and ends that
// channel only.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "bus/core/address.hpp"
#include "bus/core/books.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/message.hpp"
#include "bus/core/result.hpp"
#include "bus/core/traits.hpp"
#include "bus/core/wait.hpp"

namespace bus {

enum class Ready : unsigned char { receive, send, close };

class ChannelImpl {
 public:
  ChannelImpl() = default;
  ChannelImpl(const ChannelImpl&) = delete;
  ChannelImpl& operator=(const ChannelImpl&) = delete;
  /// Frees everything at once, says nothing to the peer: without try_close() before it, the peer sees a
  /// death. Messages that are still held stay valid.
  virtual ~ChannelImpl() = default;

  /// [sender] Queues a copy of `payload` as one message. An empty payload is a message.
  /// Errors: would_block (no room, nothing was queued), closed, peer_died, message_too_large.
  [[nodiscard]] virtual std::error_code try_send(std::span<const std::byte> payload) noexcept = 0;

  /// [sender] Memory for a message of `size` bytes, valid until publish() or drop_loan(). One at a time.
  /// Errors: as try_send().
  [[nodiscard]] virtual Result<std::span<std::byte>> try_loan(std::size_t size) noexcept = 0;
  /// [sender] Sends the first `used` bytes of the open loan. Never would_block: try_loan() has made the room.
  [[nodiscard]] virtual std::error_code publish(std::size_t used) noexcept = 0;
  /// [sender] Gives the open loan back unsent.
  virtual void drop_loan() noexcept = 0;

  /// [sender] As try_send(), of a message that is in two pieces. For a transport whose loans cost a copy to override.
  [[nodiscard]] virtual std::error_code try_send_pieces(std::span<const std::byte> head,
                                                        std::span<const std::byte> tail) noexcept;

  /// [sender] Hands gathered messages to the kernel. Errors: would_block (some are left), closed, peer_died.
  [[nodiscard]] virtual std::error_code try_flush() noexcept { return {}; }
  /// [sender] Between begin and end the caller sends several messages in a row: gather them. end flushes what
  /// it can without waiting.
  virtual void batch_begin() noexcept {}
  virtual void batch_end() noexcept {}

  /// [receiver] The next message, in place where the transport can. Flushes gathered messages first when there
  /// is nothing to receive.
  /// Errors: would_block, closed and peer_died (only after all published messages were taken), corrupt.
  [[nodiscard]] virtual Result<Message> try_receive() noexcept = 0;

  /// Ends the channel in good order: hands over what is queued, then tells the peer how many messages there
  /// were. With `confirm`, also goes on until the peer has said what became of them, dropping what still
  /// arrives (reason `closed`). May be called again, also with another `confirm`.
  /// Errors: would_block (wait for Ready::close and call again), peer_died.
  [[nodiscard]] virtual std::error_code try_close(bool confirm) noexcept = 0;

  /// Announces a sleeper and names what wakes it. True: do not sleep, try again now.
  /// Ready::receive [receiver], Ready::send [sender] (room for the message that was refused, or all
  /// flushed), Ready::close (closing).
  [[nodiscard]] virtual bool arm(Ready, WaitSet&) noexcept = 0;
  virtual void disarm(Ready) noexcept {}
  /// For a transport whose own primitive sleeps and cannot be polled: sleeps here until it is worth trying
  /// again, at most 50 ms and not beyond the deadline, and returns true. All others return false.
  [[nodiscard]] virtual bool sleeps_itself(Ready, Deadline) noexcept { return false; }

  /// [receiver] A descriptor that is readable (level-triggered) while try_receive() would give anything but
  /// would_block. May now and then be readable without: try_receive() then says would_block and clears it.
  /// Made at the first call; owned by the channel. Throws Error.
  [[nodiscard]] virtual int readable_fd() = 0;
  /// [receiver] See Channel::stay_awake(). For transports that announce a sleep to the writer, in user space.
  virtual void stay_awake(std::chrono::nanoseconds) noexcept {}

  /// [any]
  [[nodiscard]] virtual Traits traits() const noexcept = 0;
  [[nodiscard]] virtual Peer peer() const = 0;

  /// The counters. bus::Channel counts what goes through it (see books.hpp); the transport the rest.
  [[nodiscard]] Ledger& ledger() noexcept { return ledger_; }
  [[nodiscard]] const Ledger& ledger() const noexcept { return ledger_; }
  /// [any] Brings counts that live elsewhere (the kernel's) into the ledger before it is read.
  virtual void refresh_ledger() noexcept {}

 protected:
  Ledger ledger_;
};

class ListenerImpl {
 public:
  ListenerImpl() = default;
  ListenerImpl(const ListenerImpl&) = delete;
  ListenerImpl& operator=(const ListenerImpl&) = delete;
  virtual ~ListenerImpl() = default;  // stops listening and removes what it put in the file system

  /// Moves pending handshakes on and gives a channel whose handshake is done.
  /// Errors: would_block, no_room (out of descriptors or memory: the connection was refused, the listener
  /// lives), or the system's. A peer that breaks its handshake is no error here: it is dropped.
  [[nodiscard]] virtual Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept = 0;
  /// As for a channel. True: try again now.
  [[nodiscard]] virtual bool arm(WaitSet&) noexcept = 0;
  virtual void disarm() noexcept {}
  /// Readable (level-triggered) while it is worth calling try_accept(). Throws Error.
  [[nodiscard]] virtual int readable_fd() = 0;
  /// The address that reaches this listener, with its real port.
  [[nodiscard]] virtual std::string address() const = 0;
};

/// One attempt after the other to reach a listener.
class ConnectorImpl {
 public:
  ConnectorImpl() = default;
  ConnectorImpl(const ConnectorImpl&) = delete;
  ConnectorImpl& operator=(const ConnectorImpl&) = delete;
  virtual ~ConnectorImpl() = default;

  /// Errors: would_block (under way: wait with arm() and call again), no_peer (nobody there: call again later,
  /// that starts anew), any other is final.
  [[nodiscard]] virtual Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept = 0;
  virtual void arm(WaitSet&) noexcept = 0;
  /// What is known beyond the code of the last error or of the present state: cause and way out, for people.
  [[nodiscard]] virtual std::string detail() const { return {}; }
};

/// An option that addresses of a transport may carry, besides those that all know.
struct OptionSpec {
  std::string_view name;
  std::string_view allowed;  // for error texts: "bus|raw|line", "a size such as 1MiB", "on|off"
  bool (*valid)(std::string_view value) noexcept;
};

/// What an address asks for, checked and with defaults filled in.
struct Options {
  std::size_t max_message = kDefaultMaxMessage;  // bytes; the largest message that this end accepts
  std::size_t capacity = kDefaultCapacity;       // bytes; queue of each direction, as far as the transport has one
  WaitMode wait = WaitMode::hybrid;
  std::map<std::string, std::string, std::less<>> own;  // the transport's own options that were given

  [[nodiscard]] std::string_view get(std::string_view name, std::string_view otherwise) const noexcept {
    const auto it = own.find(name);
    return it == own.end() ? otherwise : std::string_view(it->second);
  }

  static constexpr std::size_t kDefaultMaxMessage = std::size_t{1} << 20;  // as NATS; nothing larger unasked
  static constexpr std::size_t kMostMaxMessage = std::size_t{64} << 20;
  static constexpr std::size_t kDefaultCapacity = std::size_t{256} << 10;  // a ring and its twin fit in a 2 MiB L2
  static constexpr std::size_t kLeastCapacity = std::size_t{4} << 10;
  static constexpr std::size_t kMostCapacity = std::size_t{1} << 30;
};

class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  [[nodiscard]] virtual std::string_view scheme() const noexcept = 0;
  [[nodiscard]] virtual std::string_view summary() const noexcept = 0;  // a line for help
  [[nodiscard]] virtual std::span<const OptionSpec> options() const noexcept { return {}; }
  /// Throws Error (bad_address) when a part is missing or out of place: a port for tcp, a name for shm.
  virtual void check(const Address&) const = 0;
  /// Throws Error: address_in_use (by which pid), permission_denied, bad_address, or the system's.
  [[nodiscard]] virtual std::unique_ptr<ListenerImpl> listen(const Address&, const Options&) const = 0;
  /// The address of a socket that listens already and that somebody else has made; empty if it is none of this
  /// transport's.
  [[nodiscard]] virtual std::string address_of(int /*socket*/) const { return {}; }
  /// Listens on a socket that address_of() knows. It is non-blocking, and the transport's from this call on.
  /// Throws Error: permission_denied, or the system's.
  [[nodiscard]] virtual std::unique_ptr<ListenerImpl> adopt(int socket, const Address&, const Options&) const;
  /// Throws Error for what can be known at once.
  [[nodiscard]] virtual std::unique_ptr<ConnectorImpl> connector(const Address&, const Options&) const = 0;

 protected:
  ~Transport() = default;
};

/// The list of transports in this build: transports/all.cpp defines it.
[[nodiscard]] std::span<const Transport* const> transports() noexcept;

/// Throws Error(bad_address) with the list of schemes and the nearest.
[[nodiscard]] const Transport& find_transport(const Address&);
/// Checks the address's options against those that all transports know and the transport's own.
/// Throws Error(bad_address) that names the option and what is allowed. `max_message` is for an address that does not
/// say it; 0: the default.
[[nodiscard]] Options read_options(const Transport&, const Address&, std::size_t max_message = 0);

}  // namespace bus
