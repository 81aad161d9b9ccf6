// tests/system/compare_brokers_test.cpp: bus compare --brokers: our broker beside those that are installed here.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/catch.hpp"
#include "tests/system/bus_run.hpp"
#include "tools/measure/brokers.hpp"

using namespace bus::test;
using namespace std::chrono_literals;
using bus::tools::measure::brokers;
using bus::tools::measure::find_broker;
using bus::tools::measure::lack_of;
using bus::tools::measure::missing_brokers;

namespace {

/// All processes below one, with their command lines.
std::vector<std::pair<pid_t, std::string>> below(pid_t parent) {
  std::vector<std::pair<pid_t, std::string>> found;
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(parent) + "/task", gone)) {
    std::ifstream children(task.path() / "children");
    for (pid_t pid = 0; children >> pid;) {
      std::string line;
      std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/cmdline"), line);
      std::replace(line.begin(), line.end(), '\0', ' ');
      found.emplace_back(pid, line);
      const auto more = below(pid);
      found.insert(found.end(), more.begin(), more.end());
    }
  }
  return found;
}

/// A comparison of one broker that is in the midst of its work: it, both ends, the role that runs the broker, and the
/// server, except for those that are no program of their own.
struct Comparing {
  Process process;
  std::vector<pid_t> pids;

  Comparing(const std::string& address, const std::string& peers, std::size_t processes)
      : process(start_bus({"compare", "--brokers", address, "--peers", peers, "--sizes", "128KiB", "-d", "60s", "-r",
                           "1", "--log-level", "debug"})) {
    process.wait_for_error("all roles start");
    REQUIRE(eventually([&] { return below(process.pid()).size() >= processes; }));
    for (const auto& [pid, line] : below(process.pid())) pids.push_back(pid);
  }
  [[nodiscard]] bool nothing_runs() const {
    return eventually([this] {
      return std::all_of(pids.begin(), pids.end(), [](pid_t pid) {
        const char state = kernel_state("/proc/" + std::to_string(pid));
        return state == '?' || state == 'Z';
      });
    });
  }
};

std::size_t count_of(std::string_view word, std::string_view text) {
  std::size_t count = 0;
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

/// An address of ours and no peer, then no address and a peer: one of each program that can be measured here, over the
/// transport of the first of `suffixes` that it has.
std::vector<std::pair<std::string, std::string>> one_of_each(const std::vector<std::string>& suffixes) {
  std::vector<std::pair<std::string, std::string>> chosen{{suffixes[0].substr(1), "none"}};
  std::set<std::string_view> programs;
  for (const std::string& suffix : suffixes) {
    for (const auto& broker : brokers()) {
      if (!lack_of(broker).empty() || !broker.crossing.id.ends_with(suffix)) continue;
      if (programs.insert(broker.program).second) chosen.emplace_back("none", broker.crossing.id);
    }
  }
  return chosen;
}

/// Whether it ran to its end. That little was done in the time is the machine's affair.
bool is_whole(const Json& repetition) {
  const std::string invalid = repetition.at("invalid").dump();
  return invalid == "[]" || invalid == R"(["too few samples"])" ||
         invalid == R"(["nothing arrived in the timed part"])";
}

}  // namespace

TEST_CASE("brokers are compared: ours, and each that is here; those that are not are named", "[system][measure]") {
  for (const std::string& missing : missing_brokers()) WARN("not tested: " << missing);
  // Of small messages many are traced, which takes long.
  Process comparing =
      start_bus({"compare", "--brokers", "--sizes", "128KiB", "-d", "20ms", "--warmup", "5ms", "-r", "1", "--json"});
  const ExitStatus status = comparing.wait(bus::in(240s));
  INFO(comparing.err());
  REQUIRE((status == exited(0) || status == exited(5)));  // what a busy machine does to it is not the matter
  const Json result = Json::parse(comparing.out());
  REQUIRE(result.at("baseline") == "latency/broker-tcp/128KiB/hybrid");
  std::set<std::string> names{"broker shm", "broker unix", "broker tcp"};
  const std::string warnings = result.at("warnings").dump();
  for (const auto& broker : brokers()) {
    const std::string name(broker.crossing.name);
    if (lack_of(broker).empty()) {
      names.insert(name);
    } else {
      REQUIRE(warnings.find("not compared: " + name.substr(0, name.rfind(' '))) != std::string::npos);
    }
  }
  std::set<std::string> seen;
  for (const Json& row : result.at("rows")) {
    INFO(row.at("id") << ": " << row.at("repetitions").dump());
    seen.insert(row.at("name").get<std::string>());
    REQUIRE(row.at("repetitions").size() == 1);
    const Json& repetition = row.at("repetitions")[0];
    REQUIRE(is_whole(repetition));
    REQUIRE(repetition.at("lost") == 0);
    REQUIRE((repetition.at("messages") == 0 || repetition.at("cpu") > 0));
    REQUIRE((row.at("family") == "ours" || row.at("library").get<std::string>().find('.') != std::string::npos));
  }
  REQUIRE(seen == names);
  REQUIRE(result.at("rows").size() == 2 * names.size());
}

TEST_CASE("messages are compared that are larger than brokers take by default", "[system][measure]") {
  std::string peers = "none";  // nats-server has such a limit, as ours has; the others have none
  for (const auto& [address, peer] : one_of_each({"-tcp"})) peers = peer == "nats-tcp" ? peer : peers;
  const Finished run = run_bus({"compare", "--brokers", "tcp", "--peers", peers, "--sizes", "2MiB", "-d", "20ms",
                                "--warmup", "0", "-r", "1", "--json"});
  INFO(run.err);
  const Json result = Json::parse(run.out);
  for (const Json& row : result.at("rows")) {
    INFO(row.at("id") << ": " << row.at("repetitions").dump());
    const Json& repetition = row.at("repetitions")[0];
    REQUIRE(is_whole(repetition));
    REQUIRE(repetition.at("damaged") == 0);
    REQUIRE(repetition.at("lost") == 0);
  }
}

TEST_CASE("a signal ends a comparison of brokers with its servers", "[system][measure]") {
  const auto [address, peer] = GENERATE(from_range(one_of_each({"-unix", "-ipc", "-tcp"})));
  CAPTURE(address, peer);
  Comparing comparing(address, peer, peer.starts_with("zmq") ? 3 : 4);
  comparing.process.kill(SIGINT);
  REQUIRE(comparing.process.wait() == exited(130));
  REQUIRE(comparing.nothing_runs());
  REQUIRE(leftovers().empty());
}

TEST_CASE("kill -9 of a comparison of brokers leaves no server and no file", "[system][measure]") {
  const auto [address, peer] = GENERATE(from_range(one_of_each({"-shm", "-unix", "-ipc", "-tcp"})));
  CAPTURE(address, peer);
  Comparing comparing(address, peer, peer.starts_with("zmq") ? 3 : 4);
  comparing.process.kill(SIGKILL);
  static_cast<void>(comparing.process.wait());
  REQUIRE(comparing.nothing_runs());
  REQUIRE(eventually([] { return leftovers().empty(); }));
}

TEST_CASE("a broker that is killed ends its repetition at once, which is invalid and says why", "[system][measure]") {
  const auto [address, peer] = GENERATE(from_range(one_of_each({"-tcp"})));
  CAPTURE(address, peer);
  const auto* const broker = find_broker(peer);
  const std::string program = broker == nullptr ? "bus broker" : std::string(broker->program);
  Process comparing = start_bus({"compare", "--brokers", address, "--peers", peer, "--sizes", "128KiB", "-d", "60s",
                                 "-r", "1", "--log-level", "debug", "--json"});
  for (std::size_t row = 1; row <= 2; ++row) {
    comparing.wait_for_error([row](const std::string& err) { return count_of("all roles start", err) == row; });
    const auto processes = below(comparing.pid());
    // ZeroMQ's proxy is in the process that is started first.
    const auto victim = program.empty() ? processes.begin()
                                        : std::find_if(processes.begin(), processes.end(), [&](const auto& process) {
                                            return process.second.starts_with(program);
                                          });
    REQUIRE(victim != processes.end());
    REQUIRE(::kill(victim->first, SIGKILL) == 0);
  }
  REQUIRE(comparing.wait() == exited(5));
  const Json result = Json::parse(comparing.out());
  REQUIRE(result.at("rows").size() == 2);
  const std::string name = program.empty() ? "the broker's process" : program.substr(0, program.find(' '));
  const std::string how = program.empty() ? "" : " (signal 9, Killed)";
  for (const Json& row : result.at("rows")) {
    REQUIRE(row.at("repetitions")[0].at("invalid")[0].get<std::string>().starts_with(
        name + " has ended before its time" + how));
  }
}

TEST_CASE("brokers that cannot be compared are said before anything runs", "[system][measure]") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"compare", "--brokers", "--peers", "carrier-pigeon"}, "known are"},
      {{"compare", "--brokers", "--peers", "nng-tcp"}, "known are"},
      {{"compare", "--brokers", "--floors", "pipe"}, "no floors"},
      {{"compare", "--brokers", "--wait", "block"}, "no --wait"},
      {{"compare", "--brokers", "inproc"}, "its broker is a process"},
      {{"compare", "--brokers", "--baseline", "unix"}, "no row has that name"},
      {{"compare", "--peers", "nats-tcp"}, "known are"},
  };
  for (const auto& [words, reason] : wrong) {
    const Finished run = run_bus(words);
    CAPTURE(words, run.err);
    CHECK(run.status == exited(2));
    CHECK(run.err.find(reason) != std::string::npos);
  }
}

TEST_CASE("without their servers other brokers are left out, and that is said", "[system][measure]") {
  // mosquitto and nats-server may be where servers are, which is looked at in any case.
  Process comparing =
      start_bus({"compare", "--brokers", "--log-level", "debug"}, {.env = {{"PATH", temporary_folder()}}});
  comparing.wait_for_error("not compared: redis: ");
  comparing.wait_for_error("all roles start");  // the rest goes on
  comparing.kill(SIGINT);
  REQUIRE(comparing.wait() == exited(130));
}
