// tools/measure/environment_system.cpp: the kernel, its clocks and its sockets.
#include "tools/measure/environment_capture.hpp"

#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "bus/core/os/fd.hpp"
#include "tools/measure/clock.hpp"
#include "tools/measure/cpu_id.hpp"

namespace bus::tools::measure {
namespace {

/// The words of /proc/cmdline that change timing; the rest of it is nobody's business (it has names of disks and keys).
Text timing_parameters(const SystemFiles& files) {
  static constexpr std::array kNames{"isolcpus",
                                     "nohz_full",
                                     "nohz",
                                     "rcu_nocbs",
                                     "mitigations",
                                     "idle",
                                     "nosmt",
                                     "tsc",
                                     "clocksource",
                                     "preempt",
                                     "threadirqs",
                                     "irqaffinity",
                                     "hugepages",
                                     "hugepagesz",
                                     "transparent_hugepage",
                                     "intel_pstate",
                                     "amd_pstate",
                                     "skew_tick",
                                     "nowatchdog",
                                     "nmi_watchdog",
                                     "intel_idle.max_cstate",
                                     "processor.max_cstate",
                                     "cpuidle.off",
                                     "highres"};
  const auto line = files.text("/proc/cmdline");
  if (!line) return {};
  std::vector<std::string> kept;
  for (const std::string& word : words_of(*line)) {
    const std::string name = word.substr(0, word.find('='));
    if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) kept.push_back(word);
  }
  return kept.empty() ? "none" : joined(kept, " ");
}

/// What the kernel gives to a UDP socket that asks as the udp transport does (transports/udp/README.md).
Text granted_buffer(int level_option, int forced_option, bool ask) {
  const os::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return {};
  const int want = 4 << 20;
  if (ask && ::setsockopt(fd.get(), SOL_SOCKET, forced_option, &want, sizeof want) != 0) {
    static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, level_option, &want, sizeof want));
  }
  int granted = 0;
  socklen_t size = sizeof granted;
  if (::getsockopt(fd.get(), SOL_SOCKET, level_option, &granted, &size) != 0) return {};
  return std::to_string(granted);
}

}  // namespace

void Capture::kernel() {
  group("kernel");
  // /proc/version has the user and host that built it; these two have not.
  add_file("release", "/proc/sys/kernel/osrelease");
  add_file("version", "/proc/sys/kernel/version");
  utsname names{};
  add("architecture", ::uname(&names) == 0 ? Text(names.machine) : std::nullopt);
  add("boot_parameters", timing_parameters(files_));
  // debugfs, root only; "voluntary full lazy" with one in brackets. The kernel's sched/debug.c.
  add("preemption", chosen_of(files_.text("/sys/kernel/debug/sched/preempt").value_or("")));
  add_file("rt_runtime_us", "/proc/sys/kernel/sched_rt_runtime_us");
  add_file("rt_period_us", "/proc/sys/kernel/sched_rt_period_us");
  add_file("autogroup", "/proc/sys/kernel/sched_autogroup_enabled");  // sched(7)
  add_file("timer_migration", "/proc/sys/kernel/timer_migration");
  add_file("nmi_watchdog", "/proc/sys/kernel/nmi_watchdog");
  add_file("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid");
}

void Capture::clock() {
  group("clock");
  const std::string source = "/sys/devices/system/clocksource/clocksource0";
  add_file("source", source + "/current_clocksource");
  add_file("available", source + "/available_clocksource");
  add("monotonic_cost_ns", decimal(SampleClock().cost(), 1));  // measured, now
  timespec step{};
  add("monotonic_resolution_ns",
      ::clock_getres(CLOCK_MONOTONIC, &step) == 0 ? Text(std::to_string(step.tv_nsec)) : Text());
  // What /proc/cpuinfo calls constant_tsc and nonstop_tsc: CPUID 80000007h, EDX bit 8.
  const bool invariant = SampleClock::counter_is_invariant();
  add("tsc_invariant", invariant ? "yes" : "no");
  const auto rate = cpuid_counter_rate();
  if (invariant) {
    const SampleClock::Scale scale = SampleClock::calibrate_counter();
    // mult is nanoseconds a tick, times 2^32.
    add("tsc_measured_hz", scale.mult == 0 ? Text() : decimal(4294967296e9 / static_cast<double>(scale.mult), 0));
    add("tsc_cost_ns", decimal(SampleClock(scale).cost(), 1));
  } else {
    add("tsc_measured_hz", std::nullopt);
    add("tsc_cost_ns", std::nullopt);
  }
  add("tsc_cpuid_hz", rate ? Text(decimal(*rate, 0)) : std::nullopt);
  add_file("timer_slack_ns", "/proc/self/timerslack_ns");  // prctl(2), PR_SET_TIMERSLACK
}

void Capture::sockets() {
  group("sockets");
  for (const char* const name : {"rmem_max", "wmem_max", "rmem_default", "wmem_default", "somaxconn", "netdev_budget",
                                 "busy_poll", "busy_read"}) {
    add_file(name, std::string("/proc/sys/net/core/") + name);
  }
  add_file("unix_max_dgram_qlen", "/proc/sys/net/unix/max_dgram_qlen");
  // Three numbers each: least, default, most. tcp(7).
  for (const char* const name : {"tcp_rmem", "tcp_wmem"}) {
    const auto text = files_.text(std::string("/proc/sys/net/ipv4/") + name);
    add(name, text ? Text(joined(words_of(*text), " ")) : std::nullopt);
  }
  add_file("tcp_congestion_control", "/proc/sys/net/ipv4/tcp_congestion_control");
  add_file("loopback_mtu", "/sys/class/net/lo/mtu");
  add("udp_receive_default_bytes", granted_buffer(SO_RCVBUF, SO_RCVBUFFORCE, false));
  add("udp_receive_granted_bytes", granted_buffer(SO_RCVBUF, SO_RCVBUFFORCE, true));
  add("udp_send_default_bytes", granted_buffer(SO_SNDBUF, SO_SNDBUFFORCE, false));
  add("udp_send_granted_bytes", granted_buffer(SO_SNDBUF, SO_SNDBUFFORCE, true));
}

}  // namespace bus::tools::measure
