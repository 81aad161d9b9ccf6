// tools/common/crc32c.cpp: Boost.CRC, and SSE 4.2 where the CPU has it.
#include "tools/common/crc32c.hpp"

#include <boost/crc.hpp>
#include <cstring>

namespace bus::tools {
namespace {

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] std::uint32_t go_on(std::uint32_t before, std::span<const std::byte> bytes) noexcept {
  std::uint64_t crc = before;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    crc = __builtin_ia32_crc32di(crc, word);
  }
  auto narrow = static_cast<std::uint32_t>(crc);
  for (; left > 0; --left, ++at) narrow = __builtin_ia32_crc32qi(narrow, static_cast<unsigned char>(*at));
  return narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::span<const std::byte> more) noexcept {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  crc.process_bytes(more.data(), more.size());
  return crc.checksum();
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::span<const std::byte> more) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return go_on(go_on(0xFFFFFFFFu, bytes), more) ^ 0xFFFFFFFFu;
#endif
  return crc32c_portable(bytes, more);
}

}  // namespace bus::tools
