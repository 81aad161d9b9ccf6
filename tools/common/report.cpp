// tools/common/report.cpp: see report.hpp.
#include "tools/common/report.hpp"

#include "tools/common/log.hpp"

namespace bus::tools {

void report(const Summary& summary, const Arguments& arguments, const Signals& signals, Output& output) {
  if (arguments.flag("books") || (signals.stopped() && !arguments.flag("json"))) {
    log::block(books_text(summary.books));
  }
  try {
    if (arguments.flag("json")) output.write(summary_json(summary));
    output.flush();
  } catch (const OutputStuck& stuck) {
    log::warn(stuck.what());
  }
}

}  // namespace bus::tools
