// transports/mq/handshake.hpp: what the two ends say on the control socket. Little-endian; pure: bytes in, values out.
//
// HELLO, connector to listener, 48 bytes:
//   offset  size  field        meaning
//        0     8  magic        69 70 63 62 75 73 4d 51   "ipcbusMQ"
//        8     4  version      1
//       12     4  depth        messages that the queue "down" shall hold, 1..65536; 0: as many as is usual
//       16    16  instance     random, new for each endpoint
//       32     8  max_message  bytes of the largest message that the connector accepts, 0..64 MiB
//       40     8  capacity     bytes that "down" shall have room for, 0..1 GiB, where depth is 0
//
// WELCOME, the answer, 64 bytes, and with it five descriptors (SCM_RIGHTS): the wake page (a memfd of 4096 bytes, its
// size sealed), then eventfds for: a message is in "up", room is in "up", a message is in "down", room is in "down":
//        0     8  magic        as above
//        8     4  version      1
//       12     4  status       0 welcome, 1 another version, 2 no room for the queues; if not 0: no descriptors
//       16    16  instance     as above
//       32     8  max_message  bytes of the largest message that the listener accepts
//       40     4  up_depth     messages that "up" holds, 1..65536
//       44     4  down_depth   messages that "down" holds, 1..65536: what HELLO asked for if that was not 0
//       48    16  token        random; names the two queues, see link.hpp
//
// READY, connector to listener once it has opened both queues, 8 bytes: 69 70 63 62 75 73 4f 4b   "ipcbusOK".
//
// COUNTS, either way, at the end of a channel, 32 bytes:
//        0     4  kind         1 END: nothing more will be sent; 2 ACK: all that was sent was received or dropped
//        4     4  more         1 in an END whose sender goes on to take what is sent to it, and will say ACK; else 0
//        8     8  accepted     messages that the sender of this has put into its queue in all
//       16     8  received     messages that it has handed to its caller
//       24     8  dropped      messages that it took from the queue and dropped
//
// A reader checks each field before use. Another version gives version_mismatch; anything else that is not as above
// gives corrupt; either ends this connection only.
// Example, END of an end that sent 3, received 2 and will say ACK:
//   01 00 00 00 01 00 00 00  03 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/core/result.hpp"

namespace bus::mq {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kMostDepth = 65536;

using Id = std::array<std::uint8_t, 16>;

struct Hello {
  static constexpr std::size_t kBytes = 48;
  std::uint32_t depth = 0;
  Id instance{};
  std::uint64_t max_message = 0;
  std::uint64_t capacity = 0;
};

enum class Status : std::uint32_t { welcome = 0, other_version = 1, no_room = 2 };

struct Welcome {
  static constexpr std::size_t kBytes = 64;
  Status status = Status::welcome;
  Id instance{};
  std::uint64_t max_message = 0;
  std::uint32_t up_depth = 0, down_depth = 0;
  Id token{};
};

inline constexpr std::array<std::uint8_t, 8> kReady{'i', 'p', 'c', 'b', 'u', 's', 'O', 'K'};

enum class Kind : std::uint32_t { end = 1, ack = 2 };

struct Counts {
  static constexpr std::size_t kBytes = 32;
  Kind kind = Kind::end;
  bool more = false;
  std::uint64_t accepted = 0, received = 0, dropped = 0;
  bool operator==(const Counts&) const = default;
};

[[nodiscard]] std::array<std::byte, Hello::kBytes> encode(const Hello&) noexcept;
[[nodiscard]] std::array<std::byte, Welcome::kBytes> encode(const Welcome&) noexcept;
[[nodiscard]] std::array<std::byte, Counts::kBytes> encode(const Counts&) noexcept;

// Errors: version_mismatch, corrupt.
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte, Hello::kBytes>) noexcept;
[[nodiscard]] Result<Welcome> decode_welcome(std::span<const std::byte, Welcome::kBytes>) noexcept;
[[nodiscard]] Result<Counts> decode_counts(std::span<const std::byte, Counts::kBytes>) noexcept;

}  // namespace bus::mq
