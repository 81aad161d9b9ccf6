// transports/udp/siphash.hpp: SipHash-2-4, a keyed hash whose output a stranger without the key cannot guess.
//
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012); the paper's test vector is pinned by a
// test.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace bus::udp {

using SipKey = std::array<std::uint64_t, 2>;

[[nodiscard]] constexpr std::uint64_t siphash(const SipKey& key, std::span<const std::byte> bytes) noexcept {
  std::uint64_t v0 = key[0] ^ 0x736f6d6570736575U;
  std::uint64_t v1 = key[1] ^ 0x646f72616e646f6dU;
  std::uint64_t v2 = key[0] ^ 0x6c7967656e657261U;
  std::uint64_t v3 = key[1] ^ 0x7465646279746573U;
  const auto rounds = [&](int count) {
    for (; count > 0; --count) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32) + v3;
      v2 += v1;
      v3 = std::rotl(v3, 21) ^ v0;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  };
  std::uint64_t word = 0;
  std::size_t i = 0;
  for (; i < bytes.size(); ++i) {
    word |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i % 8));
    if (i % 8 == 7) {
      v3 ^= word;
      rounds(2);
      v0 ^= word;
      word = 0;
    }
  }
  word |= std::uint64_t{bytes.size() & 0xFF} << 56;
  v3 ^= word;
  rounds(2);
  v0 ^= word;
  v2 ^= 0xFF;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace bus::udp
