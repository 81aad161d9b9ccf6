// tools/measure/result.cpp: see result.hpp; result_json.cpp has the JSON.
#include "tools/measure/result.hpp"

#include <algorithm>

namespace bus::tools::measure {

bool Result::is_valid() const noexcept {
  return invalid.empty() && std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.invalid.empty(); });
}

const Row* Result::find(std::string_view id) const noexcept {
  const auto it = std::find_if(rows.begin(), rows.end(), [id](const Row& row) { return row.id == id; });
  return it == rows.end() ? nullptr : &*it;
}

const Histogram* main_histogram(const Repetition& repetition) noexcept {
  for (const char* const name : {"response", "rtt"}) {
    if (const auto it = repetition.histograms.find(name); it != repetition.histograms.end()) return &it->second;
  }
  return nullptr;
}

}  // namespace bus::tools::measure
