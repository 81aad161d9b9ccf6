// tools/verbs/diff.cpp: bus diff: a regression check of one result against another, with an exit code.
#include <array>
#include <charconv>
#include <string>

#include "tools/common/arguments.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/measure/diff.hpp"
#include "tools/measure/result_file.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {
namespace {

/// "10%", "2.5 %" gives 0.1, 0.025.
double parse_percent(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (error != std::errc() || (unit != "%" && unit != " %") || !(value >= 0) || value > 1000) {
    throw UsageError("diff: --fail-over " + text + ": allowed is a percentage such as 10% or 2.5%; see bus help diff");
  }
  return value / 100;
}

Exit run_diff(const Arguments& arguments, Signals& signals) {
  const double limit = parse_percent(*arguments.text("fail-over"));
  const std::string &old_file = arguments.positional().at(0), &new_file = arguments.positional().at(1);
  const measure::Result before = measure::read_result("diff", old_file, signals);
  const measure::Result after = measure::read_result("diff", new_file, signals);
  if (signals.stopped()) return signals.exit();
  const measure::Difference difference = measure::diff(before, after, limit);
  if (difference.rows.empty()) {
    throw UsageError("diff: " + old_file + " and " + new_file +
                     " have no row in common: were they measured with the same verb, sizes and addresses?");
  }
  Output output(signals);
  if (arguments.flag("json")) {
    output.write(measure::to_json_lines(difference));
  } else {
    const measure::TextStyle style = measure::text_style(output);
    output.write(measure::to_text(difference, style.colour, style.width));
  }
  output.flush();
  if (difference.regressions() > 0) return Exit::regression;
  // What was not measured is not fine.
  const bool nothing_shown = difference.invalid() + difference.unjudged() == difference.rows.size();
  return difference.invalid() > 0 || nothing_shown ? Exit::loss : Exit::ok;
}

}  // namespace

const Verb& diff_verb() noexcept {
  static constexpr std::array<Option, 1> kOptions{{
      {'f', "fail-over", Kind::text, "PERCENT", "exit with 6 when a row is worse by more than this", "10%"},
  }};
  static constexpr std::array<Example, 3> kExamples{{
      {"bus diff old.json new.json", "what has become faster or slower"},
      {"bus diff old.json new.json --fail-over 5%", "in a script: exit code 6 beyond 5 %"},
      {"bus diff old.json new.json --json", "a line a row, then the summary"},
  }};
  static constexpr Verb kVerb{
      "diff",
      "compares two results and fails on a regression",
      "OLD NEW",
      2,
      2,
      "Matches the rows of two results by their ids and compares the figure that each is judged by: p50, or the\n"
      "rate, or the cost. Exit code 6 if a row is worse by more than --fail-over and the 95 % interval of the\n"
      "ratio excludes no change; else 5 if a row of either result is invalid, or no row has the six repetitions\n"
      "that an interval needs. Rows that only one of them has are named. \"-\" is stdin.\n",
      kOptions,
      kExamples,
      run_diff,
  };
  return kVerb;
}

}  // namespace bus::tools
