// tools/measure/doctor_checks.hpp: internal: what the checks of bus doctor share, and where their tables stand.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/doctor.hpp"

namespace bus::tools::measure {

inline constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

/// One look at what counts up.
struct Look {
  std::optional<CpuTicks> cpu;
  std::vector<ProcessTime> processes;
};

/// What a check sees and says.
class Examination {
 public:
  Examination(const Machine& seen, Look first, Look second)
      : machine(seen), files(seen.files), before(std::move(first)), after(std::move(second)) {}

  const Machine& machine;
  const SystemFiles& files;
  const Look before, after;

  void ok(std::string what) { add(Severity::ok, std::move(what), {}, {}); }
  void add(Severity severity, std::string what, std::string why, std::string mend) {
    findings.push_back({std::string(check), severity, std::move(what), std::move(why), std::move(mend)});
  }

  /// `command` as root: with sudo unless we are root already.
  [[nodiscard]] std::string as_root(const std::string& command) const {
    return machine.uid == 0 ? command : "sudo " + command;
  }
  /// A command that writes a word to a file, or to all files of a pattern, of the kernel's.
  [[nodiscard]] std::string set_file(const std::string& word, const std::string& path) const {
    return "echo " + word + " | " + as_root("tee " + path);
  }

  std::string_view check;  // the one that runs
  std::vector<Finding> findings;
};

struct Check {
  std::string_view name;
  void (*look)(Examination&);
};

// The tables, each in a file of its own.
[[nodiscard]] std::span<const Check> cpu_checks() noexcept;     // doctor_cpu.cpp
[[nodiscard]] std::span<const Check> system_checks() noexcept;  // doctor_system.cpp: memory, limits, sockets, kernel
[[nodiscard]] std::span<const Check> noise_checks() noexcept;   // doctor_noise.cpp: what else runs now
[[nodiscard]] std::span<const Check>
place_checks() noexcept;  // doctor_places.cpp: /dev/shm, runtime directory, leftovers

/// A word for a shell, in quotes if it needs them.
[[nodiscard]] std::string quoted(const std::string& word);
/// 1.5 as "1.5", 0.037 as "0.037": three digits, and more before the point.
[[nodiscard]] std::string short_number(double value);
/// An amount of memory for people: "212KiB", "1.5GiB".
[[nodiscard]] std::string short_size(std::uint64_t bytes);

}  // namespace bus::tools::measure
