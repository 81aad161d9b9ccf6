// tools/measure/html.cpp: puts results into the page of the report.
#include "tools/measure/html.hpp"

#include <cassert>
#include <string_view>

#include "tools/measure/report/template.hpp"

namespace bus::tools::measure {

namespace {

// Of all that ends or changes the meaning of a <script> element's text ("</script>", "<!--", "<script"), each begins
// with
// "<". In JSON that sign occurs within strings only, where \u003c is the same. Source: HTML standard, "Restrictions for
// contents of script elements".
void append_escaped(std::string& page, std::string_view json) {
  for (std::size_t at = 0; at < json.size();) {
    const std::size_t sign = json.find('<', at);
    page.append(json.substr(at, sign - at));
    if (sign == std::string_view::npos) return;
    page.append("\\u003c");
    at = sign + 1;
  }
}

}  // namespace

std::optional<std::string> html_report(std::span<const std::string> json_documents) {
  const std::string_view page = report_template();
  if (page.empty()) return std::nullopt;
  const std::size_t mark = page.find(kResultsMark);
  assert(mark != std::string_view::npos);  // the build has counted it

  std::size_t bytes = page.size();
  for (const std::string& json : json_documents) bytes += json.size() + 128;
  std::string report;
  report.reserve(bytes);
  report.append(page.substr(0, mark));
  for (const std::string& json : json_documents) {
    report.append("<script type=\"application/json\" class=\"bus-result\">");
    append_escaped(report, json);
    report.append("</script>\n");
  }
  report.append(page.substr(mark + kResultsMark.size()));
  return report;
}

}  // namespace bus::tools::measure
