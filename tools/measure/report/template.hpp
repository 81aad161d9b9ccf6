// tools/measure/report/template.hpp: the page of the HTML report, as the build put it together.
#pragma once

#include <string_view>

namespace bus::tools::measure {

/// Where the page takes its results; the page has it once.
inline constexpr std::string_view kResultsMark = "@RESULTS@";

/// The page, or nothing when the program was built without npm.
[[nodiscard]] std::string_view report_template() noexcept;

}  // namespace bus::tools::measure
