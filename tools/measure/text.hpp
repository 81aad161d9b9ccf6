// tools/measure/text.hpp: a result as text: tables, a percentile plot and what has to be known to read them.
#pragma once

#include <string>

#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// For terminals, pipes and issues: at most `width` columns, UTF-8, ends with a newline. The first line says whether
/// the result is valid. The result has to be summarized.
[[nodiscard]] std::string to_text(const Result& result, bool colour, int width = 100);

/// GitHub's Markdown: the same tables with all columns, and the plot.
[[nodiscard]] std::string to_markdown(const Result& result);

}  // namespace bus::tools::measure
