// tests/tools/measure/text_test.cpp: a result as people see it.
#include "tools/measure/text.hpp"

#include <catch2/catch.hpp>
#include <sstream>

#include "tests/tools/measure/made_result.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/numbers.hpp"
#include "tools/measure/plot.hpp"
#include "tools/measure/table.hpp"

namespace bus::test {
namespace {

using namespace tools::measure;
using tools::width_of;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The first line that begins so.
std::string line_with(const std::string& text, const std::string& begin) {
  for (const std::string& line : lines_of(text)) {
    if (line.rfind(begin, 0) == 0) return line;
  }
  FAIL("no line begins with " << begin << " in\n" << text);
  return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string without_escapes(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = text.find('m', i);
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

TEST_CASE("figures have three digits and the unit that suits them", "[measure]") {
  REQUIRE(duration_text(702) == "702 ns");
  REQUIRE(duration_text(7) == "7 ns");
  REQUIRE(duration_text(21.46) == "21.5 ns");
  REQUIRE(duration_text(0.853) == "0.85 ns");
  REQUIRE(duration_text(999.4) == "999 ns");
  REQUIRE(duration_text(999.7) == "1.00 us");
  REQUIRE(duration_text(9'996) == "10.0 us");
  REQUIRE(duration_text(31'240) == "31.2 us");
  REQUIRE(duration_text(4'200'000) == "4.20 ms");
  REQUIRE(duration_text(61.5e9) == "61.5 s");
  REQUIRE(duration_text(0) == "0 ns");
  REQUIRE(duration_interval_text({1500, 900, 2000, 0.95}) == "[0.90..2.00]");
  REQUIRE(duration_interval_text({1500, {}, {}, 0}).empty());
  REQUIRE(rate_text(476'190) == "476 k");
  REQUIRE(rate_text(98.25) == "98.2");
  REQUIRE(gib_text(2.5 * 1024 * 1024 * 1024) == "2.50");
  REQUIRE(gib_text(1024 * 1024) == "<0.001");
  REQUIRE(gib_text(0) == "0.000");
  REQUIRE(number_text(2) == "2");
  REQUIRE(number_text(0.02) == "0.02");
  REQUIRE(number_text(0.0001) == "<0.01");
  REQUIRE(ratio_text(1.834) == "1.83x");
  REQUIRE(ratio_text(1e300) == ">9999x");
  REQUIRE(size_text(64) == "64 B");
  REQUIRE(size_text(65536) == "64 KiB");
  REQUIRE(percent_text(0.978515625) == "97.9 %");
  REQUIRE(decade_text(0) + decade_text(1) + decade_text(2) + decade_text(4) == "0%90%99%99.99%");
}

TEST_CASE("the first line says whether the result is valid, and why not comes next", "[measure]") {
  MadeResult made = made_comparison(6, 1, 500);
  REQUIRE(lines_of(to_text(made.summarized(), false))[0] == "VALID: all 25 rows count");

  made.raw().rows[2].repetitions[1].invalid = {"lost 3 messages"};
  made.raw().rows[3].repetitions[1].invalid = {"lost 3 messages"};
  const std::string text = to_text(made.summarized(), false);
  REQUIRE(lines_of(text)[0] == "INVALID: 2 of 25 rows do not count");
  REQUIRE(lines_of(text)[1] == "  latency/unix/64/block, latency/tcp/64/block: 1 of 6 repetitions: lost 3 messages");
  REQUIRE(contains(line_with(text, "unix "), "INVALID"));

  made.raw().invalid = {"the machine slept"};
  REQUIRE(contains(lines_of(to_text(made.summarized(), false))[1], "the machine slept"));
}

TEST_CASE("no line is wider than asked for, and none ends with a blank", "[measure]") {
  MadeResult made = made_comparison(10, 1, 500);
  made.raw().rows[0].name = "a name that is much longer than anybody should ever give to a row of a table";
  made.raw().rows[1].warnings = {"a warning with a very long word: " + std::string(30, 'x') + " and more behind it"};
  for (Repetition& one : made.raw().rows[4].repetitions) one.invalid = {"achieved 3 % of the rate that was asked for"};
  const Result result = made.summarized();
  for (const int width : {40, 60, 80, 100, 132, 200}) {
    for (const bool colour : {false, true}) {
      for (const std::string& line : lines_of(without_escapes(to_text(result, colour, width)))) {
        CAPTURE(width, colour, line);
        REQUIRE(width_of(line) <= static_cast<std::size_t>(width));
        REQUIRE((line.empty() || line.back() != ' '));
      }
    }
  }
}

TEST_CASE("colour changes nothing but colours", "[measure]") {
  const Result result = made_comparison(10, 1, 500).summarized();
  const std::string plain = to_text(result, false);
  REQUIRE_FALSE(contains(plain, "\x1b"));
  REQUIRE(contains(to_text(result, true), "\x1b["));
  REQUIRE(without_escapes(to_text(result, true)) == plain);
}

TEST_CASE("a table has the figures with their interval, the floor's ratio and the verdict", "[measure]") {
  const Result result = made_comparison(10, 1, 20'000).summarized();
  const std::string text = to_text(result, false);
  CAPTURE(text);
  const std::string head = line_with(text, "           wait");
  for (const char* const title : {"p50 [interval]", "p90", "p99", "p99.9", "CPU/msg", "x floor", "vs shm"}) {
    REQUIRE(contains(head, title));
  }
  const std::string shm = line_with(text, "shm"), inproc = line_with(text, "inproc");
  const Row& row = *result.find("latency/shm/64/hybrid");
  REQUIRE(contains(shm, "hybrid"));
  for (const char* const name : {"p50", "p90", "p99", "p99.9"}) {
    REQUIRE(contains(shm, duration_text(row.summary.figures.at(name).value)));
  }
  REQUIRE(contains(shm, duration_interval_text(row.summary.figures.at("p50"))));
  REQUIRE(contains(shm, ratio_text(row.summary.floor->ratio.value)));
  REQUIRE(contains(shm, "baseline"));
  REQUIRE(contains(inproc, "faster"));
  REQUIRE(contains(text, "\nthroughput, 64 KiB"));
  REQUIRE(contains(text, "GiB/s"));
  REQUIRE(contains(text, "\npeers\nZeroMQ ipc"));
  REQUIRE(contains(text, "\nfloors\nring"));
}

TEST_CASE("what has to be known to read the figures stands below them", "[measure]") {
  MadeResult made = made_comparison(10, 1, 500);
  std::string text = to_text(made.summarized(), false);
  REQUIRE(contains(text, "RTT is a round trip"));
  REQUIRE(contains(text, "holds the median over repetitions with 97.9 %"));
  REQUIRE(contains(text, "-: too few samples"));  // 5000 in all: no p99.9
  REQUIRE_FALSE(contains(text, "virtual machine"));
  REQUIRE_FALSE(contains(text, "Fewer than 6"));

  made.raw().environment[2].second[2].second = "KVM";
  made.raw().warnings = {"the governor is powersave"};
  text = to_text(made.summarized(), false);
  REQUIRE(contains(text, "A virtual machine (KVM): tails include what the host does."));
  REQUIRE(contains(text, "under KVM"));
  REQUIRE(contains(text, "Warning: the governor is powersave"));
}

TEST_CASE("fewer than six repetitions print no interval, and the text says so", "[measure]") {
  const std::string text = to_text(made_comparison(5, 1, 20'000).summarized(), false);
  CAPTURE(text);
  REQUIRE_FALSE(contains(text, ".."));
  REQUIRE(contains(text, "Fewer than 6 repetitions"));
  REQUIRE(contains(text, "(here 5)"));
  REQUIRE(contains(line_with(text, "inproc"), "too few"));
}

TEST_CASE("an open loop says what it is, and conditions that are not the usual ones are in the name", "[measure]") {
  MadeResult made(6, 1, 2000);
  Row& row = made.add({"shm"});
  row.conditions.load_model = LoadModel::open;
  row.conditions.arrival = "poisson";
  row.conditions.rate = 50'000;
  row.conditions.touch = "none";
  row.conditions.loan = true;
  row.conditions.batch = 16;
  row.conditions.producers = 3;
  const std::string text = to_text(made.summarized(), false);
  REQUIRE(contains(text, "\nlatency, 64 B: response, open loop, poisson at 50.0 k/s\n"));
  REQUIRE(contains(text, "\nshm, loan, batch 16, 3 producers, touch none"));
  REQUIRE(contains(text, "msg/s"));  // what was achieved
  REQUIRE_FALSE(contains(text, "RTT"));
}

TEST_CASE("a result without rows, or with control characters in its names, is shown all the same", "[measure]") {
  Result empty;
  REQUIRE(contains(to_text(empty, false), "there are no rows"));
  REQUIRE_FALSE(to_markdown(empty).empty());
  MadeResult made(6, 1, 100);
  Row& row = made.add({"shm"});
  row.name = "evil\x1b[2J\nname\xc2\x9b";
  row.warnings = {"\x1b]0;title\x07"};
  row.id = "id\x1b";
  row.invalid = {"because\x1b"};
  const std::string text = to_text(made.summarized(), false), markdown = to_markdown(made.summarized());
  for (const char bad : {'\x1b', '\x07', '\x9b'}) {
    REQUIRE(text.find(bad) == std::string::npos);
    REQUIRE(markdown.find(bad) == std::string::npos);
  }
  REQUIRE(contains(text, "evil?[2J?name?"));
}

TEST_CASE("Markdown has the same tables with all columns", "[measure]") {
  MadeResult made = made_comparison(6, 1, 20'000);
  made.raw().rows[0].name = "a|b";
  const std::string text = to_markdown(made.summarized());
  CAPTURE(text);
  REQUIRE(text.rfind("**VALID: all 25 rows count**\n", 0) == 0);
  REQUIRE(
      contains(text, "| p50 | [interval] | p90 | p99 | p99.9 | max | msg/s | GiB/s | CPU/msg | calls | switches |"));
  REQUIRE(contains(text, "| a\\|b | hybrid | "));
  std::size_t columns = 0;
  for (const std::string& line : lines_of(text)) {
    std::size_t bars = 0;
    for (std::size_t i = 0; i < line.size(); ++i) bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    if (bars == 0) columns = 0;
    if (bars > 0 && columns == 0) columns = bars;
    REQUIRE(bars == columns);
  }
}

TEST_CASE("a table leaves out the least wanted columns first, and says which", "[measure]") {
  Table table({{"", false, 100}, {"much", true, 50}, {"more", true, 60}, {"empty", true, 90}});
  table.add({{"name"}, {"12345678"}, {"87654321"}, {""}});
  REQUIRE(table.text(100, false) == "          much      more\nname  12345678  87654321\n");
  REQUIRE(table.text(22, false) == "         much     more\nname 12345678 87654321\n");
  REQUIRE(table.text(16, false) == "          more\nname  87654321\n");
  REQUIRE(table.left_out(16) == std::vector<std::string>{"much"});
  REQUIRE(table.markdown() == "|  | much | more |\n|---|---:|---:|\n| name | 12345678 | 87654321 |\n");
}

TEST_CASE("a plot shows each curve once, as far as its samples go", "[measure]") {
  std::vector<Curve> curves(2);
  curves[0].label = "low";
  curves[1].label = "high";
  for (int i = 0; i < 100'000; ++i) curves[0].histogram.add(std::chrono::nanoseconds(1000 + i % 100));
  for (int i = 0; i < 1'000; ++i) curves[1].histogram.add(std::chrono::nanoseconds(100'000));
  const std::string text = percentile_plot(curves, 80, 10, false);
  const std::vector<std::string> lines = lines_of(text);
  CAPTURE(text);
  REQUIRE(lines.size() == 12);
  REQUIRE(contains(lines[0], "high"));  // the top line: the greatest
  REQUIRE(contains(lines[9], "low"));
  REQUIRE(width_of(lines[9]) <= 80);
  REQUIRE(contains(lines[11], "99.9%"));
  // 100 000 samples may be printed up to 99.99 %, 1000 up to 99 %: half as far on this axis.
  const auto dots = [](const std::string& line) {
    // U+2800 and on begin with E2 A0 to E2 A3; the axis does not.
    std::size_t n = 0;
    for (std::size_t i = 0; i + 1 < line.size(); ++i) {
      n += line[i] == '\xe2' && static_cast<unsigned char>(line[i + 1]) - 0xA0U < 4;
    }
    return n;
  };
  REQUIRE(dots(lines[9]) > 2 * dots(lines[0]) - 4);
  REQUIRE(dots(lines[9]) < 2 * dots(lines[0]) + 4);

  curves[0].histogram = curves[1].histogram = Histogram();
  REQUIRE(percentile_plot(curves, 80, 10, false).empty());
  REQUIRE(percentile_plot({}, 80, 10, false).empty());
}

}  // namespace bus::test
