// bus/core/os/bytes.hpp: little-endian integers in byte buffers, one field at a time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bus::os {

/// The same on a little-endian machine: there it costs one move. (Compilers do not see that in a loop over bytes.)
template <class Integer>
[[nodiscard]] constexpr Integer little_endian(Integer value) noexcept {
  if constexpr (std::endian::native == std::endian::little) return value;
  Integer swapped = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    swapped = static_cast<Integer>((swapped << 8) | ((value >> (8 * i)) & 0xff));
  }
  return swapped;
}

template <class Integer>
inline void put(std::byte* to, Integer value) noexcept {
  value = little_endian(value);
  std::memcpy(to, &value, sizeof value);
}
template <class Integer>
[[nodiscard]] inline Integer get(const std::byte* from) noexcept {
  Integer value;
  std::memcpy(&value, from, sizeof value);
  return little_endian(value);
}

inline void put_u16(std::byte* to, std::uint16_t value) noexcept { put(to, value); }
inline void put_u32(std::byte* to, std::uint32_t value) noexcept { put(to, value); }
inline void put_u64(std::byte* to, std::uint64_t value) noexcept { put(to, value); }
[[nodiscard]] inline std::uint16_t get_u16(const std::byte* from) noexcept { return get<std::uint16_t>(from); }
[[nodiscard]] inline std::uint32_t get_u32(const std::byte* from) noexcept { return get<std::uint32_t>(from); }
[[nodiscard]] inline std::uint64_t get_u64(const std::byte* from) noexcept { return get<std::uint64_t>(from); }

}  // namespace bus::os
