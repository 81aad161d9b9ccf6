// tests/support/payload.hpp: message contents that can be made again anywhere from three numbers.
//
// The bytes of a message follow from its stream, its sequence number and its size: 8 bytes sequence (little-endian,
// where there is room for it), then words of a generator seeded with all three. So a receiver in any process finds a
// torn, cut, repeated or foreign message without being told more than the stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace bus::test {

class Payloads {
 public:
  explicit Payloads(std::uint64_t stream = 1) noexcept : stream_(stream) {}

  [[nodiscard]] std::vector<std::byte> make(std::uint64_t sequence, std::size_t size) const {
    std::vector<std::byte> bytes(size);
    fill(bytes, sequence);
    return bytes;
  }

  void fill(std::span<std::byte> bytes, std::uint64_t sequence) const noexcept {
    each_word(bytes.size(), sequence, [&](std::size_t at, const std::byte* word, std::size_t length) {
      std::memcpy(bytes.data() + at, word, length);
      return true;
    });
  }

  /// True when these are exactly the bytes of that message.
  [[nodiscard]] bool matches(std::span<const std::byte> bytes, std::uint64_t sequence) const noexcept {
    return each_word(bytes.size(), sequence, [&](std::size_t at, const std::byte* word, std::size_t length) {
      return std::memcmp(bytes.data() + at, word, length) == 0;
    });
  }

  /// The sequence number that the bytes claim; none when there is no room for one.
  [[nodiscard]] static std::optional<std::uint64_t> sequence_of(std::span<const std::byte> bytes) noexcept {
    if (bytes.size() < kSequenceBytes) return {};
    std::uint64_t sequence = 0;
    std::memcpy(&sequence, bytes.data(), kSequenceBytes);
    return sequence;
  }

  static constexpr std::size_t kSequenceBytes = 8;

 private:
  template <class Visit>
  bool each_word(std::size_t size, std::uint64_t sequence, Visit&& visit) const noexcept {
    // splitmix64. Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    std::uint64_t state = stream_ * 0x9E3779B97F4A7C15U ^ sequence * 0xBF58476D1CE4E5B9U ^ size;
    for (std::size_t at = 0; at < size; at += kSequenceBytes) {
      std::uint64_t word = sequence;
      if (at > 0 || size < kSequenceBytes) {
        word = (state += 0x9E3779B97F4A7C15U);
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9U;
        word = (word ^ (word >> 27)) * 0x94D049BB133111EBU;
        word ^= word >> 31;
      }
      const std::size_t length = size - at < kSequenceBytes ? size - at : kSequenceBytes;
      std::byte raw[kSequenceBytes];
      std::memcpy(raw, &word, kSequenceBytes);
      if (!visit(at, raw, length)) return false;
    }
    return true;
  }

  std::uint64_t stream_;
};

/// Sizes around the places where transports change what they do: empty, cache lines, pages, buffers, rings.
inline const std::vector<std::size_t> kSizes{0, 1, 63, 64, 65, 4095, 4096, 65536, 1048576, 16777216};

/// A size for each message of a long stream: mostly small, now and then some kilobytes; at least 8 where
/// `with_sequence`, so that the receiver can tell which one it is.
[[nodiscard]] inline std::size_t mixed_size(std::uint64_t sequence, bool with_sequence = false) noexcept {
  const std::uint64_t hash = (sequence + 1) * 0x9E3779B97F4A7C15U >> 40;
  const std::size_t size = hash % 61 == 0 ? hash % 5000 : hash % 200;
  return with_sequence && size < Payloads::kSequenceBytes ? Payloads::kSequenceBytes : size;
}

}  // namespace bus::test
