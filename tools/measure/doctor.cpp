// tools/measure/doctor.cpp: the machine, the two looks, and how findings are written.
#include "tools/measure/doctor.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "bus/core/errc.hpp"
#include "bus/core/os/barrier.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/version.hpp"
#include "tools/common/json.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/cpu_id.hpp"
#include "tools/measure/doctor_checks.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kColumns = 100;

std::array<std::span<const Check>, 4> tables() noexcept {
  return {cpu_checks(), system_checks(), noise_checks(), place_checks()};
}

/// As transports/lane/memory.cpp makes its memory.
std::error_code try_memfd() noexcept {
  const os::Fd fd(::memfd_create("ipcbus-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return last_system_error();
  if (::ftruncate(fd.get(), 4096) != 0) return last_system_error();
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return last_system_error();
  return {};
}

/// /proc/PID/stat. Source: proc(5): the name is in brackets and may contain anything; fields are counted behind it.
std::optional<ProcessTime> process_time(const SystemFiles& files, const std::string& pid) {
  const auto number = to_number(pid);
  if (!number || pid.find_first_not_of("0123456789") != std::string::npos) return {};
  const auto text = files.text("/proc/" + pid + "/stat");
  if (!text) return {};
  const std::size_t open = text->find('('), close = text->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  const auto words = words_of(std::string_view(*text).substr(close + 1));  // from field 3 on
  if (words.size() < 13) return {};
  ProcessTime process;
  process.pid = static_cast<pid_t>(*number);
  process.name = text->substr(open + 1, close - open - 1);
  constexpr std::uint64_t kIsKernel = 0x00200000;  // PF_KTHREAD in flags, field 9; the kernel's linux/sched.h
  process.is_kernel = (to_number(words[6]).value_or(0) & kIsKernel) != 0;
  process.ticks = to_number(words[11]).value_or(0) + to_number(words[12]).value_or(0);  // 14 and 15: utime, stime
  const auto uid = files.field("/proc/" + pid + "/status", "Uid");
  process.uid = static_cast<uid_t>(to_number(uid.value_or("")).value_or(0));
  return process;
}

Look look_at(const SystemFiles& files) {
  Look look;
  look.cpu = cpu_ticks(files);
  for (const std::string& name : files.names("/proc")) {
    if (auto process = process_time(files, name)) look.processes.push_back(std::move(*process));
  }
  return look;
}

std::string_view colour_of(Severity severity) noexcept {
  switch (severity) {
    case Severity::problem:
      return "\x1b[1;31m";
    case Severity::warning:
      return "\x1b[1;33m";
    case Severity::note:
      return "\x1b[1;36m";
    case Severity::ok:
      break;
  }
  return "\x1b[1;32m";
}

void append_finding(std::string& to, const Finding& finding, bool colour) {
  constexpr std::size_t kIndent = 9, kInner = 16;
  const std::string_view name = name_of(finding.severity);
  if (colour) to.append(colour_of(finding.severity));
  to.append(name);
  if (colour) to.append("\x1b[0m");
  to.append(kIndent - std::min(kIndent, name.size()), ' ');
  to.append(wrapped(finding.check + ": " + harmless(finding.what), kColumns, kIndent, kIndent));
  const auto part = [&](std::string_view label, std::string_view text, bool may_break) {
    if (text.empty()) return;
    to.append(kIndent, ' ').append(label).append(kInner - kIndent - label.size(), ' ');
    if (may_break) {
      to.append(wrapped(harmless(text), kColumns, kInner, kInner));
    } else {
      to.append(harmless(text)).append("\n");  // a command stays in one piece, so that it can be copied
    }
  };
  part("why", finding.why, true);
  part("mend", finding.mend, false);
}

}  // namespace

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string result = "'";
  for (const char c : word) {
    if (c == '\'') {
      result.append("'\\''");
    } else {
      result.push_back(c);
    }
  }
  return result.append("'");
}

std::string short_number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), value >= 999.5 ? "%.0f" : "%.3g", value);
  return text.data();
}

std::string short_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return short_number(value).append(kUnits[unit]);
}

std::string_view name_of(Severity severity) noexcept {
  switch (severity) {
    case Severity::ok:
      return "ok";
    case Severity::note:
      return "note";
    case Severity::warning:
      return "warning";
    case Severity::problem:
      return "problem";
  }
  return "";
}

Machine Machine::here(std::function<void()> wait) {
  Machine machine;
  machine.hypervisor = cpuid_hypervisor();
  machine.has_membarrier = os::has_heavy_barrier();
  machine.memfd = try_memfd();
  machine.build = bus::build();
  if (const char* const base = std::getenv("XDG_RUNTIME_DIR"); base != nullptr) machine.runtime_base = base;
  machine.uid = ::geteuid();
  machine.pid = ::getpid();
  struct statvfs shm {};
  if (::statvfs("/dev/shm", &shm) == 0) {
    const bool writable = ::faccessat(AT_FDCWD, "/dev/shm", W_OK | X_OK, AT_EACCESS) == 0;
    machine.dev_shm = {
        {std::uint64_t{shm.f_blocks} * shm.f_frsize, std::uint64_t{shm.f_bavail} * shm.f_frsize, writable}};
  }
  machine.wait = std::move(wait);
  return machine;
}

std::vector<Finding> examine(const Machine& machine) {
  Look before, after;
  if (machine.wait) {
    before = look_at(machine.files);
    machine.wait();
  }
  after = look_at(machine.files);
  Examination examination(machine, std::move(before), std::move(after));
  for (const std::span<const Check> table : tables()) {
    for (const Check& check : table) {
      examination.check = check.name;
      check.look(examination);
    }
  }
  return std::move(examination.findings);
}

std::vector<std::string_view> check_names() {
  std::vector<std::string_view> names;
  for (const std::span<const Check> table : tables()) {
    for (const Check& check : table) names.push_back(check.name);
  }
  return names;
}

Tally tally(std::span<const Finding> findings) noexcept {
  Tally result;
  for (const Finding& finding : findings) {
    switch (finding.severity) {
      case Severity::ok:
        ++result.ok;
        break;
      case Severity::note:
        ++result.notes;
        break;
      case Severity::warning:
        ++result.warnings;
        break;
      case Severity::problem:
        ++result.problems;
        break;
    }
  }
  return result;
}

std::string findings_text(std::span<const Finding> findings, bool all, bool colour) {
  const Tally counts = tally(findings);
  std::string text = counted(counts.problems, "problem") + ", " + counted(counts.warnings, "warning") + ", " +
                     counted(counts.notes, "note") + ", " + std::to_string(counts.ok) + " ok. Nothing was changed.\n";
  for (const Severity severity : {Severity::problem, Severity::warning, Severity::note, Severity::ok}) {
    if (severity == Severity::ok && !all) break;
    for (const Finding& finding : findings) {
      if (finding.severity != severity) continue;
      if (severity != Severity::ok || &finding == &findings.front()) text.append("\n");
      append_finding(text, finding, colour);
    }
  }
  if (!all && counts.ok > 0) {
    std::vector<std::string> names;
    for (const Finding& finding : findings) {
      if (finding.severity == Severity::ok) names.push_back(finding.check);
    }
    text.append("\nok       ").append(wrapped(joined(names, ", "), kColumns, 9, 9));
  }
  return text;
}

std::string findings_json(std::span<const Finding> findings) {
  // Names of files and processes need not be UTF-8: what is none is replaced.
  const auto line = [](const Json& object) { return json_line(object); };
  std::string text;
  for (const Finding& finding : findings) {
    text.append(line({{"type", "finding"},
                      {"check", finding.check},
                      {"severity", name_of(finding.severity)},
                      {"what", finding.what},
                      {"why", finding.why},
                      {"mend", finding.mend}}));
  }
  const Tally counts = tally(findings);
  return text.append(line({{"type", "summary"},
                           {"ok", counts.ok},
                           {"notes", counts.notes},
                           {"warnings", counts.warnings},
                           {"problems", counts.problems}}));
}

}  // namespace bus::tools::measure
