// bus/core/crc32c.hpp: CRC-32C (Castagnoli), the check of datagrams and of made messages.
//
// Polynomial 0x1EDC6F41, reflected, initial value and final xor 0xFFFFFFFF. Source: RFC 3720, appendix B.4.
// Check: the nine bytes "123456789" give 0xE3069283.
// Cost: one instruction for 8 bytes where SSE 4.2 is, three streams of them at once from 4 KiB on; tables otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bus {

/// The check of `bytes`; `before` is the check of what stood in front of them, so a check can be continued.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

/// The same by tables alone: what machines without the instruction use. For tests.
[[nodiscard]] std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

}  // namespace bus
