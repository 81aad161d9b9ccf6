// bus/core/version.hpp: what this build is.
#pragma once

#include <string_view>

namespace bus {

[[nodiscard]] std::string_view version() noexcept;  // "0.1.0"
[[nodiscard]] std::string_view build() noexcept;    // compiler, build type, sanitizers: one line for bug reports

}  // namespace bus
