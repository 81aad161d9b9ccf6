// tests/tools/measure/fake_machine.hpp: a tree of files as /proc, /sys and /dev have them, of a machine that the test
// makes.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/support/sandbox.hpp"
#include "tools/measure/doctor.hpp"

namespace bus::test {

class FakeRoot {
 public:
  FakeRoot() : root_(temporary_folder()) {}

  [[nodiscard]] const std::string& path() const noexcept { return root_; }
  [[nodiscard]] tools::measure::SystemFiles files() const { return tools::measure::SystemFiles(root_); }

  /// Makes or replaces a file; `path` begins with '/'.
  void put(std::string_view path, std::string_view text) const {
    const std::filesystem::path file = root_ + std::string(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
  }
  void take(std::string_view path) const { std::filesystem::remove_all(root_ + std::string(path)); }
  void folder(std::string_view path, unsigned mode) const {
    const std::filesystem::path made = root_ + std::string(path);
    std::filesystem::create_directories(made);
    std::filesystem::permissions(made, static_cast<std::filesystem::perms>(mode));
  }

 private:
  std::string root_;
};

/// Eight CPUs without any fault: every check of bus doctor is content.
struct QuietMachine {
  FakeRoot root;
  tools::measure::Machine machine;

  QuietMachine() {
    const std::string cpu = "/sys/devices/system/cpu";
    root.put(cpu + "/online", "0-7");
    root.put(cpu + "/isolated", "6-7");
    root.put(cpu + "/smt/control", "off");
    root.put(cpu + "/intel_pstate/no_turbo", "1");
    for (int i = 0; i < 8; ++i) {
      const std::string one = cpu + "/cpu" + std::to_string(i);
      root.put(one + "/cpufreq/scaling_governor", "performance");
      root.put(one + "/topology/thread_siblings_list", std::to_string(i));
      root.put(one + "/cpu_capacity", "1024");
      root.put(one + "/cpuidle/state0/latency", "0");
      root.put(one + "/cpuidle/state0/name", "POLL");
      root.put(one + "/cpuidle/state1/latency", "2");
      root.put(one + "/cpuidle/state1/name", "C1");
    }
    root.put("/sys/devices/system/node/online", "0");
    root.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc");
    root.put("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm");
    root.put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
    root.put("/sys/kernel/tracing/current_tracer", "nop");
    root.put("/sys/kernel/tracing/tracing_on", "1");
    root.put("/sys/kernel/tracing/set_event", "");
    root.put("/sys/fs/cgroup/cgroup.controllers", "cpu io memory");
    root.put("/proc/cpuinfo", "model name\t: A CPU\nflags\t\t: fpu tsc constant_tsc nonstop_tsc rdtscp");
    root.put("/proc/meminfo",
             "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 2000000 kB");
    root.put("/proc/self/cgroup", "0::/user.slice");
    root.put("/proc/self/status", "Name:\tbus\nTracerPid:\t0\nCapEff:\t0000000000000000\nCpus_allowed_list:\t6-7");
    root.put("/proc/self/limits",
             "Limit                     Soft Limit           Hard Limit           Units\n"
             "Max open files            1024                 1048576              files\n"
             "Max locked memory         unlimited            unlimited            bytes\n"
             "Max realtime priority     0                    0\n");
    root.put("/proc/sys/kernel/sched_rt_runtime_us", "950000");
    root.put("/proc/sys/kernel/sched_rt_period_us", "1000000");
    root.put("/proc/sys/net/core/rmem_max", "4194304");
    root.put("/proc/sys/net/core/wmem_max", "4194304");
    root.put("/proc/sys/net/core/somaxconn", "4096");
    root.put("/proc/loadavg", "0.03 0.05 0.01 1/120 4242");
    stat(1000, 99000, 0);
    process(100, "sshd", 50);
    root.folder("/run/user/1", 0700);
    root.folder("/run/user/1/ipcbus", 0700);
    root.folder("/dev/shm", 01777);
    machine.files = root.files();
    machine.hypervisor = "none";
    machine.build = "GNU 12.2.0, Release, x86_64";
    machine.runtime_base = "/run/user/1";
    machine.uid = ::geteuid();
    machine.pid = 4242;
    machine.dev_shm = tools::measure::Machine::Room{std::uint64_t{8} << 30, std::uint64_t{8} << 30, true};
    machine.wait = [this] { stat(1010, 99790, 0); };
  }
  QuietMachine(const QuietMachine&) = delete;
  QuietMachine& operator=(const QuietMachine&) = delete;

  /// The first line of /proc/stat, in clock ticks, and what counts up beside it.
  void stat(unsigned busy, unsigned idle, unsigned steal) const {
    root.put("/proc/stat", "cpu  " + std::to_string(busy) + " 0 0 " + std::to_string(idle) + " 0 0 0 " +
                               std::to_string(steal) + " 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\nintr " +
                               std::to_string(busy * 10) + " 1 2\nctxt " + std::to_string(busy * 20) +
                               "\nprocesses 77");
  }
  void process(int pid, const std::string& name, unsigned ticks, unsigned flags = 0) const {
    const std::string folder = "/proc/" + std::to_string(pid);
    root.put(folder + "/stat", std::to_string(pid) + " (" + name + ") S 1 1 1 0 -1 " + std::to_string(flags) +
                                   " 1 2 3 4 " + std::to_string(ticks) + " 0 0 0 20 0 1 0 5 6 7");
    root.put(folder + "/status", "Name:\t" + name + "\nUid:\t" + std::to_string(::geteuid()) + "\t0\t0\t0");
  }
};

}  // namespace bus::test
