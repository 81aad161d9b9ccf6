// tests/system/doctor_test.cpp: bus doctor as people and scripts call it.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "tests/system/bus_run.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

Json finding_of(const std::vector<Json>& lines, const std::string& check) {
  for (const Json& line : lines) {
    if (line.at("type") == "finding" && line.at("check") == check) return line;
  }
  throw std::runtime_error("no finding of " + check);
}

/// All clock ticks of CPU time that a process has used so far. Source: proc(5), utime and stime.
long ticks_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string skipped;
  for (int i = 0; i < 11; ++i) rest >> skipped;
  long user = 0, system = 0;
  rest >> user >> system;
  return user + system;
}

}  // namespace

TEST_CASE("doctor gives every finding as JSON, and 1 only for a problem", "[system]") {
  const Finished finished = run_bus({"doctor", "--json"});
  const auto lines = objects(finished.out);
  const Json& summary = lines.back();
  REQUIRE(summary.at("type") == "summary");
  std::size_t problems = 0;
  for (const Json& line : lines) {
    if (line.at("type") == "finding" && line.at("severity") == "problem") ++problems;
  }
  REQUIRE(summary.at("problems") == problems);
  REQUIRE(finished.status == exited(problems > 0 ? 1 : 0));
  REQUIRE(finding_of(lines, "runtime-directory").at("severity") == "ok");
}

TEST_CASE("doctor finds what makes messages impossible, and says the command", "[system]") {
  const Finished finished = run(bus_words({"doctor"}), {}, in(60s), {.env = {{"XDG_RUNTIME_DIR", "/nowhere/at/all"}}});
  REQUIRE(finished.status == exited(1));
  REQUIRE_THAT(finished.out,
               Contains("problem  runtime-directory: /nowhere/at/all") && Contains("unset XDG_RUNTIME_DIR"));
  REQUIRE(finished.err.empty());
}

TEST_CASE("doctor names what a killed listener left, and not what a living one has", "[system]") {
  const auto [scheme, kind] =
      GENERATE(table<std::string, std::string>({{"shm", "shm"}, {"unix", "sock"}, {"mq", "mq"}}));
  CAPTURE(scheme);
  const std::string dead_name = fresh_name(), living_name = fresh_name();
  Process living = start_bus({"echo", scheme + "://" + living_name});
  static_cast<void>(listening(living));
  Process dead = start_bus({"echo", scheme + "://" + dead_name});
  static_cast<void>(listening(dead));
  const std::string text = run_bus({"doctor", "--json"}).out;
  REQUIRE_THAT(finding_of(objects(text), "leftovers").at("mend").get<std::string>(),
               !Contains(dead_name + "." + kind) && !Contains(living_name + "." + kind));

  dead.kill(SIGKILL);
  REQUIRE(dead.wait() == ExitStatus{-1, SIGKILL});
  const Json finding = finding_of(objects(run_bus({"doctor", "--json"}).out), "leftovers");
  const std::string mend = finding.at("mend");
  REQUIRE(finding.at("severity") == "note");
  REQUIRE_THAT(mend, Contains(dead_name + "." + kind + " ") && Contains(dead_name + "." + kind + ".ipcbus-lock") &&
                         !Contains(living_name + "." + kind));
  // It has changed nothing; the command does.
  const std::string socket = std::string(std::getenv("XDG_RUNTIME_DIR")) + "/ipcbus/" + dead_name + "." + kind;
  REQUIRE(std::filesystem::exists(socket));
  REQUIRE(std::filesystem::exists(socket + ".ipcbus-lock"));
  REQUIRE(run({"/bin/sh", "-c", mend}).status == exited(0));
  REQUIRE_FALSE(std::filesystem::exists(socket));
  REQUIRE_THAT(finding_of(objects(run_bus({"doctor", "--json"}).out), "leftovers").at("mend").get<std::string>(),
               !Contains(dead_name));
  living.kill(SIGTERM);
  REQUIRE(living.wait() == exited(143));
}

TEST_CASE("doctor shows on request what is in order", "[system]") {
  const Finished few = run_bus({"doctor"}), all = run_bus({"doctor", "--all"});
  REQUIRE_THAT(few.out, Contains("Nothing was changed.") && Contains("\nok       cpus, "));
  REQUIRE_THAT(all.out, Contains("\nok       memfd: the kernel makes sealed anonymous memory\n"));
  REQUIRE(all.out.find("\x1b[") == std::string::npos);  // no colour in a pipe
}

TEST_CASE("doctor --intrinsic sees a pause that somebody makes", "[system]") {
  Process doctor = start_bus({"doctor", "--intrinsic", "1h", "--json"});
  doctor.wait_for_error("reading the clock for");
  // It spins once it uses CPU time: nothing else in it does.
  const long started = ticks_of(doctor.pid());
  REQUIRE(eventually([&] { return ticks_of(doctor.pid()) > started + 2; }));
  REQUIRE(doctor.kill(SIGSTOP));
  REQUIRE(eventually([&] { return kernel_state("/proc/" + std::to_string(doctor.pid())) == 'T'; }));
  const auto from = Clock::now();
  let_pass(150ms);  // the pause itself
  const std::chrono::nanoseconds stopped = Clock::now() - from;
  REQUIRE(doctor.kill(SIGCONT));
  REQUIRE(doctor.kill(SIGINT));
  REQUIRE(doctor.wait() == exited(130));
  const auto lines = objects(doctor.out());
  REQUIRE(lines.size() == 2);
  REQUIRE(lines[0].at("type") == "pauses");
  REQUIRE(lines[0].at("max_ns") >= stopped.count());
  REQUIRE(lines[0].at("longest").at(0).at("length_ns") >= stopped.count());
  REQUIRE(lines[1].at("type") == "summary");
  REQUIRE(lines[1].at("max_ns") == lines[0].at("max_ns"));
}

TEST_CASE("doctor --intrinsic prints a table of the CPUs that were asked for", "[system]") {
  const Finished finished = run_bus({"doctor", "--intrinsic", "50ms", "--cpus", "all", "--threshold", "500ns"});
  REQUIRE(finished.status == exited(0));
  REQUIRE_THAT(finished.out, StartsWith("The machine's own pauses: ") && Contains("a gap of 500ns or more") &&
                                 Contains("p99.9") && Contains("longest"));
}

TEST_CASE("a mistake in doctor's options gets one line that says what would be right", "[system]") {
  struct Mistake {
    std::vector<std::string> words;
    std::string says;
  };
  const Mistake mistake = GENERATE(values<Mistake>({
      {{"doctor", "shm://x"}, "too many arguments"},
      {{"doctor", "--cpus", "0"}, "--cpus is for --intrinsic"},
      {{"doctor", "--threshold", "2us"}, "--threshold is for --intrinsic"},
      {{"doctor", "--intrinsic", "0"}, "write for how long"},
      {{"doctor", "--intrinsic", "1s", "--cpus", "x"}, "allowed is all, or a list such as 0,2-3"},
      {{"doctor", "--intrinsic", "1s", "--cpus", "4095"}, "CPU 4095 is not one of"},
      {{"doctor", "--intrinsic", "1s", "--threshold", "1ns"}, "the least is 100ns"},
  }));
  CAPTURE(mistake.words);
  const Finished finished = run_bus(mistake.words);
  REQUIRE(finished.status == exited(2));
  REQUIRE_THAT(finished.err, StartsWith("bus: doctor: ") && Contains(mistake.says));
  REQUIRE(lines_in(finished.err) == 1);
  REQUIRE(finished.out.empty());
}

TEST_CASE("help of doctor shows its options and examples", "[system]") {
  const Finished finished = run_bus({"help", "doctor"});
  REQUIRE(finished.status == exited(0));
  REQUIRE_THAT(finished.out, StartsWith("Usage: bus doctor ") && Contains("--intrinsic") && Contains("--cpus") &&
                                 Contains("--json") && Contains("Examples:\n  bus doctor\n"));
  REQUIRE(run_bus({"doctor", "--help"}).out == finished.out);
  REQUIRE_THAT(run_bus({"help"}).out, Contains("\n  doctor "));
}

}  // namespace bus::test
