// tools/measure/result_file.hpp: results read from files, and how their text is shown on this stdout.
#pragma once

#include <string>

#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/measure/result.hpp"

namespace bus::tools::measure {

/// Reads a result and computes its summary again, so that what is shown follows from the repetitions. `path` "-" is
/// stdin. Throws UsageError, beginning with `verb`, for a file that cannot be read or is no result: what and where.
[[nodiscard]] Result read_result(const std::string& verb, const std::string& path, Signals& signals);

/// "FILE: 2 of 24 rows do not count", for a result that is not valid; else empty.
[[nodiscard]] std::string objection(const std::string& path, const Result& result);

struct TextStyle {
  bool colour = false;
  int width = 100;
};
/// Colour on a terminal only, and not when NO_COLOR is set; its width between 60 and 160 columns; 100 elsewhere.
[[nodiscard]] TextStyle text_style(const Output& output);

}  // namespace bus::tools::measure
