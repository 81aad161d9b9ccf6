// transports/udp/inbound.hpp: turns the datagrams of one direction into messages, in order, and counts every one.
//
// A message is delivered in its place or dropped with a reason, exactly once; so received + dropped is what the
// sender says that it sent, whatever the network did. A message that is missing while later ones are here waits until
// the socket is empty (settle()) or until it is kAhead messages behind: what arrived out of order is put right as
// long as it arrived, and nobody waits for what may never come.
//
// Reasons of a missing message: `corrupt` when a datagram of it arrived with a sound header and a damaged payload, or
// when the gap is explained by datagrams that arrived with a damaged header; `kernel_buffer` when the kernel's count
// of drops went up across the gap; else `network`. With UDP_GRO the kernel counts a run of datagrams as one drop, so
// one drop explains up to kMostSegments datagrams of the gap that it stands in.
//
// Memory: whole messages up to twice the granted window and one message; at most kPartial messages are put
// together at a time.
// Pure: bytes in, messages and counts out. Not for several threads: the channel's receive lock guards it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bus/core/books.hpp"
#include "transports/udp/history.hpp"
#include "transports/udp/intake.hpp"
#include "transports/udp/packet.hpp"

namespace bus::udp {

/// Datagrams in one run of UDP_SEGMENT. Source: UDP_MAX_SEGMENTS, 64 up to Linux 6.8, 128 since.
inline constexpr std::size_t kMostSegments = 128;

/// What a datagram of `bytes` takes from the receiver's socket buffer at most, in bytes. Linux charges the memory
/// that holds it: 832 for the smallest, rounded up to a power of two below 16 KiB, bytes + 832 above.
/// Source: SO_MEMINFO after each size, Linux 6.18; network cards that put a frame on a page of its own charge less
/// than 5 KiB for 1500 bytes, which the half that is kept free covers.
[[nodiscard]] constexpr std::uint64_t window_cost(std::size_t bytes) noexcept {
  return bytes + (bytes < 16384 ? bytes : 16384) + 1280;
}

struct Terms {
  std::uint32_t session = 0;
  std::size_t max_message = 0;   // that this end accepts
  std::size_t max_datagram = 0;  // both ends use the same
  std::uint64_t window = 0;      // granted to the peer; 0: none is kept
};

/// Where numbering begins: zero, but for tests of the wrap-around.
struct Start {
  std::uint64_t sequence = 0;
  std::uint64_t datagram = 0;
  std::uint64_t position = 0;
};

class Inbound {
 public:
  /// A whole message in order. Its chunk must be released once.
  struct Item {
    const std::byte* data = nullptr;
    std::size_t size = 0;
    Chunk* chunk = nullptr;
    std::uint64_t position = 0;  // of the sender, behind it
  };

  static constexpr std::uint64_t kAhead = 64;
  static constexpr std::size_t kPartial = 4;

  /// Throws std::bad_alloc.
  Inbound(const Terms&, Ledger&, const Start& = {});
  ~Inbound();
  Inbound(const Inbound&) = delete;
  Inbound& operator=(const Inbound&) = delete;

  enum class Taken : std::uint8_t {
    nothing,  // damaged, foreign, a duplicate, or too late: it has been counted
    data,     // perhaps there is a new message
    control,  // control() has it
    corrupt,  // sound, of our session, and against the format: the channel must end
  };
  /// `datagram` lies in the room that `intake` gave last. Messages may be views into it.
  [[nodiscard]] Taken take(std::span<const std::byte> datagram, Intake& intake) noexcept;
  [[nodiscard]] const Packet& control() const noexcept { return control_; }

  /// The socket's count of drops (SO_RXQ_OVFL), as it stood when the next datagram was queued.
  void kernel_drops(std::uint32_t count) noexcept;

  /// Messages are missing that later arrivals or the sender's word prove to have been sent.
  [[nodiscard]] bool has_gap() const noexcept { return History::ahead(known_, next_) > 0; }
  /// Nothing more is on its way: drops what is missing, so that what came later is delivered.
  void settle() noexcept;

  /// The sender says how far it is. False: against what is known.
  [[nodiscard]] bool announce(const Header&) noexcept;
  /// The sender has closed. False: against what is known.
  [[nodiscard]] bool end(const Header&) noexcept;
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  /// All messages of a sender that has closed were delivered or dropped; some may still wait in the queue.
  [[nodiscard]] bool complete() const noexcept { return ended_ && next_ == known_; }
  /// How many messages the sender has sent in all. Needs ended().
  [[nodiscard]] std::uint64_t accepted() const noexcept { return known_ - first_sequence_; }

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::size_t waiting() const noexcept { return count_; }
  /// The first message in the queue leaves it. Needs !empty().
  [[nodiscard]] Item pop() noexcept;
  /// Drops all that wait.
  void drop_waiting(Reason) noexcept;
  /// From now on messages are dropped as they come, and missing ones that nothing explains have this reason, too.
  void refuse(Reason reason) noexcept;

  /// How far the sender was when it sent what arrived last: what no longer waits in the kernel's buffer.
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  enum class State : std::uint8_t { empty, partial, whole };
  struct Slot {
    State state = State::empty;
    bool damaged = false;    // a datagram of it arrived with a damaged payload
    Item item;               // partial: data and chunk are where it is put together
    std::uint32_t left = 0;  // datagrams that are missing from a partial one
  };

  [[nodiscard]] Taken take_data(const Packet&, Intake&) noexcept;
  [[nodiscard]] Taken take_part(Slot&, const Packet&) noexcept;
  void gap(std::uint64_t skipped) noexcept;
  void advance(std::uint64_t until) noexcept;
  void deliver_whole() noexcept;
  void push(const Item&) noexcept;
  void drop_missing(Slot&) noexcept;
  void drop_missing(std::uint64_t count) noexcept;
  void drop(Reason reason, std::uint64_t count = 1) noexcept;
  void free_part(Slot&) noexcept;
  [[nodiscard]] Slot& slot(std::uint64_t sequence) noexcept { return slots_[sequence % kAhead]; }

  const Terms terms_;
  const std::size_t most_payload_;    // of a datagram
  const std::uint64_t most_waiting_;  // bytes in the queue
  Ledger& ledger_;

  const std::uint64_t first_sequence_;
  History history_;
  std::uint64_t next_;   // message to be delivered next
  std::uint64_t known_;  // messages before this one have all been sent, or at least begun
  std::uint64_t position_;
  bool ended_ = false;
  bool refusing_ = false;
  Reason refusal_ = Reason::closed;
  std::array<Slot, kAhead> slots_;
  std::size_t partial_ = 0;

  std::uint32_t drops_seen_ = 0;       // the kernel's count
  std::uint32_t drops_new_ = 0;        // went up by this since the last datagram
  std::uint64_t kernel_missing_ = 0;   // datagrams of open gaps that the kernel's count explains
  std::uint64_t damaged_headers_ = 0;  // since the last sound datagram
  std::uint64_t damaged_missing_ = 0;  // datagrams of open gaps that those explain

  std::vector<Item> queue_;  // a ring: its size is a power of two and grows
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::uint64_t waiting_bytes_ = 0;
  Packet control_;
};

}  // namespace bus::udp
