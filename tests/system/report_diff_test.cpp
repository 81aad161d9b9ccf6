// tests/system/report_diff_test.cpp: bus report and bus diff, as processes, on results in files.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/system/bus_run.hpp"
#include "tests/tools/measure/made_result.hpp"

namespace bus::test {
namespace {

std::string write(const std::string& path, const Result& result) {
  std::ofstream(path) << tools::measure::to_json(result);
  return path;
}
std::string read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

MadeResult made_run(std::uint64_t seed, double factor = 1, std::uint64_t repetitions = 8) {
  MadeResult made(repetitions, seed, 500);
  made.add({"shm", 700 * factor});
  made.add({"unix", 15'000});
  return made;
}

/// Two runs of the same, one that is 1.5 times as slow, one that is invalid, and what is no result.
struct Files {
  std::string folder = temporary_folder();
  std::string one = write(folder + "/one.json", made_run(1).summarized());
  std::string same = write(folder + "/same.json", made_run(2).summarized());
  std::string slow = write(folder + "/slow.json", made_run(3, 1.5).summarized());
  std::string invalid, few, other, wrong = folder + "/wrong.json";
  Files() {
    MadeResult made = made_run(4);
    made.raw().rows[0].repetitions[2].invalid = {"lost 3 messages"};
    invalid = write(folder + "/invalid.json", made.summarized());
    few = write(folder + "/few.json", made_run(5, 1, 3).summarized());
    MadeResult another(8, 1, 100);
    another.add({"mq"});
    other = write(folder + "/other.json", another.summarized());
    std::ofstream(wrong) << R"({"schema": 1, "kind": 5})";
  }
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("report shows a result as text, and the first line says whether it is valid", "[system]") {
  const Files files;
  const Finished good = run_bus({"report", files.one});
  REQUIRE(good.status == exited(0));
  REQUIRE(good.out.rfind("VALID: all 2 rows count\n", 0) == 0);
  REQUIRE(good.err.empty());
  REQUIRE_FALSE(contains(good.out, "\x1b"));

  const Finished bad = run_bus({"report", files.invalid});
  REQUIRE(bad.status == exited(0));  // it reports: that is its work
  REQUIRE(bad.out.rfind("INVALID: 1 of 2 rows does not count\n", 0) == 0);

  const Finished both = run_bus({"report", files.one, files.invalid});
  REQUIRE(both.status == exited(0));
  REQUIRE(contains(both.out, files.one + "\nVALID"));
  REQUIRE(contains(both.out, files.invalid + "\nINVALID"));
  const Finished piped = run_bus({"report", "-"}, read(files.one));
  REQUIRE(piped.out == good.out);
}

TEST_CASE("report writes Markdown, CSV and JSON to stdout, and says on stderr what is invalid", "[system]") {
  const Files files;
  REQUIRE(run_bus({"report", files.one, "--markdown"}).out.rfind("**VALID", 0) == 0);
  const Finished csv = run_bus({"report", files.one, files.invalid, "--csv"});
  REQUIRE(csv.status == exited(0));
  REQUIRE(lines_in(csv.out) == 1 + 16 + 16);
  REQUIRE(contains(csv.err, "warning: " + files.invalid + ": INVALID: 1 of 2 rows do not count"));
  const std::vector<Json> lines = objects(run_bus({"report", files.one, files.invalid, "--json"}).out);
  REQUIRE(lines.size() == 3);
  REQUIRE(lines[1].at("valid") == false);
  REQUIRE(lines[1].at("invalid_rows") == Json::array({"latency/shm/64/hybrid"}));
  REQUIRE(lines[2].at("type") == "summary");
  REQUIRE(lines[2].at("valid") == false);
}

TEST_CASE("report writes a file a row for HdrHistogram's plotter", "[system]") {
  const Files files;
  const std::string folder = files.folder + "/a/b";
  const Finished finished = run_bus({"report", files.one, files.same, "--hgrm", folder});
  REQUIRE(finished.status == exited(0));
  REQUIRE(finished.out.empty());
  std::size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    ++found;
    REQUIRE(contains(read(entry.path()), "1/(1-Percentile)"));
  }
  REQUIRE(found == 4);
  REQUIRE(std::filesystem::exists(folder + "/2-latency_shm_64_hybrid.rtt.hgrm"));
}

TEST_CASE("report writes a page, or says that the program was built without npm", "[system]") {
  const Files files;
  const std::string page = files.folder + "/report.html";
  const Finished finished = run_bus({"report", files.one, "--html", page});
  if (finished.status == exited(0)) {
    REQUIRE(contains(read(page), "latency/shm/64/hybrid"));
    REQUIRE(finished.out.empty());
  } else {
    REQUIRE(finished.status == exited(1));
    REQUIRE(contains(finished.err, "built without npm"));
    REQUIRE_FALSE(std::filesystem::exists(page));
  }
}

TEST_CASE("report refuses what is no result, and says where", "[system]") {
  const Files files;
  const Finished wrong = run_bus({"report", files.one, files.wrong});
  REQUIRE(wrong.status == exited(2));
  REQUIRE(wrong.out.empty());
  REQUIRE(contains(wrong.err, "bus: report: " + files.wrong + ": not a result of a measurement: kind is a number"));
  REQUIRE(run_bus({"report", files.folder + "/missing.json"}).status == exited(2));
  REQUIRE(run_bus({"report", "-"}, "no JSON").status == exited(2));
  REQUIRE(run_bus({"report", files.one, "--csv", "--markdown"}).status == exited(2));
  REQUIRE(run_bus({"report"}).status == exited(2));
}

TEST_CASE("diff ends with 6 on a regression, and with 0 when there is none", "[system]") {
  const Files files;
  const Finished same = run_bus({"diff", files.one, files.same, "--fail-over", "10%"});
  REQUIRE(same.status == exited(0));
  REQUIRE(same.out.rfind("NO REGRESSION: none of 2 rows is worse by more than 10 %\n", 0) == 0);
  const Finished slow = run_bus({"diff", files.one, files.slow, "--fail-over", "10%"});
  REQUIRE(slow.status == exited(6));
  REQUIRE(contains(slow.out, "REGRESSION: 1 of 2 rows is worse"));
  REQUIRE(run_bus({"diff", files.one, files.slow}).status == exited(6));  // 10 % is what holds otherwise
  REQUIRE(run_bus({"diff", files.one, files.slow, "--fail-over", "100%"}).status == exited(0));
  REQUIRE(run_bus({"diff", files.slow, files.one}).status == exited(0));
  const Json summary = summary_of(run_bus({"diff", files.one, files.slow, "--json"}).out);
  REQUIRE(summary.at("regressions") == 1);
}

TEST_CASE("diff never takes what was not measured for fine", "[system]") {
  const Files files;
  const Finished invalid = run_bus({"diff", files.one, files.invalid});
  REQUIRE(invalid.status == exited(5));
  REQUIRE(contains(invalid.out, "lost 3 messages"));
  REQUIRE(run_bus({"diff", files.one, files.few}).status == exited(5));
  const Finished other = run_bus({"diff", files.one, files.other});
  REQUIRE(other.status == exited(2));
  REQUIRE(contains(other.err, "have no row in common"));
  REQUIRE(run_bus({"diff", files.one, files.wrong}).status == exited(2));
  for (const char* const limit : {"10", "ten%", "-5%", "10%%", "%", "nan%"}) {
    CAPTURE(limit);
    REQUIRE(run_bus({"diff", files.one, files.same, "--fail-over=" + std::string(limit)}).status == exited(2));
  }
}

}  // namespace bus::test
