// tools/measure/report/no_template.cpp: stands for the HTML report in a build without npm.
#include "tools/measure/report/template.hpp"

namespace bus::tools::measure {

std::string_view report_template() noexcept { return {}; }

}  // namespace bus::tools::measure
