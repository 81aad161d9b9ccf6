// tests/tools/measure/html_test.cpp: results go into the report's page as data, and stay data.
#include "tools/measure/html.hpp"

#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tools/measure/report/template.hpp"

namespace {

using bus::tools::measure::html_report;
using bus::tools::measure::report_template;

std::size_t times(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

const std::string kOpening = R"(<script type="application/json" class="bus-result">)";

/// The documents in a page, as the browser reads them: from the opening tag to the first "</script".
std::vector<std::string> documents_in(std::string_view page) {
  std::vector<std::string> found;
  for (std::size_t at = page.find(kOpening); at != std::string_view::npos; at = page.find(kOpening, at)) {
    at += kOpening.size();
    found.emplace_back(page.substr(at, page.find("</script", at) - at));
  }
  return found;
}

}  // namespace

TEST_CASE("a report is there if the program was built with it", "[measure]") {
  const std::vector<std::string> documents{R"({"schema":1,"rows":[]})"};
  REQUIRE(html_report(documents).has_value() == !report_template().empty());
}

TEST_CASE("the report has every document as it was", "[measure]") {
  if (report_template().empty()) return;  // nothing was built that could hold them
  const std::vector<std::string> documents{
      R"({"schema":1,"kind":"latency","rows":[]})",
      R"({"schema":1,"kind":"compare","rows":["é \\ \" &amp; @RESULTS@ $1 ]]>"]})"};
  const auto page = html_report(documents);
  REQUIRE(page);
  CHECK(documents_in(*page) == documents);
  CHECK(page->starts_with("<!DOCTYPE html>"));
  CHECK(page->ends_with("</html>\n"));
}

TEST_CASE("a report of nothing is a page without documents", "[measure]") {
  if (report_template().empty()) return;
  const auto page = html_report({});
  REQUIRE(page);
  CHECK(documents_in(*page).empty());
  CHECK(page->find("@RESULTS@") == std::string::npos);
}

TEST_CASE("no text of a result becomes markup", "[measure]") {
  if (report_template().empty()) return;
  const std::string harm = GENERATE(as<std::string>{}, "</script><script>alert(1)</script>", "</SCRIPT >",
                                    "<!--<script>", "<!-- ", "<", "<<</scrip", "--><img src=x onerror=alert(1)>");
  CAPTURE(harm);
  const std::vector<std::string> documents{R"({"schema":1,"rows":[],"kind":")" + harm + "\"}"};
  const auto page = html_report(documents);
  const auto empty = html_report({});
  REQUIRE(page);

  const auto found = documents_in(*page);
  REQUIRE(found.size() == 1);
  CHECK(found[0].find('<') == std::string::npos);
  // The only tags that are new are those around the document.
  CHECK(times(*page, "<") == times(*empty, "<") + 2);
  // Undoing the escape gives the document back: JSON reads \u003c as <.
  std::string back = found[0];
  for (std::size_t at = back.find("\\u003c"); at != std::string::npos; at = back.find("\\u003c"))
    back.replace(at, 6, "<");
  CHECK(back == documents[0]);
}

TEST_CASE("the report names no address that it would load from", "[measure]") {
  if (report_template().empty()) return;
  const std::string_view page = report_template();
  CHECK(times(page, "Content-Security-Policy") == 1);
  CHECK(page.find("default-src 'none'") != std::string_view::npos);
  CHECK(page.find("unsafe-inline") == std::string_view::npos);
  CHECK(page.find("unsafe-eval") == std::string_view::npos);
  for (const char* const loads : {"<link", " src=\"", "@import", "url("}) {
    CAPTURE(loads);
    CHECK(page.find(loads) == std::string_view::npos);
  }
}
