// tools/verbs/report.cpp: bus report: results as text, Markdown, CSV, .hgrm and HTML.
#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bus/core/errc.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/json.hpp"
#include "tools/common/log.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/measure/export.hpp"
#include "tools/measure/html.hpp"
#include "tools/measure/result_file.hpp"
#include "tools/measure/text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {
namespace {

struct ResultFile {
  std::string file;
  measure::Result result;
};

class Reporting {
 public:
  Reporting(const Arguments& arguments, Signals& signals) : arguments_(arguments), signals_(signals) {}
  Exit run();

 private:
  void check_options() const;
  void write_file(const std::string& path, const std::string& text);
  void write_hgrm(const std::string& folder);
  [[nodiscard]] std::string markdown() const;
  [[nodiscard]] std::string csv() const;
  [[nodiscard]] std::string text(const measure::TextStyle& style) const;
  [[nodiscard]] std::string json_lines() const;

  const Arguments& arguments_;
  Signals& signals_;
  std::vector<ResultFile> sources_;
  std::vector<std::string> written_;
};

void Reporting::check_options() const {
  arguments_.at_most_one({"text", "markdown", "csv", "json"});
  const auto to_stdout = arguments_.text("html") == "-";
  for (const char* const name : {"text", "markdown", "csv", "json"}) {
    if (to_stdout && arguments_.flag(name)) {
      throw UsageError("report: --html - and --" + std::string(name) + " both write to stdout: give --html a file");
    }
  }
}

void Reporting::write_file(const std::string& path, const std::string& text) {
  Output output(signals_, path);
  output.write(text);
  output.flush();
  written_.push_back(path);
}

void Reporting::write_hgrm(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(error, "report: cannot make the folder " + folder + ": " + error.message());
  const std::size_t before = written_.size();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::string prefix = sources_.size() > 1 ? std::to_string(i + 1) + "-" : "";
    for (const auto& [name, text] : measure::hgrm_files(sources_[i].result, prefix)) {
      write_file((std::filesystem::path(folder) / name).string(), text);
    }
  }
  if (written_.size() == before) log::warn("report: no valid row has a histogram: nothing was written to " + folder);
}

std::string Reporting::text(const measure::TextStyle& style) const {
  std::string all;
  for (const ResultFile& source : sources_) {
    if (sources_.size() > 1) all += (all.empty() ? "" : "\n\n") + source.file + "\n";
    all += measure::to_text(source.result, style.colour, style.width);
  }
  return all;
}

std::string Reporting::markdown() const {
  std::string all;
  for (const ResultFile& source : sources_) {
    if (sources_.size() > 1) all += (all.empty() ? "## " : "\n## ") + source.file + "\n\n";
    all += measure::to_markdown(source.result);
  }
  return all;
}

std::string Reporting::csv() const {
  std::string all;
  for (const ResultFile& source : sources_) all += measure::to_csv(source.result, source.file, all.empty());
  return all;
}

std::string Reporting::json_lines() const {
  std::string all;
  bool valid = true;
  const auto line = [&all](const Json& json) { all.append(json_line(json)); };
  for (const auto& [file, result] : sources_) {
    Json invalid_rows = Json::array();
    for (const measure::Row& row : result.rows) {
      if (!row.invalid.empty()) invalid_rows.push_back(row.id);
    }
    valid = valid && result.is_valid();
    line({{"type", "result"},
          {"file", file},
          {"kind", result.kind},
          {"started", result.started},
          {"valid", result.is_valid()},
          {"invalid", result.invalid},
          {"rows", result.rows.size()},
          {"invalid_rows", std::move(invalid_rows)}});
  }
  line({{"type", "summary"}, {"results", sources_.size()}, {"valid", valid}, {"written", written_}});
  return all;
}

Exit Reporting::run() {
  check_options();
  for (const std::string& file : arguments_.positional()) {
    sources_.push_back({file, measure::read_result("report", file, signals_)});
    if (signals_.stopped()) return signals_.exit();
  }
  const bool shows_text =
      arguments_.flag("text") || !(arguments_.given("html") || arguments_.given("hgrm") ||
                                   arguments_.flag("markdown") || arguments_.flag("csv") || arguments_.flag("json"));
  for (const auto& [file, result] : sources_) {
    // As text it is the first line anyway.
    if (const std::string text = measure::objection(file, result); !text.empty() && !shows_text) log::warn(text);
  }
  if (const auto file = arguments_.text("html")) {
    std::vector<std::string> documents;
    for (const ResultFile& source : sources_) documents.push_back(measure::to_json(source.result));
    const std::optional<std::string> page = measure::html_report(documents);
    if (!page) {
      log::error("report: --html " + *file +
                 ": this program was built without npm, and the page's charts come from "
                 "there: install npm and build again, or use --text, --markdown or --csv");
      return Exit::failed;
    }
    write_file(*file, *page);
  }
  if (const auto folder = arguments_.text("hgrm")) write_hgrm(*folder);

  Output output(signals_);
  if (shows_text) output.write(text(measure::text_style(output)));
  if (arguments_.flag("markdown")) output.write(markdown());
  if (arguments_.flag("csv")) output.write(csv());
  if (arguments_.flag("json")) output.write(json_lines());
  output.flush();
  return Exit::ok;
}

Exit run_report(const Arguments& arguments, Signals& signals) { return Reporting(arguments, signals).run(); }

}  // namespace

const Verb& report_verb() noexcept {
  static constexpr std::array<Option, 5> kOptions{{
      {0, "text", Kind::flag, "", "tables and a plot on stdout; so it is when nothing else is asked for"},
      {0, "markdown", Kind::flag, "", "the same as GitHub's Markdown"},
      {0, "csv", Kind::flag, "", "a line for each row and repetition, RFC 4180"},
      {0, "html", Kind::text, "FILE", "a page with charts, which needs no network; \"-\" is stdout"},
      {0, "hgrm", Kind::text, "DIR", "a percentile distribution of each row, for HdrHistogram's plotter"},
  }};
  static constexpr std::array<Example, 4> kExamples{{
      {"bus report result.json", "what bus compare has printed, again"},
      {"bus report before.json after.json --html report.html", "two results in one page"},
      {"bus report result.json --csv > result.csv", "for a spreadsheet"},
      {"bus report result.json --hgrm curves", "a file for each row in the folder curves"},
  }};
  static constexpr Verb kVerb{
      "report",
      "makes text, tables and a page with charts from results",
      "RESULT...",
      1,
      1000,
      "Reads results (JSON) of bus latency, bus throughput and bus compare and shows them. Several results are\n"
      "shown one after the other. That a result is invalid is said first, and is no failure of the report. \"-\" is\n"
      "stdin. Exit code 2 if a file is no result, 1 for --html if the program was built without npm.\n",
      kOptions,
      kExamples,
      run_report,
  };
  return kVerb;
}

}  // namespace bus::tools
