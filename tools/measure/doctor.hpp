// tools/measure/doctor.hpp: what makes a machine noisy for measurements or unsafe for messages between processes, why
// it matters, and the command that mends it.
//
// A table of checks over files and a few facts; each check gives one finding or more, also when all is well. Nothing is
// changed: no file is made, no lock is taken, no socket is connected to.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tools/measure/system_files.hpp"

namespace bus::tools::measure {

enum class Severity : unsigned char {
  ok,
  note,     // known to matter; nothing has to be done
  warning,  // figures of this machine are worse or less steady than they could be
  problem,  // messages cannot be moved, or figures mean nothing
};
[[nodiscard]] std::string_view name_of(Severity severity) noexcept;

struct Finding {
  std::string check;  // from the table: "governor"
  Severity severity = Severity::ok;
  std::string what;  // a sentence on this machine
  std::string why;   // why that matters, with a figure where one is known; empty when all is well
  std::string mend;  // a command for a shell; empty when there is none
};

/// How much CPU time a process has used, in clock ticks.
struct ProcessTime {
  pid_t pid = 0;
  uid_t uid = 0;
  bool is_kernel = false;  // a thread of the kernel: cannot be stopped
  std::string name;
  std::uint64_t ticks = 0;
};

/// What is read of a machine: files, and facts that are in no file. Tests fill it as they like.
struct Machine {
  SystemFiles files;
  std::optional<std::string> hypervisor;  // cpuid_hypervisor()
  bool has_membarrier = true;             // os::has_heavy_barrier()
  std::error_code memfd;                  // what making a sealed memfd says
  std::string build;                      // bus::build()
  std::string runtime_base;               // $XDG_RUNTIME_DIR
  uid_t uid = 0;                          // the effective one
  pid_t pid = 0;                          // of this program: is no noise
  struct Room {
    std::uint64_t total = 0, free = 0;  // bytes
    bool writable = false;
  };
  std::optional<Room> dev_shm;  // none: it is not there
  /// Between two looks at what counts up. Empty: one look.
  std::function<void()> wait;

  /// This one.
  [[nodiscard]] static Machine here(std::function<void()> wait);
};

/// Runs every check of the table. Throws nothing for what cannot be read.
[[nodiscard]] std::vector<Finding> examine(const Machine& machine);

/// The names of all checks, in order.
[[nodiscard]] std::vector<std::string_view> check_names();

/// Counts by severity.
struct Tally {
  std::size_t ok = 0, notes = 0, warnings = 0, problems = 0;
};
[[nodiscard]] Tally tally(std::span<const Finding> findings) noexcept;

/// The worst first, at most 100 columns where words allow it. With `all` what is in order is shown in full, too. With
/// `colour` for a terminal.
[[nodiscard]] std::string findings_text(std::span<const Finding> findings, bool all, bool colour);
/// {"type":"finding","check","severity","what","why","mend"}, a line each; then
/// {"type":"summary","ok","notes","warnings","problems"}.
[[nodiscard]] std::string findings_json(std::span<const Finding> findings);

}  // namespace bus::tools::measure
