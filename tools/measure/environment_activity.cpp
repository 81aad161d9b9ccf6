// tools/measure/environment_activity.cpp: what goes on while it is measured: before, and what has passed after it.
#include "tools/measure/environment_capture.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace bus::tools::measure {
namespace {

constexpr std::string_view kActivity = "activity";

template <class Number>
Text in_digits(const std::optional<Number>& value) {
  return value ? Text(std::to_string(*value)) : std::nullopt;
}

Text load_of(const SystemFiles& files) {
  const auto text = files.text("/proc/loadavg");
  if (!text) return {};
  const auto words = words_of(*text);
  // The first four: load of 1, 5 and 15 minutes, running/all tasks. The fifth is the last process's number.
  return words.size() < 4 ? Text() : words[0] + " " + words[1] + " " + words[2] + " " + words[3];
}

/// What only grows: a key, and its value now.
std::vector<std::pair<std::string, std::optional<std::uint64_t>>> counters(const SystemFiles& files) {
  const auto from_stat = [&](std::string_view name) -> std::optional<std::uint64_t> {
    const auto text = files.field("/proc/stat", name);
    return text ? to_number(*text) : std::nullopt;
  };
  const auto ticks = cpu_ticks(files);
  const auto milliseconds = [](std::uint64_t t) {
    const long hertz = ::sysconf(_SC_CLK_TCK);
    return t * 1000 / static_cast<std::uint64_t>(hertz > 0 ? hertz : 100);
  };
  const auto quota = cpu_quota(files);
  const auto from_vm = [&](std::string_view name) -> std::optional<std::uint64_t> {
    const auto text = files.field("/proc/vmstat", name);
    return text ? to_number(*text) : std::nullopt;
  };
  using Value = std::optional<std::uint64_t>;
  return {
      {"steal_ms", ticks ? Value(milliseconds(ticks->steal)) : std::nullopt},
      {"busy_ms", ticks ? Value(milliseconds(ticks->busy)) : std::nullopt},
      {"context_switches", from_stat("ctxt")},
      {"interrupts", from_stat("intr")},
      {"forks", from_stat("processes")},
      {"major_faults", from_vm("pgmajfault")},
      {"swapped_in_pages", from_vm("pswpin")},
      {"throttled_periods", quota ? Value(quota->throttled) : std::nullopt},
  };
}

}  // namespace

void Capture::activity() {
  group(kActivity);
  add("load_before", load_of(files_));
  for (const auto& [key, value] : counters(files_)) add(key + "_before", in_digits(value));
}

void finish_environment(Environment& environment) { finish_environment(SystemFiles(), environment); }

void finish_environment(const SystemFiles& files, Environment& environment) {
  const auto group =
      std::find_if(environment.begin(), environment.end(), [](const auto& g) { return g.first == kActivity; });
  if (group == environment.end()) return;
  const auto put = [&](const std::string& key, const Text& value) {
    const std::string text = value.value_or(std::string(kUnknown));
    const auto at =
        std::find_if(group->second.begin(), group->second.end(), [&](const auto& entry) { return entry.first == key; });
    if (at != group->second.end()) {
      at->second = text;
    } else {
      group->second.emplace_back(key, text);
    }
  };
  put("load_after", load_of(files));
  for (const auto& [key, after] : counters(files)) {
    const auto before = to_number(value_of(environment, kActivity, key + "_before"));
    // Counters of a machine that was moved meanwhile may be lower: then there is nothing to say.
    put(key, before && after && *after >= *before ? Text(std::to_string(*after - *before)) : std::nullopt);
  }
}

}  // namespace bus::tools::measure
