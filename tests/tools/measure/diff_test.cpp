// tests/tools/measure/diff_test.cpp: what has become better or worse between two results.
#include "tools/measure/diff.hpp"

#include <catch2/catch.hpp>
#include <sstream>

#include "tests/tools/measure/made_result.hpp"
#include "tools/common/json.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::test {
namespace {

using tools::Json;
using tools::measure::diff;
using tools::measure::Difference;
using tools::measure::RowDifference;

/// Two rows of ours, a latency and a rate, that are so many times as long and as much as usual, and a floor.
MadeResult made_run(std::uint64_t seed, double latency = 1, double rate = 1, double floor = 1,
                    std::uint64_t repetitions = 10) {
  MadeResult made(repetitions, seed, 300);
  made.add({"shm", 700 * latency});
  made.add({"shm", 0, 10e6 * rate, Measure::throughput});
  made.add({"ring", 300 * floor, 0, Measure::latency, Family::floor, 64, "spins"});
  return made;
}

bool says_of(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("a run against another of the same thing has no regression", "[measure]") {
  int regressions = 0, differences = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Difference difference = diff(made_run(seed).summarized(), made_run(seed + 1000).summarized(), 0.1);
    REQUIRE(difference.rows.size() == 3);
    regressions += difference.regressions() > 0;
    for (const RowDifference& row : difference.rows) differences += row.says != "no difference shown";
  }
  CAPTURE(regressions, differences);
  REQUIRE(regressions <= 1);
  REQUIRE(differences <= 6);  // one row in ten: a whole run may sit on a slower machine, which no interval knows of
}

TEST_CASE("a duration that grows and a rate that falls beyond the limit are regressions", "[measure]") {
  const Result before = made_run(1).summarized(), after = made_run(2, 1.3, 0.75).summarized();
  const Difference difference = diff(before, after, 0.1);
  REQUIRE(difference.regressions() == 2);
  REQUIRE(difference.rows[0].says == "slower");
  REQUIRE(difference.rows[0].ratio.value == Approx(1.3).epsilon(0.12));
  REQUIRE(*difference.rows[0].ratio.low > 1);
  REQUIRE(difference.rows[1].says == "slower");
  REQUIRE(difference.rows[1].ratio.value == Approx(0.75).epsilon(0.12));
  REQUIRE_FALSE(difference.rows[2].regression);

  // The other way round it is an improvement.
  const Difference better = diff(after, before, 0.1);
  REQUIRE(better.regressions() == 0);
  REQUIRE(better.rows[0].says == "faster");
  REQUIRE(better.rows[1].says == "faster");

  // Within the limit it is said, and is no regression.
  const Difference lenient = diff(before, after, 0.5);
  REQUIRE(lenient.regressions() == 0);
  REQUIRE(lenient.rows[0].says == "slower");
}

TEST_CASE("a change whose interval does not exclude none is no regression, however large", "[measure]") {
  MadeResult before = made_run(1), after = made_run(2);
  // Half of the repetitions take four times as long: the median moves, and its interval holds both.
  for (std::size_t i = 0; i < 10; ++i) {
    Repetition& one = after.raw().rows[1].repetitions[i];
    one.achieved_rate = i % 2 == 0 ? 10e6 : 2.5e6;
  }
  const Difference difference = diff(before.summarized(), after.summarized(), 0.1);
  REQUIRE(difference.rows[1].ratio.value < 0.9);
  REQUIRE(*difference.rows[1].ratio.high >= 0.95);
  REQUIRE_FALSE(difference.rows[1].regression);
}

TEST_CASE("an invalid row is said, and is neither fine nor a regression", "[measure]") {
  MadeResult before = made_run(1), after = made_run(2, 2);
  after.raw().rows[0].repetitions[4].invalid = {"lost 3 messages"};
  const Difference difference = diff(before.summarized(), after.summarized(), 0.1);
  REQUIRE(difference.invalid() == 1);
  REQUIRE(difference.regressions() == 0);
  REQUIRE(difference.rows[0].says == "invalid");
  REQUIRE(says_of(difference.warnings, "latency/shm/64/hybrid is invalid after: 1 of 10 repetitions: lost 3 messages"));
  const std::string text = to_text(difference, false);
  REQUIRE(text.rfind("NOT SHOWN", 0) == 0);
  REQUIRE(text.find("1 invalid") != std::string::npos);

  after.raw().invalid = {"the machine slept"};
  REQUIRE(diff(before.summarized(), after.summarized(), 0.1).invalid() == 3);
}

TEST_CASE("too few repetitions show neither a regression nor that there is none", "[measure]") {
  const Difference difference = diff(made_run(1).summarized(), made_run(2, 3, 0.3, 1, 5).summarized(), 0.1);
  REQUIRE(difference.unjudged() == 3);
  REQUIRE(difference.regressions() == 0);
  REQUIRE(difference.rows[0].ratio.value == Approx(3).epsilon(0.1));
  REQUIRE_FALSE(difference.rows[0].ratio.low);
  REQUIRE(to_text(difference, false).rfind("NOT SHOWN", 0) == 0);
}

TEST_CASE("rows that one side lacks are named", "[measure]") {
  MadeResult before = made_run(1), after = made_run(2);
  before.add({"old"});
  after.add({"new"});
  const Difference difference = diff(before.summarized(), after.summarized(), 0.1);
  REQUIRE(difference.rows.size() == 3);
  REQUIRE(difference.only_before == std::vector<std::string>{"latency/old/64/hybrid"});
  REQUIRE(difference.only_after == std::vector<std::string>{"latency/new/64/hybrid"});
  const std::string text = to_text(difference, false);
  REQUIRE(text.find("Only before: latency/old/64/hybrid\n") != std::string::npos);
  REQUIRE(text.find("Only after: latency/new/64/hybrid\n") != std::string::npos);
}

TEST_CASE("another machine, another build and other conditions are warned of", "[measure]") {
  MadeResult before = made_run(1), after = made_run(2);
  REQUIRE(diff(before.summarized(), after.summarized(), 0.1).warnings.empty());
  after.raw().environment[2].second[0].second = "Another CPU";
  after.raw().environment[0].second[1].second = "clang++ 14";
  after.raw().environment[0].second[0].second = "0.2.0";  // what one wants to compare
  after.raw().rows[0].conditions.pin.clear();
  after.raw().rows[0].conditions.touch = "none";
  const Difference difference = diff(before.summarized(), after.summarized(), 0.1);
  REQUIRE(difference.warnings.size() == 3);
  REQUIRE(says_of(difference.warnings, "different machines: machine cpu was Example CPU 9000, is Another CPU"));
  REQUIRE(says_of(difference.warnings, "different builds: build compiler was g++ 12.2.0, is clang++ 14"));
  REQUIRE(says_of(difference.warnings, "latency/shm/64/hybrid was measured under other conditions: touch, pin"));
}

TEST_CASE("floors that are slower tell of the machine", "[measure]") {
  const Difference difference = diff(made_run(1).summarized(), made_run(2, 1.4, 0.7, 1.4).summarized(), 0.1);
  REQUIRE(says_of(difference.warnings, "the machine itself was slower"));
}

TEST_CASE("a difference as JSON is an object a line, the summary last", "[measure]") {
  MadeResult after = made_run(2, 1.3);
  after.add({"new"});
  const Difference difference = diff(made_run(1).summarized(), after.summarized(), 0.1);
  std::vector<Json> lines;
  std::istringstream text(to_json_lines(difference));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  REQUIRE(lines.size() == 3 + 1 + 1);
  REQUIRE(lines[0].at("type") == "row");
  REQUIRE(lines[0].at("id") == "latency/shm/64/hybrid");
  REQUIRE(lines[0].at("figure") == "p50");
  REQUIRE(lines[0].at("regression") == true);
  REQUIRE(lines[0].at("ratio").at("low") > 1);
  REQUIRE(lines[3] == Json({{"type", "only"}, {"in", "after"}, {"id", "latency/new/64/hybrid"}}));
  REQUIRE(lines[4].at("type") == "summary");
  REQUIRE(lines[4].at("regressions") == 1);
  REQUIRE(lines[4].at("rows") == 3);
  REQUIRE(lines[4].at("only_after") == 1);
  REQUIRE(lines[4].at("fail_over") == 0.1);
}

TEST_CASE("the table of a difference fits its width", "[measure]") {
  MadeResult after = made_run(2, 1.3);
  after.raw().warnings = {"x"};
  const Difference difference = diff(made_run(1).summarized(), after.summarized(), 0.1);
  REQUIRE(to_text(difference, false).rfind("REGRESSION: 1 of 3 rows is worse by more than 10 %\n", 0) == 0);
  for (const int width : {60, 80, 100}) {
    std::istringstream text(to_text(difference, false, width));
    for (std::string line; std::getline(text, line);) {
      CAPTURE(width, line);
      REQUIRE(tools::width_of(line) <= static_cast<std::size_t>(width));
    }
  }
}

}  // namespace bus::test
