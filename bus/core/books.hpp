// bus/core/books.hpp: the counts that account for every message of a channel.
//
// The law, for each direction: offered = accepted + refused, and once both ends have said their counts
//   accepted (here)  = received (there) + dropped (there) + lost
//   accepted (there) = received (here)  + dropped (here)
// closed() says whether both hold. No message leaves the books without a reason.
//
// Threads: a Ledger's counters have one writer each (sending side, receiving side); any thread may read.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bus {

/// Why a message was not delivered. The names are what tools print: see name().
enum class Reason : std::uint8_t {
  queue_full,           // no room, and the caller did not wait
  no_subscriber,        // nobody was there to take it
  peer_died,            // the peer vanished
  closed,               // an end closed before it was taken
  too_large,            // above the receiver's max_message
  kernel_buffer,        // the kernel said that it dropped it (SO_RXQ_OVFL, queueing discipline)
  network,              // a gap in the sequence that nothing local explains
  corrupt,              // the bytes were damaged
  expired,              // it waited too long, or came when nobody waited for it any more
  injected,             // a fault that somebody asked for
  unknown_after_crash,  // in flight when a process died: received or not, nobody can tell
  not_supported,        // the framing cannot carry such a message
};
inline constexpr std::size_t kReasons = 12;
[[nodiscard]] std::string_view name(Reason) noexcept;

using ReasonCounts = std::array<std::uint64_t, kReasons>;
[[nodiscard]] std::uint64_t total(const ReasonCounts&) noexcept;

struct Books {
  // Sending side.
  std::uint64_t offered = 0;   // messages that callers tried to send
  std::uint64_t accepted = 0;  // taken over by the transport
  ReasonCounts refused{};      // not taken: the caller got an error
  ReasonCounts lost{};         // accepted, and known not to have reached the peer's receive()
  std::uint64_t bytes_sent = 0;
  // Receiving side.
  std::uint64_t received = 0;  // handed to the caller
  ReasonCounts dropped{};      // sent by the peer, known here, not handed to the caller
  std::uint64_t duplicates = 0;
  std::uint64_t reordered = 0;
  std::uint64_t bytes_received = 0;
  // What the peer said at the end; empty before that.
  std::optional<std::uint64_t> peer_accepted;  // messages it sent to us
  std::optional<std::uint64_t> peer_received;  // messages of ours that it handed to its caller
  std::uint64_t peer_dropped = 0;              // messages of ours that it counted as dropped

  /// Both ends have said their counts and they add up.
  [[nodiscard]] bool closed() const noexcept;
};

/// A count with one writer at a time; readable from any thread. Adding costs no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.store(get() + n, std::memory_order_relaxed); }
  void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  // relaxed: a statistic; nothing else is published through it
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// The live counters behind Books. bus::Channel counts offered, accepted, refused, received and bytes;
/// the transport counts dropped, lost, duplicates, reordered, and reports what the peer said.
class Ledger {
 public:
  Counter offered, accepted, bytes_sent;                    // sending side
  std::array<Counter, kReasons> refused, lost;              // sending side
  Counter received, bytes_received, duplicates, reordered;  // receiving side
  std::array<Counter, kReasons> dropped;                    // receiving side

  /// How many messages the peer says that it sent to us in all.
  void peer_accepted(std::uint64_t n) noexcept;
  /// What became of our messages at the peer. What is in neither count stays in `lost` as `rest`.
  void peer_settled(std::uint64_t received, std::uint64_t dropped, Reason rest) noexcept;
  /// The peer died before it said its counts: what we sent is `unknown_after_crash`.
  void peer_died() noexcept { peer_died_.store(true, std::memory_order_relaxed); }
  /// The sum of dropped, for the peer's books.
  [[nodiscard]] std::uint64_t dropped_total() const noexcept;

  [[nodiscard]] Books snapshot() const noexcept;

 private:
  static constexpr std::uint64_t kUnknown = ~std::uint64_t{0};
  std::atomic<std::uint64_t> peer_accepted_{kUnknown};
  std::atomic<std::uint64_t> peer_received_{kUnknown};
  std::atomic<std::uint64_t> peer_dropped_{0};
  std::atomic<bool> peer_died_{false};
  std::atomic<Reason> peer_rest_reason_{Reason::closed};
};

}  // namespace bus
