// tools/measure/environment.cpp: each key with its source. Compiled with BUS_BUILD_FLAGS and BUS_BUILD_TYPE.
#include "tools/measure/environment.hpp"

#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/version.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <utility>

#include "bus/core/os/fd.hpp"
#include "bus/core/version.hpp"
#include "tools/measure/anonymise.hpp"
#include "tools/measure/clock.hpp"
#include "tools/measure/cpu_id.hpp"

#ifndef BUS_BUILD_FLAGS
#define BUS_BUILD_FLAGS "unknown"
#endif
#ifndef BUS_BUILD_TYPE
#define BUS_BUILD_TYPE "unknown"
#endif

namespace bus::tools::measure {
namespace {

using Text = std::optional<std::string>;

constexpr std::string_view kUnknown = "unknown";
constexpr std::string_view kActivity = "activity";
constexpr std::string_view kCpu = "/sys/devices/system/cpu";

std::string decimal(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

template <class Number>
Text in_digits(const std::optional<Number>& value) {
  return value ? Text(std::to_string(*value)) : std::nullopt;
}

class Capture {
 public:
  Capture(const SystemFiles& files, bool anonymise) : files_(files), anonymise_(anonymise) {}

  void group(std::string_view name) { all_.emplace_back(name, Environment::value_type::second_type{}); }
  void add(std::string_view key, const Text& value) {
    all_.back().second.emplace_back(key, value && !value->empty() ? *value : std::string(kUnknown));
  }
  void add_file(std::string_view key, std::string_view path) { add(key, files_.text(path)); }
  /// What tells of people and places.
  void add_private(std::string_view key, const Text& value) {
    add(key, anonymise_ ? Text(std::string(kAnonymised)) : value);
  }

  void build();
  void libraries();
  void host(const std::vector<std::string>& command);
  void kernel();
  void machine();
  void memory();
  void clock();
  void limits();
  void affinity();
  void sockets();
  void mitigations();
  void activity();

  Environment take() { return std::move(all_); }

 private:
  /// The different texts of a file that each CPU online has, as "performance" or "performance (0-3), powersave (4-7)".
  [[nodiscard]] Text each_cpu(std::string_view file) const;
  [[nodiscard]] Text kib(std::string_view field) const;
  [[nodiscard]] Text caches() const;

  const SystemFiles& files_;
  const bool anonymise_;
  Environment all_;
};

void Capture::build() {
  group("build");
  add("version", std::string(version()));
  add("build", std::string(bus::build()));
#if defined(__clang__)
  add("compiler", "clang++ " __clang_version__);
#elif defined(__GNUC__)
  add("compiler", "g++ " __VERSION__);
#else
  add("compiler", std::nullopt);
#endif
  std::vector<std::string> flags = words_of(BUS_BUILD_FLAGS);
  if (anonymise_)
    std::transform(flags.begin(), flags.end(), flags.begin(), [](const auto& f) { return anonymised(f); });
  add("flags", joined(flags, " "));
  add("type", BUS_BUILD_TYPE);
#ifdef NDEBUG
  add("assertions", "off");
#else
  add("assertions", "on");
#endif
}

void Capture::libraries() {
  group("libraries");
  add("libc", std::string("glibc ") + ::gnu_get_libc_version());  // the one that runs, not that of the build
#ifdef _GLIBCXX_RELEASE
  add("libstdc++", std::to_string(_GLIBCXX_RELEASE) + " (" + std::to_string(__GLIBCXX__) + ")");
#else
  add("libstdc++", std::nullopt);
#endif
  add("boost", std::to_string(BOOST_VERSION / 100000) + "." + std::to_string(BOOST_VERSION / 100 % 1000) + "." +
                   std::to_string(BOOST_VERSION % 100));
  // ld.so(8): another malloc changes figures. Only the bare names.
  const char* const preloaded = std::getenv("LD_PRELOAD");
  std::vector<std::string> names = words_of(preloaded == nullptr ? "" : preloaded);
  for (std::string& name : names) name.erase(0, name.rfind('/') + 1);
  add("preloaded", names.empty() ? "none" : joined(names, " "));
  const char* const tunables = std::getenv("GLIBC_TUNABLES");
  add("glibc_tunables", tunables == nullptr || *tunables == '\0' ? "none" : tunables);
}

void Capture::host(const std::vector<std::string>& command) {
  group("host");
  add("command", joined(anonymise_ ? anonymised_command(command) : command, " "));
  add_private("name", host_name());
  add_private("user", user_name());
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  add_private("program", size > 0 ? Text(std::string(path.data(), static_cast<std::size_t>(size))) : std::nullopt);
  const std::string container = container_of(files_);
  add("container", container.empty() ? "none" : container);
}

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

Text Capture::each_cpu(std::string_view file) const {
  std::map<std::string, std::vector<int>> by_text;
  for (const int cpu : online_cpus(files_)) {
    const auto text =
        files_.text(std::string(kCpu).append("/cpu").append(std::to_string(cpu)).append("/").append(file));
    if (text && !text->empty()) by_text[*text].push_back(cpu);
  }
  if (by_text.empty()) return {};
  if (by_text.size() == 1) return by_text.begin()->first;
  std::vector<std::string> parts;
  parts.reserve(by_text.size());
  for (const auto& [text, cpus] : by_text) parts.push_back(text + " (" + cpus_text(cpus) + ")");
  return joined(parts, ", ");
}

/// "L1d 32K, L1i 32K, L2 1024K, L3 32768K" of the first CPU. Source: the kernel's ABI/testing/sysfs-devices-system-cpu.
Text Capture::caches() const {
  const std::string folder = std::string(kCpu) + "/cpu" + std::to_string(online_cpus(files_).front()) + "/cache";
  std::vector<std::string> parts;
  for (const std::string& index : files_.names(folder)) {
    const std::string one = folder + "/" + index;
    const auto level = files_.text(one + "/level"), type = files_.text(one + "/type"),
               size = files_.text(one + "/size");
    if (!level || !type || !size) continue;
    parts.push_back("L" + *level + (*type == "Data" ? "d " : *type == "Instruction" ? "i " : " ") + *size);
  }
  return joined(parts, ", ");
}

Text turbo_of(const SystemFiles& files) {
  // The kernel's admin-guide/pm/intel_pstate.rst and cpufreq.rst: two files, with opposite meanings.
  if (const auto off = files.number("/sys/devices/system/cpu/intel_pstate/no_turbo")) return *off == 0 ? "on" : "off";
  if (const auto on = files.number("/sys/devices/system/cpu/cpufreq/boost")) return *on == 0 ? "off" : "on";
  return {};
}

void Capture::machine() {
  group("machine");
  Text model = files_.field("/proc/cpuinfo", "model name");
  if (!model) model = files_.text("/sys/firmware/devicetree/base/model");  // ARM boards
  add("cpu", model);
  add("microcode", files_.field("/proc/cpuinfo", "microcode"));
  add("caches", caches());
  const std::vector<int> online = online_cpus(files_);
  add("cpus_online", std::to_string(online.size()));
  add("cpus", cpus_text(online));
  std::map<std::string, int> cores;
  for (const int cpu : online) {
    const std::string topology = std::string(kCpu) + "/cpu" + std::to_string(cpu) + "/topology";
    const auto siblings = files_.text(topology + "/thread_siblings_list");
    if (siblings) ++cores[*siblings];
  }
  add("cores", cores.empty() ? Text() : std::to_string(cores.size()));
  add("smt", files_.text(std::string(kCpu) + "/smt/control"));  // on, off, forceoff, notsupported, notimplemented
  const auto isolated = files_.text(std::string(kCpu) + "/isolated");
  add("isolated", isolated ? Text(isolated->empty() ? "none" : *isolated) : std::nullopt);
  add("governor", each_cpu("cpufreq/scaling_governor"));
  add("frequency_driver", each_cpu("cpufreq/scaling_driver"));
  add("frequency_khz", each_cpu("cpufreq/scaling_cur_freq"));
  add("frequency_most_khz", each_cpu("cpufreq/cpuinfo_max_freq"));
  add("turbo", turbo_of(files_));
  add("idle_driver", files_.text(std::string(kCpu) + "/cpuidle/current_driver"));
  add("idle_governor", files_.text(std::string(kCpu) + "/cpuidle/current_governor"));
  add("hypervisor", hypervisor_of(files_, cpuid_hypervisor()));
  const auto vendor = files_.text("/sys/class/dmi/id/sys_vendor"),
             product = files_.text("/sys/class/dmi/id/product_name");
  add("product", vendor && product ? Text(*vendor + " " + *product) : vendor ? vendor : product);
  const auto nodes = files_.text("/sys/devices/system/node/online");
  const auto parsed = nodes ? parse_cpus(*nodes) : std::nullopt;
  add("numa_nodes", parsed ? Text(std::to_string(parsed->size())) : std::nullopt);
  add_file("numa_balancing", "/proc/sys/kernel/numa_balancing");
}

Text Capture::kib(std::string_view field) const {
  const auto text = files_.field("/proc/meminfo", field);
  const auto value = text ? to_number(*text) : std::nullopt;
  return value ? Text(std::to_string(*value * 1024)) : std::nullopt;
}

void Capture::memory() {
  group("memory");
  add("total_bytes", kib("MemTotal"));
  add("available_bytes", kib("MemAvailable"));
  add("swap_total_bytes", kib("SwapTotal"));
  add("swap_free_bytes", kib("SwapFree"));
  // admin-guide/mm/transhuge.rst; shmem_enabled is what memfd and /dev/shm get.
  const std::string thp = "/sys/kernel/mm/transparent_hugepage";
  for (const char* const name : {"enabled", "defrag", "shmem_enabled"}) {
    add(std::string("thp_") + name, chosen_of(files_.text(thp + "/" + name).value_or("")));
  }
  add("huge_pages_total", files_.field("/proc/meminfo", "HugePages_Total"));
  add("huge_pages_free", files_.field("/proc/meminfo", "HugePages_Free"));
  add("huge_page_bytes", kib("Hugepagesize"));
  add("page_bytes", std::to_string(::sysconf(_SC_PAGESIZE)));
  add_file("ksm", "/sys/kernel/mm/ksm/run");
  add_file("swappiness", "/proc/sys/vm/swappiness");
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

void Capture::limits() {
  group("limits");
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kLimits{{
      {"memlock_bytes", "Max locked memory"},
      {"nofile", "Max open files"},
      {"rtprio", "Max realtime priority"},
      {"nice", "Max nice priority"},
      {"core_bytes", "Max core file size"},
      {"address_space_bytes", "Max address space"},
  }};
  const auto text = [](std::uint64_t value) { return value == kUnlimited ? "unlimited" : std::to_string(value); };
  for (const auto& [key, name] : kLimits) {
    const auto limit = limit_of(files_, name);
    add(key, limit ? Text(text(limit->soft) + " of " + text(limit->hard)) : std::nullopt);
  }
  // capabilities(7): CAP_IPC_LOCK locks without limit, CAP_SYS_NICE gives any priority, CAP_NET_ADMIN any buffer.
  for (const auto& [key, number] : {std::pair{"cap_ipc_lock", 14U}, {"cap_sys_nice", 23U}, {"cap_net_admin", 12U}}) {
    const auto has = has_capability(files_, number);
    add(key, has ? Text(*has ? "yes" : "no") : std::nullopt);
  }
  const auto quota = cpu_quota(files_);
  if (!quota) {
    add("cpu_limit", std::nullopt);
  } else if (!quota->cpus) {
    add("cpu_limit", "none");
  } else {
    add("cpu_limit", decimal(*quota->cpus, 2) + " CPUs, each " + std::to_string(quota->period_us) + " us");
  }
}

void Capture::affinity() {
  group("affinity");
  add("cpus", files_.field("/proc/self/status", "Cpus_allowed_list"));
  add("memory_nodes", files_.field("/proc/self/status", "Mems_allowed_list"));
  static const std::map<int, std::string> kPolicies{
      {SCHED_OTHER, "other"}, {SCHED_FIFO, "fifo"}, {SCHED_RR, "rr"}, {SCHED_BATCH, "batch"}, {SCHED_IDLE, "idle"}};
  const auto policy = kPolicies.find(::sched_getscheduler(0));
  add("policy", policy == kPolicies.end() ? Text() : policy->second);
  const auto stat = files_.text("/proc/self/stat").value_or("");
  const auto words = words_of(stat.substr(std::min(stat.rfind(')'), stat.size())));
  add("nice", words.size() > 17 ? Text(words[17]) : std::nullopt);  // field 19 of proc(5), the second is ")"
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

void Capture::mitigations() {
  group("mitigations");
  // Which there are depends on the kernel: one key for all that is not "Not affected".
  const std::string folder = std::string(kCpu) + "/vulnerabilities";
  std::vector<std::string> active;
  const auto names = files_.names(folder);
  for (const std::string& name : names) {
    const auto text = files_.text(folder + "/" + name);
    if (text && *text != "Not affected") active.push_back(name + ": " + *text);
  }
  add("affected", names.empty() ? Text() : active.empty() ? "none" : joined(active, " | "));
  add("boot_parameter", [&]() -> Text {
    const auto line = files_.text("/proc/cmdline");
    if (!line) return {};
    for (const std::string& word : words_of(*line)) {
      if (word.starts_with("mitigations=")) return word.substr(12);
    }
    return "auto";
  }());
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

void Capture::activity() {
  group(kActivity);
  add("load_before", load_of(files_));
  for (const auto& [key, value] : counters(files_)) add(key + "_before", in_digits(value));
}

}  // namespace

std::string hypervisor_of(const SystemFiles& files, const std::optional<std::string>& from_cpu) {
  const auto flags = files.field("/proc/cpuinfo", "flags");
  bool flagged = false;
  if (flags) {
    const auto words = words_of(*flags);
    flagged = std::find(words.begin(), words.end(), "hypervisor") != words.end();
  }
  if (from_cpu && *from_cpu != "none") return *from_cpu;
  if (const auto type = files.text("/sys/hypervisor/type"); type && !type->empty()) return *type;  // xen
  if (flagged) return "a hypervisor without a name";
  // Where the CPU has no instruction for it, as on ARM, firmware tells. Source: systemd's detect-virt.
  static constexpr std::array<std::string_view, 11> kVendors{
      "QEMU", "KVM",   "Amazon EC2", "VMware", "innotek GmbH",         "Oracle Corporation",
      "Xen",  "Bochs", "Parallels",  "BHYVE",  "Google Compute Engine"};
  for (const char* const name : {"product_name", "sys_vendor", "bios_vendor"}) {
    const auto text = files.text(std::string("/sys/class/dmi/id/") + name);
    if (!text || text->ends_with(".metal")) continue;  // EC2's instances without a hypervisor
    for (const std::string_view vendor : kVendors) {
      if (text->find(vendor) != std::string::npos && !from_cpu) return *text;
    }
  }
  return from_cpu || flags ? "none" : std::string(kUnknown);
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
