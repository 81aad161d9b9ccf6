// tools/measure/doctor_cpu.cpp: the checks on CPUs and clocks.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "tools/measure/doctor_checks.hpp"
#include "tools/measure/environment.hpp"

namespace bus::tools::measure {
namespace {

const std::string kCpu = "/sys/devices/system/cpu";

std::string of_cpu(int cpu, std::string_view file) {
  return std::string(kCpu).append("/cpu").append(std::to_string(cpu)).append("/").append(file);
}

std::string cpus_word(const std::vector<int>& cpus) { return (cpus.size() == 1 ? "CPU " : "CPUs ") + cpus_text(cpus); }

bool is_guest(const Examination& e) {
  const std::string name = hypervisor_of(e.files, e.machine.hypervisor);
  return name != "none" && name != "unknown";
}

void cpus(Examination& e) {
  const auto online = online_cpus(e.files), allowed = allowed_cpus(e.files);
  if (allowed.size() > 1) {
    e.ok("this program may use " + cpus_word(allowed) + " of " + std::to_string(online.size()));
  } else if (online.size() > 1) {
    e.add(Severity::warning,
          "this program may use " + cpus_word(allowed) + " alone, of " + std::to_string(online.size()),
          "sender and receiver take turns on one CPU: what is measured is the scheduler",
          "taskset -cp " + cpus_text(online) + " $$");
  } else {
    e.add(Severity::warning, "the machine has one CPU",
          "sender and receiver take turns on it: what is measured is the scheduler, and spinning only delays the peer",
          "");
  }
}

void governor(Examination& e) {
  std::map<std::string, std::vector<int>> by_name;
  for (const int cpu : online_cpus(e.files)) {
    if (const auto name = e.files.text(of_cpu(cpu, "cpufreq/scaling_governor"))) by_name[*name].push_back(cpu);
  }
  if (by_name.empty()) {
    e.ok(is_guest(e) ? "no CPU frequency governor here: the host decides" : "no CPU frequency governor");
    return;
  }
  std::vector<std::string> others;
  for (const auto& [name, cpus] : by_name) {
    if (name != "performance") others.push_back(name + " on " + cpus_word(cpus));
  }
  if (others.empty()) {
    e.ok("the CPU frequency governor is performance");
  } else {
    e.add(Severity::warning, "the CPU frequency governor is " + joined(others, ", "),
          "after a pause a CPU runs slowly at first, for up to some 10 ms: short runs and low rates measure the "
          "governor, "
          "by a factor of 2 and more",
          e.set_file("performance", kCpu + "/cpu*/cpufreq/scaling_governor"));
  }
}

void turbo(Examination& e) {
  const std::string intel = kCpu + "/intel_pstate/no_turbo", others = kCpu + "/cpufreq/boost";
  const auto off = e.files.number(intel), on = e.files.number(others);
  if (!off && !on) {
    e.ok("no switch for turbo frequencies here");
  } else if (off ? *off != 0 : *on == 0) {
    e.ok("turbo frequencies are off");
  } else {
    e.add(Severity::note, "turbo frequencies are on",
          "the frequency then depends on heat and on how many cores are busy: runs differ by 10 to 30 %",
          off ? e.set_file("1", intel) : e.set_file("0", others));
  }
}

void smt(Examination& e) {
  std::set<std::vector<int>> cores;
  for (const int cpu : allowed_cpus(e.files)) {
    const auto text = e.files.text(of_cpu(cpu, "topology/thread_siblings_list"));
    const auto siblings = text ? parse_cpus(*text) : std::nullopt;
    if (siblings && siblings->size() > 1) cores.insert(*siblings);
  }
  if (cores.empty()) {
    e.ok("no two CPUs share a core");
    return;
  }
  std::vector<int> firsts;
  firsts.reserve(cores.size());
  for (const auto& core : cores) firsts.push_back(core.front());
  std::string what = "CPUs that share a core: ";
  std::size_t shown = 0;
  for (const auto& core : cores) {
    if (++shown > 4) break;
    what.append(shown > 1 ? "; " : "").append(cpus_text(core));
  }
  if (cores.size() > 4) what.append("; and " + std::to_string(cores.size() - 4) + " more");
  if (firsts.size() > 1) what.append(". One of each: " + cpus_text(firsts));
  e.add(
      Severity::note, what,
      "two threads on one core slow each other down (to about 60 % each), but hand a cache line over in a fifth of the "
      "time: pin roles to different cores, or both on purpose to one, and say which",
      e.set_file("off", kCpu + "/smt/control"));
}

void core_types(Examination& e) {
  // Hybrid x86 has two PMUs with the CPUs of each kind; ARM has a capacity for each CPU. Sources: the kernel's
  // arch/x86/events/intel (cpu_core, cpu_atom), ABI/testing/sysfs-devices-system-cpu (cpu_capacity).
  std::map<std::string, std::vector<int>> kinds;
  for (const char* const kind : {"cpu_core", "cpu_atom"}) {
    const auto text = e.files.text(std::string("/sys/devices/") + kind + "/cpus");
    const auto cpus = text ? parse_cpus(*text) : std::nullopt;
    if (cpus && !cpus->empty()) kinds[kind] = *cpus;
  }
  std::vector<int> fast;
  if (kinds.size() == 2) {
    fast = kinds["cpu_core"];
  } else {
    kinds.clear();
    std::uint64_t most = 0;
    for (const int cpu : online_cpus(e.files)) {
      const auto capacity = e.files.number(of_cpu(cpu, "cpu_capacity"));
      if (!capacity) continue;
      kinds[std::to_string(*capacity)].push_back(cpu);
      if (*capacity > most) fast.clear();
      most = std::max(most, *capacity);
      if (*capacity == most) fast.push_back(cpu);
    }
  }
  if (kinds.size() < 2) {
    e.ok("all cores are of one kind");
    return;
  }
  e.add(Severity::warning, "cores of " + std::to_string(kinds.size()) + " kinds; the fast ones: " + cpus_text(fast),
        "a run depends on where the scheduler puts it, by a factor of 2 to 3: keep to one kind",
        "taskset -cp " + cpus_text(fast) + " $$");
}

void hypervisor(Examination& e) {
  if (!is_guest(e)) {
    e.ok("no hypervisor is known of");
    return;
  }
  e.add(Severity::note, "this is a virtual machine (" + hypervisor_of(e.files, e.machine.hypervisor) + ")",
        "tails include the host: it takes CPUs away unseen, and a wake-up of an idle CPU goes through it (5 to 50 us). "
        "Look "
        "at bus doctor --intrinsic 10s",
        "");
}

void idle_states(Examination& e) {
  constexpr std::uint64_t kDeep = 20;  // us; a wake-up by futex or eventfd takes about 2 to 5
  std::uint64_t longest = 0;
  std::string name;
  for (const int cpu : online_cpus(e.files)) {
    for (const std::string& state : e.files.names(of_cpu(cpu, "cpuidle"))) {
      const std::string folder = of_cpu(cpu, "cpuidle/") + state;
      if (e.files.number(folder + "/disable").value_or(0) != 0) continue;
      const auto latency = e.files.number(folder + "/latency");
      if (!latency || *latency <= longest) continue;
      longest = *latency;
      name = e.files.text(folder + "/name").value_or(state);
    }
  }
  if (longest <= kDeep) {
    e.ok("no idle state takes more than " + std::to_string(kDeep) + " us to leave");
    return;
  }
  e.add(Severity::note, "idle CPUs go as deep as " + name + ", which takes " + std::to_string(longest) + " us to leave",
        "that is added to each wake-up of a receiver that sleeps on an idle CPU (wait=block, hybrid), not to one that "
        "spins",
        // Holds as long as the shell does. The kernel's admin-guide/pm/cpuidle.rst, "CPU latency PM QoS".
        e.machine.uid == 0 ? "exec 3>/dev/cpu_dma_latency; printf '\\0\\0\\0\\0' >&3"
                           : "sudo sh -c \"exec 3>/dev/cpu_dma_latency; printf '\\0\\0\\0\\0' >&3; sleep infinity\"");
}

void isolated_cpus(Examination& e) {
  const auto text = e.files.text(kCpu + "/isolated");
  const auto isolated = text ? parse_cpus(*text) : std::nullopt;
  if (isolated && !isolated->empty()) {
    const auto allowed = allowed_cpus(e.files);
    const bool inside = std::includes(isolated->begin(), isolated->end(), allowed.begin(), allowed.end());
    if (inside) {
      e.ok("this program runs on isolated CPUs: " + cpus_text(allowed));
    } else {
      e.add(Severity::note, "isolated " + cpus_word(*isolated) + ": quiet, but used only by those who ask",
            "the scheduler puts nothing there by itself: pin the roles to them (--pin), or start everything there",
            "taskset -cp " + cpus_text(*isolated) + " $$");
    }
    return;
  }
  const auto online = online_cpus(e.files);
  if (online.size() < 4) {
    e.ok("no isolated CPUs, and too few CPUs to isolate any");
    return;
  }
  const std::string last = std::to_string(online[online.size() - 2]) + "," + std::to_string(online.back());
  const std::string parameters = "isolcpus=" + last + " nohz_full=" + last + " rcu_nocbs=" + last;
  std::string mend;  // for the next start; there are two families of boot loader set-ups
  if (e.files.has("/usr/sbin/grubby")) {
    mend = e.as_root("grubby --update-kernel=ALL --args=\"" + parameters + "\"");
  } else if (e.files.has("/etc/default/grub") && e.files.has("/usr/sbin/update-grub")) {
    mend = e.as_root("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&" + parameters + " /' /etc/default/grub") + " && " +
           e.as_root("update-grub");
  }
  e.add(Severity::note, "no CPU is isolated",
        "timer ticks and other tasks interrupt every CPU for a few us, 100 to 1000 times a second. For the quietest "
        "tails "
        "boot with " +
            parameters + ", and use --pin",
        mend);
}

void numa(Examination& e) {
  const auto text = e.files.text("/sys/devices/system/node/online");
  const auto nodes = text ? parse_cpus(*text) : std::nullopt;
  if (!nodes || nodes->size() < 2) {
    e.ok("one memory node");
    return;
  }
  const bool balances = e.files.number("/proc/sys/kernel/numa_balancing").value_or(0) != 0;
  const auto cpus = e.files.text("/sys/devices/system/node/node" + std::to_string(nodes->front()) + "/cpulist");
  e.add(balances ? Severity::warning : Severity::note,
        std::to_string(nodes->size()) + " memory nodes" + (balances ? ", and the kernel moves pages between them" : ""),
        std::string(
            "a cache line that crosses nodes takes 2 to 3 times as long: pin both roles to one node, such as CPUs ") +
            cpus.value_or("of node 0") +
            (balances ? ". Moving pages costs page faults in the midst of traffic, without end" : ""),
        balances ? e.as_root("sysctl -w kernel.numa_balancing=0")
                 : "numactl --cpunodebind=" + std::to_string(nodes->front()) +
                       " --membind=" + std::to_string(nodes->front()) + " bus compare");
}

void cpu_limit(Examination& e) {
  const auto quota = cpu_quota(e.files);
  if (!quota || !quota->cpus) {
    e.ok(quota ? "no control group limits CPU time" : "no control groups to be seen that could limit CPU time");
    return;
  }
  std::string what = "a control group allows " + short_number(*quota->cpus) + " CPUs, counted each " +
                     short_number(static_cast<double>(quota->period_us) / 1000) + " ms";
  if (quota->throttled > 0) what.append("; it was used up " + std::to_string(quota->throttled) + " times");
  const bool version2 = quota->file.ends_with("cpu.max");
  e.add(Severity::warning, what,
        "when it is used up all threads stand still until the next period begins: pauses of up to " +
            short_number(static_cast<double>(quota->period_us) / 1000) + " ms, sooner with receivers that spin",
        container_of(e.files) == "docker"
            ? "docker update --cpus " + std::to_string(online_cpus(e.files).size()) + " " +
                  e.files.text("/etc/hostname").value_or("CONTAINER") + "   # on the host"
            : e.set_file(version2 ? "max" : "-1", quota->file));
}

void clocksource(Examination& e) {
  const std::string folder = "/sys/devices/system/clocksource/clocksource0";
  const auto current = e.files.text(folder + "/current_clocksource");
  const std::string available = e.files.text(folder + "/available_clocksource").value_or("");
  if (!current) {
    e.ok("the clock source is not told");
    return;
  }
  // These are read without a system call. Source: the kernel's arch/*/include/asm/vdso/gettimeofday.h.
  static constexpr std::array kFast{"tsc", "arch_sys_counter", "riscv_clocksource", "timebase"};
  static constexpr std::array kFastEnough{"kvm-clock", "hyperv_clocksource_tsc_page"};
  if (std::find(kFast.begin(), kFast.end(), *current) != kFast.end()) {
    e.ok("the clock source is " + *current);
    return;
  }
  const auto words = words_of(available);
  const bool has_tsc = std::find(words.begin(), words.end(), "tsc") != words.end();
  const std::string mend = has_tsc ? e.set_file("tsc", folder + "/current_clocksource") : "";
  if (std::find(kFastEnough.begin(), kFastEnough.end(), *current) != kFastEnough.end()) {
    e.add(Severity::note, "the clock source is " + *current,
          "a reading takes about twice as long as of tsc (some 40 ns), and may jump by what the host corrects", mend);
    return;
  }
  e.add(Severity::warning, "the clock source is " + *current + " (available: " + available + ")",
        "each reading is a system call and a slow device, 0.3 to 2 us: two of them are in every sample" +
            std::string(has_tsc ? "" : ". The kernel's log says why tsc was refused: dmesg | grep -i tsc"),
        mend);
}

void tsc(Examination& e) {
  const auto flags = e.files.field("/proc/cpuinfo", "flags");
  if (!flags) {
    e.ok("not an x86 CPU: no time stamp counter to look at");
    return;
  }
  const auto words = words_of(*flags);
  const auto has = [&](std::string_view flag) { return std::find(words.begin(), words.end(), flag) != words.end(); };
  if (has("constant_tsc") && has("nonstop_tsc")) {
    e.ok("the time stamp counter is invariant");
  } else {
    e.add(Severity::warning, "the time stamp counter is not invariant",
          "it changes its rate or stops with the CPU: --clock tsc is refused, and the kernel may leave the clock "
          "source tsc "
          "at any time",
          "");
  }
}

}  // namespace

std::span<const Check> cpu_checks() noexcept {
  static constexpr std::array<Check, 12> kChecks{{
      {"cpus", cpus},
      {"governor", governor},
      {"turbo", turbo},
      {"smt", smt},
      {"core-types", core_types},
      {"hypervisor", hypervisor},
      {"idle-states", idle_states},
      {"isolated-cpus", isolated_cpus},
      {"numa", numa},
      {"cpu-limit", cpu_limit},
      {"clocksource", clocksource},
      {"tsc", tsc},
  }};
  return kChecks;
}

}  // namespace bus::tools::measure
