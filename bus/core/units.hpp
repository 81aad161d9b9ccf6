// bus/core/units.hpp: sizes, durations and rates as people write them, in addresses and on the command line.
//
//   size      64  4KiB  1MiB  2GiB; also kB MB GB (powers of 1000)     bytes
//   duration  50us  100ms  5s  2m; 0                                    nanoseconds
//   rate      250  10k  2M                                              a second
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bus {

/// Empty when the text is none, is negative or does not fit.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;
[[nodiscard]] std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) noexcept;
[[nodiscard]] std::optional<double> parse_rate(std::string_view text) noexcept;

/// The shortest exact form: 65536 gives 64KiB, 1000 gives 1000.
[[nodiscard]] std::string format_size(std::uint64_t bytes);
/// Three digits and a unit: 12.3us.
[[nodiscard]] std::string format_duration(std::chrono::nanoseconds);

}  // namespace bus
