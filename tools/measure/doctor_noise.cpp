// tools/measure/doctor_noise.cpp: the checks on what else happens on the machine just now.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>

#include "tools/measure/doctor_checks.hpp"

namespace bus::tools::measure {
namespace {

bool is_running(const Examination& e, std::string_view name) {
  return std::any_of(e.after.processes.begin(), e.after.processes.end(),
                     [name](const ProcessTime& process) { return process.name == name; });
}

void irqbalance(Examination& e) {
  if (!is_running(e, "irqbalance")) {
    e.ok("irqbalance does not run");
    return;
  }
  e.add(Severity::note, "irqbalance runs",
        "every ten seconds it may move a device's interrupts to the CPU that is measured on",
        e.as_root("systemctl stop irqbalance"));
}

/// Ticks between the two looks; none when there was one look only, or the counters did not move.
std::optional<CpuTicks> passed(const Examination& e) {
  if (!e.before.cpu || !e.after.cpu || e.after.cpu->total() <= e.before.cpu->total()) return {};
  const auto less = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; };
  return CpuTicks{less(e.after.cpu->busy, e.before.cpu->busy), less(e.after.cpu->idle, e.before.cpu->idle),
                  less(e.after.cpu->steal, e.before.cpu->steal)};
}

std::string percent(double share) { return short_number(100 * share) + " %"; }

void load(Examination& e) {
  const auto now = passed(e);
  const auto words = words_of(e.files.text("/proc/loadavg").value_or(""));
  const double minute = words.empty() ? 0 : std::strtod(words[0].c_str(), nullptr);
  const auto cpus = static_cast<double>(online_cpus(e.files).size());
  const double busy = now ? static_cast<double>(now->busy) / static_cast<double>(now->total()) : 0;
  const std::string text = (now ? "CPUs were " + percent(busy) + " busy just now; " : std::string()) +
                           "the load of the last minute is " + short_number(minute) + " on " + short_number(cpus) +
                           (cpus == 1 ? " CPU" : " CPUs");
  if (busy >= 0.1 || (!now && minute >= cpus / 2)) {
    e.add(Severity::warning, text,
          "other tasks take turns with the roles, for up to 3 ms each time, and empty their caches: wait until it is "
          "quiet",
          "ps -eo pid,pcpu,etimes,args --sort=-pcpu | head");
  } else if (minute >= cpus / 2) {
    e.add(Severity::note, text, "quiet now, and not long ago it was not: look twice before a long run",
          "ps -eo pid,pcpu,etimes,args --sort=-pcpu | head");
  } else {
    e.ok(text);
  }
}

void steal(Examination& e) {
  const auto now = passed(e);
  if (!e.after.cpu) {
    e.ok("steal time is not told");
    return;
  }
  const auto share = [](const CpuTicks& ticks) {
    return ticks.total() == 0 ? 0.0 : static_cast<double>(ticks.steal) / static_cast<double>(ticks.total());
  };
  const double recent = now ? share(*now) : 0, ever = share(*e.after.cpu);
  const std::string why =
      "the host ran somebody else on our CPUs: pauses of ms that no program here can see the cause of. "
      "Measure on CPUs of one's own, or at another time";
  if (recent >= 0.001) {
    e.add(Severity::warning, "the host takes " + percent(recent) + " of CPU time away just now", why,
          "bus doctor --intrinsic 10s");
  } else if (ever >= 0.001) {
    e.add(Severity::note,
          "the host has taken " + percent(ever) + " of CPU time away since the start, and none just now", why,
          "bus doctor --intrinsic 10s");
  } else {
    e.ok("no CPU time is stolen");
  }
}

void busy_processes(Examination& e) {
  constexpr double kNoise = 0.05;  // of one CPU
  const auto now = passed(e);
  if (!now) {
    e.ok("one look at processes does not tell which are busy");
    return;
  }
  const double ticks_of_one = static_cast<double>(now->total()) / static_cast<double>(online_cpus(e.files).size());
  std::map<pid_t, std::uint64_t> earlier;
  for (const ProcessTime& process : e.before.processes) earlier[process.pid] = process.ticks;
  std::vector<std::pair<double, const ProcessTime*>> busy;
  for (const ProcessTime& process : e.after.processes) {
    const auto start = earlier.find(process.pid);
    if (process.pid == e.machine.pid || start == earlier.end() || process.ticks <= start->second) continue;
    const double share = static_cast<double>(process.ticks - start->second) / ticks_of_one;
    if (share >= kNoise) busy.emplace_back(share, &process);
  }
  if (busy.empty()) {
    e.ok("no other process takes 5 % of a CPU");
    return;
  }
  std::sort(busy.begin(), busy.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string what, pids;
  bool is_ours = true;
  for (std::size_t i = 0; i < busy.size() && i < 4; ++i) {
    const ProcessTime& process = *busy[i].second;
    what.append(i > 0 ? ", " : "").append(process.name).append(" (").append(std::to_string(process.pid)).append(") ");
    what.append(percent(busy[i].first));
    if (process.is_kernel) continue;
    pids.append(" ").append(std::to_string(process.pid));
    is_ours = is_ours && process.uid == e.machine.uid;
  }
  if (busy.size() > 4) what.append(", and " + std::to_string(busy.size() - 4) + " more");
  std::string mend;
  if (!pids.empty()) {
    const auto command = [&](const std::string& text) { return is_ours ? text : e.as_root(text); };
    mend = command("kill -STOP" + pids) + "   # and afterwards: " + command("kill -CONT" + pids);
  }
  e.add(Severity::warning, "busy just now, of one CPU each: " + what,
        "they take turns with the roles and share their caches. End them, or hold them for as long as the measurement "
        "takes",
        mend);
}

void tracing(Examination& e) {
  std::vector<std::string> found;
  static constexpr std::array kTracers{"perf",     "strace",    "ltrace",         "gdb",
                                       "bpftrace", "trace-cmd", "lttng-sessiond", "rr"};
  for (const char* const name : kTracers) {
    if (is_running(e, name)) found.push_back(std::string(name) + " runs");
  }
  const auto tracer = e.files.field("/proc/self/status", "TracerPid");
  if (tracer && *tracer != "0") found.push_back("process " + *tracer + " traces this one");
  // Root only. Source: the kernel's trace/ftrace.rst.
  std::string mend;
  for (const char* const place : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    const std::string folder = place;
    const auto current = e.files.text(folder + "/current_tracer");
    if (!current) continue;
    const bool is_on = e.files.number(folder + "/tracing_on").value_or(1) != 0;
    const bool has_events = !e.files.text(folder + "/set_event").value_or("").empty();
    if (is_on && *current != "nop") found.push_back("the kernel's tracer " + *current + " is on");
    if (is_on && has_events) found.emplace_back("trace events are on");
    if (is_on && (*current != "nop" || has_events)) mend = e.set_file("0", folder + "/tracing_on");
    break;
  }
  if (found.empty()) {
    e.ok("nothing traces, as far as can be seen");
    return;
  }
  e.add(Severity::warning, joined(found, "; "),
        "each event costs 0.1 to 1 us where it happens, a traced system call ten times that", mend);
}

}  // namespace

std::span<const Check> noise_checks() noexcept {
  static constexpr std::array<Check, 5> kChecks{{
      {"load", load},
      {"steal", steal},
      {"busy-processes", busy_processes},
      {"irqbalance", irqbalance},
      {"tracing", tracing},
  }};
  return kChecks;
}

}  // namespace bus::tools::measure
