// tools/common/made_message.cpp: see made_message.hpp.
#include "tools/common/made_message.hpp"

#include <boost/endian/conversion.hpp>
#include <cstring>

#include "bus/core/crc32c.hpp"

namespace bus::tools {
namespace {

// Odd, and without structure in any byte: the golden ratio and the second constant of R2. Source: M. Roberts, "The
// unreasonable effectiveness of quasirandom sequences".
constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15;
constexpr std::uint64_t kStride = 0xD1B54A32D192ED03;

constexpr std::size_t kSizeAt = 8;
constexpr std::size_t kChecksumAt = 12;

unsigned char* at(std::span<std::byte> message, std::size_t offset) noexcept {
  return reinterpret_cast<unsigned char*>(message.data() + offset);
}
const unsigned char* at(std::span<const std::byte> message, std::size_t offset) noexcept {
  return reinterpret_cast<const unsigned char*>(message.data() + offset);
}

void fill(std::span<std::byte> filler, std::uint64_t sequence) noexcept {
  std::uint64_t word = (sequence + 1) * kStep;
  std::byte* to = filler.data();
  std::size_t left = filler.size();
  for (; left >= 8; left -= 8, to += 8, word += kStride) {
    const std::uint64_t little = boost::endian::native_to_little(word);
    std::memcpy(to, &little, 8);
  }
  const std::uint64_t little = boost::endian::native_to_little(word);
  if (left > 0) std::memcpy(to, &little, left);
}

std::uint32_t checksum(std::span<const std::byte> message) noexcept {
  return crc32c(message.subspan(kMadeHeaderBytes), crc32c(message.first(kChecksumAt)));
}

}  // namespace

void make_message(std::span<std::byte> message, std::uint64_t sequence) noexcept {
  if (message.size() < kMadeHeaderBytes) return fill(message, sequence);
  boost::endian::store_little_u64(at(message, 0), sequence);
  boost::endian::store_little_u32(at(message, kSizeAt), static_cast<std::uint32_t>(message.size()));
  fill(message.subspan(kMadeHeaderBytes), sequence);
  boost::endian::store_little_u32(at(message, kChecksumAt), checksum(message));
}

std::optional<std::uint64_t> check_message(std::span<const std::byte> message) noexcept {
  if (message.size() < kMadeHeaderBytes) return {};
  if (boost::endian::load_little_u32(at(message, kSizeAt)) != message.size()) return {};
  if (boost::endian::load_little_u32(at(message, kChecksumAt)) != checksum(message)) return {};
  return boost::endian::load_little_u64(at(message, 0));
}

}  // namespace bus::tools
