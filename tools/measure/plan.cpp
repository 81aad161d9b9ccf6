// tools/measure/plan.cpp: from conditions to rows and tasks, and block after block.
#include "tools/measure/plan.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <random>

#include "bus/core/address.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/measure/anonymise.hpp"
#include "tools/measure/brokers.hpp"
#include "tools/measure/clock.hpp"
#include "tools/measure/crossings.hpp"
#include "tools/measure/environment.hpp"
#include "tools/measure/sampler.hpp"
#include "tools/measure/stats.hpp"
#include "tools/measure/summarize.hpp"

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr auto kStarting = 30ms;         // of the processes of a repetition, on the machine that PERFORMANCE speaks of
constexpr auto kStartingBroker = 120ms;  // the same with a broker between them, of a server of any kind

std::string_view name(Measure measure) {
  return measure == Measure::latency ? "latency" : measure == Measure::throughput ? "throughput" : "cost";
}

std::string id_of(const Row& row, std::string_view who) {
  const Conditions& c = row.conditions;
  std::string id = std::string(name(c.measure)).append("/").append(who);
  id.append("/").append(format_size(c.size));
  if (!c.wait.empty()) id.append("/").append(c.wait);
  if (c.load_model == LoadModel::open) {
    std::array<char, 32> rate{};
    std::snprintf(rate.data(), rate.size(), "-%.12g", c.rate);
    id.append("/").append(c.arrival).append(rate.data());
  }
  if (c.batch > 1) id.append("/batch-").append(std::to_string(c.batch));
  if (c.loan) id.append("/loan");
  if (c.copy) id.append("/copy");
  if (c.touch != "all") id.append("/touch-").append(c.touch);
  if (c.producers > 1) id.append("/producers-").append(std::to_string(c.producers));
  return id;
}

Touch touch_of(const std::string& word) {
  return word == "none" ? Touch::none : word == "first" ? Touch::first : Touch::all;
}

Job job_of(const RowOptions& options) {
  const Conditions& c = options.conditions;
  Job job;
  job.load_model = c.load_model;
  job.size = c.size;
  job.wait = c.wait;
  job.touch = touch_of(c.touch);
  job.copy = c.copy;
  job.loan = c.loan;
  job.batch = c.batch;
  job.producers = c.producers;
  job.arrivals = options.arrivals;
  job.arrivals.rate = c.rate;
  job.warm_up_ns = static_cast<std::uint64_t>(options.warm_up.count());
  job.timed_ns = static_cast<std::uint64_t>(options.timed.count());
  job.most_messages = options.most_messages;
  job.clock = options.clock;
  return job;
}

void set_cpus(const Conditions& c, Task& task) {
  if (const auto it = c.pin.find("send"); it != c.pin.end()) task.near_cpu = it->second;
  if (const auto it = c.pin.find("receive"); it != c.pin.end()) task.far_cpu = it->second;
}

/// "unix", "unix?capacity=1MiB" and "unix://" are whole addresses with a name that does not matter.
Address parse_whole(const std::string& text) {
  const auto mark = text.find("://");
  if (mark != std::string::npos && mark + 3 < text.size() && text[mark + 3] != '?') return Address::parse(text);
  const auto query = text.find('?');
  const std::string scheme = text.substr(0, std::min(mark, query));
  return Address::parse(scheme + "://x" + (query == std::string::npos ? "" : text.substr(query)));
}

/// The address of a repetition: a name of its own, or a port of its own, with the options that the row asks for.
std::string address_for(const std::string& address, const Conditions& c) {
  const Address parsed = parse_whole(address);
  const bool has_port = parsed.scheme() == "tcp" || parsed.scheme() == "udp";
  const std::string host = parsed.host().find(':') != std::string::npos ? "[::1]" : "127.0.0.1";
  std::string made = std::string(parsed.scheme()) + "://" + (has_port ? host + ":0" : fresh_name());
  char separator = '?';
  const auto add = [&](std::string_view key, std::string_view value) {
    made.append(1, separator).append(key).append("=").append(value);
    separator = '&';
  };
  for (const auto& [key, value] : parsed.options()) add(key, value);
  if (!c.wait.empty() && !parsed.option("wait")) add("wait", c.wait);
  if (c.size > Options::kDefaultMaxMessage && !parsed.option("max_message")) add("max_message", format_size(c.size));
  return made;
}

/// The same for the broker that nodes join there: what a broker adds to a message takes room, too.
std::string broker_address_for(const std::string& address, Conditions c) {
  constexpr std::uint64_t kAround = std::uint64_t{64} << 10;
  c.size += kAround;
  return address_for(address, c);
}

/// For a floor or peer: the nearest of the waits that it knows.
std::string wait_for(const Crossing& crossing, const std::string& asked) {
  const WaitMode wanted = parse_wait_mode(asked).value_or(WaitMode::hybrid);
  if (std::find(crossing.waits.begin(), crossing.waits.end(), wanted) != crossing.waits.end()) {
    return std::string(bus::name(wanted));
  }
  return std::string(bus::name(wanted == WaitMode::block ? crossing.waits.back() : crossing.waits.front()));
}

std::string scheme_of(const Row& row) { return row.address.substr(0, row.address.find(':')); }

/// What stands below a row: by name, for what it crosses.
std::vector<std::string_view> floors_of(const Row& row) {
  if (row.family == Family::ours) {
    const std::string scheme = scheme_of(row);
    if (scheme == "unix") return {"raw unix"};
    if (scheme == "tcp") return {"raw tcp"};
    if (scheme == "udp") return {"raw udp"};
    if (row.conditions.wait == "block") return {"futex ring", "ring by hand"};
    return {"ring by hand"};
  }
  if (row.name == "ring by hand") return {"cache line"};
  if (row.name.ends_with(" ipc")) return {"raw unix"};
  if (row.name.ends_with(" tcp") && row.family == Family::peer) return {"raw tcp"};
  if (row.name == "Boost queue") return {"ring by hand"};
  return {};
}

/// The row to hold `row` against: the same measure, size and load; the same wait where there is one.
const Row* floor_for(const Row& row, const std::vector<PlannedRow>& rows) {
  for (const std::string_view wanted : floors_of(row)) {
    const Row* best = nullptr;
    for (const PlannedRow& other : rows) {
      const Conditions &a = row.conditions, &b = other.row.conditions;
      if (other.row.name != wanted || a.measure != b.measure || a.load_model != b.load_model) continue;
      if (b.size != a.size && wanted != "cache line") continue;
      if (best == nullptr || b.wait == a.wait) best = &other.row;
    }
    if (best != nullptr) return best;
  }
  return nullptr;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

/// The task at an address of its own.
Task with_address(const PlannedRow& planned) {
  Task task = planned.task;
  if (task.job.crossing == "bus") {
    task.job.address = address_for(planned.task.job.address, planned.row.conditions);
  } else if (task.job.crossing == kOwnBroker) {
    task.job.address = broker_address_for(planned.task.job.address, planned.row.conditions);
  } else if (planned.row.family == Family::peer) {
    task.job.address = peer_address(task.job.crossing);
  }
  return task;
}

void add_sample_cost(const SampleClock::Scale& clock, Environment& environment) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", Sampler::cost(SampleClock(clock)));
  for (auto& [group, keys] : environment) {
    if (group == "clock") keys.emplace_back("sample_cost_ns", text.data());
  }
}

bool spins(const Row& row) { return row.conditions.wait == "spin"; }

void warn_of_cores(Result& result) {
  const unsigned cpus = usable_cpus();
  const auto most = std::accumulate(
      result.rows.begin(), result.rows.end(), std::uint64_t{0},
      [](std::uint64_t n, const Row& row) { return spins(row) ? std::max(n, row.conditions.producers + 1) : n; });
  if (most > cpus) {
    result.warnings.push_back(std::to_string(most) + " processes that spin share " + std::to_string(cpus) +
                              (cpus == 1 ? " CPU" : " CPUs") + ": their figures are those of the scheduler");
  }
}

/// Rows that are alike are told apart by a number.
void number_rows(Plan& plan) {
  std::map<std::string, int> seen;
  for (PlannedRow& planned : plan.rows) {
    const int number = ++seen[planned.row.id];
    if (number == 1) continue;
    planned.row.id += "#" + std::to_string(number);
    planned.row.name += " #" + std::to_string(number);
  }
}

}  // namespace

PlannedRow plan_own(const std::string& address, const RowOptions& options) {
  PlannedRow planned;
  Row& row = planned.row;
  row.conditions = options.conditions;
  const Address parsed = parse_whole(address);
  if (const auto wait = parsed.option("wait")) row.conditions.wait = *wait;
  if (const auto framing = parsed.option("framing"); framing && *framing != "bus") {
    throw Error(Errc::bad_address, "measure " + address + ": framing=" + std::string(*framing) +
                                       ": messages are measured that both ends count, which needs framing=bus");
  }
  const std::string& host = parsed.host();
  const bool here = host == "x" || host == "localhost" || host == "::1" || host.starts_with("127.");
  if ((parsed.scheme() == "tcp" || parsed.scheme() == "udp") && !here && options.peer.empty()) {
    throw Error(Errc::bad_address, "measure " + address +
                                       ": both ends are started on this host; for another start bus echo " +
                                       "there, and bus latency ADDRESS --peer here");
  }
  row.family = Family::ours;
  row.name = parsed.scheme();
  row.address = options.peer.empty() ? address_for(address, row.conditions) : options.peer;
  const Address whole = Address::parse(row.address);
  const Transport& transport = find_transport(whole);
  static_cast<void>(read_options(transport, whole));  // a bad option is said before anything runs
  transport.check(whole);
  check_accepts("measure " + address + ": --sizes " + format_size(row.conditions.size), row.address,
                row.conditions.size);
  // Rows of one transport with other options are told apart by them.
  std::string others;
  for (const auto& [key, value] : parsed.options()) {
    if (key != "wait") others.append(others.empty() ? "?" : "&").append(key).append("=").append(value);
  }
  row.name += others;
  row.id = id_of(row, row.name);
  if (parsed.scheme() == "shm" || parsed.scheme() == "inproc") row.copies = row.conditions.loan ? 0 : 1;
  if (parsed.scheme() == "unix" || parsed.scheme() == "tcp" || parsed.scheme() == "udp") row.copies = 2;
  if (parsed.scheme() == "mq") row.copies = 2;
  if (row.copies && row.conditions.copy) *row.copies += 1;
  RowOptions used = options;
  used.conditions = row.conditions;
  planned.task.job = job_of(used);
  planned.task.job.crossing = "bus";
  planned.task.job.address = address;
  planned.task.job.echoes = !options.peer.empty() && options.conditions.load_model == LoadModel::open;
  planned.task.one_process = parsed.scheme() == "inproc";
  planned.task.peer = options.peer;
  set_cpus(row.conditions, planned.task);
  return planned;
}

PlannedRow plan_own_broker(const std::string& address, const RowOptions& options) {
  RowOptions used = options;
  used.conditions.wait = "hybrid";  // as nodes and brokers do, whatever their address says
  PlannedRow planned = plan_own(address, used);
  if (planned.task.one_process) {
    throw Error(Errc::bad_address, "measure " + address + ": its broker is a process, and " + planned.row.name +
                                       " is for the threads of one");
  }
  planned.row.conditions.wait = used.conditions.wait;
  planned.row.name.insert(0, "broker ");
  planned.row.address = broker_address_for(address, planned.row.conditions);
  planned.row.id = id_of(planned.row, "broker-" + planned.row.name.substr(7));
  planned.row.copies.reset();
  planned.task.job.crossing = kOwnBroker;
  return planned;
}

std::optional<PlannedRow> plan_crossing(std::string_view id, const RowOptions& options) {
  const Crossing* const crossing = find_crossing(id);
  if (crossing == nullptr) throw Error(Errc::not_supported, "measure: no such floor or peer: " + std::string(id));
  RowOptions used = options;
  Conditions& c = used.conditions;
  if (c.measure == Measure::latency ? !crossing->latency : !crossing->throughput) return {};
  if (c.loan || c.batch > 1 || c.producers > 1) return {};
  if (id == "line") c.size = crossing->least_size;
  const std::uint64_t least = c.load_model == LoadModel::open ? 24 : crossing->least_size;
  if (c.size < least || c.size > crossing->most_size) return {};
  c.wait = wait_for(*crossing, c.wait);
  PlannedRow planned;
  Row& row = planned.row;
  row.conditions = c;
  row.family = crossing->family;
  row.name = crossing->name;
  row.library = library_of(id);
  if (crossing->copies) row.copies = *crossing->copies + (c.copy ? 1 : 0);
  row.id = id_of(row, id);
  planned.task.job = job_of(used);
  planned.task.job.crossing = id;
  set_cpus(c, planned.task);
  return planned;
}

PlannedRow plan_cost(std::string_view id, const RowOptions& options) {
  RowOptions used = options;
  Conditions& c = used.conditions;
  c.measure = Measure::cost;
  c.load_model = LoadModel::none;
  c.wait.clear();
  PlannedRow planned;
  Row& row = planned.row;
  row.conditions = c;
  row.family = Family::floor;
  row.name = id == "timer" ? "the clock alone" : "memcpy";
  row.id = id_of(row, id);
  planned.task.job = job_of(used);
  planned.task.job.crossing = id;
  set_cpus(c, planned.task);
  return planned;
}

void set_floors(Plan& plan) {
  for (PlannedRow& planned : plan.rows) {
    if (is_through_broker(planned.task.job.crossing)) continue;  // twice as far as any floor
    const Row* const floor = floor_for(planned.row, plan.rows);
    if (floor != nullptr) planned.row.floor = floor->id;
  }
}

std::chrono::nanoseconds estimate(const Plan& plan) {
  std::chrono::nanoseconds sum{};
  for (const PlannedRow& planned : plan.rows) {
    sum += is_through_broker(planned.task.job.crossing) ? kStartingBroker : kStarting;
    sum += std::chrono::nanoseconds(planned.task.job.warm_up_ns + planned.task.job.timed_ns);
  }
  return sum * plan.repetitions;
}

Result run_plan(const Plan& asked, Signals& signals,
                const std::function<void(std::uint64_t, std::uint64_t, const Row&)>& progress) {
  Plan plan = asked;
  number_rows(plan);
  Result result;
  result.kind = plan.kind;
  result.command = plan.anonymise ? anonymised_command(plan.command) : plan.command;
  result.started = utc_now();
  result.seed = plan.seed;
  result.baseline = plan.baseline;
  result.warnings = plan.warnings;
  result.environment = capture_environment(plan.command, plan.anonymise);
  if (!plan.rows.empty()) add_sample_cost(plan.rows[0].task.job.clock, result.environment);
  for (const PlannedRow& planned : plan.rows) {
    result.rows.push_back(planned.row);
    if (plan.anonymise) result.rows.back().address = anonymised(planned.row.address);
  }
  warn_of_cores(result);
  const auto began = Clock::now();
  std::mt19937_64 random(plan.seed);
  std::vector<std::size_t> order(plan.rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::uint64_t number = 0;
  for (std::uint64_t block = 0; block < plan.repetitions; ++block) {
    std::shuffle(order.begin(), order.end(), random);
    auto& ids = result.order.emplace_back();
    for (std::size_t position = 0; position < order.size(); ++position) {
      const PlannedRow& planned = plan.rows[order[position]];
      progress(number++, plan.repetitions * plan.rows.size(), planned.row);
      Task task = with_address(planned);
      task.job.seed = plan.seed + block;
      task.job.arrivals.seed = plan.seed + block;
      Repetition made = run_repetition(task, signals);
      made.block = block;
      made.position = position;
      if (made.invalid.empty() && drifts(made.timeline)) {
        made.warnings.emplace_back("it drifted while it was timed: more warm-up, or a quieter machine, would help");
      }
      for (auto& [name, histogram] : made.histograms) histogram.compact();
      ids.push_back(planned.row.id);
      result.rows[order[position]].repetitions.push_back(std::move(made));
    }
  }
  // Behind all that is timed, for tracing disturbs the machine.
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    const PlannedRow& planned = plan.rows[i];
    if (planned.row.conditions.load_model == LoadModel::none || !planned.task.peer.empty()) continue;
    if (planned.row.conditions.load_model == LoadModel::open) continue;
    const auto counts = [](const Repetition& made) { return made.invalid.empty(); };
    if (std::none_of(result.rows[i].repetitions.begin(), result.rows[i].repetitions.end(), counts)) continue;
    if (const auto calls = count_calls(with_address(planned), signals)) {
      result.rows[i].syscalls = calls->calls;
      result.rows[i].yields = calls->yields;
    }
  }
  result.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  finish_environment(result.environment);
  summarize(result);
  return result;
}

}  // namespace bus::tools::measure
