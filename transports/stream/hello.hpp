// transports/stream/hello.hpp: the handshake of framing=bus. Bytes in, bytes out: no sockets.
//
// The connecting end speaks first; the listening end answers when it has the whole of that. Little-endian:
//   offset  size  field        meaning
//        0     4  magic        89 62 75 73: no text begins with it
//        4     2  size         bytes of this hello, 32..4096; those after the fields known here are skipped
//        6     1  version      1: the version of the hello and of the frames that follow
//        7     1  verdict      0 welcome, 1 version_mismatch, 2 permission_denied: what the sender says of its peer
//        8     4  max_message  bytes; the largest message that the sender accepts
//       12     4  pid          of the sender, for people to read; 0 if it does not say
//       16    16  instance     random, new for each endpoint
// The first eight bytes stay as they are in every version. A wrong magic or size gives corrupt, another version
// version_mismatch: the listening end still answers, so that both know. Nothing is answered to a wrong magic.
// Example, version 1, 1 MiB, pid 258, instance 00 01 .. 0f:
//   89 62 75 73  20 00  01  00  00 00 10 00  02 01 00 00  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

namespace bus::stream {

enum class Verdict : std::uint8_t { welcome = 0, version_mismatch = 1, permission_denied = 2 };

struct Hello {
  std::uint8_t version = 1;
  Verdict verdict = Verdict::welcome;
  std::uint32_t max_message = 0;
  std::uint32_t pid = 0;
  std::array<std::uint8_t, 16> instance{};
};

inline constexpr std::size_t kHelloBytes = 32;
inline constexpr std::size_t kMostHelloBytes = 4096;

[[nodiscard]] std::array<std::byte, kHelloBytes> encode_hello(const Hello&) noexcept;

/// What this process says of itself: its pid and a fresh random instance.
[[nodiscard]] Hello make_hello(std::size_t max_message) noexcept;

/// One end of the handshake. Takes no byte beyond the peer's hello: what follows belongs to the frames.
class Handshake {
 public:
  enum class Side : unsigned char { connecting, listening };
  /// `mine.verdict` of a listening end may say beforehand that the peer is turned away: it is told so when its
  /// hello is complete.
  Handshake(Side side, const Hello& mine) noexcept;

  /// Bytes to send now; empty when there are none (yet). Report with sent() how many went.
  [[nodiscard]] std::span<const std::byte> outgoing() const noexcept;
  void sent(std::size_t count) noexcept { sent_ += count; }

  /// Where the next bytes from the peer go, and how many are wanted; empty when its hello is complete.
  [[nodiscard]] std::span<std::byte> wanted() noexcept;
  /// Checks as much as is there. A failure here is the outcome of the handshake once outgoing() is empty.
  void received(std::size_t count) noexcept;

  /// Both hellos are over, or nothing more is to be sent after a failure.
  [[nodiscard]] bool over() const noexcept;
  /// Empty: the peer is welcome. corrupt, version_mismatch, permission_denied.
  [[nodiscard]] std::error_code failure() const noexcept { return failure_; }
  /// The failure in words: "have 1, peer 2".
  [[nodiscard]] std::string detail() const;
  [[nodiscard]] const Hello& peer() const noexcept { return peer_; }

 private:
  void check() noexcept;
  void answer(Verdict) noexcept;

  const Side side_;
  Hello mine_, peer_;
  std::error_code failure_;
  std::array<std::byte, kHelloBytes> out_;
  std::array<std::byte, kHelloBytes> in_{};
  std::array<std::byte, 256> skipped_;  // what a later version adds, not kept
  std::size_t sent_ = 0;
  std::size_t received_ = 0;
  std::size_t size_ = 0;    // of the peer's hello, once known
  bool answering_ = false;  // listening: the answer may go
};

}  // namespace bus::stream
