// tests/tools/measure/sampler_test.cpp: samples go into their slices, and the worst are kept with what was around them.
#include "tools/measure/sampler.hpp"

#include "tests/support/catch.hpp"

using namespace bus::tools::measure;

TEST_CASE("samples are in the slices in which they were complete", "[measure]") {
  Sampler sampler(1'000'000'000);
  sampler.begin(5'000);
  for (std::uint64_t i = 0; i < 1000; ++i) sampler.add(5'000 + i * 1'000'000, 100 + i);
  Findings found;
  sampler.report("rtt", found);
  REQUIRE(found.timeline.size() == Sampler::kSlices);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < found.timeline.size(); ++i) {
    const Slice& slice = found.timeline[i];
    CHECK(slice.at_seconds == Approx(0.05 * static_cast<double>(i)));
    CHECK(slice.count == 50);
    CHECK(slice.max == 100 + i * 50 + 49);
    count += slice.count;
  }
  REQUIRE(count == 1000);
  REQUIRE(found.histograms.at("rtt").count() == 1000);
  REQUIRE(found.histograms.at("rtt").greatest() == 1099);
}

TEST_CASE("a sample that comes after a long pause is in its own slice, and none is lost", "[measure]") {
  Sampler sampler(1'000'000'000);
  sampler.begin(0);
  sampler.add(1, 10);
  sampler.add(900'000'000, 899'999'999);
  sampler.add(5'000'000'000, 4'000'000'000);  // behind the end
  Findings found;
  sampler.report("rtt", found);
  REQUIRE(found.histograms.at("rtt").count() == 3);
  REQUIRE(found.timeline.front().at_seconds == 0);
  REQUIRE(found.timeline[1].at_seconds == Approx(0.9));
}

TEST_CASE("the worst samples are kept, the slowest first", "[measure]") {
  Sampler sampler(1'000'000'000);
  sampler.begin(0);
  for (std::uint64_t i = 0; i < 1000; ++i) sampler.add(i, (i * 7919) % 1000);
  Findings found;
  sampler.report("rtt", found);
  REQUIRE(found.worst.size() == Sampler::kWorst);
  for (std::size_t i = 0; i < found.worst.size(); ++i) REQUIRE(found.worst[i].duration == 999 - i);
}
