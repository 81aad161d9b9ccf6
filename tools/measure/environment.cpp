// tools/measure/environment.cpp: the groups in their order, and reading them.
#include "tools/measure/environment.hpp"

#include <array>
#include <cstdio>

#include "tools/measure/environment_capture.hpp"

namespace bus::tools::measure {

std::string decimal(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

Environment capture_environment(const std::vector<std::string>& command, bool anonymise) {
  return capture_environment(SystemFiles(), command, anonymise);
}

Environment capture_environment(const SystemFiles& files, const std::vector<std::string>& command, bool anonymise) {
  Capture capture(files, anonymise);
  capture.build();
  capture.libraries();
  capture.host(command);
  capture.kernel();
  capture.machine();
  capture.memory();
  capture.clock();
  capture.limits();
  capture.affinity();
  capture.sockets();
  capture.mitigations();
  capture.activity();  // last, so that it begins where the measurement does
  return capture.take();
}

std::string_view value_of(const Environment& environment, std::string_view group, std::string_view key) {
  for (const auto& [name, entries] : environment) {
    if (name != group) continue;
    for (const auto& [entry, value] : entries) {
      if (entry == key) return value;
    }
  }
  return {};
}

}  // namespace bus::tools::measure
