// transports/udp/packet.hpp: the bytes of each datagram. All numbers are little-endian.
//
//   offset  size  field           meaning
//        0     4  header_check    CRC-32C of bytes 8..39
//        4     4  payload_check   the same check continued over the payload: equal to header_check without one
//        8     1  version         1
//        9     1  kind            see Kind
//       10     2  reserved        zero
//       12     4  session         chosen at random by the client, the same in every datagram of the channel
//       16     8  sequence        data: number of the message; probe, end: number of the next message
//       24     4  datagram        data: number of the datagram, low half; probe, end: of the next datagram
//       28     4  position        data: window position behind this datagram, low half; probe, end: of the sender;
//                                 ack: how far the receiver has taken what was sent
//       32     4  message_bytes   data: size of the whole message
//       36     4  offset          data: where in the message this payload belongs
//       40        payload
//
// Two checks, because a datagram whose header is sound and whose payload is not can be booked on its message.
// The kernel's UDP checksum is not enough: over loopback nobody computes it, and it ends at any relay on the way.
// In every version, bytes 8, 9 and 12..15 are version, kind and session, and a hello and a refuse have their payload
// at offset 40 begin with "ipcbus\0\0"; that is enough to tell the two ends which versions they speak.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bus/core/errc.hpp"

namespace bus::udp {

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 40;
inline constexpr std::size_t kMostDatagram = 65507;  // IPv4: 65535 - 20 - 8. IPv6 would allow 20 more
inline constexpr std::size_t kLeastDatagram = 576;   // what any IPv4 host takes (RFC 791), less than IPv6's 1280

enum class Kind : std::uint8_t {
  hello = 1,     // client: wants a channel; with or without a cookie
  cookie = 2,    // listener: say hello again with this cookie, so that I know your address is yours
  welcome = 3,   // listener: the channel is there, at this port
  refuse = 4,    // listener: no, and why
  data = 5,      // a message or a part of one
  ack = 6,       // receiver: position up to which what was sent has been taken
  probe = 7,     // sender: this is how far I am; answer with an ack
  ping = 8,      // nothing; if nobody is there the kernel says so
  end = 9,       // this end has closed: its final counts
  settled = 10,  // answer to end: the final counts of the other end
};

struct Header {
  Kind kind = Kind::ping;
  std::uint32_t session = 0;
  std::uint64_t sequence = 0;
  std::uint32_t datagram = 0;
  std::uint32_t position = 0;
  std::uint32_t message_bytes = 0;
  std::uint32_t offset = 0;
};

/// Writes the header for `payload`, with both checks, to `to`.
void encode(const Header& header, std::span<const std::byte> payload, std::span<std::byte, kHeaderBytes> to) noexcept;

enum class Soundness : std::uint8_t {
  sound,
  bad_payload,  // the header is sound, the payload is not
  bad_header,   // nothing in it can be believed
  foreign,      // sound, and of another version or an unknown kind
};

struct Packet {
  Soundness soundness = Soundness::bad_header;
  std::uint8_t version = 0;
  Header header;                       // meaningful unless bad_header
  std::span<const std::byte> payload;  // within the datagram
};
[[nodiscard]] Packet decode(std::span<const std::byte> datagram) noexcept;

/// The payload of hello and welcome. A hello is padded with zeros to kHelloBytes, so that no answer is longer.
///
///   offset  size  field           meaning
///        0     8  magic           "ipcbus", 0, 0
///        8     8  cookie          hello: as the listener gave it, zero at first; welcome: zero
///       16    16  instance        random, this endpoint
///       32     4  max_message     bytes that this end accepts in a message
///       36     4  max_datagram    bytes that this end wants in a datagram; the smaller of the two ends' is used
///       40     4  window          bytes of window that this end grants, 0: none is kept
///       44     2  port            welcome: of the channel; hello: zero
///       46     2  reserved        zero
struct Greeting {
  std::uint64_t cookie = 0;
  std::array<std::uint8_t, 16> instance{};
  std::uint32_t max_message = 0;
  std::uint32_t max_datagram = 0;
  std::uint32_t window = 0;
  std::uint16_t port = 0;
};
inline constexpr std::size_t kGreetingBytes = 48;
inline constexpr std::size_t kHelloBytes = 256;

/// The payload of end and settled: what this end has received and dropped of the other's messages.
struct Counts {
  std::uint64_t received = 0;
  std::uint64_t dropped = 0;
};
inline constexpr std::size_t kCountsBytes = 16;

/// Why a listener refuses: payload of refuse, {magic, u32 why, u32 version of the listener}.
enum class Refusal : std::uint32_t { version = 1, no_room = 2 };
inline constexpr std::size_t kRefuseBytes = kHeaderBytes + 16;
inline constexpr std::size_t kCookieBytes = kHeaderBytes + 16;  // payload: {magic, u64 cookie}

using Datagram = std::array<std::byte, kHelloBytes>;  // room for every datagram but data

// Each writes a whole datagram and returns its bytes within `room`.
[[nodiscard]] std::span<const std::byte> make_hello(std::uint32_t session, const Greeting&, Datagram& room) noexcept;
[[nodiscard]] std::span<const std::byte> make_welcome(std::uint32_t session, const Greeting&, Datagram& room) noexcept;
[[nodiscard]] std::span<const std::byte> make_cookie(std::uint32_t session, std::uint64_t cookie,
                                                     Datagram& room) noexcept;
[[nodiscard]] std::span<const std::byte> make_refuse(std::uint32_t session, Refusal, Datagram& room) noexcept;
[[nodiscard]] std::span<const std::byte> make_control(const Header&, Datagram& room) noexcept;
[[nodiscard]] std::span<const std::byte> make_counts(const Header&, const Counts&, Datagram& room) noexcept;

// Each reads the payload of a sound packet; empty when it is not what its kind says.
[[nodiscard]] std::optional<Greeting> read_greeting(const Packet&) noexcept;
[[nodiscard]] std::optional<std::uint64_t> read_cookie(const Packet&) noexcept;
[[nodiscard]] std::optional<Counts> read_counts(const Packet&) noexcept;
struct Refused {
  Refusal why;
  std::uint32_t version;
};
[[nodiscard]] std::optional<Refused> read_refuse(const Packet&) noexcept;

/// What all versions share of a hello or a refuse. Empty when this is neither, or of our own version.
struct OtherVersion {
  Kind kind;
  std::uint8_t version;
  std::uint32_t session;
};
[[nodiscard]] std::optional<OtherVersion> other_version(std::span<const std::byte> datagram) noexcept;

}  // namespace bus::udp
