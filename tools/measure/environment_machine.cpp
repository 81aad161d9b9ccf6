// tools/measure/environment_machine.cpp: the processor, what runs below this system, and the memory.
#include "tools/measure/environment_capture.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "tools/measure/cpu_id.hpp"

namespace bus::tools::measure {
namespace {

/// The different texts of a file that each CPU online has, as "performance" or "performance (0-3), powersave (4-7)".
Text each_cpu(const SystemFiles& files, std::string_view file) {
  std::map<std::string, std::vector<int>> by_text;
  for (const int cpu : online_cpus(files)) {
    const auto text = files.text(std::string(kCpu).append("/cpu").append(std::to_string(cpu)).append("/").append(file));
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
Text caches_of(const SystemFiles& files) {
  const std::string folder = std::string(kCpu) + "/cpu" + std::to_string(online_cpus(files).front()) + "/cache";
  std::vector<std::string> parts;
  for (const std::string& index : files.names(folder)) {
    const std::string one = folder + "/" + index;
    const auto level = files.text(one + "/level"), type = files.text(one + "/type"), size = files.text(one + "/size");
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

/// A field of /proc/meminfo, which has KiB, in bytes.
Text bytes_of(const SystemFiles& files, std::string_view field) {
  const auto text = files.field("/proc/meminfo", field);
  const auto value = text ? to_number(*text) : std::nullopt;
  return value ? Text(std::to_string(*value * 1024)) : std::nullopt;
}

}  // namespace

void Capture::machine() {
  group("machine");
  Text model = files_.field("/proc/cpuinfo", "model name");
  if (!model) model = files_.text("/sys/firmware/devicetree/base/model");  // ARM boards
  add("cpu", model);
  add("microcode", files_.field("/proc/cpuinfo", "microcode"));
  add("caches", caches_of(files_));
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
  add("governor", each_cpu(files_, "cpufreq/scaling_governor"));
  add("frequency_driver", each_cpu(files_, "cpufreq/scaling_driver"));
  add("frequency_khz", each_cpu(files_, "cpufreq/scaling_cur_freq"));
  add("frequency_most_khz", each_cpu(files_, "cpufreq/cpuinfo_max_freq"));
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

void Capture::memory() {
  group("memory");
  add("total_bytes", bytes_of(files_, "MemTotal"));
  add("available_bytes", bytes_of(files_, "MemAvailable"));
  add("swap_total_bytes", bytes_of(files_, "SwapTotal"));
  add("swap_free_bytes", bytes_of(files_, "SwapFree"));
  // admin-guide/mm/transhuge.rst; shmem_enabled is what memfd and /dev/shm get.
  const std::string thp = "/sys/kernel/mm/transparent_hugepage";
  for (const char* const name : {"enabled", "defrag", "shmem_enabled"}) {
    add(std::string("thp_") + name, chosen_of(files_.text(thp + "/" + name).value_or("")));
  }
  add("huge_pages_total", files_.field("/proc/meminfo", "HugePages_Total"));
  add("huge_pages_free", files_.field("/proc/meminfo", "HugePages_Free"));
  add("huge_page_bytes", bytes_of(files_, "Hugepagesize"));
  add("page_bytes", std::to_string(::sysconf(_SC_PAGESIZE)));
  add_file("ksm", "/sys/kernel/mm/ksm/run");
  add_file("swappiness", "/proc/sys/vm/swappiness");
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

}  // namespace bus::tools::measure
