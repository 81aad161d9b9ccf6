// bus/core/crc32c.cpp: CRC-32C by the processor's instruction, or by tables.
#include "bus/core/crc32c.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace bus {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // reflected

using Table = std::array<std::uint32_t, 256>;

// tables[k][b]: the effect of byte b followed by k zero bytes, so that eight bytes are done at once.
constexpr std::array<Table, 8> make_tables() noexcept {
  std::array<Table, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}
constexpr std::array<Table, 8> kTables = make_tables();

std::uint64_t load64(const std::byte* from) noexcept {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

// The register after `bytes`, without the initial and final xor.
std::uint32_t run_tables(std::uint32_t crc, const std::byte* at, std::size_t size) noexcept {
  for (; size >= 8; at += 8, size -= 8) {
    const std::uint64_t word = load64(at) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xFF];
  }
  for (; size > 0; ++at, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
// The instruction takes three cycles and one can start in each, so three streams run side by side; their results
// are joined by advancing a register over zeros, which is linear and hence a table lookup for each of its bytes.
// Source: the method of Intel's "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (2011).
constexpr std::size_t kLane = 1344;  // bytes in a stream: three make 4032, a datagram of one page or more profits

constexpr std::uint32_t over_zeros(std::uint32_t crc, std::size_t bytes) noexcept {
  for (; bytes > 0; --bytes) crc = (crc >> 8) ^ kTables[0][crc & 0xFF];
  return crc;
}

constexpr std::array<Table, 4> make_shift() noexcept {
  std::array<Table, 4> shift{};
  for (std::size_t place = 0; place < 4; ++place) {
    for (std::size_t bit = 0; bit < 8; ++bit) {
      shift[place][std::size_t{1} << bit] = over_zeros(std::uint32_t{1} << (8 * place + bit), kLane);
    }
    for (std::size_t byte = 1; byte < 256; ++byte) {
      const std::size_t lowest = byte & (~byte + 1);
      shift[place][byte] = shift[place][lowest] ^ (byte == lowest ? 0 : shift[place][byte ^ lowest]);
    }
  }
  return shift;
}

std::uint32_t advance(std::uint32_t crc) noexcept {
  static constexpr std::array<Table, 4> kShift = make_shift();
  return kShift[0][crc & 0xFF] ^ kShift[1][(crc >> 8) & 0xFF] ^ kShift[2][(crc >> 16) & 0xFF] ^ kShift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) std::uint32_t run_instruction(std::uint32_t start, const std::byte* at,
                                                                std::size_t size) noexcept {
  std::uint64_t crc = start;
  for (; size >= 3 * kLane; at += 3 * kLane, size -= 3 * kLane) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < kLane; i += 8) {
      crc = __builtin_ia32_crc32di(crc, load64(at + i));
      second = __builtin_ia32_crc32di(second, load64(at + kLane + i));
      third = __builtin_ia32_crc32di(third, load64(at + 2 * kLane + i));
    }
    crc = advance(static_cast<std::uint32_t>(crc)) ^ second;
    crc = advance(static_cast<std::uint32_t>(crc)) ^ third;
  }
  for (; size >= 8; at += 8, size -= 8) crc = __builtin_ia32_crc32di(crc, load64(at));
  auto narrow = static_cast<std::uint32_t>(crc);
  for (; size > 0; ++at, --size) narrow = __builtin_ia32_crc32qi(narrow, std::to_integer<unsigned char>(*at));
  return narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  return ~run_tables(~before, bytes.data(), bytes.size());
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return ~run_instruction(~before, bytes.data(), bytes.size());
#endif
  return crc32c_by_table(bytes, before);
}

}  // namespace bus
