// tools/verbs/compare.cpp: bus compare: all transports side by side, with the machine's own limits and the peers.
#include <algorithm>
#include <array>

#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"
#include "tools/common/log.hpp"
#include "tools/measure/crossings.hpp"
#include "tools/measure/settings.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace measure;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kQuickRepetitions = 6;  // the fewest that give an interval
constexpr auto kQuickWarmUp = 10ms;
constexpr auto kQuickTimed = 40ms;

std::vector<std::string> schemes() {
  std::vector<std::string> all;
  for (const Transport* const transport : transports()) all.emplace_back(transport->scheme());
  return all;
}

/// The floors or peers that an option asks for.
std::vector<std::string> chosen(const Arguments& arguments, const char* option, Family family) {
  const std::string asked = *arguments.text(option);
  std::vector<std::string> all;
  for (const Crossing& crossing : crossings()) {
    if (crossing.family == family) all.emplace_back(crossing.id);
  }
  if (asked == "none") return {};
  if (asked == "all") return all;
  std::vector<std::string> some;
  for (std::string_view rest = asked;;) {
    const auto comma = rest.find(',');
    const std::string one(rest.substr(0, comma));
    if (std::find(all.begin(), all.end(), one) == all.end()) {
      std::string known;
      for (const std::string& name : all) known.append(known.empty() ? "" : ", ").append(name);
      if (family == Family::peer) {
        for (const std::string& peer : missing_peers()) known.append("; not built in: ").append(peer);
      }
      throw UsageError("compare: --" + std::string(option) + " " + one + ": known are " + known);
    }
    some.push_back(one);
    if (comma == std::string_view::npos) return some;
    rest.remove_prefix(comma + 1);
  }
}

/// --handicap NAME=D
void add_handicap(const Arguments& arguments, Plan& plan) {
  const auto text = arguments.text("handicap");
  if (!text) return;
  const auto equals = text->rfind('=');
  const auto delay =
      equals == std::string::npos ? std::nullopt : parse_duration(std::string_view(*text).substr(equals + 1));
  bool found = false;
  for (PlannedRow& planned : plan.rows) {
    if (!delay || planned.row.name != std::string_view(*text).substr(0, equals)) continue;
    planned.task.job.delay_ns = static_cast<std::uint64_t>(delay->count());
    planned.row.warnings.push_back("handicapped: each message takes " + format_duration(*delay) + " longer");
    found = true;
  }
  if (!found) throw UsageError("compare: --handicap " + *text + ": it is NAME=DURATION, with the name of a row");
}

void add_rows(const RowOptions& options, const std::vector<std::string>& addresses,
              const std::vector<std::string>& others, Plan& plan) {
  for (const std::string& address : addresses) plan.rows.push_back(plan_own(address, options));
  for (const std::string& id : others) {
    auto row = plan_crossing(id, options);
    // A row that knows no sizes is there once.
    const auto again = [&](const PlannedRow& planned) { return row && planned.row.id == row->row.id; };
    if (row && std::none_of(plan.rows.begin(), plan.rows.end(), again)) plan.rows.push_back(std::move(*row));
  }
}

Exit measure_compare(const Arguments& arguments, Signals& signals) {
  const bool quick = arguments.flag("quick");
  RowOptions options = row_options(arguments);
  Plan plan = plan_of(arguments, "compare");
  auto sizes = sizes_of(arguments);
  if (quick) {
    if (!arguments.given("sizes")) sizes = {64, 65536};
    if (!arguments.given("repetitions")) plan.repetitions = kQuickRepetitions;
    if (!arguments.given("warmup")) options.warm_up = kQuickWarmUp;
    if (!arguments.given("duration")) options.timed = kQuickTimed;
  }
  auto addresses = arguments.positional();
  if (addresses.empty()) addresses = schemes();
  if (addresses.size() == 1 && addresses[0] == "none") addresses.clear();
  std::vector<std::string> others;
  for (std::string& floor : chosen(arguments, "floors", Family::floor)) others.push_back(std::move(floor));
  for (std::string& peer : chosen(arguments, "peers", Family::peer)) others.push_back(std::move(peer));
  if (*arguments.text("peers") == "all") {
    for (const std::string& missing : missing_peers()) log::info("not built in, so not compared: " + missing);
  }
  for (const std::uint64_t size : sizes) {
    Conditions& c = options.conditions;
    c.size = size;
    c.measure = Measure::latency;
    c.load_model = LoadModel::closed;
    add_rows(options, addresses, others, plan);
    c.measure = Measure::throughput;
    c.load_model = LoadModel::flood;
    add_rows(options, addresses, others, plan);
    if (*arguments.text("floors") == "all") plan.rows.push_back(plan_cost("memcpy", options));
  }
  if (*arguments.text("floors") == "all") plan.rows.push_back(plan_cost("timer", options));
  set_floors(plan);
  add_handicap(arguments, plan);
  const std::string baseline = *arguments.text("baseline");
  const auto is_baseline = [&](const PlannedRow& planned) { return planned.row.name == baseline; };
  const auto found = std::find_if(plan.rows.begin(), plan.rows.end(), is_baseline);
  if (found != plan.rows.end()) {
    plan.baseline = found->row.id;
  } else if (arguments.given("baseline")) {
    throw UsageError("compare: --baseline " + baseline + ": no row has that name");
  }
  Output output(signals);
  return publish(run(plan, signals), arguments, output);
}

Exit run_compare(const Arguments& arguments, Signals& signals) {
  return unless_stopped(signals, [&] { return measure_compare(arguments, signals); });
}

}  // namespace

const Verb& compare_verb() noexcept {
  static constexpr auto kOptions = with_shared(
      std::array{Option{'q', "quick", Kind::flag, "", "64 B and 64 KiB, 6 short repetitions: under a minute"},
                 Option{'s', "sizes", Kind::text, "LIST", "bytes of a message", "64,1KiB,64KiB,1MiB"},
                 Option{0, "peers", Kind::text, "all|none|LIST",
                        "other libraries in the comparison, where they are built in", "all"},
                 Option{0, "floors", Kind::text, "all|none|LIST", "the machine's own limits in the comparison", "all"},
                 Option{0, "handicap", Kind::text, "NAME=D", "makes a row that much slower, to see what is told apart"},
                 Option{0, "baseline", Kind::text, "NAME", "the row that verdicts are against", "unix"}});
  static constexpr std::array<Example, 4> kExamples{{
      {"bus compare --quick", "all transports on this machine, its limits, and the peers"},
      {"bus compare --html report.html --save result.json", "the full run, with a page to look at"},
      {"bus compare shm unix --peers zmq-ipc --sizes 64", "only these"},
      {"bus compare 'tcp://?capacity=1MiB' tcp --baseline tcp", "one transport with different options"},
  }};
  static constexpr Verb kVerb{
      "compare",
      "all transports side by side: latency, throughput, limits of the machine, peers",
      "[ADDRESS...]",
      0,
      64,
      "Each row is run in fresh processes, in blocks of shuffled order. Floors are written without this library: a "
      "cache\n"
      "line, a ring in shared memory, a pipe, raw sockets; each row of ours says its ratio to its own floor. Verdicts\n"
      "are against the baseline, in pairs of one block. ADDRESS is a scheme, or an address whose options are kept; "
      "none\n"
      "leaves ours out. Exit code 5 if a row is invalid.\n",
      kOptions,
      kExamples,
      run_compare,
  };
  return kVerb;
}

}  // namespace bus::tools
