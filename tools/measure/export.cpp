// tools/measure/export.cpp: see export.hpp.
#include "tools/measure/export.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <set>

#include "tools/measure/append.hpp"
#include "tools/measure/stats.hpp"
#include "tools/measure/summarize.hpp"

namespace bus::tools::measure {
namespace {

// ---- CSV ----

/// One line; a field is quoted where RFC 4180 asks for it.
class Line {
 public:
  void add(std::string_view text) {
    if (!first_) line_.push_back(',');
    first_ = false;
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
      line_.append(text);
      return;
    }
    line_.push_back('"');
    for (const char c : text) line_.append(c == '"' ? 2 : 1, c);
    line_.push_back('"');
  }
  void add(std::uint64_t value) { add(std::to_string(value)); }
  void add(double value) {
    std::array<char, 32> text{};  // the shortest form that reads back to the same
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    add(std::string_view(text.data(), static_cast<std::size_t>(end - text.data())));
  }
  void add(bool value) { add(std::string_view(value ? "true" : "false")); }
  void add(const std::optional<double>& value) { value ? add(*value) : add(std::string_view()); }
  void add_nothing(std::size_t fields) {
    for (std::size_t i = 0; i < fields; ++i) add(std::string_view());
  }
  [[nodiscard]] std::string end() && { return std::move(line_.append("\r\n")); }

 private:
  std::string line_;
  bool first_ = true;
};

constexpr std::array kRowFields{"result",  "started",  "kind",       "id",      "name",      "family",     "address",
                                "library", "measure",  "load_model", "arrival", "rate",      "size",       "wait",
                                "touch",   "copy",     "loan",       "batch",   "producers", "clock",      "pin",
                                "copies",  "syscalls", "yields",     "floor",   "row_valid", "row_invalid"};
constexpr std::array kRepetitionFields{"block",
                                       "position",
                                       "valid",
                                       "invalid",
                                       "messages",
                                       "bytes",
                                       "seconds",
                                       "achieved_rate",
                                       "lost",
                                       "duplicates",
                                       "reordered",
                                       "damaged",
                                       "cost",
                                       "cpu",
                                       "voluntary_switches",
                                       "involuntary_switches",
                                       "page_faults"};
constexpr std::array kHistogramFields{"samples", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"};

std::string_view word(Measure measure) noexcept {
  return measure == Measure::latency ? "latency" : measure == Measure::throughput ? "throughput" : "cost";
}
std::string_view word(LoadModel model) noexcept {
  switch (model) {
    case LoadModel::closed:
      return "closed";
    case LoadModel::open:
      return "open";
    case LoadModel::flood:
      return "flood";
    case LoadModel::none:
      break;
  }
  return "none";
}
std::string_view word(Family family) noexcept {
  return family == Family::ours ? "ours" : family == Family::floor ? "floor" : "peer";
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all.append(all.empty() ? "" : "; ").append(text);
  return all;
}

void add_row(Line& line, const Result& result, const Row& row, std::string_view name) {
  const Conditions& conditions = row.conditions;
  std::string pin;
  for (const auto& [role, cpu] : conditions.pin) pin += (pin.empty() ? "" : ";") + role + "=" + std::to_string(cpu);
  for (const std::string_view text :
       {name, std::string_view(result.started), std::string_view(result.kind), std::string_view(row.id),
        std::string_view(row.name), word(row.family), std::string_view(row.address), std::string_view(row.library),
        word(conditions.measure), word(conditions.load_model), std::string_view(conditions.arrival)}) {
    line.add(text);
  }
  conditions.rate > 0 ? line.add(conditions.rate) : line.add_nothing(1);
  line.add(conditions.size);
  line.add(std::string_view(conditions.wait));
  line.add(std::string_view(conditions.touch));
  line.add(conditions.copy);
  line.add(conditions.loan);
  line.add(conditions.batch);
  line.add(conditions.producers);
  line.add(std::string_view(conditions.clock));
  line.add(std::string_view(pin));
  line.add(row.copies);
  line.add(row.syscalls);
  line.add(row.yields);
  line.add(std::string_view(row.floor));
  line.add(row.invalid.empty());
  line.add(std::string_view(joined(row.invalid)));
}

void add_repetition(Line& line, const Repetition& one) {
  line.add(one.block);
  line.add(one.position);
  line.add(one.invalid.empty());
  line.add(std::string_view(joined(one.invalid)));
  line.add(one.messages);
  line.add(one.bytes);
  line.add(one.seconds);
  line.add(one.achieved_rate);
  for (const std::uint64_t count : {one.lost, one.duplicates, one.reordered, one.damaged}) line.add(count);
  line.add(one.cost);
  line.add(one.cpu);
  line.add(one.voluntary_switches);
  line.add(one.involuntary_switches);
  line.add(one.page_faults);
}

void add_histogram(Line& line, const Histogram* histogram) {
  if (histogram == nullptr || histogram->count() == 0) {
    line.add_nothing(kHistogramFields.size());
    return;
  }
  line.add(histogram->count());
  line.add(histogram->least());
  for (const double q : {0.5, 0.9, 0.99, 0.999, 0.9999}) {
    may_print_quantile(q, histogram->count()) ? line.add(histogram->quantile(q)) : line.add_nothing(1);
  }
  line.add(histogram->greatest());
  line.add(histogram->mean());
}

// ---- HdrHistogram ----

// How it lays out three significant digits: Histogram's own buckets.
constexpr unsigned kSubBuckets = ThreeDigitAxis::kLinear;
constexpr double kTicksPerHalf = 5;
// It rounds halves up, printf(3) to even; near 1 this is the distance of two doubles.
constexpr double kHalfUp = 2e-16;

double us(double ns) noexcept { return ns / 1000; }

/// Of all values, as the middles of their buckets.
double standard_deviation(const Histogram& histogram) {
  const double mean = histogram.mean();
  double sum = 0;
  histogram.for_each([&](std::uint64_t least, std::uint64_t count) {
    const double middle = (static_cast<double>(least) + static_cast<double>(Histogram::greatest_alike(least))) / 2;
    sum += (middle - mean) * (middle - mean) * static_cast<double>(count);
  });
  return histogram.count() == 0 ? 0 : std::sqrt(sum / static_cast<double>(histogram.count()));
}

/// How many buckets of kSubBuckets values, each twice as wide as the one before, hold this value.
unsigned bucket_count(std::uint64_t greatest) noexcept {
  const auto bits = static_cast<unsigned>(std::bit_width(greatest));
  return bits <= ThreeDigitAxis::kLinearBits ? 1 : bits - ThreeDigitAxis::kLinearBits + 1;
}

std::string safe_name(std::string_view id) {
  std::string name;
  for (const char c : id) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       (c == '.' && !name.empty());
    name.push_back(plain ? c : '_');
  }
  constexpr std::size_t kLongest = 180;  // a file name has 255 bytes
  if (name.size() > kLongest) name.resize(kLongest);
  return name.empty() ? "row" : name;
}

}  // namespace

std::string to_csv(const Result& result, std::string_view name, bool header) {
  std::string text;
  if (header) {
    Line line;
    for (const std::string_view field : kRowFields) line.add(field);
    for (const std::string_view field : kRepetitionFields) line.add(field);
    for (const std::string_view field : kHistogramFields) line.add(field);
    text += std::move(line).end();
  }
  for (const Row& row : result.rows) {
    for (const Repetition& one : row.repetitions) {
      Line line;
      add_row(line, result, row, name);
      add_repetition(line, one);
      add_histogram(line, main_histogram(one));
      text += std::move(line).end();
    }
    if (row.repetitions.empty()) {
      Line line;
      add_row(line, result, row, name);
      line.add_nothing(kRepetitionFields.size() + kHistogramFields.size());
      text += std::move(line).end();
    }
  }
  return text;
}

std::string to_hgrm(const Histogram& histogram) {
  std::string text;
  append(text, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
  const std::uint64_t count = histogram.count();
  std::uint64_t seen = 0;
  double level = 0;  // the next percentile to report, in percent
  histogram.for_each([&](std::uint64_t least, std::uint64_t in_bucket) {
    seen += in_bucket;
    const double value = us(static_cast<double>(Histogram::greatest_alike(least)));
    const double reached = 100.0 * static_cast<double>(seen) / static_cast<double>(count);
    // The last bucket holds every further level: it is reported for the first of them, and then as 100 %.
    while (reached >= level) {
      append(text, "%12.3f %2.12f %10llu %14.2f\n", value, level / 100 + kHalfUp, static_cast<unsigned long long>(seen),
             1 / (1 - level / 100));
      level += 100.0 / (kTicksPerHalf * std::exp2(std::floor(std::log2(100 / (100 - level))) + 1));
      if (seen == count) break;
    }
    if (seen == count) {
      append(text, "%12.3f %2.12f %10llu\n", value, 1.0, static_cast<unsigned long long>(seen));
    }
  });
  append(text, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", us(histogram.mean()),
         us(standard_deviation(histogram)));
  append(text, "#[Max     = %12.3f, Total count    = %12llu]\n", us(static_cast<double>(histogram.greatest())),
         static_cast<unsigned long long>(count));
  append(text, "#[Buckets = %12u, SubBuckets     = %12u]\n", bucket_count(histogram.greatest()), kSubBuckets);
  return text;
}

std::vector<std::pair<std::string, std::string>> hgrm_files(const Result& result, std::string_view prefix) {
  std::vector<std::pair<std::string, std::string>> files;
  std::set<std::string> taken;
  for (const Row& row : result.rows) {
    std::set<std::string> histograms;
    for (const Repetition& one : row.repetitions) {
      for (const auto& [name, _] : one.histograms) histograms.insert(name);
    }
    for (const std::string& histogram : histograms) {
      const Histogram all = merged(row, histogram);
      if (all.count() == 0) continue;
      const std::string name = std::string(prefix) + safe_name(row.id) + "." + safe_name(histogram);
      std::string unique = name;
      for (int n = 2; !taken.insert(unique).second; ++n) unique = name + "-" + std::to_string(n);
      files.emplace_back(unique + ".hgrm", to_hgrm(all));
    }
  }
  return files;
}

}  // namespace bus::tools::measure
