// tools/measure/usage.cpp: what another process has used. Source: clock_getcpuclockid(3), proc(5): stat, fields 10 and
// 12, and status.
#include "tools/measure/usage.hpp"

#include <ctime>

#include <string>

#include "tools/measure/system_files.hpp"

namespace bus::tools::measure {

Usage Usage::of(pid_t process) {
  Usage used;
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(process, &clock) == 0 && ::clock_gettime(clock, &time) == 0) {
    used.cpu_ns = static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  }
  const SystemFiles files;
  const std::string folder = "/proc/" + std::to_string(process);
  for (const std::string& task : files.names(folder + "/task")) {
    const std::string status = std::string(folder).append("/task/").append(task).append("/status");
    used.voluntary += to_number(files.field(status, "voluntary_ctxt_switches").value_or("")).value_or(0);
    used.involuntary += to_number(files.field(status, "nonvoluntary_ctxt_switches").value_or("")).value_or(0);
  }
  const std::string stat = files.text(folder + "/stat").value_or("");
  const auto behind_name = stat.rfind(')');  // the name may hold anything
  if (behind_name != std::string::npos) {
    const std::vector<std::string> fields = words_of(std::string_view(stat).substr(behind_name + 1));  // from the third
    if (fields.size() > 9) used.faults = to_number(fields[7]).value_or(0) + to_number(fields[9]).value_or(0);
  }
  return used;
}

}  // namespace bus::tools::measure
