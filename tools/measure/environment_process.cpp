// tools/measure/environment_process.cpp: who measures, and what the system lets it have.
#include "tools/measure/environment_capture.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace bus::tools::measure {

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

}  // namespace bus::tools::measure
