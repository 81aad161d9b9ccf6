// tools/measure/result_json.cpp: the document of a measurement as JSON; README.md describes it, result.schema.json too.
//
// Reading trusts nothing: a document may come from anywhere. Every failure says where in the document it is. Keys that
// are not known are passed over; a document that contradicts itself is refused.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

#include "bus/core/errc.hpp"
#include "tools/common/json.hpp"
#include "tools/measure/result.hpp"

namespace bus::tools::measure {
namespace {

// A sum of counts below this cannot overflow, and neither can one of a few hundred of them.
constexpr std::uint64_t kMostCount = std::uint64_t{1} << 53;

// A result is 10 deep. The parser copies objects recursively, on a stack that a document must not exhaust.
constexpr int kDeepest = 32;

// ---- names ----

template <class T>
struct Name {
  T value;
  std::string_view name;
};
constexpr std::array<Name<Measure>, 3> kMeasures{
    {{Measure::latency, "latency"}, {Measure::throughput, "throughput"}, {Measure::cost, "cost"}}};
constexpr std::array<Name<LoadModel>, 4> kLoadModels{
    {{LoadModel::closed, "closed"}, {LoadModel::open, "open"}, {LoadModel::flood, "flood"}, {LoadModel::none, "none"}}};
constexpr std::array<Name<Family>, 3> kFamilies{
    {{Family::ours, "ours"}, {Family::floor, "floor"}, {Family::peer, "peer"}}};

constexpr std::array<std::string_view, 5> kSays{"faster", "slower", "no difference shown", "invalid",
                                                "too few repetitions"};

template <class T, std::size_t N>
std::string name_of(T value, const std::array<Name<T>, N>& names) {
  for (const Name<T>& name : names) {
    if (name.value == value) return std::string(name.name);
  }
  throw std::invalid_argument("to_json: an enumerator without a name");
}

// ---- writing ----

/// JSON has no infinity: whoever computed one has made a mistake, which must not become null unseen.
Json finite(double value) {
  if (!std::isfinite(value)) throw std::invalid_argument("to_json: a number of the result is not finite");
  return value;
}

Json known(const std::optional<double>& value) { return value ? finite(*value) : Json(nullptr); }

Json json_of(const Histogram& histogram) {
  Json buckets = Json::array();
  histogram.for_each([&](std::uint64_t least, std::uint64_t count) { buckets.push_back(Json::array({least, count})); });
  return {{"count", histogram.count()},
          {"min", histogram.least()},
          {"max", histogram.greatest()},
          {"buckets", std::move(buckets)}};
}

Json json_of(const Figure& figure) {
  Json json{{"value", finite(figure.value)}};
  if (figure.low && figure.high) {
    json["low"] = finite(*figure.low);
    json["high"] = finite(*figure.high);
    json["confidence"] = finite(figure.confidence);
  }
  return json;
}

Json json_of(const std::optional<Verdict>& verdict) {
  if (!verdict) return nullptr;
  return {{"against", verdict->against}, {"ratio", json_of(verdict->ratio)}, {"says", verdict->says}};
}

Json json_of(const Conditions& conditions) {
  return {{"measure", name_of(conditions.measure, kMeasures)},
          {"load_model", name_of(conditions.load_model, kLoadModels)},
          {"arrival", conditions.arrival},
          {"rate", finite(conditions.rate)},
          {"size", conditions.size},
          {"wait", conditions.wait},
          {"touch", conditions.touch},
          {"copy", conditions.copy},
          {"loan", conditions.loan},
          {"batch", conditions.batch},
          {"producers", conditions.producers},
          {"clock", conditions.clock},
          {"pin", conditions.pin.empty() ? Json::object() : Json(conditions.pin)}};
}

Json json_of(const Repetition& repetition) {
  Json histograms = Json::object(), timeline = Json::array(), worst = Json::array();
  for (const auto& [name, histogram] : repetition.histograms) histograms[name] = json_of(histogram);
  for (const Slice& slice : repetition.timeline) {
    timeline.push_back({{"at", finite(slice.at_seconds)},
                        {"seconds", finite(slice.seconds)},
                        {"count", slice.count},
                        {"p50", slice.p50},
                        {"p99", slice.p99},
                        {"max", slice.max}});
  }
  for (const Worst& one : repetition.worst) {
    worst.push_back({{"at", finite(one.at_seconds)}, {"duration", one.duration}, {"cause", one.cause}});
  }
  return {{"block", repetition.block},
          {"position", repetition.position},
          {"valid", repetition.invalid.empty()},
          {"invalid", repetition.invalid},
          {"warnings", repetition.warnings},
          {"messages", repetition.messages},
          {"bytes", repetition.bytes},
          {"seconds", finite(repetition.seconds)},
          {"achieved_rate", finite(repetition.achieved_rate)},
          {"lost", repetition.lost},
          {"duplicates", repetition.duplicates},
          {"reordered", repetition.reordered},
          {"damaged", repetition.damaged},
          {"cost", finite(repetition.cost)},
          {"cpu", known(repetition.cpu)},
          {"voluntary_switches", known(repetition.voluntary_switches)},
          {"involuntary_switches", known(repetition.involuntary_switches)},
          {"page_faults", known(repetition.page_faults)},
          {"histograms", std::move(histograms)},
          {"timeline", std::move(timeline)},
          {"worst", std::move(worst)}};
}

Json json_of(const RowSummary& summary) {
  Json figures = Json::object();
  for (const auto& [name, figure] : summary.figures) figures[name] = json_of(figure);
  return {{"figures", std::move(figures)}, {"floor", json_of(summary.floor)}, {"baseline", json_of(summary.baseline)}};
}

Json json_of(const Row& row) {
  Json repetitions = Json::array();
  for (const Repetition& repetition : row.repetitions) repetitions.push_back(json_of(repetition));
  return {{"id", row.id},
          {"name", row.name},
          {"family", name_of(row.family, kFamilies)},
          {"address", row.address},
          {"library", row.library},
          {"conditions", json_of(row.conditions)},
          {"copies", known(row.copies)},
          {"syscalls", known(row.syscalls)},
          {"yields", known(row.yields)},
          {"floor", row.floor},
          {"valid", row.invalid.empty()},
          {"invalid", row.invalid},
          {"warnings", row.warnings},
          {"repetitions", std::move(repetitions)},
          {"summary", json_of(row.summary)}};
}

// ---- reading ----

/// A value of the document and where it stands: "rows[3].conditions.size".
class At {
 public:
  At(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Errc::corrupt,
                "not a result of a measurement: " + (path_.empty() ? "the document" : path_) + " " + what);
  }

  [[nodiscard]] At operator[](const char* key) const {
    if (!json_->is_object()) fail("is " + kind() + ", not an object");
    const auto it = json_->find(key);
    if (it == json_->end()) fail("has no \"" + std::string(key) + "\"");
    return {*it, path_.empty() ? key : path_ + "." + key};
  }
  [[nodiscard]] bool has(const char* key) const { return json_->is_object() && json_->contains(key); }
  [[nodiscard]] bool is_null() const { return json_->is_null(); }

  template <class F>
  void for_each_element(F&& f) const {
    if (!json_->is_array()) fail("is " + kind() + ", not an array");
    for (std::size_t i = 0; i < json_->size(); ++i) f(At((*json_)[i], path_ + "[" + std::to_string(i) + "]"));
  }
  template <class F>
  void for_each_member(F&& f) const {
    if (!json_->is_object()) fail("is " + kind() + ", not an object");
    for (const auto& [key, value] : json_->items()) f(key, At(value, path_ + "." + key));
  }

  [[nodiscard]] std::string text() const {
    if (!json_->is_string()) fail("is " + kind() + ", not a text");
    return json_->get<std::string>();
  }
  [[nodiscard]] bool boolean() const {
    if (!json_->is_boolean()) fail("is " + kind() + ", not true or false");
    return json_->get<bool>();
  }
  [[nodiscard]] std::uint64_t whole() const {
    if (!json_->is_number_unsigned()) fail("is " + kind() + ", not a whole number from 0 to 2^64 - 1");
    return json_->get<std::uint64_t>();
  }
  [[nodiscard]] int small() const {
    constexpr std::int64_t kMost = std::numeric_limits<int>::max();
    // What does not fit into 64 bits with a sign is read as unsigned, or as a fraction.
    const bool large = json_->is_number_unsigned() && json_->get<std::uint64_t>() > static_cast<std::uint64_t>(kMost);
    if (!json_->is_number_integer() || large || json_->get<std::int64_t>() < -kMost) {
      fail("is " + kind() + ", not the number of a CPU");
    }
    return static_cast<int>(json_->get<std::int64_t>());
  }
  [[nodiscard]] double number() const {
    if (!json_->is_number()) fail("is " + kind() + ", not a number");
    return json_->get<double>();
  }
  /// Durations, rates and counts are never below zero.
  [[nodiscard]] double amount() const {
    const double value = number();
    if (value < 0) fail("is below zero");
    return value;
  }
  [[nodiscard]] std::optional<double> amount_if_known() const {
    return is_null() ? std::nullopt : std::optional(amount());
  }
  [[nodiscard]] std::vector<std::string> texts() const {
    std::vector<std::string> list;
    for_each_element([&](const At& element) { list.push_back(element.text()); });
    return list;
  }
  template <class T, std::size_t N>
  [[nodiscard]] T one_of(const std::array<Name<T>, N>& names) const {
    const std::string word = text();
    std::string allowed;
    for (const Name<T>& name : names) {
      if (name.name == word) return name.value;
      allowed.append(allowed.empty() ? "" : ", ").append(name.name);
    }
    fail("is none of " + allowed);
  }

 private:
  [[nodiscard]] std::string kind() const {
    if (json_->is_number_float()) return "a fraction or too large a number";
    if (json_->is_number()) return json_->is_number_unsigned() ? "a number" : "a number below zero";
    switch (json_->type()) {
      case Json::value_t::null:
        return "null";
      case Json::value_t::object:
        return "an object";
      case Json::value_t::array:
        return "an array";
      case Json::value_t::boolean:
        return "true or false";
      default:
        return "a text";
    }
  }

  const Json* json_;
  std::string path_;
};

/// "invalid", and "valid" that has to agree with it.
std::vector<std::string> reasons_at(const At& at) {
  std::vector<std::string> reasons = at["invalid"].texts();
  if (at["valid"].boolean() != reasons.empty()) at["valid"].fail("contradicts \"invalid\"");
  return reasons;
}

Histogram histogram_at(const At& at) {
  struct Bucket {
    std::uint64_t least, count;
  };
  std::vector<Bucket> buckets;
  std::uint64_t sum = 0;
  at["buckets"].for_each_element([&](const At& element) {
    std::vector<std::uint64_t> pair;
    element.for_each_element([&](const At& one) { pair.push_back(one.whole()); });
    if (pair.size() != 2) element.fail("is not a bucket: [least value, count]");
    const Bucket bucket{pair[0], pair[1]};
    if (Histogram::least_alike(bucket.least) != bucket.least) element.fail("is not the least value of a bucket");
    if (!buckets.empty() && buckets.back().least >= bucket.least) element.fail("is not above the bucket before it");
    if (bucket.count == 0) element.fail("is empty");
    if (bucket.count > kMostCount - sum) element.fail("makes the count too large");
    sum += bucket.count;
    buckets.push_back(bucket);
  });
  const std::uint64_t min = at["min"].whole(), max = at["max"].whole();
  if (at["count"].whole() != sum) at["count"].fail("is not the sum of the buckets");
  Histogram histogram;
  if (buckets.empty()) {
    if (min != 0 || max != 0) at.fail("is empty, and has a least or greatest value");
    histogram.compact();
    return histogram;
  }
  if (Histogram::least_alike(min) != buckets.front().least) at["min"].fail("is not in the first bucket");
  if (Histogram::least_alike(max) != buckets.back().least || max < min) at["max"].fail("is not in the last bucket");
  if (sum == 1 && min != max) at["max"].fail("differs from the least value of a single one");
  // The first and the last bucket are filled with the values that are known of them, so that those are exact again.
  if (buckets.size() == 1) {
    histogram.add(min, sum - 1);
    histogram.add(max, 1);
  } else {
    histogram.add(min, buckets.front().count);
    for (std::size_t i = 1; i + 1 < buckets.size(); ++i) histogram.add(buckets[i].least, buckets[i].count);
    histogram.add(max, buckets.back().count);
  }
  histogram.compact();
  return histogram;
}

Figure figure_at(const At& at) {
  Figure figure;
  figure.value = at["value"].amount();
  if (!at.has("low") && !at.has("high") && !at.has("confidence")) return figure;
  figure.low = at["low"].amount();
  figure.high = at["high"].amount();
  figure.confidence = at["confidence"].number();
  if (*figure.low > *figure.high) at["low"].fail("is above \"high\"");
  if (figure.confidence <= 0 || figure.confidence > 1) at["confidence"].fail("is not above 0 and at most 1");
  return figure;
}

std::optional<Verdict> verdict_at(const At& at) {
  if (at.is_null()) return {};
  Verdict verdict{at["against"].text(), figure_at(at["ratio"]), at["says"].text()};
  if (std::find(kSays.begin(), kSays.end(), verdict.says) == kSays.end()) at["says"].fail("is no verdict");
  return verdict;
}

Conditions conditions_at(const At& at) {
  Conditions conditions;
  conditions.measure = at["measure"].one_of(kMeasures);
  conditions.load_model = at["load_model"].one_of(kLoadModels);
  conditions.arrival = at["arrival"].text();
  conditions.rate = at["rate"].amount();
  conditions.size = at["size"].whole();
  conditions.wait = at["wait"].text();
  conditions.touch = at["touch"].text();
  conditions.copy = at["copy"].boolean();
  conditions.loan = at["loan"].boolean();
  conditions.batch = at["batch"].whole();
  conditions.producers = at["producers"].whole();
  conditions.clock = at["clock"].text();
  at["pin"].for_each_member([&](const std::string& role, const At& cpu) { conditions.pin[role] = cpu.small(); });
  return conditions;
}

Slice slice_at(const At& at) {
  return {at["at"].amount(), at["seconds"].amount(), at["count"].whole(),
          at["p50"].whole(), at["p99"].whole(),      at["max"].whole()};
}

Repetition repetition_at(const At& at) {
  Repetition repetition;
  repetition.block = at["block"].whole();
  repetition.position = at["position"].whole();
  repetition.invalid = reasons_at(at);
  repetition.warnings = at["warnings"].texts();
  repetition.messages = at["messages"].whole();
  repetition.bytes = at["bytes"].whole();
  repetition.seconds = at["seconds"].amount();
  repetition.achieved_rate = at["achieved_rate"].amount();
  repetition.lost = at["lost"].whole();
  repetition.duplicates = at["duplicates"].whole();
  repetition.reordered = at["reordered"].whole();
  repetition.damaged = at["damaged"].whole();
  repetition.cost = at["cost"].amount();
  repetition.cpu = at["cpu"].amount_if_known();
  repetition.voluntary_switches = at["voluntary_switches"].amount_if_known();
  repetition.involuntary_switches = at["involuntary_switches"].amount_if_known();
  repetition.page_faults = at["page_faults"].amount_if_known();
  at["histograms"].for_each_member([&](const std::string& name, const At& histogram) {
    repetition.histograms.insert_or_assign(name, histogram_at(histogram));
  });
  at["timeline"].for_each_element([&](const At& slice) { repetition.timeline.push_back(slice_at(slice)); });
  at["worst"].for_each_element([&](const At& one) {
    repetition.worst.push_back({one["at"].amount(), one["duration"].whole(), one["cause"].text()});
  });
  return repetition;
}

RowSummary summary_at(const At& at) {
  RowSummary summary;
  at["figures"].for_each_member(
      [&](const std::string& name, const At& figure) { summary.figures.insert_or_assign(name, figure_at(figure)); });
  summary.floor = verdict_at(at["floor"]);
  summary.baseline = verdict_at(at["baseline"]);
  return summary;
}

Row row_at(const At& at) {
  Row row;
  row.id = at["id"].text();
  row.name = at["name"].text();
  row.family = at["family"].one_of(kFamilies);
  row.address = at["address"].text();
  row.library = at["library"].text();
  row.conditions = conditions_at(at["conditions"]);
  row.copies = at["copies"].amount_if_known();
  row.syscalls = at["syscalls"].amount_if_known();
  row.yields = at["yields"].amount_if_known();
  row.floor = at["floor"].text();
  row.invalid = reasons_at(at);
  row.warnings = at["warnings"].texts();
  at["repetitions"].for_each_element([&](const At& one) { row.repetitions.push_back(repetition_at(one)); });
  row.summary = summary_at(at["summary"]);
  return row;
}

Result result_at(const At& at) {
  const std::uint64_t schema = at["schema"].whole();
  if (schema != kSchema) {
    at["schema"].fail("is " + std::to_string(schema) + ", and this program reads " + std::to_string(kSchema) +
                      ": use the program that wrote it, or measure again");
  }
  Result result;
  result.kind = at["kind"].text();
  result.command = at["command"].texts();
  result.started = at["started"].text();
  result.seconds = at["seconds"].amount();
  result.seed = at["seed"].whole();
  result.baseline = at["baseline"].text();
  result.invalid = at["invalid"].texts();
  result.warnings = at["warnings"].texts();
  at["order"].for_each_element([&](const At& block) { result.order.push_back(block.texts()); });
  at["environment"].for_each_member([&](const std::string& name, const At& group) {
    auto& keys = result.environment.emplace_back(name, std::vector<std::pair<std::string, std::string>>()).second;
    group.for_each_member([&keys](const std::string& key, const At& value) { keys.emplace_back(key, value.text()); });
  });
  std::set<std::string> ids;
  at["rows"].for_each_element([&](const At& row) {
    result.rows.push_back(row_at(row));
    if (!ids.insert(result.rows.back().id).second) row["id"].fail("is that of another row, too");
  });
  if (at["valid"].boolean() != result.is_valid()) at["valid"].fail("contradicts what is said of the rows");
  return result;
}

}  // namespace

std::string to_json(const Result& result) {
  Json environment = Json::object(), rows = Json::array();
  for (const auto& [name, keys] : result.environment) {
    Json& group = environment[name] = Json::object();
    for (const auto& [key, value] : keys) group[key] = value;
  }
  for (const Row& row : result.rows) rows.push_back(json_of(row));
  const Json document{{"schema", kSchema},
                      {"kind", result.kind},
                      {"command", result.command},
                      {"started", result.started},
                      {"seconds", finite(result.seconds)},
                      {"seed", result.seed},
                      {"baseline", result.baseline},
                      {"valid", result.is_valid()},
                      {"invalid", result.invalid},
                      {"warnings", result.warnings},
                      {"order", result.order},
                      {"environment", std::move(environment)},
                      {"rows", std::move(rows)}};
  // A name or a reason may hold bytes of others that are no UTF-8; they are shown as such.
  return json_text(document);
}

Result result_from_json(std::string_view text) {
  try {
    const Json document = Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
      if (depth > kDeepest)
        throw Error(Errc::corrupt, "not a result of a measurement: the document is nested too deep");
      return true;
    });
    return result_at(At(document, ""));
  } catch (const Json::exception& error) {
    // "... parse error at line 1, column 17: ..."
    throw Error(Errc::corrupt, std::string("not a result of a measurement: no JSON: ") + error.what());
  }
}

}  // namespace bus::tools::measure
