// tools/measure/environment.hpp: what a result has to say of the machine and the build that it was measured on.
//
// Groups of keys with texts, always the same ones: what cannot be read is "unknown", and never an error. Units stand in
// the keys. Two results are comparable as far as their environments agree.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/result.hpp"
#include "tools/measure/system_files.hpp"

namespace bus::tools::measure {

using Environment = decltype(Result::environment);

/// Before a measurement. `command` is argv. With `anonymise` host, user, paths and addresses are replaced as
/// anonymise.hpp does it; the keys stay. Takes some 60 ms, most of it the counter's rate.
[[nodiscard]] Environment capture_environment(const std::vector<std::string>& command, bool anonymise);
/// The same of another root, for tests; what comes from instructions and calls is this machine's.
[[nodiscard]] Environment capture_environment(const SystemFiles& files, const std::vector<std::string>& command,
                                              bool anonymise);

/// After it: load after, and what passed since: steal time, context switches, interrupts, throttled periods.
void finish_environment(Environment& environment);
void finish_environment(const SystemFiles& files, Environment& environment);

/// The text of a key; empty when there is none.
[[nodiscard]] std::string_view value_of(const Environment& environment, std::string_view group, std::string_view key);

/// The name of the hypervisor under this machine, "none" on bare metal, "unknown" when nothing tells. Sources in turn:
/// CPUID (`from_cpu`), /sys/hypervisor/type, the "hypervisor" flag in /proc/cpuinfo, DMI's vendor and product.
[[nodiscard]] std::string hypervisor_of(const SystemFiles& files, const std::optional<std::string>& from_cpu);

}  // namespace bus::tools::measure
