// tools/verbs/compare.cpp: bus compare: all transports side by side, with the machine's own limits and the peers; or
// brokers.
#include <algorithm>
#include <array>

#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"
#include "tools/common/log.hpp"
#include "tools/measure/brokers.hpp"
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
constexpr std::array<std::uint64_t, 2> kBrokerSizes{64, 1024};
constexpr std::array<const char*, 3> kBrokerSchemes{"shm", "unix", "tcp"};

std::vector<std::string> schemes() {
  std::vector<std::string> all;
  for (const Transport* const transport : transports()) all.emplace_back(transport->scheme());
  return all;
}

std::vector<std::string> known_crossings(Family family) {
  std::vector<std::string> all;
  for (const Crossing& crossing : crossings()) {
    if (crossing.family == family) all.emplace_back(crossing.id);
  }
  return all;
}

std::vector<std::string> known_brokers() {
  std::vector<std::string> all;
  for (const Broker& broker : brokers()) {
    if (lack_of(broker).empty()) all.emplace_back(broker.crossing.id);
  }
  return all;
}

/// Those that an option asks for, of `all`; `missing` are those that could be there, with the reason why they are not.
std::vector<std::string> chosen(const Arguments& arguments, const char* option, const std::vector<std::string>& all,
                                const std::vector<std::string>& missing) {
  const std::string asked = *arguments.text(option);
  if (asked == "none") return {};
  if (asked == "all") return all;
  std::vector<std::string> some;
  for (std::string_view rest = asked;;) {
    const auto comma = rest.find(',');
    const std::string one(rest.substr(0, comma));
    if (std::find(all.begin(), all.end(), one) == all.end()) {
      std::string known;
      for (const std::string& name : all) known.append(known.empty() ? "" : ", ").append(name);
      for (const std::string& other : missing) known.append("; not here: ").append(other);
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
              const std::vector<std::string>& others, bool through_brokers, Plan& plan) {
  for (const std::string& address : addresses) {
    plan.rows.push_back(through_brokers ? plan_own_broker(address, options) : plan_own(address, options));
  }
  for (const std::string& id : others) {
    auto row = plan_crossing(id, options);
    // A row that knows no sizes is there once.
    const auto again = [&](const PlannedRow& planned) { return row && planned.row.id == row->row.id; };
    if (row && std::none_of(plan.rows.begin(), plan.rows.end(), again)) plan.rows.push_back(std::move(*row));
  }
}

Exit measure_compare(const Arguments& arguments, Signals& signals) {
  const bool quick = arguments.flag("quick");
  const bool through_brokers = arguments.flag("brokers");
  if (through_brokers && arguments.given("floors")) {
    throw UsageError("compare: --brokers has no floors: a message goes through two crossings and a broker");
  }
  if (through_brokers && arguments.given("wait")) {
    throw UsageError("compare: --brokers has no --wait: each broker and its clients wait in their own way");
  }
  RowOptions options = row_options(arguments);
  Plan plan = plan_of(arguments, "compare");
  auto sizes = sizes_of(arguments);
  if (quick) {
    if (!arguments.given("sizes")) sizes = {64, 65536};
    if (!arguments.given("repetitions")) plan.repetitions = kQuickRepetitions;
    if (!arguments.given("warmup")) options.warm_up = kQuickWarmUp;
    if (!arguments.given("duration")) options.timed = kQuickTimed;
  }
  if (through_brokers && !arguments.given("sizes")) sizes.assign(kBrokerSizes.begin(), kBrokerSizes.end());
  auto addresses = arguments.positional();
  if (addresses.empty() && through_brokers) addresses.assign(kBrokerSchemes.begin(), kBrokerSchemes.end());
  if (addresses.empty()) addresses = schemes();
  if (addresses.size() == 1 && addresses[0] == "none") addresses.clear();
  std::vector<std::string> others;
  const bool with_floors = !through_brokers && *arguments.text("floors") == "all";
  if (!through_brokers) others = chosen(arguments, "floors", known_crossings(Family::floor), {});
  const auto missing = through_brokers ? missing_brokers() : missing_peers();
  for (std::string& peer :
       chosen(arguments, "peers", through_brokers ? known_brokers() : known_crossings(Family::peer), missing)) {
    others.push_back(std::move(peer));
  }
  if (*arguments.text("peers") == "all") {
    for (const std::string& one : missing) {
      log::info("not compared: " + one);
      if (through_brokers) plan.warnings.push_back("not compared: " + one);
    }
  }
  for (const std::uint64_t size : sizes) {
    Conditions& c = options.conditions;
    c.size = size;
    c.measure = Measure::latency;
    c.load_model = LoadModel::closed;
    add_rows(options, addresses, others, through_brokers, plan);
    c.measure = Measure::throughput;
    c.load_model = LoadModel::flood;
    add_rows(options, addresses, others, through_brokers, plan);
    if (with_floors) plan.rows.push_back(plan_cost("memcpy", options));
  }
  if (with_floors) plan.rows.push_back(plan_cost("timer", options));
  set_floors(plan);
  add_handicap(arguments, plan);
  const bool own_baseline = !through_brokers || arguments.given("baseline");
  const std::string baseline = own_baseline ? *arguments.text("baseline") : "broker tcp";
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
                 Option{0, "brokers", Kind::flag, "",
                        "brokers instead: ours beside NATS, mosquitto, redis and a ZeroMQ proxy (64 B and 1 KiB)"},
                 Option{0, "handicap", Kind::text, "NAME=D", "makes a row that much slower, to see what is told apart"},
                 Option{0, "baseline", Kind::text, "NAME",
                        "the row that verdicts are against (with --brokers: broker tcp)", "unix"}});
  static constexpr std::array<Example, 5> kExamples{{
      {"bus compare --quick", "all transports on this machine, its limits, and the peers"},
      {"bus compare --html report.html --save result.json", "the full run, with a page to look at"},
      {"bus compare shm unix --peers zmq-ipc --sizes 64", "only these"},
      {"bus compare --brokers", "producer -> broker -> consumer: our broker beside those that are installed"},
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
      "leaves ours out. Exit code 5 if a row is invalid.\n"
      "\n"
      "With --brokers each message goes through a broker that is started for that repetition alone: latency is a "
      "ping-pong,\n"
      "two passages of it; throughput is one publisher and one subscriber, with at most 1 MiB or 8192 messages in "
      "flight.\n"
      "Others run with their own server, where it is found, and their own client library, where it was built in; what "
      "is\n"
      "missing is named. ADDRESS (shm unix tcp) is where our broker listens, --peers picks the others: nats-tcp,\n"
      "mosquitto-tcp, redis-tcp, redis-unix, zmq-proxy-tcp, zmq-proxy-ipc.\n",
      kOptions,
      kExamples,
      run_compare,
  };
  return kVerb;
}

}  // namespace bus::tools
