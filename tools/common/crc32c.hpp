// tools/common/crc32c.hpp: CRC-32C (Castagnoli), the checksum of iSCSI and ext4, by the CPU's instruction if it has
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bus::tools {

/// The checksum of `bytes` followed by `more`. That of "123456789" is 0xE3069283. Source: RFC 3720, appendix B.4.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::span<const std::byte> more = {}) noexcept;

/// The same without the CPU's instruction; for tests, and for CPUs that lack it.
[[nodiscard]] std::uint32_t crc32c_portable(std::span<const std::byte> bytes,
                                            std::span<const std::byte> more = {}) noexcept;

}  // namespace bus::tools
