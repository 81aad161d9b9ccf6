// tests/tools/measure/summarize_test.cpp: figures, verdicts and validity of rows, from their repetitions.
#include "tools/measure/summarize.hpp"

#include <catch2/catch.hpp>

#include "tests/tools/measure/made_result.hpp"

namespace bus::test {
namespace {

using tools::measure::Figure;
using tools::measure::LoadModel;
using tools::measure::summarize;

const Figure& figure(const Row& row, const std::string& name) {
  const auto it = row.summary.figures.find(name);
  INFO("figure " << name << " of " << row.id);
  REQUIRE(it != row.summary.figures.end());
  return it->second;
}
bool has(const Row& row, const std::string& name) { return row.summary.figures.contains(name); }

/// A repetition whose values are 1, 2, ... n times `step`.
Repetition staircase(std::uint64_t block, std::uint64_t n, std::uint64_t step) {
  Repetition one;
  one.block = block;
  one.seconds = 1;
  one.messages = n;
  one.bytes = 64 * n;
  one.achieved_rate = static_cast<double>(n);
  for (std::uint64_t i = 1; i <= n; ++i) one.histograms["rtt"].add(i * step, 1);
  return one;
}

Result one_row(const std::vector<Repetition>& repetitions) {
  MadeResult made(0);
  made.add({"shm"}).repetitions = repetitions;
  Result result = made.raw();
  summarize(result);
  return result;
}

const Row& row_of(const Result& result, const std::string& id) {
  const Row* const row = result.find(id);
  INFO(id);
  REQUIRE(row != nullptr);
  return *row;
}

}  // namespace

TEST_CASE("a quantile is the median over repetitions of each one's, with an interval", "[measure]") {
  std::vector<Repetition> repetitions;
  for (const std::uint64_t step : {3U, 1U, 2U, 5U, 4U, 6U, 7U}) repetitions.push_back(staircase(step, 100, step));
  const Result result = one_row(repetitions);
  const Figure& p50 = figure(result.rows[0], "p50");
  REQUIRE(p50.value == 200);  // 50 * 4
  REQUIRE(p50.low == 50);
  REQUIRE(p50.high == 350);
  REQUIRE(p50.confidence == Approx(0.984375));
  REQUIRE(figure(result.rows[0], "p90").value == 360);
  REQUIRE(figure(result.rows[0], "max").value == 700);
  REQUIRE_FALSE(figure(result.rows[0], "max").low);
  REQUIRE(figure(result.rows[0], "rate").value == 100);
  REQUIRE(figure(result.rows[0], "bytes_per_second").value == 6400);
}

TEST_CASE("a quantile that single repetitions are too short for is that of all merged, without interval", "[measure]") {
  std::vector<Repetition> repetitions;
  for (std::uint64_t block = 0; block < 10; ++block) repetitions.push_back(staircase(block, 100, 1 + block));
  const Result result = one_row(repetitions);
  const Row& row = result.rows[0];
  const Figure& p99 = figure(row, "p99");  // 100 samples each: p90 at most; 1000 in all: p99
  REQUIRE(p99.value == static_cast<double>(tools::measure::merged_main(row).quantile(0.99)));
  REQUIRE_FALSE(p99.low);
  REQUIRE(p99.confidence == 0);
  REQUIRE(figure(row, "p90").low);
  REQUIRE_FALSE(has(row, "p99.9"));
  REQUIRE_FALSE(has(row, "p99.99"));
}

TEST_CASE("one short repetition is enough to take the merged value", "[measure]") {
  std::vector<Repetition> repetitions;
  for (std::uint64_t block = 0; block < 6; ++block) repetitions.push_back(staircase(block, 1000, 1));
  repetitions.push_back(staircase(6, 50, 1));
  const Result result = one_row(repetitions);
  REQUIRE_FALSE(figure(result.rows[0], "p99").low);
  REQUIRE_FALSE(figure(result.rows[0], "p90").low);
  REQUIRE(figure(result.rows[0], "p50").low);
}

TEST_CASE("fewer than six repetitions give figures and no interval", "[measure]") {
  const Result result = made_comparison(5, 1, 2000).summarized();
  for (const Row& row : result.rows) {
    for (const auto& [name, value] : row.summary.figures) {
      CAPTURE(row.id, name);
      REQUIRE_FALSE(value.low);
      REQUIRE(value.confidence == 0);
    }
    for (const auto& verdict : {row.summary.floor, row.summary.baseline}) {
      if (!verdict) continue;
      REQUIRE(verdict->says == "too few repetitions");
      REQUIRE(verdict->ratio.value > 0);
    }
  }
}

TEST_CASE("a row is invalid when a repetition is, and says why and how often", "[measure]") {
  MadeResult made(10, 1, 2000);
  Row& row = made.add({"shm"});
  row.repetitions[2].invalid = {"lost 3 messages", "too few samples"};
  row.repetitions[5].invalid = {"lost 12 messages", "lost 4 messages"};
  row.repetitions[7].invalid = {"achieved 98.2 % of the rate"};
  const Result result = made.summarized();
  REQUIRE_FALSE(result.is_valid());
  REQUIRE(result.rows[0].invalid == std::vector<std::string>{"2 of 10 repetitions: lost 3 messages, or alike",
                                                             "1 of 10 repetitions: too few samples",
                                                             "1 of 10 repetitions: achieved 98.2 % of the rate"});
  // Only what counts is in the figures.
  REQUIRE(figure(result.rows[0], "p50").confidence == Approx(0.984375));  // of seven
  REQUIRE(tools::measure::merged_main(result.rows[0]).count() == 7 * 2000);
}

TEST_CASE("a row without repetitions is invalid, and one without valid ones has no figures", "[measure]") {
  MadeResult made(3, 1, 200);
  made.add({"shm"}).repetitions.clear();
  for (Repetition& one : made.add({"unix"}).repetitions) one.invalid = {"the clock went back"};
  const Result result = made.summarized();
  REQUIRE(result.rows[0].invalid == std::vector<std::string>{"no repetition was measured"});
  REQUIRE(result.rows[0].summary.figures.empty());
  REQUIRE(result.rows[1].invalid == std::vector<std::string>{"3 of 3 repetitions: the clock went back"});
  REQUIRE(result.rows[1].summary.figures.empty());
}

TEST_CASE("a summary made again is the same", "[measure]") {
  MadeResult made = made_comparison(7, 3, 1000);
  made.raw().rows[1].repetitions[0].invalid = {"lost 1 message"};
  made.raw().rows[1].invalid = {"and another reason"};
  Result once = made.summarized();
  const std::string first = to_json(once);
  summarize(once);
  REQUIRE(to_json(once) == first);
  Result read = tools::measure::result_from_json(first);
  summarize(read);
  REQUIRE(to_json(read) == first);
}

TEST_CASE("floors and the baseline are compared in pairs of one block", "[measure]") {
  const Result result = made_comparison(10, 1, 2000).summarized();
  const auto& shm = row_of(result, "latency/shm/64/hybrid").summary;
  REQUIRE(shm.floor->against == "latency/ring/64/spins");
  REQUIRE(shm.floor->says == "slower");
  REQUIRE(shm.floor->ratio.value == Approx(702 / 290.0).epsilon(0.05));
  REQUIRE_FALSE(shm.baseline);  // it is the baseline

  const auto& inproc = row_of(result, "latency/inproc/65536/hybrid").summary;
  REQUIRE(inproc.baseline->against == "latency/shm/65536/hybrid");  // the baseline's way at this size
  REQUIRE(inproc.baseline->says == "faster");
  const auto& unix_rate = row_of(result, "throughput/unix/64/block").summary;
  REQUIRE(unix_rate.baseline->against == "throughput/shm/64/hybrid");
  REQUIRE(unix_rate.baseline->says == "slower");
  REQUIRE(unix_rate.floor->says == "faster");  // 1.1 M against 0.9 M: more of a rate
  REQUIRE_FALSE(row_of(result, "cost/timer/0/").summary.baseline);

  // The machine of a block hits both, and cancels out: closer together than the figures themselves.
  const auto& p50 = figure(row_of(result, "latency/shm/64/hybrid"), "p50");
  REQUIRE(*shm.floor->ratio.high / *shm.floor->ratio.low < *p50.high / *p50.low);
}

TEST_CASE("blocks that one of both lacks are left out of the pairs", "[measure]") {
  MadeResult made(10, 1, 500);
  made.add({"ring", 100, 0, Measure::latency, Family::floor, 64, "spins"});
  made.add({"shm", 200, 0, Measure::latency, Family::ours, 64, "hybrid", "latency/ring/64/spins"});
  made.raw().rows[0].repetitions.erase(made.raw().rows[0].repetitions.begin(),
                                       made.raw().rows[0].repetitions.begin() + 5);
  const Result result = made.summarized();
  REQUIRE(result.rows[1].summary.floor->says == "too few repetitions");
  REQUIRE(result.rows[1].summary.floor->ratio.value == Approx(2).epsilon(0.1));
}

TEST_CASE("a verdict against or of an invalid row is invalid", "[measure]") {
  MadeResult made = made_comparison(10, 1, 500);
  for (Row& row : made.raw().rows) {
    if (row.id == "latency/ring/64/spins") row.repetitions[0].invalid = {"steal time"};
    if (row.id == "latency/tcp/64/block") row.invalid = {"the peer died"};
  }
  const Result result = made.summarized();
  REQUIRE(row_of(result, "latency/shm/64/hybrid").summary.floor->says == "invalid");
  REQUIRE(row_of(result, "latency/inproc/64/hybrid").summary.baseline->says == "faster");
  REQUIRE(row_of(result, "latency/tcp/64/block").summary.baseline->says == "invalid");
}

TEST_CASE("a cost is the floor of a rate as one over it, and of a latency as it is", "[measure]") {
  MadeResult made(10, 1, 500);
  made.add({"memcpy", 50, 0, Measure::cost, Family::floor, 64, ""});
  made.add({"inproc", 0, 10e6, Measure::throughput, Family::ours, 64, "hybrid", "cost/memcpy/64/"});
  made.add({"inproc", 200, 0, Measure::latency, Family::ours, 64, "hybrid", "cost/memcpy/64/"});
  const Result result = made.summarized();
  REQUIRE(figure(result.rows[0], "cost").value == Approx(50).epsilon(0.1));
  REQUIRE(result.rows[0].summary.figures.size() == 1);
  REQUIRE(result.rows[1].summary.floor->ratio.value == Approx(0.5).epsilon(0.1));  // 10 M of 20 M a second
  REQUIRE(result.rows[1].summary.floor->says == "slower");
  REQUIRE(result.rows[2].summary.floor->ratio.value == Approx(4).epsilon(0.1));
}

TEST_CASE("an open loop is judged by its response, and tells of its send lag", "[measure]") {
  MadeResult made(6, 1, 2000);
  Row& row = made.add({"shm"});
  row.conditions.load_model = LoadModel::open;
  for (Repetition& one : row.repetitions) {
    one.histograms["response"] = one.histograms["rtt"];
    one.histograms.erase("rtt");
    for (std::uint64_t i = 1; i <= 2000; ++i) {
      one.histograms["service"].add(1, 1);
      one.histograms["send_lag"].add(i, 1);
    }
  }
  const Result result = made.summarized();
  REQUIRE(figure(result.rows[0], "p50").value == Approx(1000).epsilon(0.1));
  REQUIRE(figure(result.rows[0], "send_lag_p99").value == 1980);
  REQUIRE(figure(result.rows[0], "send_lag_p99").low);
}

TEST_CASE("what one repetition could not count is no figure", "[measure]") {
  MadeResult made(6, 1, 500);
  made.add({"shm"}).repetitions[3].cpu = std::nullopt;
  const Result result = made.summarized();
  REQUIRE_FALSE(has(result.rows[0], "cpu"));
  REQUIRE(has(result.rows[0], "involuntary_switches"));
}

TEST_CASE("A against A in whole results says no difference, and 20 % more is found", "[measure]") {
  int none = 0, found = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    MadeResult made(10, seed, 500);
    made.add({"a", 1000});
    made.add({"b", 1000});
    made.add({"slow", 1200});
    made.raw().baseline = "latency/a/64/hybrid";
    const Result result = made.summarized();
    none += result.rows[1].summary.baseline->says == "no difference shown";
    found += result.rows[2].summary.baseline->says == "slower";
  }
  CAPTURE(none, found);
  REQUIRE(none >= 19);
  REQUIRE(found >= 19);
}

}  // namespace bus::test
