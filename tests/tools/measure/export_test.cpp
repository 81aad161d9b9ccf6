// tests/tools/measure/export_test.cpp: CSV and .hgrm, as the programs of others read them.
#include "tools/measure/export.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/process.hpp"
#include "tests/tools/measure/made_result.hpp"

namespace bus::test {
namespace {

using tools::measure::hgrm_files;
using tools::measure::to_csv;
using tools::measure::to_hgrm;

/// The records of a CSV text, by RFC 4180: quotes doubled, lines end with CRLF.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> records;
  std::vector<std::string> record(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        record.back().push_back(c);
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        record.back().push_back(text[++i]);
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      REQUIRE(record.back().empty());
      quoted = true;
    } else if (c == ',') {
      record.emplace_back();
    } else if (c == '\r') {
      REQUIRE(text.at(++i) == '\n');
      records.push_back(std::move(record));
      record.assign(1, {});
    } else {
      REQUIRE(c != '\n');
      record.back().push_back(c);
    }
  }
  REQUIRE(record == std::vector<std::string>(1));
  return records;
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("CSV has a line for each row and repetition, and every field in its column", "[measure]") {
  MadeResult made(3, 1, 2000);
  Row& row = made.add({"shm"});
  row.name = "a \"name\", with\r\nall of it";
  row.repetitions[1].invalid = {"lost 3 messages", "too few samples"};
  row.repetitions[2].cpu = std::nullopt;
  made.add({"unix"}).repetitions.clear();
  made.add({"timer", 21.5, 0, Measure::cost, Family::floor, 0, ""});
  const auto records = parse_csv(to_csv(made.summarized(), "file.json"));
  REQUIRE(records.size() == 1 + 3 + 1 + 3);
  const std::vector<std::string>& head = records[0];
  REQUIRE(std::set<std::string>(head.begin(), head.end()).size() == head.size());
  for (const auto& record : records) REQUIRE(record.size() == head.size());
  const auto field = [&](std::size_t line, const std::string& name) {
    const auto it = std::find(head.begin(), head.end(), name);
    INFO(name);
    REQUIRE(it != head.end());
    return records[line][static_cast<std::size_t>(it - head.begin())];
  };
  REQUIRE(field(1, "result") == "file.json");
  REQUIRE(field(1, "name") == "a \"name\", with\r\nall of it");
  REQUIRE(field(1, "id") == "latency/shm/64/hybrid");
  REQUIRE(field(1, "pin") == "receive=1;send=0");
  REQUIRE(field(1, "rate").empty());
  REQUIRE(field(1, "row_valid") == "false");
  REQUIRE(field(1, "valid") == "true");
  REQUIRE(field(2, "valid") == "false");
  REQUIRE(field(2, "invalid") == "lost 3 messages; too few samples");
  REQUIRE(field(1, "messages") == "2000");
  REQUIRE(field(1, "samples") == "2000");
  REQUIRE(std::stod(field(1, "p50")) == Approx(702).epsilon(0.5));
  REQUIRE_FALSE(field(1, "p99").empty());
  REQUIRE(field(1, "p99.9").empty());  // 2000 samples: two beyond it
  REQUIRE_FALSE(field(1, "cpu").empty());
  REQUIRE(field(3, "cpu").empty());
  REQUIRE(field(3, "block") == "2");
  REQUIRE(field(4, "id") == "latency/unix/64/hybrid");
  REQUIRE(field(4, "block").empty());
  REQUIRE(field(5, "measure") == "cost");
  REQUIRE(std::stod(field(5, "cost")) == made.raw().rows[2].repetitions[0].cost);
  REQUIRE(field(5, "p50").empty());

  // A second result goes below the first without another header.
  REQUIRE(parse_csv(to_csv(made.summarized(), "b", false)).size() == records.size() - 1);
}

TEST_CASE("a percentile distribution is to the byte what HdrHistogram writes", "[measure]") {
  // percentiles.hgrm was written by hdr-histogram-js 3.0.1, with 3 significant digits, from the same values:
  // outputPercentileDistribution(5, 1000).
  Histogram histogram;
  std::uint64_t state = 12345;
  for (int i = 0; i < 10'000; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const std::uint64_t drawn = state >> 33U;
    std::uint64_t value = 700 + drawn % 300;
    if (drawn % 100 == 0) value = 5000 + drawn % 100'000;
    if (drawn % 2000 == 1) value = 1'000'000 + drawn % 3'000'000;
    histogram.add(value, 1);
  }
  REQUIRE(to_hgrm(histogram) == read(source_directory() + "/tests/tools/measure/percentiles.hgrm"));
}

TEST_CASE("a percentile distribution of one value, or of none, ends", "[measure]") {
  Histogram histogram;
  REQUIRE(to_hgrm(histogram).find("Total count    =            0]") != std::string::npos);
  histogram.add(1500, 1);
  const std::string text = to_hgrm(histogram);
  CAPTURE(text);
  REQUIRE(text.find("       1.500 0.000000000000          1           1.00\n"
                    "       1.500 1.000000000000          1\n#[Mean") != std::string::npos);
  histogram.add(std::numeric_limits<std::uint64_t>::max(), 1'000'000);
  REQUIRE(to_hgrm(histogram).size() < 20'000);
}

TEST_CASE("each histogram of a row gets a file whose name is safe", "[measure]") {
  MadeResult made(3, 1, 100);
  made.add({"shm"}).repetitions[0].histograms["send_lag"].add(5, 1);
  made.add({"a"}).id = "../../etc/passwd";
  made.add({"b"}).id = ".._.._etc_passwd";
  made.add({"c"}).id = std::string(5000, 'x') + "\n\x1b";
  made.add({"d"}).id = "";
  made.add({"gone"}).repetitions.clear();
  std::set<std::string> names;
  for (const auto& [name, text] : hgrm_files(made.summarized(), "1-")) {
    CAPTURE(name);
    REQUIRE(names.insert(name).second);
    REQUIRE(name.find('/') == std::string::npos);
    REQUIRE(name.size() < 255);
    REQUIRE(name.rfind("1-", 0) == 0);
    REQUIRE(text.find("#[Mean") != std::string::npos);
  }
  REQUIRE(names.size() == 6);
  REQUIRE(names.contains("1-latency_shm_64_hybrid.rtt.hgrm"));
  REQUIRE(names.contains("1-latency_shm_64_hybrid.send_lag.hgrm"));
}

}  // namespace bus::test
