// tools/common/report.hpp: the end of a verb: the summary on stdout with --json, the books on stderr.
#pragma once

#include "tools/common/arguments.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/common/summary.hpp"

namespace bus::tools {

/// Prints what the options ask for; the books also when a signal ended the work. A reader of stdout that does not
/// read any more after a signal gets no summary, and a line on stderr says so.
void report(const Summary& summary, const Arguments& arguments, const Signals& signals, Output& output);

}  // namespace bus::tools
