// tools/verbs/latency.cpp: bus latency: how long one address takes, in a closed or an open loop.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "bus/core/channel.hpp"
#include "bus/core/errc.hpp"
#include "tools/measure/loops.hpp"
#include "tools/measure/settings.hpp"
#include "tools/measure/slo.hpp"
#include "tools/measure/summarize.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace measure;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kLeastOpenSize = 24;
constexpr std::array kSweep{0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.2};  // of the highest throughput

std::string rate_text(double rate) {
  std::array<char, 32> text{};
  if (rate >= 1e6)
    std::snprintf(text.data(), text.size(), "%.3gM/s", rate / 1e6);
  else if (rate >= 1e3)
    std::snprintf(text.data(), text.size(), "%.3gk/s", rate / 1e3);
  else
    std::snprintf(text.data(), text.size(), "%.3g/s", rate);
  return text.data();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw Error(last_system_error(), "cannot read " + path + ": " + last_system_error().message());
  return text.str();
}

/// What the open loop's options say, or none for a closed one.
std::optional<Arrivals> arrivals_of(const Arguments& arguments) {
  arguments.at_most_one({"rate", "trace", "sweep"});
  arguments.at_most_one({"slo", "trace", "sweep"});
  if (!arguments.given("rate") && !arguments.given("trace") && !arguments.given("sweep") && !arguments.given("slo")) {
    if (arguments.given("arrivals")) throw UsageError("latency: --arrivals is for an open loop: say its --rate");
    return {};
  }
  if (arguments.rate("rate").value_or(1) > 1e9)
    throw UsageError("latency: --rate: at most 1G, a message each nanosecond");
  auto arrivals = parse_arrivals(*arguments.text("arrivals"));
  if (!arrivals) throw UsageError("latency: --arrivals: it is constant, poisson, burst or burst:N");
  if (const auto path = arguments.text("trace")) {
    arrivals->kind = Arrivals::Kind::trace;
    try {
      arrivals->trace = parse_trace(read_file(*path));
    } catch (const Error& error) {
      if (error.code() != Errc::corrupt) throw;
      throw UsageError("latency: --trace " + *path + ": " + error.what());
    }
  }
  return arrivals;
}

RowOptions open_options(RowOptions options, const Arrivals& arrivals, double rate) {
  Conditions& c = options.conditions;
  options.arrivals = arrivals;
  c.load_model = LoadModel::open;
  c.arrival = name(arrivals.kind);
  if (arrivals.kind == Arrivals::Kind::burst) c.arrival += ":" + std::to_string(arrivals.burst);
  c.rate = rate;
  if (arrivals.kind == Arrivals::Kind::trace) {
    c.size = 0;
    for (const TraceEntry& entry : arrivals.trace) c.size = std::max(c.size, entry.size);
    const double seconds = static_cast<double>(arrivals.trace.back().at) / 1e9;
    c.rate = seconds > 0 ? static_cast<double>(arrivals.trace.size()) / seconds : 0;
    const auto least = std::min_element(arrivals.trace.begin(), arrivals.trace.end(),
                                        [](const TraceEntry& a, const TraceEntry& b) { return a.size < b.size; });
    if (least->size < kLeastOpenSize) throw UsageError("latency: --trace: a message has 24 bytes or more: its times");
  }
  if (c.size < kLeastOpenSize)
    throw UsageError("latency: --sizes: a message of an open loop has 24 bytes or more: its times");
  return options;
}

/// The highest throughput of an address under these conditions: where a sweep or a search begins.
double flood_rate(const std::string& address, RowOptions options, const Plan& like, Signals& signals) {
  options.conditions.measure = Measure::throughput;
  options.conditions.load_model = LoadModel::flood;
  Plan plan = like;
  plan.rows = {plan_own(address, options)};
  plan.repetitions = std::min<std::uint64_t>(like.repetitions, 3);
  const Result result = run(plan, signals);
  double most = 0;
  for (const Repetition& repetition : result.rows[0].repetitions) most = std::max(most, repetition.achieved_rate);
  if (most <= 0) throw Error(Errc::timed_out, "latency: nothing arrived at the highest rate: " + result.rows[0].id);
  return most;
}

/// Rows of the rates that were tried, and what was found, in words.
std::string search(const std::string& address, const RowOptions& options, const Arrivals& arrivals, const Plan& like,
                   Signals& signals, const std::string& text, std::optional<Result>& whole) {
  const ServiceLevel level = parse_service_level(text);
  const double most = flood_rate(address, options, like, signals);
  // So slow that it gives too few samples is no rate to begin with.
  const double least =
      std::max(most / 1000, 2 * static_cast<double>(kFewSamples) * 1e9 / static_cast<double>(options.timed.count()));
  const double found = highest_rate(std::min(least, most), 1.2 * most, [&](double rate) {
    Plan plan = like;
    plan.rows = {plan_own(address, open_options(options, arrivals, std::round(rate)))};
    Result result = run(plan, signals);
    const bool holds = level.holds(result.rows[0]);
    if (!whole) {
      whole = std::move(result);
    } else {
      whole->rows.push_back(std::move(result.rows[0]));
      whole->order.insert(whole->order.end(), result.order.begin(), result.order.end());
      whole->seconds += result.seconds;
    }
    return holds;
  });
  std::sort(whole->rows.begin(), whole->rows.end(),
            [](const Row& a, const Row& b) { return a.conditions.rate < b.conditions.rate; });
  if (found == 0) return text + " does not hold even at " + rate_text(std::min(least, most));
  return "the highest rate that holds " + text + ": " + rate_text(found) + " (" +
         std::to_string(static_cast<int>(std::lround(100 * found / most))) + " % of the highest throughput)";
}

Exit measure_latency(const Arguments& arguments, Signals& signals) {
  const std::string& address = arguments.address();
  RowOptions options = row_options(arguments);
  options.conditions.measure = Measure::latency;
  options.conditions.load_model = LoadModel::closed;
  if (arguments.flag("peer")) {
    options.peer = address;
    connect(address, in(5s)).close();  // nobody there is said now, and not after each repetition
  }
  const auto arrivals = arrivals_of(arguments);
  Plan plan = plan_of(arguments, "latency");
  Output output(signals);
  if (const auto level = arguments.text("slo")) {
    const auto sizes = sizes_of(arguments);
    if (sizes.size() != 1) throw UsageError("latency: --slo searches for one of --sizes");
    if (arguments.flag("peer")) throw UsageError("latency: --slo needs both ends: without --peer");
    options.conditions.size = sizes[0];
    std::optional<Result> whole;
    const std::string found = search(address, options, *arrivals, plan, signals, *level, whole);
    // A rate that was too high is what a search looks for: it does not make the search invalid.
    const Exit exit = publish(*whole, arguments, output);
    if (!arguments.flag("json")) output.write(found + "\n");
    output.flush();
    return exit == Exit::loss ? Exit::ok : exit;
  }
  for (const std::uint64_t size : sizes_of(arguments)) {
    options.conditions.size = size;
    if (!arrivals) {
      plan.rows.push_back(plan_own(address, options));
      continue;
    }
    std::vector<double> rates{arguments.rate("rate").value_or(0)};
    if (arguments.flag("sweep")) {
      const double most = flood_rate(address, options, plan, signals);
      rates.clear();
      for (const double part : kSweep) rates.push_back(std::max(1.0, std::round(part * most)));
    }
    for (const double rate : rates) plan.rows.push_back(plan_own(address, open_options(options, *arrivals, rate)));
    if (arrivals->kind == Arrivals::Kind::trace) break;  // its sizes are its own
  }
  return publish(run(plan, signals), arguments, output);
}

Exit run_latency(const Arguments& arguments, Signals& signals) {
  return unless_stopped(signals, [&] { return measure_latency(arguments, signals); });
}

}  // namespace

const Verb& latency_verb() noexcept {
  static constexpr auto kOptions = with_shared(std::array{
      kSizes,
      Option{'R', "rate", Kind::rate, "R", "open loop: so many messages a second are due, whatever becomes of them"},
      Option{0, "arrivals", Kind::text, "HOW", "of the open loop: constant, poisson, burst:N", "constant"},
      Option{0, "trace", Kind::text, "FILE", "open loop: lines of \"SECONDS SIZE\", played again and again"},
      Option{0, "sweep", Kind::flag, "", "open loop: rates from 1 % to 120 % of the highest throughput"},
      Option{0, "slo", Kind::text, "LEVEL", "searches for the highest rate that holds, as p99<200us,loss=0"},
      Option{0, "peer", Kind::flag, "", "ADDRESS is a bus echo that already runs, here or elsewhere: round trips"}});
  static constexpr std::array<Example, 5> kExamples{{
      {"bus latency shm://", "round trips over shared memory: a closed loop"},
      {"bus latency unix:// --rate 10k --sizes 64,64KiB", "one way, each message due at its own time"},
      {"bus latency tcp:// --slo 'p99<200us,loss=0'", "the highest rate at which that holds"},
      {"bus latency tcp://host:7000 --peer --rate 1k", "against bus echo tcp://0.0.0.0:7000 on another machine"},
      {"bus latency udp:// --sweep --html sweep.html", "latency against rate, as a page"},
  }};
  static constexpr Verb kVerb{
      "latency",
      "measures how long an address takes: round trips, or one way at a given rate",
      "ADDRESS",
      1,
      1,
      "Starts its own pair of processes on ADDRESS (shm://, unix://, tcp://, ...: names and ports are made for each\n"
      "repetition, options are kept). Without --rate it is a closed loop: the next message leaves when the answer\n"
      "to the last is there, and the figure is the round trip. With --rate each message is due at its own time and\n"
      "carries it, so that a receiver that pauses shows in all messages that had to wait. Exit code 5 if a row is\n"
      "invalid: messages lost or damaged, the rate not achieved, the sender late, too few samples.\n",
      kOptions,
      kExamples,
      run_latency,
  };
  return kVerb;
}

}  // namespace bus::tools
