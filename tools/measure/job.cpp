// tools/measure/job.cpp: jobs and findings as JSON between processes of one program: what comes is what was said.
#include "tools/measure/job.hpp"
#include "tools/common/json.hpp"

#include <algorithm>

namespace bus::tools::measure {

namespace {

Json buckets_json(const Histogram& histogram) {
  Json flat = Json::array();
  histogram.for_each([&flat](std::uint64_t value, std::uint64_t count) {
    flat.push_back(value);
    flat.push_back(count);
  });
  // Least and greatest are exact: one of each is said apart from its bucket.
  return {{"least", histogram.least()}, {"greatest", histogram.greatest()}, {"flat", std::move(flat)}};
}

Histogram histogram_of(const Json& json) {
  Histogram histogram;
  const std::uint64_t least = json.at("least"), greatest = json.at("greatest");
  bool least_told = false, greatest_told = false;
  const Json& flat = json.at("flat");
  for (std::size_t i = 0; i + 1 < flat.size(); i += 2) {
    const std::uint64_t value = flat[i];
    std::uint64_t count = flat[i + 1];
    for (auto [exact, told] : {std::pair(least, &least_told), std::pair(greatest, &greatest_told)}) {
      if (*told || count == 0 || Histogram::least_alike(exact) != value) continue;
      histogram.add(exact, 1);
      *told = true;
      --count;
    }
    if (count > 0) histogram.add(std::clamp(value, least, greatest), count);
  }
  return histogram;
}

}  // namespace

std::string to_json(const Job& job) {
  Json trace = Json::array();
  for (const TraceEntry& entry : job.arrivals.trace) trace.push_back({entry.at, entry.size});
  Json json{
      {"crossing", job.crossing},
      {"address", job.address},
      {"role", static_cast<int>(job.role)},
      {"load_model", static_cast<int>(job.load_model)},
      {"size", job.size},
      {"wait", job.wait},
      {"touch", static_cast<int>(job.touch)},
      {"copy", job.copy},
      {"loan", job.loan},
      {"batch", job.batch},
      {"producers", job.producers},
      {"index", job.index},
      {"broker_pid", job.broker_pid},
      {"arrivals", {static_cast<int>(job.arrivals.kind), job.arrivals.rate, job.arrivals.burst, job.arrivals.seed}},
      {"entries", std::move(trace)},
      {"warm_up", job.warm_up_ns},
      {"timed", job.timed_ns},
      {"most", job.most_messages},
      {"seed", job.seed},
      {"clock", {job.clock.base_ticks, job.clock.base_ns, job.clock.mult}},
      {"delay", job.delay_ns},
      {"trace", job.trace},
      {"echoes", job.echoes}};
  if (job.cpu) json["cpu"] = *job.cpu;
  if (job.far_cpu) json["far_cpu"] = *job.far_cpu;
  return json_text(json);
}

Job job_from_json(std::string_view text) {
  const Json json = Json::parse(text);
  Job job;
  job.crossing = json.at("crossing");
  job.address = json.at("address");
  job.role = static_cast<Role>(json.at("role").get<int>());
  job.load_model = static_cast<LoadModel>(json.at("load_model").get<int>());
  job.size = json.at("size");
  job.wait = json.at("wait");
  job.touch = static_cast<Touch>(json.at("touch").get<int>());
  job.copy = json.at("copy");
  job.loan = json.at("loan");
  job.batch = json.at("batch");
  job.producers = json.at("producers");
  job.index = json.at("index");
  job.broker_pid = json.at("broker_pid");
  const Json& arrivals = json.at("arrivals");
  job.arrivals.kind = static_cast<Arrivals::Kind>(arrivals.at(0).get<int>());
  job.arrivals.rate = arrivals.at(1);
  job.arrivals.burst = arrivals.at(2);
  job.arrivals.seed = arrivals.at(3);
  for (const Json& entry : json.at("entries")) job.arrivals.trace.push_back({entry.at(0), entry.at(1)});
  job.warm_up_ns = json.at("warm_up");
  job.timed_ns = json.at("timed");
  job.most_messages = json.at("most");
  job.seed = json.at("seed");
  const Json& clock = json.at("clock");
  job.clock = {clock.at(0), clock.at(1), clock.at(2)};
  job.delay_ns = json.at("delay");
  job.trace = json.at("trace");
  job.echoes = json.at("echoes");
  if (json.contains("cpu")) job.cpu = json.at("cpu").get<int>();
  if (json.contains("far_cpu")) job.far_cpu = json.at("far_cpu").get<int>();
  return job;
}

std::string to_json(const Findings& found) {
  Json histograms = Json::object(), timeline = Json::array(), worst = Json::array();
  for (const auto& [name, histogram] : found.histograms) histograms[name] = buckets_json(histogram);
  for (const Slice& s : found.timeline) timeline.push_back({s.at_seconds, s.seconds, s.count, s.p50, s.p99, s.max});
  for (const Worst& w : found.worst) worst.push_back({w.at_seconds, w.duration, w.cause});
  const Json json{
      {"failure", found.failure},
      {"warnings", found.warnings},
      {"counts",
       {found.sent, found.received, found.messages, found.bytes, found.offered, found.duplicates, found.reordered,
        found.damaged, found.clock_back, found.voluntary_switches, found.involuntary_switches, found.page_faults}},
      {"seconds", found.seconds},
      {"cpu", found.cpu_ns},
      {"cost", found.cost},
      {"histograms", std::move(histograms)},
      {"timeline", std::move(timeline)},
      {"worst", std::move(worst)},
      {"worst_from", found.worst_from_ns}};
  return json_text(json);
}

Findings findings_from_json(std::string_view text) {
  const Json json = Json::parse(text);
  Findings found;
  found.failure = json.at("failure");
  found.warnings = json.at("warnings").get<std::vector<std::string>>();
  std::size_t i = 0;
  for (std::uint64_t* to : {&found.sent, &found.received, &found.messages, &found.bytes, &found.offered,
                            &found.duplicates, &found.reordered, &found.damaged, &found.clock_back,
                            &found.voluntary_switches, &found.involuntary_switches, &found.page_faults}) {
    *to = json.at("counts").at(i++);
  }
  found.seconds = json.at("seconds");
  found.cpu_ns = json.at("cpu");
  found.cost = json.at("cost");
  for (const auto& [name, histogram] : json.at("histograms").items()) found.histograms[name] = histogram_of(histogram);
  for (const Json& s : json.at("timeline")) {
    found.timeline.push_back({s.at(0), s.at(1), s.at(2), s.at(3), s.at(4), s.at(5)});
  }
  for (const Json& w : json.at("worst")) found.worst.push_back({w.at(0), w.at(1), w.at(2)});
  found.worst_from_ns = json.at("worst_from");
  return found;
}

}  // namespace bus::tools::measure
