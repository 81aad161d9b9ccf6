// bus/core/os/bytes.hpp: little-endian integers in byte buffers, one field at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bus::os {

template <class Integer>
inline void put(std::byte* to, Integer value) noexcept {
  for (std::size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
}
template <class Integer>
[[nodiscard]] inline Integer get(const std::byte* from) noexcept {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    value = static_cast<Integer>(value | (static_cast<Integer>(from[i]) << (8 * i)));
  }
  return value;
}

inline void put_u16(std::byte* to, std::uint16_t value) noexcept { put(to, value); }
inline void put_u32(std::byte* to, std::uint32_t value) noexcept { put(to, value); }
inline void put_u64(std::byte* to, std::uint64_t value) noexcept { put(to, value); }
[[nodiscard]] inline std::uint16_t get_u16(const std::byte* from) noexcept { return get<std::uint16_t>(from); }
[[nodiscard]] inline std::uint32_t get_u32(const std::byte* from) noexcept { return get<std::uint32_t>(from); }
[[nodiscard]] inline std::uint64_t get_u64(const std::byte* from) noexcept { return get<std::uint64_t>(from); }

}  // namespace bus::os
