// tools/measure/environment_capture.hpp: internal: what fills an environment, group by group, each key with its source.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/anonymise.hpp"
#include "tools/measure/environment.hpp"

namespace bus::tools::measure {

using Text = std::optional<std::string>;

inline constexpr std::string_view kUnknown = "unknown";
inline constexpr std::string_view kCpu = "/sys/devices/system/cpu";

class Capture {
 public:
  Capture(const SystemFiles& files, bool anonymise) : files_(files), anonymise_(anonymise) {}

  // environment_build.cpp
  void build();
  void libraries();
  // environment_machine.cpp
  void machine();
  void memory();
  void mitigations();
  // environment_system.cpp
  void kernel();
  void clock();
  void sockets();
  // environment_process.cpp
  void host(const std::vector<std::string>& command);
  void limits();
  void affinity();
  // environment_activity.cpp
  void activity();

  [[nodiscard]] Environment take() { return std::move(all_); }

 private:
  void group(std::string_view name) { all_.emplace_back(name, Environment::value_type::second_type{}); }
  void add(std::string_view key, const Text& value) {
    all_.back().second.emplace_back(key, value && !value->empty() ? *value : std::string(kUnknown));
  }
  void add_file(std::string_view key, std::string_view path) { add(key, files_.text(path)); }
  /// What tells of people and places.
  void add_private(std::string_view key, const Text& value) {
    add(key, anonymise_ ? Text(std::string(kAnonymised)) : value);
  }

  const SystemFiles& files_;
  const bool anonymise_;
  Environment all_;
};

/// With so many digits behind the point.
[[nodiscard]] std::string decimal(double value, int digits);

}  // namespace bus::tools::measure
