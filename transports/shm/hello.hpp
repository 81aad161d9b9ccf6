// transports/shm/hello.hpp: the greeting over the control socket of an shm channel. Pure: bytes in, fields out.
//
// Each end sends one, with four descriptors, the connecting end first. Little-endian, 56 bytes:
//   offset  size  field        meaning
//        0     4  magic        "BSHM"
//        4     2  version      1; another version is answered by ours without descriptors, then the end
//        6     2  flags        bit 0: the end has membarrier; others zero
//        8     8  max_message  bytes; the largest message that the end accepts
//       16     8  capacity     bytes of its outgoing ring, a power of two
//       24     4  pid          for people
//       28     4  reserved     zero
//       32    16  instance     random, new for each endpoint
//       48     8  reserved     zero
// Descriptors: status page, ring (both memfd), bell, room bell (both eventfd); see transports/lane/layout.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/core/result.hpp"

namespace bus::shm {

inline constexpr std::size_t kHelloBytes = 56;
inline constexpr std::size_t kHelloFds = 4;
inline constexpr std::uint16_t kVersion = 1;

struct Hello {
  std::uint16_t version = kVersion;
  bool has_membarrier = false;
  std::uint64_t max_message = 0;
  std::uint64_t capacity = 0;
  std::uint32_t pid = 0;
  std::array<std::uint8_t, 16> instance{};
};

[[nodiscard]] std::array<std::byte, kHelloBytes> encode(const Hello&) noexcept;
/// Errors: corrupt. Another version is no error here: only magic and version are filled in then.
[[nodiscard]] Result<Hello> decode(std::span<const std::byte> bytes) noexcept;

}  // namespace bus::shm
