// transports/stream/frame.hpp: the codec of a byte stream that carries messages. Bytes in, frames out: no sockets.
//
// framing=bus, little-endian:
//   offset  size  field      meaning
//        0     4  body_size  bytes after this header; of a message 0..max_message of its receiver
//        4     1  version    1
//        5     1  kind       1 message, 2 end, 3 ack
//        6     2  reserved   zero
// Body of a message: its bytes. Body of end and ack, 24 bytes: the sender's counts, each a u64
//        8     8  accepted   messages that it sent
//       16     8  received   messages of its peer that it handed to its caller
//       24     8  dropped    messages of its peer that it dropped
// The header is checked before any room is made for its body. Another version gives version_mismatch; an
// oversized body (the handshake told the limit), an unknown kind, a reserved bit or an end of another size give
// corrupt. Either ends the channel.
// Example, the message "hi":  02 00 00 00  01 01  00 00  68 69
//
// framing=line: a message is what stands before a '\n'; one '\r' before that is not part of it. The bytes between
// the last '\n' and the end of the stream are a message if there are any. More than max_message bytes without a
// '\n' give message_too_large: there is no handshake that could have told the peer the limit.
// framing=raw: whatever has arrived is a message, at most max_message bytes of it. Boundaries are not kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "bus/core/errc.hpp"

namespace bus::stream {

enum class Framing : unsigned char { bus, raw, line };
[[nodiscard]] std::optional<Framing> parse_framing(std::string_view) noexcept;

inline constexpr std::size_t kHeaderBytes = 8;
inline constexpr std::uint8_t kVersion = 1;
enum class Kind : std::uint8_t { message = 1, end = 2, ack = 3 };

/// What an end says about itself when the channel ends.
struct Counts {
  std::uint64_t accepted = 0, received = 0, dropped = 0;
  friend bool operator==(const Counts&, const Counts&) = default;
};
inline constexpr std::size_t kCountsFrameBytes = kHeaderBytes + 24;

[[nodiscard]] std::array<std::byte, kHeaderBytes> encode_header(std::uint32_t body_size, Kind) noexcept;
[[nodiscard]] std::array<std::byte, kCountsFrameBytes> encode_counts(Kind, const Counts&) noexcept;

/// What stands at the front of some bytes.
struct Cut {
  enum class What : unsigned char { more, message, end, ack, bad };
  What what = What::more;
  Errc error{};           // bad
  std::size_t skip = 0;   // message, end, ack: bytes before the body
  std::size_t size = 0;   // message, end, ack: bytes of the body
  std::size_t whole = 0;  // message, end, ack: bytes to go on after; more: bytes needed at the least, as far as known
};

/// Finds the frames of one stream. Keeps nothing of the bytes, so they may move between two calls.
class Cutter {
 public:
  /// `max_message`: bytes; the largest message to let through.
  Cutter(Framing framing, std::size_t max_message) noexcept : framing_(framing), max_message_(max_message) {}

  /// `bytes` begins where the last frame ended. `at_end`: the stream has ended, nothing follows `bytes`.
  /// Bytes that are left when it says `more` at the end are part of a frame that never became whole.
  [[nodiscard]] Cut next(std::span<const std::byte> bytes, bool at_end) noexcept {
    if (framing_ == Framing::bus) return next_frame(bytes);
    return framing_ == Framing::line ? next_line(bytes, at_end) : next_raw(bytes);
  }

  [[nodiscard]] Framing framing() const noexcept { return framing_; }

 private:
  [[nodiscard]] Cut next_frame(std::span<const std::byte> bytes) const noexcept;
  [[nodiscard]] Cut next_line(std::span<const std::byte> bytes, bool at_end) noexcept;
  [[nodiscard]] Cut next_raw(std::span<const std::byte> bytes) const noexcept;

  Framing framing_;
  std::size_t max_message_;
  std::size_t searched_ = 0;  // line: so many bytes at the front are known to have no '\n'
};

/// The counts in the body of an end or an ack.
[[nodiscard]] Counts decode_counts(std::span<const std::byte, 24> body) noexcept;

/// Whether the framing can carry this message so that it arrives as it is: a line holds no '\n' and does not end
/// with '\r'.
[[nodiscard]] bool can_carry(Framing, std::span<const std::byte> payload) noexcept;

// ---- inline: once for each message ----

namespace detail {
inline std::uint64_t load_u64(const std::byte* p) noexcept {
  std::uint64_t value = 0;  // compilers make one load of this on little-endian machines
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<std::uint64_t>(p[i]);
  return value;
}
inline void store_u64(std::byte* p, std::uint64_t value) noexcept {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}
/// The upper half of a header of that kind.
constexpr std::uint64_t header_bits(Kind kind) noexcept {
  return std::uint64_t{kVersion} << 32 | std::uint64_t{static_cast<std::uint8_t>(kind)} << 40;
}
}  // namespace detail

inline std::array<std::byte, kHeaderBytes> encode_header(std::uint32_t body_size, Kind kind) noexcept {
  std::array<std::byte, kHeaderBytes> out;
  detail::store_u64(out.data(), detail::header_bits(kind) | body_size);
  return out;
}

/// What a whole header asks for, checked: bad, or a frame that may or may not be there in full.
[[nodiscard]] Cut check_header(std::uint64_t header, std::size_t max_message) noexcept;

inline Cut Cutter::next_frame(std::span<const std::byte> bytes) const noexcept {
  Cut cut;
  if (bytes.size() < kHeaderBytes) {
    cut.whole = kHeaderBytes;
    return cut;
  }
  const std::uint64_t header = detail::load_u64(bytes.data());
  const std::uint64_t size = header & 0xffffffff;
  if ((header & ~std::uint64_t{0xffffffff}) == detail::header_bits(Kind::message) && size <= max_message_) [[likely]] {
    cut.what = Cut::What::message;
    cut.skip = kHeaderBytes;
    cut.size = size;
    cut.whole = kHeaderBytes + size;
  } else {
    cut = check_header(header, max_message_);
  }
  if (cut.what != Cut::What::bad && cut.whole > bytes.size()) cut.what = Cut::What::more;
  return cut;
}

}  // namespace bus::stream
