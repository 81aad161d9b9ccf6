// tests/system/measure_test.cpp: bus latency, throughput and compare as processes: what they promise of their figures.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/system/bus_run.hpp"

using namespace bus::test;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A result that need not be valid: what a busy machine does to it is not the matter.
Json any_result_of(std::vector<std::string> words) {
  words.emplace_back("--json");
  const Finished run = run_bus(std::move(words));
  INFO(run.err);
  REQUIRE((run.status == exited(0) || run.status == exited(5)));
  return Json::parse(run.out);
}

Json result_of(std::vector<std::string> words) {
  const Json result = any_result_of(std::move(words));
  for (const Json& row : result.at("rows")) {
    INFO(row.at("id") << ": " << row.at("invalid").dump());
    REQUIRE(row.at("valid") == true);
  }
  return result;
}

/// The processes that a measurement has started: this many at least, in the order in which they were started.
std::vector<pid_t> roles_of(pid_t measuring, std::size_t least) {
  std::vector<pid_t> pids;
  const bool there = eventually([&] {
    pids.clear();
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(measuring) + "/task")) {
      std::ifstream children(task.path() / "children");
      for (pid_t pid = 0; children >> pid;) pids.push_back(pid);
    }
    return pids.size() >= least;
  });
  REQUIRE(there);
  return pids;
}

/// The processor time of a process, in ticks. Source: proc(5), fields 14 and 15 of stat.
long ticks_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  const auto behind_name = line.rfind(')');
  if (behind_name == std::string::npos) return 0;
  std::istringstream fields(line.substr(behind_name + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  long user = 0, system = 0;
  fields >> user >> system;
  return user + system;
}

/// A measurement that says when its roles start, and these.
struct Measuring {
  Process process;
  std::vector<pid_t> roles;  // far, near

  explicit Measuring(std::vector<std::string> words) : process(start_bus(with_log(std::move(words)))) {
    roles = roles_of(process.pid(), 2);
  }
  static std::vector<std::string> with_log(std::vector<std::string> words) {
    words.insert(words.end(), {"--json", "--log-level", "debug"});
    return words;
  }

  /// Stops these when `working` has worked for so long: what it does before its first sample takes a part of that. The
  /// length of the pause is what the tests are about.
  void pause(const std::vector<pid_t>& pids, pid_t working, std::chrono::nanoseconds worked,
             std::chrono::nanoseconds length) {
    process.wait_for_error("all roles start");
    const long before = ticks_of(working);
    const auto ticks = worked / (std::chrono::nanoseconds(1s) / ::sysconf(_SC_CLK_TCK));
    REQUIRE(eventually([&] { return ticks_of(working) >= before + ticks; }));
    for (const pid_t pid : pids) REQUIRE(::kill(pid, SIGSTOP) == 0);
    for (const pid_t pid : pids) {
      REQUIRE(eventually([&] { return kernel_state("/proc/" + std::to_string(pid)) == 'T'; }));
    }
    let_pass(length);  // the pause itself
    for (const pid_t pid : pids) REQUIRE(::kill(pid, SIGCONT) == 0);
  }

  [[nodiscard]] Json result() {
    static_cast<void>(process.wait(bus::in(40s)));
    return Json::parse(process.out());
  }
};

/// Runs a measurement and stops its far end for 0.5 s.
Json with_a_stopped_receiver(std::vector<std::string> words) {
  Measuring measuring(std::move(words));
  measuring.pause({measuring.roles.front()}, measuring.roles.front(), 30ms, 500ms);
  return measuring.result();
}

/// What is said of the worst sample when the near end, or everything that runs, is stopped for a while.
std::string cause_of_a_pause(bool of_everything) {
  Measuring measuring({"latency", "shm://", "-w", "spin", "-d", "3s", "--warmup", "0", "-r", "1"});
  std::vector<pid_t> stopped{measuring.roles.back()};
  if (of_everything) stopped.insert(stopped.end(), {measuring.roles.front(), measuring.process.pid()});
  measuring.pause(stopped, measuring.roles.back(), 300ms, 100ms);  // it spins: of three seconds
  const Json result = measuring.result();
  const Json& worst = result.at("rows")[0].at("repetitions")[0].at("worst")[0];
  CAPTURE(worst.dump());
  REQUIRE(worst.at("duration") > 90'000'000);
  return worst.at("cause");
}

/// A quantile of a repetition, from its histogram; what makes the repetition invalid does not matter.
double quantile(const Json& row, const char* histogram, double q) {
  const Json& counted = row.at("repetitions")[0].at("histograms").at(histogram);
  const double wanted = q * counted.at("count").get<double>();
  double seen = 0;
  for (const Json& bucket : counted.at("buckets")) {
    seen += bucket[1].get<double>();
    if (seen >= wanted) return bucket[0].get<double>();
  }
  return 0;
}

double figure(const Json& row, const char* name) { return row.at("summary").at("figures").at(name).at("value"); }

}  // namespace

TEST_CASE("latency and throughput are measured on each transport, and nothing is left", "[system][measure]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Json latency =
      result_of({"latency", scheme + "://", "-d", "100ms", "--warmup", "5ms", "-r", "2", "--sizes", "64,64KiB"});
  REQUIRE(latency.at("valid") == true);
  REQUIRE(latency.at("rows").size() == 2);
  for (const Json& row : latency.at("rows")) {
    REQUIRE(row.at("conditions").at("load_model") == "closed");
    REQUIRE(row.at("conditions").at("wait") == "hybrid");
    for (const Json& repetition : row.at("repetitions")) {
      REQUIRE(repetition.at("messages") >= 100);
      REQUIRE(repetition.at("histograms").at("rtt").at("count") == repetition.at("messages"));
    }
    REQUIRE(figure(row, "p50") > 100);
  }
  const Json throughput = result_of({"throughput", scheme + "://", "-d", "30ms", "--warmup", "5ms", "-r", "2"});
  REQUIRE(throughput.at("rows")[0].at("conditions").at("load_model") == "flood");
  REQUIRE(figure(throughput.at("rows")[0], "rate") > 1000);
}

TEST_CASE("a pause of the receiver shows in all messages that were due meanwhile: an open loop",
          "[system][measure][figures]") {
  // S = 0.5 s in T = 10 s: a part of S/T = 5 % of the messages waits, each until the pause is over. So the p99 of the
  // response is about S - 0.01 T = 0.40 s. A closed loop has one slow sample.
  const Json open = with_a_stopped_receiver({"latency", "shm://", "-R", "1k", "-d", "10s", "--warmup", "0", "-r", "1"});
  const double open_p99 = quantile(open.at("rows")[0], "response", 0.99);
  CAPTURE(open_p99);
  REQUIRE(open_p99 > 0.35e9);
  REQUIRE(open_p99 < 0.55e9);
  REQUIRE(quantile(open.at("rows")[0], "response", 1) > 0.49e9);

  const Json closed = with_a_stopped_receiver({"latency", "shm://", "-d", "10s", "--warmup", "0", "-r", "1"});
  const double closed_p99 = quantile(closed.at("rows")[0], "rtt", 0.99);
  CAPTURE(closed_p99);
  REQUIRE(closed_p99 < 0.05e9);
  REQUIRE(quantile(closed.at("rows")[0], "rtt", 1) > 0.49e9);
  std::cout << "receiver stopped 0.5 s of 10 s: p99 " << open_p99 / 1e6 << " ms open loop, " << closed_p99 / 1e6
            << " ms closed loop\n";
}

TEST_CASE("a rate that cannot be is invalid, and says so first", "[system][measure]") {
  const Finished run = run_bus({"latency", "unix://", "-R", "1G", "-d", "50ms", "--warmup", "0", "-r", "1"});
  REQUIRE(run.status == exited(5));
  REQUIRE(run.out.rfind("INVALID", 0) == 0);
  REQUIRE(run.out.find("due") != std::string::npos);
}

TEST_CASE("fewer than six repetitions print no interval, six do", "[system][measure]") {
  for (const char* repetitions : {"5", "6"}) {
    CAPTURE(repetitions);
    const Json result = result_of({"latency", "shm://", "-d", "50ms", "--warmup", "1ms", "-r", repetitions});
    const Json& p50 = result.at("rows")[0].at("summary").at("figures").at("p50");
    REQUIRE(p50.contains("low") == (std::string(repetitions) == "6"));
  }
}

TEST_CASE("each repetition has processes of its own", "[system][measure]") {
  Process measuring = start_bus({"latency", "unix://", "-d", "100ms", "--warmup", "0", "-r", "5", "--json"});
  std::set<pid_t> seen;
  REQUIRE(eventually([&] {
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(measuring.pid()) + "/task")) {
      std::ifstream children(task.path() / "children");
      for (pid_t pid = 0; children >> pid;) seen.insert(pid);
    }
    return seen.size() >= 10 || measuring.ended();
  }));
  REQUIRE(measuring.wait(soon()) == exited(0));
  REQUIRE(seen.size() == 10);
}

TEST_CASE("a comparison runs every row once in each block, in an order that its seed gives", "[system][measure]") {
  const std::vector<std::string> words{"compare", "shm",     "unix", "--floors", "ring,pipe", "--peers",
                                       "none",    "--sizes", "64",   "-d",       "3ms",       "--warmup",
                                       "1ms",     "-r",      "6",    "--seed",   "7"};
  const Json one = any_result_of(words), two = any_result_of(words);
  REQUIRE(one.at("order") == two.at("order"));
  REQUIRE(one.at("order").size() == 6);
  std::set<std::string> all;
  for (const Json& row : one.at("rows")) all.insert(row.at("id").get<std::string>());
  REQUIRE(all.size() == 8);  // four ways, two measures
  bool shuffled = false;
  for (const Json& block : one.at("order")) {
    REQUIRE(std::set<std::string>(block.begin(), block.end()) == all);
    shuffled = shuffled || block != one.at("order")[0];
  }
  REQUIRE(shuffled);
  REQUIRE(one.at("rows")[0].at("floor") == "latency/ring/64/spin");
}

TEST_CASE("more spinning processes than CPUs are warned about", "[system][measure]") {
  const Json result = any_result_of({"throughput", "shm://", "-d", "5ms", "--warmup", "1ms", "-r", "1", "-w", "spin",
                                     "--producers", std::to_string(std::thread::hardware_concurrency())});
  REQUIRE(result.at("warnings").dump().find("processes that spin share") != std::string::npos);
}

TEST_CASE("several producers are counted one by one", "[system][measure]") {
  const std::string scheme = GENERATE("shm", "unix", "tcp");
  CAPTURE(scheme);
  const Json result =
      result_of({"throughput", scheme + "://", "-d", "30ms", "--warmup", "5ms", "-r", "2", "--producers", "3"});
  REQUIRE(result.at("valid") == true);
  for (const Json& repetition : result.at("rows")[0].at("repetitions")) {
    REQUIRE(repetition.at("lost") == 0);
    REQUIRE(repetition.at("messages") > 0);
  }
}

TEST_CASE("batches and loans carry the same messages", "[system][measure]") {
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--batch", "16"},
                                               {"--loan"},
                                               {"--copy"},
                                               {"--touch", "first"},
                                               {"--clock", "tsc"},
                                               {"--pin", "send=0,receive=0"}}) {
    CAPTURE(more[0]);
    std::vector<std::string> words{"throughput", "shm://", "-d", "20ms",    "--warmup",
                                   "5ms",        "-r",     "1",  "--sizes", "1KiB"};
    words.insert(words.end(), more.begin(), more.end());
    const Json result = result_of(words);
    REQUIRE(result.at("rows")[0].at("repetitions")[0].at("damaged") == 0);
    REQUIRE(figure(result.at("rows")[0], "rate") > 1000);
  }
}

TEST_CASE("a process that is kept from its CPU is named as the cause of the worst sample",
          "[system][measure][figures]") {
  REQUIRE_THAT(cause_of_a_pause(false), Contains("kept from the CPU for"));
}

TEST_CASE("a pause of everything at once is named as the machine's", "[system][measure][figures]") {
  REQUIRE_THAT(cause_of_a_pause(true), Contains("the machine paused for"));
}

TEST_CASE("an echo that already runs is measured with --peer, closed and open", "[system][measure]") {
  Process echo = start_bus({"echo", fresh_address("tcp")});
  const std::string address = listening(echo);
  const Json closed = any_result_of({"latency", address, "--peer", "-d", "30ms", "--warmup", "5ms", "-r", "2"});
  REQUIRE(closed.at("rows")[0].at("repetitions")[0].at("histograms").contains("rtt"));
  const Json open =
      any_result_of({"latency", address, "--peer", "-R", "2k", "-d", "200ms", "--warmup", "10ms", "-r", "1"});
  const Json& repetition = open.at("rows")[0].at("repetitions")[0];
  REQUIRE(repetition.at("lost") == 0);
  const int answered = repetition.at("histograms").at("response").at("count");
  REQUIRE(answered == repetition.at("messages"));
  // Where the machine was too busy to send all that was due, that is said: it never looks like fewer messages.
  if (answered < 396) REQUIRE_THAT(repetition.at("invalid").dump(), Contains(" of 400 messages that were due"));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("a search says the highest rate that holds, or that none does", "[system][measure]") {
  const Finished run =
      run_bus({"latency", "shm://", "--slo", "p50<1s,loss=0", "-d", "50ms", "--warmup", "1ms", "-r", "1"});
  INFO(run.err);
  REQUIRE(run.status == exited(0));
  // Which of the two is the machine's affair.
  const bool holds = run.out.find("the highest rate that holds p50<1s,loss=0: ") != std::string::npos;
  REQUIRE((holds || run.out.find("p50<1s,loss=0 does not hold even at ") != std::string::npos));
}

TEST_CASE("a signal ends a measurement and its processes", "[system][measure]") {
  Process measuring = start_bus({"latency", "unix://", "-d", "30s", "-r", "1"});
  const auto pids = roles_of(measuring.pid(), 2);
  measuring.kill(SIGINT);
  REQUIRE(measuring.wait() == exited(130));
  for (const pid_t pid : pids) REQUIRE(eventually([pid] { return ::kill(pid, 0) != 0; }));
}

TEST_CASE("kill -9 of a measurement leaves no process of it", "[system][measure]") {
  Process measuring = start_bus({"latency", "unix://", "-d", "30s", "-r", "1"});
  const auto pids = roles_of(measuring.pid(), 2);
  measuring.kill(SIGKILL);
  static_cast<void>(measuring.wait());
  for (const pid_t pid : pids) {
    REQUIRE(eventually([pid] { return ::kill(pid, 0) != 0 || kernel_state("/proc/" + std::to_string(pid)) == 'Z'; }));
  }
  // A role that had come so far leaves its socket, as any listener that is killed: whoever comes there next sweeps it.
  for (const std::string& path : leftovers()) {
    const std::filesystem::path file(path);
    if (file.extension() == ".sock")
      static_cast<void>(run_bus({"send", "unix://" + file.stem().string(), "x", "--wait", "10ms"}));
  }
  REQUIRE(leftovers().empty());
}

TEST_CASE("kill -9 of a role makes its repetition invalid and no more", "[system][measure]") {
  Process measuring = start_bus({"latency", "unix://", "-d", "300ms", "--warmup", "0", "-r", "2", "--json"});
  const pid_t victim = roles_of(measuring.pid(), 2).front();
  REQUIRE(::kill(victim, SIGKILL) == 0);
  REQUIRE(measuring.wait(bus::in(40s)) == exited(5));
  const Json result = Json::parse(measuring.out());
  REQUIRE(result.at("rows")[0].at("repetitions")[0].at("valid") == false);
  REQUIRE(result.at("rows")[0].at("repetitions")[1].at("valid") == true);
}

TEST_CASE("what cannot be measured is said before anything runs", "[system][measure]") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"latency", "shn://"}, "unknown"},
      {{"latency", "shm://?wait=never"}, "wait"},
      {{"latency", "shm://", "--sizes", "4"}, "sizes from 8"},
      {{"latency", "shm://", "--sizes", "64,"}, "sizes from 8"},
      {{"latency", "shm://", "-R", "1k", "--sizes", "16"}, "24 bytes"},
      {{"latency", "shm://", "--arrivals", "poisson"}, "open loop"},
      {{"latency", "shm://", "-R", "1k", "--arrivals", "burst:0"}, "burst"},
      {{"latency", "shm://", "--slo", "p99"}, "p99<200us"},
      {{"latency", "shm://", "--pin", "send=x"}, "send=CPU"},
      {{"latency", "shm://", "-r", "0"}, "repetitions"},
      {{"latency", "shm://", "--pin", "send=1000"}, "may not use CPU 1000"},
      {{"latency", "shm://", "-R", "2G"}, "at most 1G"},
      {{"latency", "shm://", "--trace", "/dev/null"}, "no entry"},
      {{"latency", "tcp://?framing=raw"}, "framing=bus"},
      {{"latency", "tcp://192.0.2.1:7000"}, "--peer"},
      {{"throughput", "shm://", "--batch", "2", "--loan"}, "batch"},
      {{"throughput", "inproc://", "--producers", "2"}, "processes"},
      {{"compare", "--peers", "carrier-pigeon"}, "known are"},
      {{"compare", "--floors", "cellar"}, "known are"},
      {{"compare", "shm", "--baseline", "sham"}, "no row has that name"},
      {{"compare", "shm", "--handicap", "shm"}, "NAME=DURATION"},
  };
  for (const auto& [words, reason] : wrong) {
    const Finished run = run_bus(words);
    CAPTURE(words, run.err);
    CHECK(run.status == exited(2));
    CHECK(run.err.find(reason) != std::string::npos);
  }
}

TEST_CASE("a comparison tells a row that is made slower", "[system][measure][figures]") {
  // Two rows that differ in nothing else. So much slower is beyond any noise; what finer differences it tells apart is
  // counted in stats_test.cpp.
  Process comparing = start_bus({"compare",
                                 "unix",
                                 "unix?capacity=256KiB",
                                 "--peers",
                                 "none",
                                 "--floors",
                                 "none",
                                 "--baseline",
                                 "unix",
                                 "--handicap",
                                 "unix?capacity=256KiB=1ms",
                                 "--sizes",
                                 "64",
                                 "-d",
                                 "50ms",
                                 "--warmup",
                                 "10ms",
                                 "-r",
                                 "6",
                                 "--json"});
  static_cast<void>(comparing.wait(bus::in(100s)));  // many processes, which start slowly under a sanitizer
  const Json result = Json::parse(comparing.out());
  for (const Json& row : result.at("rows")) {
    if (row.at("name") == "unix") continue;
    INFO(row.at("id") << ": " << row.at("summary").at("baseline").dump());
    REQUIRE(row.at("summary").at("baseline").at("says") == "slower");
  }
}

TEST_CASE("an echo that cannot keep up with the rate makes the row invalid, too", "[system][measure]") {
  Process echo = start_bus({"echo", fresh_address("tcp")});
  const Json result =
      any_result_of({"latency", listening(echo), "--peer", "-R", "100M", "-d", "50ms", "--warmup", "0", "-r", "1"});
  REQUIRE(result.at("valid") == false);
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("nobody at a peer's address is said once, with code 4 or 3", "[system][measure]") {
  const Finished run = run_bus({"latency", fixed_address("tcp"), "--peer", "-d", "10ms"});
  INFO(run.err);
  REQUIRE((run.status == exited(4) || run.status == exited(3)));
  REQUIRE(run.out.empty());
}

TEST_CASE("a closed stdout does not stop a measurement", "[system][measure]") {
  const Finished run =
      bus::test::run({"/bin/sh", "-c", "exec \"$0\" latency shm:// -d 5ms --warmup 1ms -r 1 >&-", bus_program()}, "");
  INFO(run.err);
  REQUIRE((run.status == exited(0) || run.status == exited(5)));
}

TEST_CASE("rows that are alike are told apart, and the saved result can be read again", "[system][measure]") {
  const std::string file = temporary_folder() + "/result.json";
  const Finished run = run_bus({"compare", "unix", "unix", "--floors", "none", "--peers", "none", "--sizes", "64", "-d",
                                "5ms", "--warmup", "1ms", "-r", "1", "--save", file});
  REQUIRE((run.status == exited(0) || run.status == exited(5)));
  const Finished report = run_bus({"report", file});
  INFO(report.err);
  REQUIRE(report.status == exited(0));
  REQUIRE(report.out.find("unix #2") != std::string::npos);
}

TEST_CASE("a file that cannot be written is said before anything is measured", "[system][measure]") {
  for (const char* option : {"--save", "--html"}) {
    const Finished run = run_bus({"latency", "shm://", "-d", "30s", option, "/nowhere/file"});
    REQUIRE(run.status == exited(1));
    REQUIRE(run.err.find("cannot write /nowhere/file") != std::string::npos);
  }
}
