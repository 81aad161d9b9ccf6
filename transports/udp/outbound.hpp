// transports/udp/outbound.hpp: turns messages into the datagrams of one direction, within the receiver's window.
//
// A message alone is one system call: header and payload go to the kernel from where they are. Messages in a batch,
// or within about 1 us of each other, are gathered and leave as runs of datagrams of one size (UDP_SEGMENT), or with
// sendmmsg where the kernel cannot do that. A message that is too large for a datagram goes in parts, and one that is
// larger than half the window, or that the kernel took only a part of, leaves its rest here: pending, one at a time.
//
// The window: each datagram has a cost (window_cost()), the position is the sum of the costs so far, and the receiver
// says up to which position it has taken what came. The position never runs ahead of that by more than the window.
// A message is accepted as a whole or not at all.
//
// Not for several threads: the channel's send lock guards it.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transports/udp/inbound.hpp"
#include "transports/udp/packet.hpp"

namespace bus::udp {

class Outbound {
 public:
  struct Setup {
    int fd = -1;  // connected; the channel's
    std::uint32_t session = 0;
    std::size_t max_datagram = 0;
    std::uint64_t window = 0;  // granted by the peer; 0: none is kept
    Start start{};
  };
  explicit Outbound(const Setup&);  // throws std::bad_alloc
  Outbound(const Outbound&) = delete;
  Outbound& operator=(const Outbound&) = delete;

  enum class Outcome : std::uint8_t {
    done,
    no_window,  // wait for an ack: needs() says how much room
    no_buffer,  // the kernel's send buffer is full
    no_memory,
    nobody,  // the kernel says that nobody is there any more
  };

  /// `taken`: the position up to which the receiver has taken what was sent. `gather`: it may wait for others.
  /// `promised`: accept it in any case; room in the window was seen before.
  [[nodiscard]] Outcome send(std::span<const std::byte> payload, std::uint64_t taken, bool gather,
                             bool promised) noexcept;
  /// Sends what is gathered, and of what is pending as much as the window allows.
  [[nodiscard]] Outcome flush(std::uint64_t taken) noexcept;
  /// Whether a message of this size would be accepted now.
  [[nodiscard]] bool has_room(std::size_t payload_bytes, std::uint64_t taken) const noexcept;
  /// could_go_on() is about a message of this size.
  void wait_for(std::size_t payload_bytes) noexcept;
  /// Whether what was last refused, or is pending, could move on.
  [[nodiscard]] bool could_go_on(std::uint64_t taken) const noexcept;

  /// Nothing is gathered and nothing pending.
  [[nodiscard]] bool idle() const noexcept { return runs_ == 0 && !pending_; }
  [[nodiscard]] bool gathered() const noexcept { return runs_ != 0; }
  [[nodiscard]] bool pending() const noexcept { return pending_; }
  /// Forgets what has not left: the peer takes nothing more.
  void discard() noexcept;

  /// The header of a probe, end or settled: how far this side is.
  [[nodiscard]] Header mark(Kind) const noexcept;
  /// Messages accepted so far.
  [[nodiscard]] std::uint64_t accepted() const noexcept { return sequence_ - first_; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  static constexpr std::size_t kGatherBytes = std::size_t{64} << 10;
  static constexpr std::size_t kMostGathered = std::size_t{4} << 10;  // a larger payload is not copied
  static constexpr std::size_t kRuns = 32;

  struct Run {  // datagrams of one size, the last of them perhaps smaller
    std::size_t offset = 0, bytes = 0, segment = 0, count = 0;
  };
  struct Sent {
    std::size_t count = 0;  // of the messages given
    int error = 0;          // why no more
  };
  class Burst;

  [[nodiscard]] std::uint64_t cost_of(std::size_t payload_bytes) const noexcept;
  [[nodiscard]] std::uint64_t room(std::uint64_t taken) const noexcept;
  [[nodiscard]] bool may_go_in_parts(std::uint64_t cost) const noexcept { return cost > window_ / 2; }
  void number(Header& header, std::size_t payload_bytes) noexcept;
  [[nodiscard]] bool append(std::span<const std::byte> payload) noexcept;
  [[nodiscard]] Outcome flush_gathered() noexcept;
  [[nodiscard]] Outcome send_parts(std::uint64_t sequence, std::span<const std::byte> message, std::size_t& offset,
                                   std::uint64_t taken, bool& any) noexcept;
  [[nodiscard]] Outcome send_single(std::span<const std::byte> payload) noexcept;
  [[nodiscard]] bool lower_segments() noexcept;

  const int fd_;
  const std::uint32_t session_;
  const std::size_t max_datagram_, most_payload_;
  const std::uint64_t window_;
  const std::uint64_t first_;

  std::uint64_t sequence_, datagram_, position_;  // of the next
  std::uint64_t needs_ = 0;                       // room that the last refusal, or the pending part, waits for
  std::size_t most_segments_;                     // in a run; 1: the kernel cannot

  std::vector<std::byte> gathered_;
  std::size_t gathered_bytes_ = 0;
  std::array<Run, kRuns> run_{};
  std::size_t first_run_ = 0, runs_ = 0;  // those in [first_run_, first_run_ + runs_) have not left

  bool pending_ = false;
  std::uint64_t pending_sequence_ = 0;
  std::vector<std::byte> pending_message_;
  std::size_t pending_offset_ = 0;

  std::array<std::array<std::byte, kHeaderBytes>, kMostSegments> headers_;
};

}  // namespace bus::udp
