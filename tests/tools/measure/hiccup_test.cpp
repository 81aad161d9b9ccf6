// tests/tools/measure/hiccup_test.cpp: the hiccup meter sees the pauses that a test makes.
#include "tools/measure/hiccup.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <system_error>

#include "tests/support/eventually.hpp"
#include "tools/measure/intrinsic.hpp"
#include "tools/measure/system_files.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using namespace bus::tools::measure;
using Catch::Matchers::Contains;

namespace {

// For the handler: it holds the thread that it runs on until a byte in the pipe lets go.
std::atomic<bool> held{false};
static_assert(std::atomic<bool>::is_always_lock_free);
std::array<int, 2> let_go{};

extern "C" void hold_thread(int) {
  held.store(true);
  for (char byte = 0; ::read(let_go[0], &byte, 1) < 0 && errno == EINTR;) {
  }
}

struct Span {
  Clock::time_point from, to;
};

/// Stops one thread of this process for `length` at least; within what is returned it stood still.
Span hold(int thread_id, std::chrono::milliseconds length) {
  held = false;
  if (let_go[1] == 0) REQUIRE(::pipe2(let_go.data(), O_CLOEXEC) == 0);  // once: a handler may still be in it
  struct sigaction action {
  }, before{};
  action.sa_handler = hold_thread;
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  REQUIRE(::syscall(SYS_tgkill, ::getpid(), thread_id, SIGUSR1) == 0);
  REQUIRE(eventually([] { return held.load(); }));
  const auto from = Clock::now();
  let_pass(length);  // the pause itself
  const auto to = Clock::now();
  REQUIRE(::write(let_go[1], "x", 1) == 1);
  return {from, to};
}

Pause pause(std::chrono::nanoseconds at, std::chrono::nanoseconds length, bool switched = false) {
  const Clock::time_point start{};
  return {start + at, start + at + length, switched};
}

}  // namespace

TEST_CASE("a spinning meter sees a pause of its thread from end to end", "[measure]") {
  HiccupMeter meter({.way = HiccupMeter::Way::spin, .threshold = 10us});
  const Span made = hold(meter.thread_id(), 30ms);
  meter.stop();
  const auto seen = meter.log().longest_between(made.from, made.to);
  REQUIRE(seen);
  REQUIRE(seen->from <= made.from);
  REQUIRE(seen->to >= made.to);
  REQUIRE(meter.log().lengths().greatest() >= 30'000'000);
  REQUIRE(meter.log().sum() >= 30ms);
  REQUIRE(meter.log().sum() <= meter.watched());
  REQUIRE(meter.readings() > 0);
  // The thread slept in the handler: others could run meanwhile, and the kernel says so.
  REQUIRE(seen->switched);
}

TEST_CASE("a sleeping meter sees a pause but for the rest of its beat", "[measure]") {
  HiccupMeter meter({.way = HiccupMeter::Way::sleep, .threshold = 5ms, .beat = 1ms});
  const Span made = hold(meter.thread_id(), 30ms);
  meter.stop();
  const auto seen = meter.log().longest_between(made.from, made.to);
  REQUIRE(seen);
  REQUIRE(seen->from <= made.from + 1ms);
  REQUIRE(seen->to >= made.to);
}

TEST_CASE("what is shorter than the threshold is no pause", "[measure]") {
  HiccupMeter meter({.way = HiccupMeter::Way::spin, .threshold = 1h});
  static_cast<void>(hold(meter.thread_id(), 5ms));
  meter.stop();
  meter.stop();
  REQUIRE(meter.log().lengths().count() == 0);
  REQUIRE(meter.log().longest().empty());
  REQUIRE(meter.watched() >= 5ms);
}

TEST_CASE("a meter that cannot run on its CPU says so", "[measure]") {
  REQUIRE_THROWS_WITH(HiccupMeter({.cpu = 1023}), Contains("CPU 1023"));
  REQUIRE_THROWS_AS(HiccupMeter({.cpu = -1}), std::system_error);
}

TEST_CASE("of many pauses the longest are kept, and all are counted", "[measure]") {
  PauseLog log(2);
  log.add(pause(1s, 3us));
  log.add(pause(2s, 50us, true));
  log.add(pause(3s, 1us));
  log.add(pause(4s, 20ms));
  log.add(pause(5s, 4us));
  REQUIRE(log.lengths().count() == 5);
  REQUIRE(log.sum() == 20ms + 58us);
  REQUIRE(log.switched() == 1);
  const auto longest = log.longest();
  REQUIRE(longest.size() == 2);
  REQUIRE(longest[0].length() == 50us);
  REQUIRE(longest[1].length() == 20ms);
  REQUIRE(longest[0].switched);

  const Clock::time_point start{};
  REQUIRE(log.longest_between(start + 2s + 10us, start + 2s + 20us)->length() == 50us);
  REQUIRE(log.longest_between(start, start + 10s)->length() == 20ms);
  REQUIRE_FALSE(log.longest_between(start, start + 2s - 1ns));
  REQUIRE_FALSE(log.longest_between(start + 2s + 51us, start + 3s));
}

TEST_CASE("pauses are sorted into 1-2-5 classes", "[measure]") {
  PauseLog log(0);
  for (const auto length : {0ns, 100ns, 199ns, 200ns, 499ns, 500ns, 999ns, 1000ns}) log.add(pause(0s, length));
  log.add(pause(0s, 2h));
  std::vector<std::uint64_t> counts;
  for (const PauseLog::Class& one : log.classes()) counts.push_back(one.count);
  REQUIRE(std::vector<std::uint64_t>(counts.begin(), counts.begin() + 5) == std::vector<std::uint64_t>{3, 2, 2, 1, 0});
  REQUIRE(log.classes()[0].from == 100ns);
  REQUIRE(log.classes()[4].from == 2us);
  REQUIRE(log.classes().back().from == 50s);
  REQUIRE(counts.back() == 1);
  REQUIRE(log.classes()[1].sum == 699ns);
  REQUIRE(log.longest().empty());
}

TEST_CASE("the text of pauses prints a percentile only when ten are beyond it", "[measure]") {
  IntrinsicOfCpu result;
  result.cpu = 3;
  result.log = PauseLog(8);
  for (int i = 1; i <= 100; ++i) result.log.add(pause(i * 1ms, i * 1us));
  result.watched = 1s;
  result.readings = 1'000'000;
  const std::string text = intrinsic_text({result}, 1us);
  CAPTURE(text);
  REQUIRE_THAT(text, Contains("on CPU 3") && Contains("50us") && Contains("90us") && Contains("100us"));
  // p99 and p99.9 have one pause and none beyond them.
  REQUIRE_THAT(text, Contains("90us         -         -     100us"));
  const std::string json = intrinsic_json({result}, 1us);
  REQUIRE_THAT(json, Contains(",\"p99\":null,") && Contains("\"pauses\":100,") && Contains("\"type\":\"summary\""));
}

TEST_CASE("the text of a machine without pauses says so", "[measure]") {
  IntrinsicOfCpu result;
  result.watched = 1s;
  result.readings = 1000;
  REQUIRE_THAT(intrinsic_text({result}, 1us), Contains("Not one."));
}

TEST_CASE("pauses are watched on several CPUs at once", "[measure]") {
  const std::vector<int> cpus = allowed_cpus(SystemFiles());
  const auto results = watch_pauses(cpus, 1us, [] { let_pass(5ms); });  // for how long they are watched
  REQUIRE(results.size() == cpus.size());
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    REQUIRE(results[i].cpu == cpus[i]);
    REQUIRE(results[i].watched > 0ns);
    REQUIRE(results[i].readings > 0);
  }
}

}  // namespace bus::test
