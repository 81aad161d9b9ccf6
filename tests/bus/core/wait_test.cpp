// tests/bus/core/wait_test.cpp: deadlines, spinning and sleeping.
#include "bus/core/wait.hpp"

#include "bus/core/os/fd.hpp"
#include "tests/support/catch.hpp"

using namespace std::chrono_literals;

TEST_CASE("a deadline beyond the clock's range is forever", "[wait]") {
  REQUIRE(bus::in(std::chrono::hours(24 * 365 * 1000)) == bus::forever);
  REQUIRE(bus::in(std::chrono::duration<double>::max()) == bus::forever);
  REQUIRE(bus::in(1h) > bus::Clock::now());
  REQUIRE(bus::in(-1h) < bus::Clock::now());
}

TEST_CASE("wait modes have names", "[wait]") {
  for (const bus::WaitMode mode : {bus::WaitMode::spin, bus::WaitMode::hybrid, bus::WaitMode::block}) {
    REQUIRE(bus::parse_wait_mode(bus::name(mode)) == mode);
  }
  for (const char* bad : {"", "Spin", "busy", "spin "}) REQUIRE_FALSE(bus::parse_wait_mode(bad));
}

TEST_CASE("block sleeps at once, hybrid after a while, spin never", "[wait]") {
  REQUIRE_FALSE(bus::Spinner(bus::WaitMode::block).turn());
  bus::Spinner hybrid(bus::WaitMode::hybrid);
  unsigned turns = 0;
  while (hybrid.turn()) ++turns;
  REQUIRE(turns > 0);
  REQUIRE_FALSE(hybrid.turn());
  bus::Spinner longer(bus::WaitMode::hybrid, 20ms);
  const bus::Deadline awake = bus::in(15ms);
  while (bus::Clock::now() < awake) REQUIRE(longer.turn());
  while (longer.turn()) {
  }
  bus::Spinner spin(bus::WaitMode::spin);
  const bus::Deadline later = bus::in(5ms);
  while (bus::Clock::now() < later) REQUIRE(spin.turn());
  REQUIRE(bus::usable_cpus() >= 1);
}

TEST_CASE("patience is for waits that end in time, and goes where they do not", "[wait]") {
  const auto is_long = [](bus::Spinner spinner) {
    const auto start = bus::Clock::now();
    while (spinner.turn()) {
    }
    return bus::Clock::now() - start >= bus::Patience::kStayAwake;
  };
  bus::Patience patience;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(is_long(patience.next()));
    patience.in_time();
  }
  // An ordinary wait may take long where others have the CPU: of many some do not.
  const auto ordinary_of = [&](unsigned waits) {
    unsigned ordinary = 0;
    for (unsigned i = 0; i < waits; ++i) {
      if (!is_long(patience.next())) ++ordinary;
      patience.in_vain();
    }
    return ordinary;
  };
  REQUIRE(ordinary_of(1000) > 0);
  // A long one comes again, and once that is in time all are.
  bool found = false;
  for (int i = 0; i < 64 && !found; ++i) {
    found = is_long(patience.next());
    if (found) patience.in_time();
  }
  REQUIRE(found);
}

TEST_CASE("a sleep ends when a descriptor is ready, and tells which", "[wait]") {
  const bus::os::Fd one = bus::os::make_event(), two = bus::os::make_event();
  bus::os::signal_event(two.get());
  bus::WaitSet set;
  set.add(one.get(), POLLIN);
  set.add(two.get(), POLLIN);
  set.sleep(bus::forever);
  REQUIRE(set.ready(one.get()) == 0);
  REQUIRE(set.ready(two.get()) == POLLIN);
  REQUIRE(set.ready(-1) == 0);
}

TEST_CASE("a sleep ends at its deadline or after its slice", "[wait]") {
  const bus::os::Fd never = bus::os::make_event();
  const auto start = bus::Clock::now();
  {
    bus::WaitSet set;
    set.add(never.get(), POLLIN);
    set.sleep(start + 20ms);
    REQUIRE(bus::Clock::now() >= start + 20ms);
    REQUIRE(set.ready(never.get()) == 0);
  }
  bus::WaitSet set;
  set.add(never.get(), POLLIN);
  set.at_most(1h);
  set.at_most(10ms);
  set.sleep(bus::forever);  // returns at all
  set.sleep(start - 1h);    // a deadline in the past does not sleep
}

TEST_CASE("a wait set keeps as many descriptors as it says", "[wait]") {
  std::vector<bus::os::Fd> events;
  bus::WaitSet set;
  for (std::size_t n = 0; n < bus::WaitSet::kMost; ++n) {
    events.push_back(bus::os::make_event());
    bus::os::signal_event(events.back().get());
    set.add(events.back().get(), POLLIN);
  }
  set.sleep(bus::forever);
  for (const bus::os::Fd& event : events) REQUIRE(set.ready(event.get()) == POLLIN);
}

TEST_CASE("a descriptor has one owner", "[fd]") {
  bus::os::Fd one = bus::os::make_event();
  const int number = one.get();
  bus::os::Fd two = std::move(one);
  REQUIRE_FALSE(one);
  REQUIRE(two.get() == number);
  REQUIRE(two.release() == number);
  REQUIRE_FALSE(two);
  two.reset(number);
  bus::os::signal_event(number);
  bus::os::signal_event(number);
  pollfd state{number, POLLIN, 0};
  REQUIRE(::poll(&state, 1, 0) == 1);
  bus::os::clear_event(number);
  REQUIRE(::poll(&state, 1, 0) == 0);
}
