// tests/tools/measure/job_test.cpp: what processes of a measurement say to each other arrives as it was.
#include "tools/measure/job.hpp"

#include "tests/support/catch.hpp"

using namespace bus::tools;
using namespace bus::tools::measure;

TEST_CASE("a job arrives as it was said", "[measure]") {
  Job job;
  job.crossing = "bus";
  job.address = "shm://x?wait=spin";
  job.role = Role::far;
  job.load_model = LoadModel::open;
  job.size = 4096;
  job.touch = Touch::first;
  job.copy = true;
  job.batch = 7;
  job.producers = 3;
  job.index = 2;
  job.broker_pid = 4711;
  job.arrivals = *parse_arrivals("burst:5");
  job.arrivals.rate = 1234.5;
  job.arrivals.trace = {{0, 64}, {1000, 128}};
  job.warm_up_ns = 5;
  job.timed_ns = ~std::uint64_t{0};
  job.seed = 99;
  job.cpu = 1;
  job.clock = {1, 2, 3};
  job.delay_ns = 17;
  job.echoes = true;
  const std::string text = to_json(job);
  REQUIRE(to_json(job_from_json(text)) == text);
  const Job again = job_from_json(text);
  REQUIRE(again.role == Role::far);
  REQUIRE(again.arrivals.rate == 1234.5);
  REQUIRE(again.arrivals.trace[1].size == 128);
  REQUIRE(again.timed_ns == ~std::uint64_t{0});
  REQUIRE(again.cpu == 1);
  REQUIRE(again.broker_pid == 4711);
  REQUIRE(again.clock.mult == 3);
}

TEST_CASE("findings arrive as they were said, with exact ends of their histograms", "[measure]") {
  Findings found;
  found.failure = "a \"reason\"";
  found.sent = 1;
  found.page_faults = 12;
  found.seconds = 0.25;
  found.worst = {{0.5, 100, "why"}};
  found.timeline = {{0, 0.1, 5, 1, 2, 3}};
  Histogram histogram;
  for (const long value : {5L, 100'001L, 100'002L, 7'654'321L}) histogram.add(std::chrono::nanoseconds(value));
  found.histograms["rtt"] = histogram;
  Histogram one;
  one.add(std::chrono::nanoseconds(123'457));
  found.histograms["one"] = one;
  const Findings again = findings_from_json(to_json(found));
  REQUIRE(to_json(again) == to_json(found));
  REQUIRE(again.failure == found.failure);
  REQUIRE(again.page_faults == 12);
  const Histogram& rtt = again.histograms.at("rtt");
  REQUIRE(rtt.count() == 4);
  REQUIRE(rtt.least() == 5);
  REQUIRE(rtt.greatest() == 7'654'321);
  REQUIRE(rtt.quantile(0.5) == histogram.quantile(0.5));
  REQUIRE(again.histograms.at("one").least() == 123'457);
  REQUIRE(again.histograms.at("one").count() == 1);
}
