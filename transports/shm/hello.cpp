// transports/shm/hello.cpp: field by field.
#include "transports/shm/hello.hpp"

#include <algorithm>
#include <bit>

#include "bus/core/os/bytes.hpp"
#include "bus/core/transport.hpp"

namespace bus::shm {
namespace {

constexpr std::uint32_t kMagic = 0x4d485342;  // "BSHM"
constexpr std::uint16_t kHasMembarrier = 1;
constexpr std::uint64_t kLeastCapacity = 4096;
// What the largest message makes a ring grow to.
constexpr std::uint64_t kMostCapacity = std::uint64_t{1} << 31;

}  // namespace

std::array<std::byte, kHelloBytes> encode(const Hello& hello) noexcept {
  std::array<std::byte, kHelloBytes> bytes{};
  os::put_u32(&bytes[0], kMagic);
  os::put_u16(&bytes[4], hello.version);
  os::put_u16(&bytes[6], hello.has_membarrier ? kHasMembarrier : 0);
  os::put_u64(&bytes[8], hello.max_message);
  os::put_u64(&bytes[16], hello.capacity);
  os::put_u32(&bytes[24], hello.pid);
  std::transform(hello.instance.begin(), hello.instance.end(), &bytes[32], [](std::uint8_t b) { return std::byte{b}; });
  return bytes;
}

Result<Hello> decode(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() != kHelloBytes || os::get_u32(&bytes[0]) != kMagic) return Errc::corrupt;
  Hello hello;
  hello.version = os::get_u16(&bytes[4]);
  if (hello.version != kVersion) return hello;
  const std::uint16_t flags = os::get_u16(&bytes[6]);
  hello.has_membarrier = (flags & kHasMembarrier) != 0;
  hello.max_message = os::get_u64(&bytes[8]);
  hello.capacity = os::get_u64(&bytes[16]);
  hello.pid = os::get_u32(&bytes[24]);
  std::transform(&bytes[32], &bytes[48], hello.instance.begin(),
                 [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  const bool sane = (flags & ~kHasMembarrier) == 0 && hello.max_message >= 1 &&
                    hello.max_message <= Options::kMostMaxMessage && hello.capacity >= kLeastCapacity &&
                    hello.capacity <= kMostCapacity && std::has_single_bit(hello.capacity) &&
                    os::get_u32(&bytes[28]) == 0 && os::get_u64(&bytes[48]) == 0;
  if (!sane) return Errc::corrupt;
  return hello;
}

}  // namespace bus::shm
