// tests/tools/measure/result_json_test.cpp: the document of a measurement: back and forth, its schema, and bad input.
#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "bus/core/errc.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/tools/measure/made_result.hpp"
#include "tools/common/json.hpp"

namespace bus::test {
namespace {

using tools::Json;
using tools::measure::result_from_json;
using tools::measure::to_json;

/// A small result in which every field has a value of its own.
Result rich_result() {
  MadeResult made(2, 7, 200);
  made.add({"shm", 702, 0, Measure::latency, Family::ours, 64, "hybrid", "latency/ring/64/spins"});
  made.add({"ring", 300, 0, Measure::latency, Family::floor, 64, "spins"});
  made.add({"ZeroMQ ipc", 0, 2e6, Measure::throughput, Family::peer, 1024, "sleeps"});
  made.add({"timer", 21.5, 0, Measure::cost, Family::floor, 0, ""});
  Result& result = made.raw();
  result.baseline = "latency/ring/64/spins";
  result.warnings = {"a \"warning\" with \\ and \n and ü"};
  Row& row = result.rows[0];
  row.conditions.load_model = tools::measure::LoadModel::open;
  row.conditions.arrival = "poisson";
  row.conditions.rate = 12'500.5;
  row.conditions.touch = "first";
  row.conditions.copy = row.conditions.loan = true;
  row.conditions.batch = 16;
  row.conditions.producers = 3;
  row.conditions.clock = "tsc";
  row.yields = 0.5;
  row.warnings = {"spinning roles outnumber the cores"};
  Repetition& one = row.repetitions[0];
  one.invalid = {"lost 3 messages"};
  one.warnings = {"drift"};
  one.lost = 3;
  one.duplicates = 4;
  one.reordered = 5;
  one.damaged = 6;
  one.page_faults = std::nullopt;
  one.histograms["response"] = one.histograms["rtt"];
  one.histograms["send_lag"].add(5'000'000'000'001, 2);
  one.histograms["send_lag"].add(5'000'000'000'777, 1);
  one.histograms["service"] = Histogram();
  result.rows[2].repetitions[1].bytes = std::numeric_limits<std::uint64_t>::max();
  return made.summarized();
}

/// What result_from_json says of a text; empty when it takes it.
std::string refusal(const std::string& text) {
  try {
    static_cast<void>(result_from_json(text));
    return {};
  } catch (const Error& error) {
    REQUIRE(error.code() == Errc::corrupt);
    return error.what();
  }
}

/// The document with one thing changed.
std::string changed(const std::function<void(Json&)>& change) {
  Json document = Json::parse(to_json(rich_result()));
  change(document);
  return document.dump();
}

struct Broken {
  const char* place;  // that the refusal has to name
  std::function<void(Json&)> change;
  bool in_schema = true;  // a schema can express it, too
};

const std::vector<Broken>& broken_documents() {
  static const std::vector<Broken> kAll{
      {"schema", [](Json& d) { d["schema"] = 2; }},
      {"schema", [](Json& d) { d["schema"] = "1"; }},
      {"schema", [](Json& d) { d.erase("schema"); }},
      {"rows", [](Json& d) { d.erase("rows"); }},
      {"rows", [](Json& d) { d["rows"] = 3; }},
      {"rows[1]", [](Json& d) { d["rows"][1] = Json::array(); }},
      {"seconds", [](Json& d) { d["seconds"] = "48"; }},
      {"seconds", [](Json& d) { d["seconds"] = -1; }},
      {"seconds", [](Json& d) { d["seconds"] = nullptr; }},
      {"seed", [](Json& d) { d["seed"] = 1.5; }},
      {"seed", [](Json& d) { d["seed"] = 1e30; }},
      {"seed", [](Json& d) { d["seed"] = -1; }},
      {"command[1]", [](Json& d) { d["command"][1] = 5; }},
      {"order[0]", [](Json& d) { d["order"][0] = "x"; }},
      {"environment.build", [](Json& d) { d["environment"]["build"] = "x"; }},
      {"environment.build.version", [](Json& d) { d["environment"]["build"]["version"] = 1; }},
      {"valid", [](Json& d) { d["valid"] = true; }},
      {"rows[0].valid", [](Json& d) { d["rows"][0]["valid"] = true; }},
      {"rows[1].valid", [](Json& d) { d["rows"][1]["valid"] = false; }},
      {"rows[0].repetitions[0].valid", [](Json& d) { d["rows"][0]["repetitions"][0]["valid"] = true; }},
      {"rows[0].family", [](Json& d) { d["rows"][0]["family"] = "theirs"; }},
      {"rows[1].id", [](Json& d) { d["rows"][1]["id"] = d["rows"][0]["id"]; }, false},
      {"rows[0].conditions.measure", [](Json& d) { d["rows"][0]["conditions"]["measure"] = "speed"; }},
      {"rows[0].conditions.load_model", [](Json& d) { d["rows"][0]["conditions"]["load_model"] = ""; }},
      {"rows[0].conditions.size", [](Json& d) { d["rows"][0]["conditions"]["size"] = -64; }},
      {"rows[0].conditions.copy", [](Json& d) { d["rows"][0]["conditions"]["copy"] = 1; }},
      {"rows[0].conditions.pin.send", [](Json& d) { d["rows"][0]["conditions"]["pin"]["send"] = 1ULL << 40U; }},
      {"rows[0].copies", [](Json& d) { d["rows"][0]["copies"] = "1"; }},
      {"rows[0].repetitions[0].cpu", [](Json& d) { d["rows"][0]["repetitions"][0]["cpu"] = -2; }},
      {"rows[0].repetitions[0].lost", [](Json& d) { d["rows"][0]["repetitions"][0]["lost"] = nullptr; }},
      {"rows[0].repetitions[0].histograms.rtt",
       [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"] = Json::array(); }},
      {"histograms.rtt.buckets[0]",
       [](Json& d) {
         d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["buckets"][0] = {1, 2, 3};
       }},
      {"histograms.rtt.buckets[0][1]",
       [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["buckets"][0][1] = -2; }},
      {"histograms.rtt.buckets[0]",
       [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["buckets"][0][1] = 0; }},
      {"histograms.rtt.buckets[0]",
       [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["buckets"][0][1] = ~std::uint64_t{0}; },
       false},
      {"histograms.rtt.buckets[1]",
       [](Json& d) {
         Json& buckets = d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["buckets"];
         std::swap(buckets[0], buckets[1]);
       },
       false},
      {"histograms.send_lag.buckets[0]",
       [](Json& d) {
         Json& least = d["rows"][0]["repetitions"][0]["histograms"]["send_lag"]["buckets"][0][0];
         least = least.get<std::uint64_t>() + 1;
       },
       false},
      {"histograms.rtt.count", [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["count"] = 1; },
       false},
      {"histograms.rtt.min", [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["min"] = 0; }, false},
      {"histograms.rtt.max", [](Json& d) { d["rows"][0]["repetitions"][0]["histograms"]["rtt"]["max"] = 9e18; }, false},
      {"timeline[2] has no", [](Json& d) { d["rows"][0]["repetitions"][0]["timeline"][2].erase("count"); }},
      {"worst[0].cause", [](Json& d) { d["rows"][0]["repetitions"][0]["worst"][0]["cause"] = nullptr; }},
      {"summary.figures.rate", [](Json& d) { d["rows"][0]["summary"]["figures"]["rate"] = 5; }},
      {"summary.figures.rate.value", [](Json& d) { d["rows"][0]["summary"]["figures"]["rate"]["value"] = "5"; }},
      {"summary.figures.rate", [](Json& d) { d["rows"][0]["summary"]["figures"]["rate"]["low"] = 5; }},
      {"summary.floor", [](Json& d) { d["rows"][0]["summary"]["floor"] = "x"; }},
      {"summary.floor.says", [](Json& d) { d["rows"][0]["summary"]["floor"]["says"] = "best"; }},
  };
  return kAll;
}

std::string write(const std::string& folder, const std::string& name, const std::string& text) {
  const std::string path = folder + "/" + name;
  std::ofstream(path) << text;
  return path;
}

/// A line for each document: "ok", or "no: place: reason".
std::vector<std::string> validate(const std::vector<std::string>& documents) {
  const std::string folder = temporary_folder();
  // Debian's python, because python3-jsonschema is Debian's.
  std::vector<std::string> words{"/usr/bin/python3", source_directory() + "/tests/tools/measure/validate.py",
                                 source_directory() + "/tools/measure/result.schema.json"};
  for (std::size_t i = 0; i < documents.size(); ++i) {
    words.push_back(write(folder, std::to_string(i) + ".json", documents[i]));
  }
  const Finished finished = run(words);
  INFO(finished.err << "\n(the package is python3-jsonschema: tools/install_packages.sh --with tests)");
  REQUIRE(finished.status == ExitStatus{0, 0});
  std::vector<std::string> lines;
  std::istringstream text(finished.out);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  REQUIRE(lines.size() == documents.size());
  return lines;
}

}  // namespace

TEST_CASE("a result reads back as it was written", "[measure]") {
  const Result original = rich_result();
  const std::string text = to_json(original);
  const Result copy = result_from_json(text);
  REQUIRE(to_json(copy) == text);

  REQUIRE(copy.environment == original.environment);
  REQUIRE(copy.order == original.order);
  REQUIRE(copy.rows.size() == 4);
  REQUIRE_FALSE(copy.is_valid());
  const Repetition &one = copy.rows[0].repetitions[0], &was = original.rows[0].repetitions[0];
  REQUIRE(one.cpu == was.cpu);
  REQUIRE_FALSE(one.page_faults);
  const Histogram &lag = one.histograms.at("send_lag"), &rtt = one.histograms.at("rtt");
  REQUIRE(lag.least() == 5'000'000'000'001);
  REQUIRE(lag.greatest() == 5'000'000'000'777);
  REQUIRE(lag.count() == 3);
  REQUIRE(rtt.least() == was.histograms.at("rtt").least());
  REQUIRE(rtt.greatest() == was.histograms.at("rtt").greatest());
  REQUIRE(rtt.quantile(0.9) == was.histograms.at("rtt").quantile(0.9));
  REQUIRE(one.histograms.at("service").count() == 0);
  REQUIRE(copy.rows[2].repetitions[1].bytes == std::numeric_limits<std::uint64_t>::max());
  REQUIRE(copy.rows[0].summary.floor->against == "latency/ring/64/spins");
}

TEST_CASE("least and greatest survive in every arrangement of a few values", "[measure]") {
  std::mt19937_64 random(5);
  for (unsigned n = 0; n < repetitions(300); ++n) {
    MadeResult made(1, 1, 1);
    made.add({"shm"});
    Histogram& rtt = made.raw().rows[0].repetitions[0].histograms["rtt"];
    rtt = Histogram();
    const std::uint64_t base = 1'000'000 + random() % 2000;
    for (std::uint64_t i = 0; i < 1 + random() % 4; ++i) rtt.add(base + random() % 3000, 1 + random() % 3);
    const Result copy = result_from_json(to_json(made.raw()));
    const Histogram& read = copy.rows[0].repetitions[0].histograms.at("rtt");
    REQUIRE(read.least() == rtt.least());
    REQUIRE(read.greatest() == rtt.greatest());
    REQUIRE(read.count() == rtt.count());
    REQUIRE(to_json(copy) == to_json(made.raw()));
  }
}

TEST_CASE("results satisfy the schema, and what the reader refuses does not", "[measure]") {
  Result empty;
  empty.kind = "latency";
  std::vector<std::string> documents{to_json(rich_result()), to_json(made_comparison(6, 1, 500).summarized()),
                                     to_json(made_comparison(3, 2, 50).summarized()), to_json(empty)};
  const std::size_t good = documents.size();
  std::vector<std::string> places;
  for (const Broken& broken : broken_documents()) {
    if (!broken.in_schema) continue;
    documents.push_back(changed(broken.change));
    places.emplace_back(broken.place);
  }
  documents.push_back(changed([](Json& d) { d["surplus"] = 1; }));
  documents.push_back(changed([](Json& d) { d["rows"][0]["conditions"]["surplus"] = 1; }));
  documents.push_back(changed([](Json& d) { d["rows"][0]["summary"]["figures"]["p42"] = {{"value", 1}}; }));
  documents.push_back("[]");
  const std::vector<std::string> lines = validate(documents);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CAPTURE(i, lines[i], i >= good && i - good < places.size() ? places[i - good] : "");
    REQUIRE((lines[i] == "ok") == (i < good));
  }
}

TEST_CASE("a document that is wrong somewhere is refused with the place", "[measure]") {
  REQUIRE(refusal(changed([](Json&) {})).empty());
  for (std::size_t i = 0; i < broken_documents().size(); ++i) {
    const Broken& broken = broken_documents()[i];
    const std::string text = refusal(changed(broken.change));
    CAPTURE(i, broken.place, text);
    REQUIRE(text.find("not a result of a measurement: ") == 0);
    REQUIRE(text.find(broken.place) != std::string::npos);
  }
}

TEST_CASE("another schema is refused with what to do", "[measure]") {
  const std::string text = refusal(changed([](Json& d) { d["schema"] = 2; }));
  CAPTURE(text);
  REQUIRE(text.find("schema is 2, and this program reads 1") != std::string::npos);
  REQUIRE(text.find("measure again") != std::string::npos);
}

TEST_CASE("every truncation of a document is refused", "[measure]") {
  MadeResult made(1, 1, 30);
  made.add({"shm"});
  const std::string text = to_json(made.raw());
  for (std::size_t length = 0; length < text.size(); ++length) {
    if (refusal(text.substr(0, length)).find("no JSON") == std::string::npos) FAIL("cut after " << length);
  }
  REQUIRE(refusal(text).empty());
}

TEST_CASE("changed bytes are refused or read, and never more than that", "[measure]") {
  MadeResult made(2, 1, 30);
  made.add({"shm"});
  const std::string text = to_json(made.summarized());
  std::mt19937_64 random(11);
  unsigned refused = 0;
  static constexpr std::string_view kBytes = "0919e-{}[],:\"\\ntxf \x01\xff";
  constexpr unsigned kTimes = repetitions(3000);
  for (unsigned i = 0; i < kTimes; ++i) {
    std::string bad = text;
    for (std::uint64_t n = 0; n < 1 + random() % 3; ++n) bad[random() % bad.size()] = kBytes[random() % kBytes.size()];
    refused += refusal(bad).empty() ? 0 : 1;
  }
  REQUIRE(refused > kTimes / 3);
}

TEST_CASE("numbers and nesting without measure do no harm", "[measure]") {
  const std::string text = changed([](Json& d) { d["seconds"] = 4711; });
  const auto with = [&](const std::string& number) {
    std::string copy = text;
    return copy.replace(copy.find("4711"), 4, number);
  };
  REQUIRE(refusal(with("4712")).empty());
  REQUIRE(refusal(with("1e308")).empty());
  REQUIRE(refusal(with("1e999")).find("number overflow") != std::string::npos);
  REQUIRE(refusal(with("NaN")).find("no JSON") != std::string::npos);
  for (const std::size_t depth : {40U, 200'000U}) {
    REQUIRE(refusal(with(std::string(depth, '['))).find("nested too deep") != std::string::npos);
    std::string objects;
    for (std::size_t i = 0; i < depth; ++i) objects += "{\"a\":1,\"b\":";
    REQUIRE(refusal(with(objects)).find("nested too deep") != std::string::npos);
  }
  REQUIRE(refusal(with("[[[[]]]]")).find("seconds") != std::string::npos);
}

TEST_CASE("a number that is not finite is never written", "[measure]") {
  MadeResult made(1, 1, 1);
  made.add({"shm"}).repetitions[0].achieved_rate = std::numeric_limits<double>::infinity();
  REQUIRE_THROWS_AS(to_json(made.raw()), std::invalid_argument);
}

}  // namespace bus::test
