// tests/bus/protocol/hex.hpp: bytes as people write them, and made-up ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bus::test {

using ByteVector = std::vector<std::byte>;

/// "0a ff" as bytes; white space is for the reader.
[[nodiscard]] inline ByteVector hex(std::string_view text) {
  ByteVector bytes;
  int digits = 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n') continue;
    value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (++digits % 2 == 0) bytes.push_back(static_cast<std::byte>(std::exchange(value, 0)));
  }
  return bytes;
}

[[nodiscard]] inline std::string to_hex(const ByteVector& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    if (!text.empty()) text += ' ';
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

[[nodiscard]] inline ByteVector bytes_of_text(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Little-endian.
[[nodiscard]] inline ByteVector number(std::uint64_t value, std::size_t size) {
  ByteVector bytes;
  for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  return bytes;
}

/// One after the other.
template <class... More>
[[nodiscard]] ByteVector join(ByteVector first, const More&... more) {
  (first.insert(first.end(), more.begin(), more.end()), ...);
  return first;
}

/// A text of `size` characters out of these.
[[nodiscard]] inline std::string random_text(std::mt19937& random, std::size_t size, std::string_view of) {
  std::string text(size, ' ');
  for (char& c : text) c = of[random() % of.size()];
  return text;
}

}  // namespace bus::test
