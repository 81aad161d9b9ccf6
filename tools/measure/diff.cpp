// tools/measure/diff.cpp: see diff.hpp.
#include "tools/measure/diff.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "tools/common/json.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/environment.hpp"
#include "tools/measure/numbers.hpp"
#include "tools/measure/summarize.hpp"
#include "tools/measure/table.hpp"

namespace bus::tools::measure {
namespace {

constexpr int kLeastDiffWidth = 40;

/// What makes two runs hardly comparable. What a build is of (its version) is what one wants to compare.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kMachine{{{"machine", "cpu"},
                                                                                  {"machine", "cpus_online"},
                                                                                  {"machine", "hypervisor"},
                                                                                  {"machine", "governor"},
                                                                                  {"machine", "turbo"},
                                                                                  {"machine", "smt"},
                                                                                  {"kernel", "release"},
                                                                                  {"kernel", "boot_parameters"},
                                                                                  {"build", "type"},
                                                                                  {"build", "flags"},
                                                                                  {"build", "compiler"}}};

std::vector<double> values_of(const Row& row) {
  std::vector<double> values;
  for (const auto& [_, value] : main_values(row)) values.push_back(value);
  return values;
}

Figure main_figure_of(const Row& row) {
  const auto it = row.summary.figures.find(std::string(main_figure(row.conditions.measure)));
  return it == row.summary.figures.end() ? Figure{} : it->second;
}

bool is_regression(const Figure& ratio, Better better, double limit) {
  if (!ratio.low || !ratio.high) return false;
  if (better == Better::lower) return ratio.value > 1 + limit && *ratio.low > 1;
  return ratio.value < 1 - limit && *ratio.high < 1;
}

/// What a row was measured under and is not in its id for certain.
std::string changed_conditions(const Conditions& a, const Conditions& b) {
  std::string changed;
  const auto check = [&changed](bool same, std::string_view name) {
    if (!same) changed.append(changed.empty() ? "" : ", ").append(name);
  };
  check(a.measure == b.measure, "measure");
  check(a.load_model == b.load_model, "load model");
  check(a.arrival == b.arrival, "arrival");
  check(a.rate == b.rate, "rate");
  check(a.size == b.size, "size");
  check(a.wait == b.wait, "wait");
  check(a.touch == b.touch, "touch");
  check(a.copy == b.copy, "copy");
  check(a.loan == b.loan, "loan");
  check(a.batch == b.batch, "batch");
  check(a.producers == b.producers, "producers");
  check(a.clock == b.clock, "clock");
  check(a.pin == b.pin, "pin");
  return changed;
}

RowDifference compare_rows(const Row& before, const Row& after, bool valid, double limit, std::uint64_t seed) {
  RowDifference difference;
  difference.id = after.id;
  difference.family = after.family;
  difference.measure = after.conditions.measure;
  difference.before = main_figure_of(before);
  difference.after = main_figure_of(after);
  difference.ratio = ratio_of_unpaired(values_of(after), values_of(before), seed);
  if (!valid || before.conditions.measure != after.conditions.measure) {
    difference.says = "invalid";
    return difference;
  }
  const Better good = better(after.conditions.measure);
  difference.says = say(difference.ratio, good);
  difference.regression = is_regression(difference.ratio, good, limit);
  return difference;
}

std::string value_text(const RowDifference& row, const Figure& figure) {
  if (figure.value <= 0) return "-";
  return row.measure == Measure::throughput ? rate_text(figure.value) + "/s" : duration_text(figure.value);
}

std::string limit_text(double limit) { return number_text(limit * 100) + " %"; }

std::string verdict_line(const Difference& difference) {
  const std::size_t regressions = difference.regressions(), invalid = difference.invalid();
  std::string line;
  if (regressions > 0) {
    line = "REGRESSION: " + std::to_string(regressions) + " of " + counted(difference.rows.size(), "row") +
           (regressions == 1 ? " is" : " are") + " worse by more than " + limit_text(difference.limit);
  } else if (invalid == 0 && difference.unjudged() == 0) {
    line = "NO REGRESSION: none of " + counted(difference.rows.size(), "row") + " is worse by more than " +
           limit_text(difference.limit);
  } else {
    line = "NOT SHOWN: no regression beyond " + limit_text(difference.limit) + " where rows can be compared";
  }
  if (invalid > 0) line += "; " + std::to_string(invalid) + " invalid";
  if (difference.unjudged() > 0) line += "; " + std::to_string(difference.unjudged()) + " with too few repetitions";
  return line;
}

Cell word_cell(const RowDifference& row) {
  if (row.regression) return {"REGRESSION", Style::bad};
  if (row.says == "no difference shown") return {"no difference shown", Style::dim};
  if (row.says == "faster") return {row.says, Style::good};
  return {row.says, row.says == "slower" || row.says == "too few repetitions" ? Style::warning : Style::bad};
}

Json figure_json(const Figure& figure) {
  if (figure.value <= 0) return nullptr;
  Json json{{"value", figure.value}};
  if (figure.low && figure.high) {
    json["low"] = *figure.low;
    json["high"] = *figure.high;
    json["confidence"] = figure.confidence;
  }
  return json;
}

std::size_t count(const std::vector<RowDifference>& rows, std::string_view says) noexcept {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [says](const RowDifference& row) { return row.says == says; }));
}

}  // namespace

std::size_t Difference::regressions() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(), [](const RowDifference& row) { return row.regression; }));
}
std::size_t Difference::invalid() const noexcept { return count(rows, "invalid"); }
std::size_t Difference::unjudged() const noexcept { return count(rows, "too few repetitions"); }

Difference diff(const Result& before, const Result& after, double limit) {
  Difference difference;
  difference.limit = limit;
  std::vector<std::string>& warnings = difference.warnings;
  for (const auto& [group, key] : kMachine) {
    const std::string_view was = value_of(before.environment, group, key), is = value_of(after.environment, group, key);
    if (was == is) continue;
    const auto shown = [](std::string_view value) { return value.empty() ? "not told" : harmless(value); };
    warnings.push_back((group == "build" ? "different builds: " : "different machines: ") + std::string(group) + " " +
                       std::string(key) + " was " + shown(was) + ", is " + shown(is));
  }
  for (const auto& [result, which] : {std::pair{&before, "before"}, std::pair{&after, "after"}}) {
    for (const std::string& reason : result->invalid) {
      warnings.push_back("all that was measured " + std::string(which) + " is invalid: " + reason);
    }
  }
  const bool whole_valid = before.invalid.empty() && after.invalid.empty();
  for (const Row& row : after.rows) {
    const Row* const old = before.find(row.id);
    if (old == nullptr) {
      difference.only_after.push_back(row.id);
      continue;
    }
    for (const auto& [side, which] : {std::pair{old, "before"}, std::pair{&row, "after"}}) {
      for (const std::string& reason : side->invalid) {
        warnings.push_back(row.id + " is invalid " + which + ": " + reason);
      }
    }
    if (const std::string changed = changed_conditions(old->conditions, row.conditions); !changed.empty()) {
      warnings.push_back(row.id + " was measured under other conditions: " + changed);
    }
    const bool valid = whole_valid && old->invalid.empty() && row.invalid.empty();
    difference.rows.push_back(compare_rows(*old, row, valid, limit, seed_for(after.seed, row.id)));
  }
  for (const Row& row : before.rows) {
    if (after.find(row.id) == nullptr) difference.only_before.push_back(row.id);
  }
  const auto slower_floors = std::count_if(
      difference.rows.begin(), difference.rows.end(),
      [](const RowDifference& row) { return row.family == Family::floor && (row.regression || row.says == "slower"); });
  if (slower_floors > 0) {
    warnings.push_back("the machine itself was slower: so " + std::string(slower_floors == 1 ? "is " : "are ") +
                       counted(static_cast<std::size_t>(slower_floors), "floor") + ", which hold nothing of ours");
  }
  return difference;
}

std::string to_text(const Difference& difference, bool colour, int width) {
  const auto columns = static_cast<std::size_t>(std::max(width, kLeastDiffWidth));
  const bool fine = difference.regressions() == 0 && difference.invalid() == 0;
  std::string text = styled(verdict_line(difference), fine ? Style::good : Style::bad, colour) + "\n";
  for (const std::string& warning : difference.warnings) {
    text += wrapped("  Warning: " + harmless(warning), columns, 4);
  }
  Table table({{"", false, 100},
               {"figure", false, 10},
               {"before", true, 80},
               {"after", true, 81},
               {"ratio", true, 90},
               {"[interval]", false, 70, true},
               {"after is", false, 95}});
  for (const RowDifference& row : difference.rows) {
    const Figure& ratio = row.ratio;
    std::string interval;
    if (ratio.low && ratio.high) interval = "[" + ratio_text(*ratio.low) + ".." + ratio_text(*ratio.high) + "]";
    table.add({{harmless(row.id)},
               {std::string(main_figure(row.measure))},
               {value_text(row, row.before)},
               {value_text(row, row.after), row.regression ? Style::bad : Style::plain},
               {ratio.value > 0 ? ratio_text(ratio.value) : "-"},
               {interval, Style::dim},
               word_cell(row)});
  }
  if (!difference.rows.empty()) text += "\n" + table.text(columns, colour);
  const auto list = [&](const std::vector<std::string>& ids, const std::string& which) {
    if (ids.empty()) return;
    std::string line = "Only " + which + ":";
    for (const std::string& id : ids) line += " " + harmless(id) + (&id == &ids.back() ? "" : ",");
    text += "\n" + wrapped(line, columns, 2);
  };
  list(difference.only_before, "before");
  list(difference.only_after, "after");
  return text;
}

std::string to_json_lines(const Difference& difference) {
  std::string text;
  const auto line = [&text](const Json& json) { text.append(json_line(json)); };
  for (const std::string& warning : difference.warnings) line({{"type", "warning"}, {"text", warning}});
  for (const RowDifference& row : difference.rows) {
    line({{"type", "row"},
          {"id", row.id},
          {"figure", std::string(main_figure(row.measure))},
          {"before", figure_json(row.before)},
          {"after", figure_json(row.after)},
          {"ratio", figure_json(row.ratio)},
          {"says", row.says},
          {"regression", row.regression}});
  }
  for (const std::string& id : difference.only_before) line({{"type", "only"}, {"in", "before"}, {"id", id}});
  for (const std::string& id : difference.only_after) line({{"type", "only"}, {"in", "after"}, {"id", id}});
  line({{"type", "summary"},
        {"fail_over", difference.limit},
        {"rows", difference.rows.size()},
        {"regressions", difference.regressions()},
        {"faster", count(difference.rows, "faster")},
        {"slower", count(difference.rows, "slower")},
        {"no_difference_shown", count(difference.rows, "no difference shown")},
        {"too_few_repetitions", difference.unjudged()},
        {"invalid", difference.invalid()},
        {"only_before", difference.only_before.size()},
        {"only_after", difference.only_after.size()}});
  return text;
}

}  // namespace bus::tools::measure
