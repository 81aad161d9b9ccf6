// tools/measure/result_file.cpp: see result_file.hpp.
#include "tools/measure/result_file.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "bus/core/errc.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/input.hpp"
#include "tools/measure/summarize.hpp"

namespace bus::tools::measure {
namespace {

// Far above any real one: 100 rows of 20 repetitions are some 50 MB.
constexpr std::size_t kMostBytes = std::size_t{1} << 30;

}  // namespace

Result read_result(const std::string& verb, const std::string& path, Signals& signals) {
  try {
    Input input(signals, path);
    const auto bytes = input.whole(kMostBytes, "no result has more");
    const std::string_view text =
        bytes ? std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : std::string_view();
    Result result = result_from_json(text);
    summarize(result);
    return result;
  } catch (const Error& error) {
    throw UsageError(verb + ": " + path + ": " + error.what());
  }
}

std::string objection(const std::string& path, const Result& result) {
  if (result.is_valid()) return {};
  const auto wrong =
      std::count_if(result.rows.begin(), result.rows.end(), [](const Row& row) { return !row.invalid.empty(); });
  if (!result.invalid.empty()) return path + ": INVALID: " + result.invalid.front();
  return path + ": INVALID: " + std::to_string(wrong) + " of " + std::to_string(result.rows.size()) +
         " rows do not count";
}

TextStyle text_style(const Output& output) {
  TextStyle style;
  if (!output.is_terminal()) return style;
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  style.colour = (no_color == nullptr || *no_color == '\0') && (term == nullptr || std::string_view(term) != "dumb");
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    style.width = std::clamp<int>(size.ws_col, 60, 160);
  }
  return style;
}

}  // namespace bus::tools::measure
