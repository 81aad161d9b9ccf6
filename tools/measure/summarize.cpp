// tools/measure/summarize.cpp: see summarize.hpp.
#include "tools/measure/summarize.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "bus/core/crc32c.hpp"

namespace bus::tools::measure {
namespace {

struct Quantile {
  const char* name;
  double q;
};
constexpr std::array<Quantile, 5> kFigureQuantiles{
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}}};

template <class F>
void for_each_valid(const Row& row, F&& f) {
  for (const Repetition& repetition : row.repetitions) {
    if (repetition.invalid.empty()) f(repetition);
  }
}

const Histogram* find(const Repetition& repetition, std::string_view name) noexcept {
  const auto it = std::find_if(repetition.histograms.begin(), repetition.histograms.end(),
                               [name](const auto& entry) { return entry.first == name; });
  return it == repetition.histograms.end() ? nullptr : &it->second;
}

/// `of_one` gives the histogram of a repetition, or null; `all` is all of them merged.
template <class F>
std::optional<Figure> quantile_figure(const Row& row, double q, const Histogram& all, F&& of_one) {
  if (!may_print_quantile(q, all.count())) return {};
  std::vector<double> values;
  bool each_has_enough = true;
  for_each_valid(row, [&](const Repetition& repetition) {
    const Histogram* const histogram = of_one(repetition);
    if (histogram == nullptr || !may_print_quantile(q, histogram->count())) {
      each_has_enough = false;
    } else {
      values.push_back(static_cast<double>(histogram->quantile(q)));
    }
  });
  if (each_has_enough) return median_of(values);
  return Figure{static_cast<double>(all.quantile(q)), {}, {}, 0};
}

/// The median of what each valid repetition tells; absent when one does not tell it.
template <class F>
void add_median(const Row& row, std::map<std::string, Figure>& figures, const char* name, F&& value_of) {
  std::vector<double> values;
  bool all = true;
  for_each_valid(row, [&](const Repetition& repetition) {
    const std::optional<double> value = value_of(repetition);
    if (value) {
      values.push_back(*value);
    } else {
      all = false;
    }
  });
  if (all && !values.empty()) figures[name] = median_of(values);
}

std::map<std::string, Figure> figures_of(const Row& row) {
  std::map<std::string, Figure> figures;
  if (row.conditions.measure == Measure::cost) {
    add_median(row, figures, "cost", [](const Repetition& one) { return std::optional(one.cost); });
    return figures;
  }
  if (const Histogram all = merged_main(row); all.count() > 0) {
    for (const Quantile& quantile : kFigureQuantiles) {
      if (const auto figure = quantile_figure(row, quantile.q, all, main_histogram)) figures[quantile.name] = *figure;
    }
    figures["max"] = Figure{static_cast<double>(all.greatest()), {}, {}, 0};
  }
  if (const Histogram lag = merged(row, "send_lag"); lag.count() > 0) {
    const auto figure = quantile_figure(row, 0.99, lag, [](const Repetition& one) { return find(one, "send_lag"); });
    if (figure) figures["send_lag_p99"] = *figure;
  }
  add_median(row, figures, "rate", [](const Repetition& one) { return std::optional(one.achieved_rate); });
  add_median(row, figures, "bytes_per_second", [](const Repetition& one) {
    return one.seconds > 0 ? std::optional(static_cast<double>(one.bytes) / one.seconds) : std::nullopt;
  });
  add_median(row, figures, "cpu", [](const Repetition& one) { return one.cpu; });
  add_median(row, figures, "voluntary_switches", [](const Repetition& one) { return one.voluntary_switches; });
  add_median(row, figures, "involuntary_switches", [](const Repetition& one) { return one.involuntary_switches; });
  add_median(row, figures, "page_faults", [](const Repetition& one) { return one.page_faults; });
  return figures;
}

/// A reason without its numbers: "lost 3 messages" and "lost 12 messages" are one.
std::string kind_of(std::string_view reason) {
  std::string kind;
  for (const char c : reason) {
    const bool digit = (c >= '0' && c <= '9') || (c == '.' && !kind.empty() && kind.back() == '#');
    if (!digit) {
      kind.push_back(c);
    } else if (kind.empty() || kind.back() != '#') {
      kind.push_back('#');
    }
  }
  return kind;
}

/// "3 of 10 repetitions: lost 12 messages", a line for each kind of reason, in the order in which they appear.
std::vector<std::string> reasons_of(const Row& row) {
  if (row.repetitions.empty()) return {"no repetition was measured"};
  struct Reason {
    std::string kind, example;
    std::size_t repetitions = 0;
    bool varies = false;
  };
  std::vector<Reason> reasons;
  for (const Repetition& repetition : row.repetitions) {
    std::vector<std::string> counted;  // a repetition counts once, however often it says so
    for (const std::string& text : repetition.invalid) {
      const std::string kind = kind_of(text);
      if (std::find(counted.begin(), counted.end(), kind) != counted.end()) continue;
      counted.push_back(kind);
      auto it = std::find_if(reasons.begin(), reasons.end(), [&](const Reason& one) { return one.kind == kind; });
      if (it == reasons.end()) it = reasons.insert(it, {kind, text});
      ++it->repetitions;
      it->varies = it->varies || it->example != text;
    }
  }
  std::vector<std::string> texts;
  for (const Reason& reason : reasons) {
    std::string text = std::to_string(reason.repetitions) + " of " + std::to_string(row.repetitions.size());
    text += row.repetitions.size() == 1 ? " repetition: " : " repetitions: ";
    texts.push_back(text + reason.example + (reason.varies ? ", or alike" : ""));
  }
  return texts;
}

/// Both figures of the blocks that have both, so that they can be compared: in the unit of `row`.
struct Pairs {
  std::vector<double> row, other;
};
Pairs pairs_of(const Row& row, const Row& other) {
  const bool rate_against_cost =
      row.conditions.measure == Measure::throughput && other.conditions.measure == Measure::cost;
  const std::map<std::uint64_t, double> others = main_values(other);
  Pairs pairs;
  for (const auto& [block, value] : main_values(row)) {
    const auto it = others.find(block);
    if (it == others.end() || it->second <= 0) continue;
    pairs.row.push_back(value);
    pairs.other.push_back(rate_against_cost ? 1e9 / it->second : it->second);
  }
  return pairs;
}

bool are_comparable(const Row& row, const Row& other) noexcept {
  const Measure measure = row.conditions.measure, of_other = other.conditions.measure;
  return measure == of_other || of_other == Measure::cost;
}

std::optional<Verdict> verdict_of(const Result& result, const Row& row, const Row* other) {
  if (other == nullptr || other == &row || !are_comparable(row, *other)) return {};
  const Pairs pairs = pairs_of(row, *other);
  return compare(other->id, pairs.row, pairs.other, better(row.conditions.measure),
                 row.invalid.empty() && other->invalid.empty(), seed_for(result.seed, row.id));
}

}  // namespace

std::string_view main_figure(Measure measure) noexcept {
  switch (measure) {
    case Measure::latency:
      return "p50";
    case Measure::throughput:
      return "rate";
    case Measure::cost:
      break;
  }
  return "cost";
}

Better better(Measure measure) noexcept { return measure == Measure::throughput ? Better::higher : Better::lower; }

std::map<std::uint64_t, double> main_values(const Row& row) {
  std::map<std::uint64_t, double> values;
  for_each_valid(row, [&](const Repetition& repetition) {
    switch (row.conditions.measure) {
      case Measure::latency:
        if (const Histogram* const h = main_histogram(repetition);
            h != nullptr && may_print_quantile(0.5, h->count())) {
          values[repetition.block] = static_cast<double>(h->quantile(0.5));
        }
        break;
      case Measure::throughput:
        values[repetition.block] = repetition.achieved_rate;
        break;
      case Measure::cost:
        values[repetition.block] = repetition.cost;
        break;
    }
  });
  return values;
}

Histogram merged(const Row& row, std::string_view name) {
  Histogram all;
  for_each_valid(row, [&](const Repetition& repetition) {
    if (const Histogram* const histogram = find(repetition, name)) all.merge(*histogram);
  });
  all.compact();
  return all;
}

Histogram merged_main(const Row& row) {
  Histogram all;
  for_each_valid(row, [&](const Repetition& repetition) {
    if (const Histogram* const histogram = main_histogram(repetition)) all.merge(*histogram);
  });
  all.compact();
  return all;
}

const Row* baseline_for(const Result& result, const Row& row) noexcept {
  const Row* const baseline = result.baseline.empty() ? nullptr : result.find(result.baseline);
  if (baseline == nullptr) return nullptr;
  const Conditions &ways = baseline->conditions, &conditions = row.conditions;
  for (const Row& other : result.rows) {
    const Conditions& c = other.conditions;
    const bool crosses_alike = other.name == baseline->name && other.family == baseline->family &&
                               c.wait == ways.wait && c.loan == ways.loan && c.batch == ways.batch;
    const bool is_asked_alike = c.measure == conditions.measure && c.load_model == conditions.load_model &&
                                c.arrival == conditions.arrival && c.rate == conditions.rate &&
                                c.size == conditions.size && c.touch == conditions.touch && c.copy == conditions.copy &&
                                c.producers == conditions.producers;
    if (crosses_alike && is_asked_alike) return &other == &row ? nullptr : &other;
  }
  return nullptr;
}

std::uint64_t seed_for(std::uint64_t seed, std::string_view id) noexcept {
  return seed ^ (std::uint64_t{crc32c(std::as_bytes(std::span(id.data(), id.size())))} << 32);
}

void summarize(Result& result) {
  for (Row& row : result.rows) {
    for (std::string& reason : reasons_of(row)) {
      if (std::find(row.invalid.begin(), row.invalid.end(), reason) == row.invalid.end()) {
        row.invalid.push_back(std::move(reason));
      }
    }
    row.summary.figures = figures_of(row);
  }
  for (Row& row : result.rows) {
    row.summary.floor = row.floor.empty() ? std::nullopt : verdict_of(result, row, result.find(row.floor));
    row.summary.baseline = verdict_of(result, row, baseline_for(result, row));
  }
}

}  // namespace bus::tools::measure
