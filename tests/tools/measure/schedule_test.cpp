// tests/tools/measure/schedule_test.cpp: when messages of an open loop are due.
#include "tools/measure/schedule.hpp"

#include <cmath>

#include "bus/core/errc.hpp"
#include "tests/support/catch.hpp"

using namespace bus;
using namespace bus::tools::measure;

namespace {

Arrivals arrivals(std::string_view how, double rate, std::uint64_t seed = 1) {
  Arrivals made = *parse_arrivals(how);
  made.rate = rate;
  made.seed = seed;
  return made;
}

}  // namespace

TEST_CASE("message i of a constant schedule is due at i over the rate, without drift", "[measure]") {
  const Arrivals how = arrivals("constant", 3);
  Schedule schedule(how);
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    const auto due = schedule.next();
    REQUIRE(std::abs(static_cast<double>(due.at) - static_cast<double>(i) * 1e9 / 3) <= 1);
    REQUIRE(due.size == 0);
  }
}

TEST_CASE("a schedule knows no clock: whoever is late finds his backlog whole", "[measure]") {
  // A sender that pauses from 0.5 s to 1 s of a fake clock asks for what is due, one after the other.
  const Arrivals how = arrivals("constant", 1000);
  Schedule schedule(how);
  std::uint64_t now = 0, sent = 0, late = 0;
  for (auto due = schedule.next(); due.at < 2'000'000'000; due = schedule.next()) {
    if (due.at == 500'000'000) now = 1'000'000'000;
    if (now < due.at) now = due.at;  // it waits; when it is late it sends at once
    late += now > due.at ? 1 : 0;
    ++sent;
  }
  REQUIRE(sent == 2000);
  REQUIRE(late == 500);
}

TEST_CASE("bursts are due together, at the same rate", "[measure]") {
  const Arrivals how = arrivals("burst:4", 1000);
  Schedule schedule(how);
  for (std::uint64_t i = 0; i < 1000; ++i) REQUIRE(schedule.next().at == i / 4 * 4'000'000);
}

TEST_CASE("a Poisson schedule has exponential gaps and comes again with its seed", "[measure]") {
  const Arrivals how = arrivals("poisson", 1000, 7), same = how, other = arrivals("poisson", 1000, 8);
  Schedule one(how), two(same), three(other);
  constexpr int kCount = 100'000;
  std::uint64_t before = 0;
  double sum = 0, squares = 0;
  int alike = 0;
  for (int i = 0; i < kCount; ++i) {
    const std::uint64_t at = one.next().at;
    REQUIRE(at == two.next().at);
    alike += at == three.next().at ? 1 : 0;
    REQUIRE(at >= before);
    const double gap = static_cast<double>(at - before) / 1e6;  // of a mean of 1
    before = at;
    sum += gap;
    squares += gap * gap;
  }
  // Mean and deviation of an exponential distribution are the same; 1 % is three standard errors of each, or more.
  const double mean = sum / kCount, deviation = std::sqrt(squares / kCount - mean * mean);
  REQUIRE(mean == Approx(1).epsilon(0.01));
  REQUIRE(deviation == Approx(1).epsilon(0.02));
  REQUIRE(alike < 10);
}

TEST_CASE("a trace is played as it was written, and again behind its end", "[measure]") {
  Arrivals how;
  how.kind = Arrivals::Kind::trace;
  how.trace = parse_trace("# seconds size\n0 64\n0.001,1KiB\n\n0.0015\t100  # three\n");
  REQUIRE(how.trace.size() == 3);
  Schedule schedule(how);
  REQUIRE(schedule.next().at == 0);
  auto due = schedule.next();
  REQUIRE(due.at == 1'000'000);
  REQUIRE(due.size == 1024);
  REQUIRE(schedule.next().at == 1'500'000);
  due = schedule.next();
  REQUIRE(due.at == 1'500'001);
  REQUIRE(due.size == 64);
}

TEST_CASE("a trace that is none says which line and why", "[measure]") {
  const auto why = [](std::string_view text) -> std::string {
    try {
      static_cast<void>(parse_trace(text));
      return "";
    } catch (const Error& error) {
      REQUIRE(error.code() == Errc::corrupt);
      return error.what();
    }
  };
  CHECK(why("0 64\nx 64").find("line 2: the time") != std::string::npos);
  CHECK(why("0 64\n1").find("line 2: it is") != std::string::npos);
  CHECK(why("0 many").find("line 1: the size") != std::string::npos);
  CHECK(why("0 0").find("line 1: the size") != std::string::npos);
  CHECK(why("2 64\n1 64").find("line 2: its time is before") != std::string::npos);
  CHECK(why("-1 64").find("line 1: the time") != std::string::npos);
  CHECK(why("nan 64").find("line 1: the time") != std::string::npos);
  CHECK(why("# nothing\n").find("no entry") != std::string::npos);
}

TEST_CASE("ways of arriving are understood or refused", "[measure]") {
  CHECK(parse_arrivals("burst")->burst == 10);
  CHECK(parse_arrivals("burst:3")->burst == 3);
  for (const char* bad : {"", "bursts", "burst:", "burst:0", "burst:-1", "burst:3x", "Poisson", "constant "}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_arrivals(bad));
  }
}
