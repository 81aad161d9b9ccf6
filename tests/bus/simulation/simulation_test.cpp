// tests/bus/simulation/simulation_test.cpp: many small buses, each from a seed; every one has to keep every promise.
//
//   BUS_SIM_SEEDS=N  how many (ordinarily 10,000; fewer under a sanitizer)   BUS_SIM_SEED=S  this one alone, with its
//   trace
#include "tests/bus/simulation/simulation.hpp"

#include <cstdlib>
#include <iostream>

#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

namespace {

using bus::simulation::Simulation;

#ifdef NDEBUG
constexpr std::uint64_t kOrdinary = 10'000;
#else
constexpr std::uint64_t kOrdinary = 1'000;
#endif
constexpr std::uint64_t kSeeds = bus::test::kSanitized ? 100 : kOrdinary;  // ten times slower or more

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Runs it again with its trace, and prints that.
void show(std::uint64_t seed) {
  Simulation again(seed, true);
  again.run();
  std::cout << again.world().trace() << "replay: BUS_SIM_SEED=" << seed << " bus_unit_tests '[simulation]'\n";
}

}  // namespace

TEST_CASE("a bus keeps its promises through every fault of every seed", "[simulation]") {
  const std::uint64_t single = number_from("BUS_SIM_SEED", 0);
  const std::uint64_t first = single > 0 ? single : 1;
  const std::uint64_t last = single > 0 ? single : number_from("BUS_SIM_SEEDS", kSeeds);
  const std::uint64_t most_failures = number_from("BUS_SIM_FAILURES", 1);
  std::uint64_t events = 0, failures = 0, seeds = 0;
  for (std::uint64_t seed = first; seed <= last && failures < most_failures; ++seed, ++seeds) {
    Simulation simulation(seed, false);
    const std::string failure = simulation.run();
    events += simulation.world().events();
    if (!failure.empty()) {
      ++failures;
      std::cout << "seed " << seed << ": " << failure << "\n";
      if (most_failures == 1) show(seed);
    }
    CHECK(failure.empty());
    if (single > 0 && failure.empty()) show(seed);
  }
  std::cout << "simulation: " << seeds << " seeds, " << events << " events, " << failures << " failed\n";
}

TEST_CASE("the same seed is the same run", "[simulation]") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Simulation one(seed, false), other(seed, true);
    one.run();
    other.run();
    CHECK(one.world().hash() == other.world().hash());
    CHECK(one.world().events() == other.world().events());
  }
}
