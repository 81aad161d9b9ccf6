// tests/tools/measure/slo_test.cpp: service levels, and the knee of something that has one.
#include "tools/measure/slo.hpp"

#include "tests/support/catch.hpp"
#include "tools/common/arguments.hpp"

using namespace bus::tools;
using namespace bus::tools::measure;

namespace {

Row row_of(std::uint64_t ns, std::uint64_t slow) {
  Row row;
  row.repetitions.resize(2);
  for (Repetition& repetition : row.repetitions) {
    Histogram histogram;
    histogram.add(ns, 980);
    histogram.add(slow, 20);
    repetition.histograms["response"] = histogram;
  }
  return row;
}

}  // namespace

TEST_CASE("a service level holds when each repetition keeps each limit", "[measure]") {
  const ServiceLevel level = parse_service_level("p50<10us,p99<200us,loss=0");
  REQUIRE(level.limits.size() == 2);
  CHECK(level.holds(row_of(1'000, 100'000)));
  CHECK_FALSE(level.holds(row_of(1'000, 300'000)));
  CHECK_FALSE(level.holds(row_of(20'000, 100'000)));
  Row lossy = row_of(1'000, 100'000);
  lossy.repetitions[1].invalid.emplace_back("1 lost");
  CHECK_FALSE(level.holds(lossy));
  CHECK_FALSE(level.holds(Row{}));
}

TEST_CASE("what is no service level is refused", "[measure]") {
  for (const char* bad :
       {"", "p99", "p99<", "p99<5", "p0<5us", "p100<5us", "q99<5us", "p99<5us,", "loss=1", "p99>5us"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_service_level(bad), UsageError);
  }
}

TEST_CASE("the search finds the knee of a thing that is limited", "[measure]") {
  for (const double knee : {1'100.0, 52'000.0, 730'000.0}) {
    int asked = 0;
    const double found = highest_rate(1'000, 1'000'000, [&](double rate) {
      ++asked;
      return rate <= knee;
    });
    CAPTURE(knee, found);
    CHECK(found <= knee);
    CHECK(found > knee / 1.06);
    CHECK(asked < 15);
  }
  CHECK(highest_rate(1'000, 1'000'000, [](double) { return false; }) == 0);
  CHECK(highest_rate(1'000, 1'000'000, [](double) { return true; }) == 1'000'000);
}
