// tools/common/made_message.hpp: messages that `bus send --size` makes and `bus recv --verify` checks. Little-endian.
//
//   offset  size  field     meaning
//        0     8  sequence  0, 1, 2 ... on each channel
//        8     4  size      of the whole message in bytes
//       12     4  checksum  CRC-32C of bytes 0 to 11 followed by the filler
//       16     -  filler    8-byte words, the last one cut: word j = (sequence + 1) * kStep + j * kStride, modulo 2^64
//
// Each word of the filler depends on the sequence, so that a message made of pieces of two others is found out.
// Messages below 16 bytes have no room for the header: they are filler alone and cannot be checked.
// Example, sequence 1 in 20 bytes:
//   01 00 00 00 00 00 00 00  14 00 00 00  16 bd 7e bb  2a f8 94 fe
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace bus::tools {

/// Of messages that a verb makes, where nothing else is asked for.
inline constexpr std::size_t kDefaultMadeSize = 64;

inline constexpr std::size_t kMadeHeaderBytes = 16;

/// Fills `message` as the message with that number.
void make_message(std::span<std::byte> message, std::uint64_t sequence) noexcept;

/// The number of a made message; none when it is too short, or its size or checksum do not fit: it is damaged,
/// or was never made.
[[nodiscard]] std::optional<std::uint64_t> check_message(std::span<const std::byte> message) noexcept;

}  // namespace bus::tools
