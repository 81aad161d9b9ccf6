// tools/measure/text.cpp: see text.hpp.
#include "tools/measure/text.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/common/terminal_text.hpp"
#include "tools/measure/environment.hpp"
#include "tools/measure/numbers.hpp"
#include "tools/measure/plot.hpp"
#include "tools/measure/stats.hpp"
#include "tools/measure/summarize.hpp"
#include "tools/measure/table.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kMostReasons = 12;
constexpr std::size_t kPlotHeight = 12;
constexpr int kLeastWidth = 40;

using Rows = std::vector<const Row*>;

/// Empty when it is not known.
std::string_view environment_value(const Result& result, std::string_view group, std::string_view key) {
  const std::string_view value = value_of(result.environment, group, key);
  return value == "unknown" ? std::string_view() : value;
}

const Figure* figure(const Row& row, const char* name) {
  const auto it = row.summary.figures.find(name);
  return it == row.summary.figures.end() ? nullptr : &it->second;
}

std::size_t valid_repetitions(const Row& row) {
  return static_cast<std::size_t>(std::count_if(row.repetitions.begin(), row.repetitions.end(),
                                                [](const Repetition& one) { return one.invalid.empty(); }));
}

// ---- groups: rows that can be compared by eye ----

struct Group {
  std::string title;
  Rows rows;
  Measure measure = Measure::latency;
};

std::string title_of(const Conditions& conditions) {
  const std::string size = size_text(conditions.size);
  switch (conditions.measure) {
    case Measure::throughput:
      return "throughput, " + size + ": as fast as it goes";
    case Measure::cost:
      return (conditions.size == 0 ? "cost" : "cost, " + size) + std::string(": one of it, without messages");
    case Measure::latency:
      break;
  }
  if (conditions.load_model != LoadModel::open) return "latency, " + size + ": round trip (RTT), closed loop";
  std::string title = "latency, " + size + ": response, open loop";
  if (!conditions.arrival.empty()) title += ", " + harmless(conditions.arrival);
  if (conditions.rate > 0) title += " at " + rate_text(conditions.rate) + "/s";
  return title;
}

std::vector<Group> groups_of(const Result& result) {
  std::vector<Group> groups;
  for (const Row& row : result.rows) {
    const std::string title = title_of(row.conditions);
    auto it = std::find_if(groups.begin(), groups.end(), [&](const Group& group) { return group.title == title; });
    if (it == groups.end()) it = groups.insert(it, Group{title, {}, row.conditions.measure});
    it->rows.push_back(&row);
  }
  for (Group& group : groups) {
    // Ours, then others' and then the limits; within these in the result's order.
    const auto rank = [](const Row* row) {
      return row->family == Family::ours ? 0 : row->family == Family::peer ? 1 : 2;
    };
    std::stable_sort(group.rows.begin(), group.rows.end(),
                     [&](const Row* a, const Row* b) { return rank(a) < rank(b); });
  }
  // Latency first, then throughput, then costs; sizes as they were measured.
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.measure < b.measure; });
  return groups;
}

/// The name, and every condition that is not the usual one and has no column.
std::string label_of(const Row& row) {
  const Conditions& conditions = row.conditions;
  std::string label = harmless(row.name.empty() ? row.id : row.name);
  if (conditions.loan) label += ", loan";
  if (conditions.batch > 1) label += ", batch " + std::to_string(conditions.batch);
  if (conditions.producers > 1) label += ", " + std::to_string(conditions.producers) + " producers";
  if (conditions.touch != "all" && conditions.measure != Measure::cost)
    label += ", touch " + harmless(conditions.touch);
  if (conditions.copy) label += ", copy";
  if (conditions.clock != "monotonic" && !conditions.clock.empty()) label += ", " + harmless(conditions.clock);
  return label;
}

// ---- cells ----

Cell duration_cell(const Figure* figure, Style style = Style::plain) {
  return figure == nullptr ? Cell{"-", Style::dim} : Cell{duration_text(figure->value), style};
}
Cell known_cell(const std::optional<double>& value) { return value ? Cell{number_text(*value)} : Cell{}; }

Cell switches_cell(const Row& row) {
  const Figure* const voluntary = figure(row, "voluntary_switches");
  const Figure* const involuntary = figure(row, "involuntary_switches");
  if (voluntary == nullptr && involuntary == nullptr) return {};
  return {number_text((voluntary ? voluntary->value : 0) + (involuntary ? involuntary->value : 0))};
}

Cell ratio_cell(const std::optional<Verdict>& verdict) {
  if (!verdict) return {};
  if (verdict->ratio.value <= 0) return {"-", Style::dim};
  // Not just any number when nothing was shown.
  return {(verdict->says == "no difference shown" ? "≈" : "") + ratio_text(verdict->ratio.value)};
}

/// A verdict in a word that fits the table; the notes have the legend.
Cell word_cell(const std::string& says) {
  if (says == "no difference shown") return {"no diff.", Style::dim};
  if (says == "too few repetitions") return {"too few", Style::warning};
  if (says == "invalid") return {"invalid", Style::bad};
  return {harmless(says), says == "faster" ? Style::good : says == "slower" ? Style::bad : Style::plain};
}

/// What a row is worth: that it does not count, or how it does against the baseline, or else against its floor.
Cell verdict_cell(const Result& result, const Row& row, bool has_baseline) {
  if (!row.invalid.empty()) return {"INVALID", Style::bad};
  if (has_baseline) {
    if (row.summary.baseline) return word_cell(row.summary.baseline->says);
    const Row& baseline = *result.find(result.baseline);
    const bool is_it = row.name == baseline.name && row.conditions.wait == baseline.conditions.wait;
    return is_it ? Cell{"baseline", Style::dim} : Cell{};
  }
  return row.summary.floor ? word_cell(row.summary.floor->says) : Cell{};
}

// ---- the table of a group ----

std::string baseline_name(const Result& result) {
  const Row* const baseline = result.baseline.empty() ? nullptr : result.find(result.baseline);
  return baseline == nullptr ? std::string() : harmless(baseline->name);
}

Table table_of(const Result& result, const Group& group) {
  const std::string baseline = baseline_name(result);
  const std::string against = baseline.empty() ? "verdict" : "vs " + shortened(baseline, 12);
  // The order of leaving out when it gets narrow is the order of the last numbers.
  std::vector<Column> columns{{"", false, 100}, {"wait", false, 70}};
  const auto add = [&columns](std::string title, int keep, bool close = false, bool right = true) {
    columns.push_back({std::move(title), right, keep, close});
  };
  switch (group.measure) {
    case Measure::latency:
      add("p50", 100);
      add("[interval]", 60, true, false);
      add("p90", 50);
      add("p99", 90);
      add("p99.9", 80);
      add("max", 15);
      // In a closed loop it is one over the round trip; in an open one it is what was achieved.
      add("msg/s", group.rows.front()->conditions.load_model == LoadModel::open ? 75 : 20);
      add("GiB/s", 5);
      break;
    case Measure::throughput:
      add("msg/s", 100);
      add("[interval]", 60, true, false);
      add("GiB/s", 90);
      break;
    case Measure::cost:
      add("one", 100);
      add("[interval]", 60, true, false);
      break;
  }
  add("CPU/msg", 45);
  add("calls", 12);
  add("switches", 11);
  add("copies", 10);
  add("x floor", 85);
  add(baseline.empty() ? "" : against, 65);
  add(baseline.empty() ? against : "verdict", 95, !baseline.empty(), false);

  Table table(std::move(columns));
  std::optional<Family> family;
  for (const Row* const row : group.rows) {
    if (family && *family != row->family) table.add_heading(row->family == Family::peer ? "peers" : "floors");
    family = row->family;
    const Style style = !row->invalid.empty() ? Style::dim : Style::bold;
    std::vector<Cell> cells{{label_of(*row), row->id == result.baseline ? Style::bold : Style::plain},
                            {harmless(row->conditions.wait)}};
    const auto rate_cells = [&](bool main) {
      const Figure* const rate = figure(*row, "rate");
      const Figure* const bytes = figure(*row, "bytes_per_second");
      cells.push_back(rate == nullptr ? Cell{"-", Style::dim}
                                      : Cell{rate_text(rate->value), main ? style : Style::plain});
      if (main) cells.push_back({rate == nullptr ? "" : rate_interval_text(*rate), Style::dim});
      cells.push_back(bytes == nullptr ? Cell{} : Cell{gib_text(bytes->value)});
    };
    if (group.measure == Measure::throughput) {
      rate_cells(true);
    } else {
      const Figure* const main = figure(*row, group.measure == Measure::cost ? "cost" : "p50");
      cells.push_back(duration_cell(main, style));
      cells.push_back({main == nullptr ? "" : duration_interval_text(*main), Style::dim});
    }
    if (group.measure == Measure::latency) {
      for (const char* const name : {"p90", "p99", "p99.9", "max"}) cells.push_back(duration_cell(figure(*row, name)));
      rate_cells(false);
    }
    const Figure* const cpu = figure(*row, "cpu");
    cells.push_back(cpu == nullptr ? Cell{} : Cell{duration_text(cpu->value)});
    cells.push_back(known_cell(row->syscalls));
    cells.push_back(switches_cell(*row));
    cells.push_back(known_cell(row->copies));
    cells.push_back(ratio_cell(row->summary.floor));
    cells.push_back(baseline.empty() ? Cell{} : ratio_cell(row->summary.baseline));
    cells.push_back(verdict_cell(result, *row, !baseline.empty()));
    table.add(std::move(cells));
  }
  return table;
}

// ---- the plot ----

struct Plot {
  std::string title, text;
};

/// Of the first size of latency whose rows have enough samples.
Plot plot_of(const std::vector<Group>& groups, std::size_t width, bool colour) {
  for (const Group& group : groups) {
    if (group.measure != Measure::latency) continue;
    std::vector<Curve> curves;
    std::size_t candidates = 0;
    std::map<std::string, int> names;
    for (const Row* const row : group.rows) ++names[label_of(*row)];
    for (const Row* const row : group.rows) {
      Histogram histogram = merged_main(*row);
      if (histogram.count() < 20) continue;
      ++candidates;
      if (curves.size() == kMostCurves) continue;
      std::string label = label_of(*row);
      if (names[label] > 1) label += " " + harmless(row->conditions.wait);
      curves.push_back({std::move(label), std::move(histogram)});
    }
    Plot plot{group.title, percentile_plot(curves, width, kPlotHeight, colour)};
    if (plot.text.empty()) continue;
    if (candidates > curves.size()) {
      plot.title += " (" + std::to_string(curves.size()) + " of " + std::to_string(candidates) + " rows)";
    }
    return plot;
  }
  return {};
}

// ---- what stands around ----

/// What is wrong, a line each, the same reason of several rows once.
std::vector<std::string> reasons_of(const Result& result) {
  std::vector<std::string> lines;
  for (const std::string& reason : result.invalid) lines.push_back(harmless(reason));
  std::vector<std::pair<std::string, std::vector<std::string>>> by_reason;
  for (const Row& row : result.rows) {
    for (const std::string& reason : row.invalid) {
      auto it = std::find_if(by_reason.begin(), by_reason.end(), [&](const auto& one) { return one.first == reason; });
      if (it == by_reason.end()) it = by_reason.insert(it, {reason, {}});
      it->second.push_back(harmless(row.id));
    }
  }
  for (const auto& [reason, ids] : by_reason) {
    std::string line = ids.front();
    for (std::size_t i = 1; i < std::min<std::size_t>(ids.size(), 3); ++i) line += ", " + ids[i];
    if (ids.size() > 3) line += " and " + counted(ids.size() - 3, "other row");
    lines.push_back(line + ": " + harmless(reason));
  }
  if (lines.size() > kMostReasons) {
    const std::size_t more = lines.size() - kMostReasons;
    lines.resize(kMostReasons);
    lines.push_back("and " + counted(more, "more reason") + "; the JSON has all");
  }
  return lines;
}

std::string verdict_line(const Result& result) {
  if (result.rows.empty()) return result.is_valid() ? "VALID: there are no rows" : "INVALID: there are no rows";
  const auto wrong = static_cast<std::size_t>(
      std::count_if(result.rows.begin(), result.rows.end(), [](const Row& row) { return !row.invalid.empty(); }));
  if (result.is_valid()) {
    return result.rows.size() == 1 ? "VALID: the row counts"
                                   : "VALID: all " + counted(result.rows.size(), "row") + " count";
  }
  if (wrong == 0) return "INVALID: the whole measurement does not count";
  return "INVALID: " + std::to_string(wrong) + " of " + counted(result.rows.size(), "row") +
         (wrong == 1 ? " does" : " do") + " not count";
}

std::string how_line(const Result& result) {
  std::set<std::size_t> repetitions;
  for (const Row& row : result.rows) repetitions.insert(row.repetitions.size());
  std::string line = "bus " + harmless(result.kind);
  if (!repetitions.empty()) {
    line += ", ";
    if (repetitions.size() > 1) line += std::to_string(*repetitions.begin()) + " to ";
    line += counted(*repetitions.rbegin(), "repetition") + " of fresh processes";
  }
  line += ", " + number_text(result.seconds) + " s, seed " + std::to_string(result.seed);
  if (!result.started.empty()) line += ", " + harmless(result.started);
  return line;
}

/// Empty when nothing is known.
std::string machine_line(const Result& result) {
  std::vector<std::string> parts;
  const auto add = [&](std::string_view prefix, std::string_view group, std::string_view key, std::string_view suffix) {
    const std::string_view value = environment_value(result, group, key);
    if (!value.empty()) parts.push_back(std::string(prefix).append(harmless(value)).append(suffix));
  };
  add("", "machine", "cpu", "");
  add("", "machine", "cpus_online", " CPUs online");
  if (environment_value(result, "machine", "hypervisor") != "none") add("under ", "machine", "hypervisor", "");
  add("Linux ", "kernel", "release", "");
  add("ipcbus ", "build", "version", "");
  std::string line;
  for (const std::string& part : parts) line += (line.empty() ? "" : ", ") + part;
  return line;
}

std::vector<std::string> notes_of(const Result& result, const std::vector<Group>& groups,
                                  const std::vector<std::string>& left_out) {
  std::vector<std::string> notes;
  bool closed = false, open = false, floor = false, missing = false, no_interval = false, no_difference = false,
       too_few = false;
  std::set<std::string> confidences;
  std::size_t fewest = kLeastRepetitions;
  for (const Row& row : result.rows) {
    const Conditions& conditions = row.conditions;
    const bool latency = conditions.measure == Measure::latency;
    closed = closed || (latency && conditions.load_model != LoadModel::open);
    open = open || (latency && conditions.load_model == LoadModel::open);
    floor = floor || row.summary.floor;
    missing = missing ||
              (latency && (!figure(row, "p50") || !figure(row, "p90") || !figure(row, "p99") || !figure(row, "p99.9")));
    const Figure* const main = figure(row, std::string(main_figure(conditions.measure)).c_str());
    if (main != nullptr && main->low) confidences.insert(percent_text(main->confidence));
    if (valid_repetitions(row) < kLeastRepetitions) {
      no_interval = true;
      fewest = std::min(fewest, valid_repetitions(row));
    }
    for (const auto* const verdict : {&row.summary.floor, &row.summary.baseline}) {
      if (!*verdict) continue;
      no_difference = no_difference || (*verdict)->says == "no difference shown";
      too_few = too_few || (*verdict)->says == "too few repetitions";
    }
  }
  if (closed) notes.push_back("RTT is a round trip: there and back, with one message under way. It is not halved.");
  if (open) {
    notes.push_back("Response is one way and counts from when a message was due, whatever became of those before it.");
  }
  if (!confidences.empty()) {
    std::string which = *confidences.begin();
    if (confidences.size() > 1) which += " to " + *confidences.rbegin();
    notes.push_back("[interval] holds the median over repetitions with " + which + ".");
  }
  if (no_interval) {
    notes.push_back("Fewer than " + std::to_string(kLeastRepetitions) + " repetitions that count (here " +
                    std::to_string(fewest) +
                    ") give no interval of 95 % and no verdict: take the figures as a glance.");
  }
  if (floor) {
    notes.push_back("x floor is the row's p50 (or rate, or cost) over that of its own floor: the same crossing, " +
                    std::string("written by hand without this library."));
  }
  if (const std::string baseline = baseline_name(result); !baseline.empty()) {
    notes.push_back("vs " + baseline + ": the ratio to " + harmless(result.baseline) +
                    " or its like of that size, in pairs of one block; of rates more is faster.");
  }
  if (no_difference) {
    notes.push_back(
        "no diff., ≈: no difference shown: the 95 % interval of the ratio has 1 in it, or it is below 5 %.");
  }
  if (too_few) notes.push_back("too few: too few repetitions for a verdict.");
  if (missing) notes.push_back("-: too few samples: a quantile is printed if at least ten lie beyond it.");
  const std::string_view hypervisor = environment_value(result, "machine", "hypervisor");
  if (!hypervisor.empty() && hypervisor != "none") {
    notes.push_back("A virtual machine (" + harmless(hypervisor) + "): tails include what the host does.");
  }
  if (!left_out.empty()) {
    std::string columns;
    for (const std::string& title : left_out) columns += (columns.empty() ? "" : ", ") + title;
    notes.push_back("Left out for want of room: " + columns + ".");
  }
  // Warnings, the same one of several rows once.
  std::vector<std::pair<std::string, std::vector<std::string>>> warnings;
  const auto warn = [&](const std::string& text, const std::string& id) {
    auto it = std::find_if(warnings.begin(), warnings.end(), [&](const auto& one) { return one.first == text; });
    if (it == warnings.end()) it = warnings.insert(it, {text, {}});
    if (!id.empty() && (it->second.empty() || it->second.back() != id)) it->second.push_back(id);
  };
  for (const std::string& text : result.warnings) warn(text, "");
  for (const Group& group : groups) {
    for (const Row* const row : group.rows) {
      for (const std::string& text : row->warnings) warn(text, row->id);
      for (const Repetition& repetition : row->repetitions) {
        for (const std::string& text : repetition.warnings) warn(text, row->id);
      }
    }
  }
  for (std::size_t i = 0; i < warnings.size(); ++i) {
    if (i == kMostReasons) {
      notes.push_back("and " + counted(warnings.size() - i, "more warning") + "; the JSON has all.");
      break;
    }
    const auto& [text, ids] = warnings[i];
    std::string note = "Warning: " + harmless(text);
    if (!ids.empty()) note += " (" + harmless(ids.front());
    if (ids.size() > 1) note += " and " + counted(ids.size() - 1, "other row");
    if (!ids.empty()) note += ")";
    notes.push_back(note);
  }
  return notes;
}

}  // namespace

std::string to_text(const Result& result, bool colour, int width) {
  const auto columns = static_cast<std::size_t>(std::max(width, kLeastWidth));
  std::string text = styled(verdict_line(result), result.is_valid() ? Style::good : Style::bad, colour) + "\n";
  for (const std::string& reason : reasons_of(result)) text += wrapped("  " + reason, columns, 4);
  for (const std::string& line : {how_line(result), machine_line(result)}) {
    if (!line.empty()) text += wrapped(line, columns, 2);
  }

  const std::vector<Group> groups = groups_of(result);
  std::vector<std::string> left_out;
  for (const Group& group : groups) {
    const Table table = table_of(result, group);
    text += "\n" + styled(shortened(group.title, columns), Style::bold, colour) + "\n" + table.text(columns, colour);
    for (const std::string& title : table.left_out(columns)) {
      if (std::find(left_out.begin(), left_out.end(), title) == left_out.end()) left_out.push_back(title);
    }
  }
  if (const Plot plot = plot_of(groups, columns, colour); !plot.text.empty()) {
    text += "\n" + styled(shortened(plot.title, columns), Style::bold, colour) + "\n" + plot.text;
  }
  const std::vector<std::string> notes = notes_of(result, groups, left_out);
  if (!notes.empty()) text += "\n";
  for (const std::string& note : notes) text += wrapped("- " + note, columns, 2);
  return text;
}

std::string to_markdown(const Result& result) {
  std::string text = "**" + verdict_line(result) + "**\n\n";
  for (const std::string& reason : reasons_of(result)) text += "- " + reason + "\n";
  text += (result.is_valid() ? "" : "\n") + how_line(result) + "  \n" + machine_line(result) + "\n";
  const std::vector<Group> groups = groups_of(result);
  for (const Group& group : groups) text += "\n### " + group.title + "\n\n" + table_of(result, group).markdown();
  if (const Plot plot = plot_of(groups, 100, false); !plot.text.empty()) {
    text += "\n### " + plot.title + "\n\n```\n" + plot.text + "```\n";
  }
  text += "\n";
  for (const std::string& note : notes_of(result, groups, {})) text += "- " + note + "\n";
  return text;
}

}  // namespace bus::tools::measure
