// tests/bus/core/units_test.cpp: sizes, durations and rates as people write them.
#include "bus/core/units.hpp"
#include "tests/support/catch.hpp"

using namespace std::chrono_literals;

TEST_CASE("sizes are read with binary and decimal units", "[units]") {
  const auto [text, bytes] = GENERATE(table<const char*, std::uint64_t>({
      {"0", 0},
      {"64", 64},
      {"64B", 64},
      {"4KiB", 4096},
      {"1MiB", 1'048'576},
      {"2GiB", 2'147'483'648},
      {"1kB", 1000},
      {"1MB", 1'000'000},
      {"3GB", 3'000'000'000},
      {"1.5KiB", 1536},
      {"0.5MiB", 524'288},
      {"9007199254740991", 9'007'199'254'740'991},
  }));
  CAPTURE(text);
  REQUIRE(bus::parse_size(text) == bytes);
}

TEST_CASE("what is no size is refused", "[units]") {
  const std::string text =
      GENERATE(as<std::string>(), "", " ", "-1", "-0", "+1", "KiB", "1 KiB", " 1", "1 ", "1kib", "1Kib", "0x10", "1e3",
               "inf", "nan", "1.5", "1..5KiB", "1,5KiB", "9007199254740992", "99999999999999999999", "1TiBB", "16EiB");
  CAPTURE(text);
  REQUIRE_FALSE(bus::parse_size(text));
}

TEST_CASE("durations are read with their unit, which only zero may lack", "[units]") {
  REQUIRE(bus::parse_duration("0") == 0ns);
  REQUIRE(bus::parse_duration("7ns") == 7ns);
  REQUIRE(bus::parse_duration("50us") == 50us);
  REQUIRE(bus::parse_duration("100ms") == 100ms);
  REQUIRE(bus::parse_duration("1.5s") == 1500ms);
  REQUIRE(bus::parse_duration("2m") == 2min);
  REQUIRE(bus::parse_duration("1h") == 1h);
  for (const char* bad : {"", "5", "-5s", "s", "5 s", "5S", "5sec", "nan", "infs", "300000000000s", "1e3s"}) {
    CAPTURE(bad);
    REQUIRE_FALSE(bus::parse_duration(bad));
  }
}

TEST_CASE("rates are read a second, and none is zero", "[units]") {
  REQUIRE(bus::parse_rate("250") == 250.0);
  REQUIRE(bus::parse_rate("10k") == 10'000.0);
  REQUIRE(bus::parse_rate("2M") == 2'000'000.0);
  REQUIRE(bus::parse_rate("0.5") == 0.5);
  for (const char* bad : {"", "0", "-1", "k", "10 k", "1/s", "inf", "nan"}) {
    CAPTURE(bad);
    REQUIRE_FALSE(bus::parse_rate(bad));
  }
}

TEST_CASE("a size is written in its shortest exact form, and read back the same", "[units]") {
  REQUIRE(bus::format_size(0) == "0");
  REQUIRE(bus::format_size(1000) == "1000");
  REQUIRE(bus::format_size(1024) == "1KiB");
  REQUIRE(bus::format_size(65536) == "64KiB");
  REQUIRE(bus::format_size(65537) == "65537");
  REQUIRE(bus::format_size(1 << 20) == "1MiB");
  REQUIRE(bus::format_size(std::uint64_t{3} << 30) == "3GiB");
  for (std::uint64_t n = 1; n < (std::uint64_t{1} << 50); n = n * 3 + 1) {
    REQUIRE(bus::parse_size(bus::format_size(n)) == n);
  }
}

TEST_CASE("a duration is written with three digits and a unit", "[units]") {
  REQUIRE(bus::format_duration(0ns) == "0ns");
  REQUIRE(bus::format_duration(999ns) == "999ns");
  REQUIRE(bus::format_duration(12'345ns) == "12.3us");
  REQUIRE(bus::format_duration(250ms) == "250ms");
  REQUIRE(bus::format_duration(1500ms) == "1.5s");
}
