// tools/measure/system_files.cpp: see system_files.hpp.
#include "tools/measure/system_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "bus/core/os/fd.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kMostFileBytes = std::size_t{4} << 20;
constexpr int kMostCpu = 65535;
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<std::string> pieces(std::string_view text, std::string_view separators) {
  std::vector<std::string> result;
  while (true) {
    const std::size_t begin = text.find_first_not_of(separators);
    if (begin == std::string_view::npos) return result;
    text.remove_prefix(begin);
    const std::size_t end = std::min(text.find_first_of(separators), text.size());
    result.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

/// The path of this process's group in a hierarchy: the line "0::/path" of version 2, or that of a version 1
/// controller.
std::optional<std::string> group_path(const SystemFiles& files, std::string_view controller) {
  const auto all = files.text("/proc/self/cgroup");
  if (!all) return {};
  for (const std::string& line : lines_of(*all)) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const auto parts = pieces(names, ",");
    const bool is_it =
        controller.empty() ? names.empty() : std::find(parts.begin(), parts.end(), controller) != parts.end();
    if (is_it) return line.substr(second + 1);
  }
  return {};
}

/// What one group allows itself.
std::optional<CpuQuota> quota_in(const SystemFiles& files, const std::string& folder, bool version2) {
  CpuQuota quota;
  if (version2) {
    const auto text = files.text(folder + "/cpu.max");
    if (!text) return {};
    const auto words = words_of(*text);
    if (words.size() != 2) return {};
    quota.period_us = to_number(words[1]).value_or(0);
    if (const auto us = to_number(words[0]); us && quota.period_us > 0) {
      quota.cpus = static_cast<double>(*us) / static_cast<double>(quota.period_us);
    }
    quota.file = folder + "/cpu.max";
  } else {
    const auto text = files.text(folder + "/cpu.cfs_quota_us");
    if (!text) return {};
    quota.period_us = files.number(folder + "/cpu.cfs_period_us").value_or(0);
    if (const auto us = to_number(*text); us && quota.period_us > 0) {  // -1: no limit
      quota.cpus = static_cast<double>(*us) / static_cast<double>(quota.period_us);
    }
    quota.file = folder + "/cpu.cfs_quota_us";
  }
  quota.throttled = to_number(files.field(folder + "/cpu.stat", "nr_throttled").value_or("0")).value_or(0);
  return quota;
}

/// Walks from the group's folder up to the mount. A container without a name space of its own for groups sees a path
/// that is not below its mount: what is not there is passed over.
void tighten(const SystemFiles& files, const std::string& mount, std::string path, bool version2,
             std::optional<CpuQuota>& tightest) {
  if (!files.has(mount + (version2 ? "/cgroup.controllers" : "/cpu.cfs_quota_us"))) return;
  if (!tightest) tightest.emplace();
  while (true) {
    if (path == "/") path.clear();
    const auto quota = quota_in(files, mount + path, version2);
    if (quota && quota->cpus && (!tightest->cpus || *quota->cpus < *tightest->cpus)) tightest = quota;
    if (path.empty()) return;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

SystemFiles::SystemFiles(std::string root) : root_(std::move(root)) {
  while (!root_.empty() && root_.back() == '/') root_.pop_back();
}

std::string SystemFiles::real(std::string_view path) const { return root_ + std::string(path); }

bool SystemFiles::has(std::string_view path) const noexcept { return ::access(real(path).c_str(), F_OK) == 0; }

std::optional<std::string> SystemFiles::text(std::string_view path) const {
  // O_NONBLOCK: a FIFO in the place of a file must not stop us.
  const os::Fd fd(::open(real(path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return {};
  std::string all;
  std::array<char, 16384> piece{};
  while (all.size() < kMostFileBytes) {
    const ssize_t size = ::read(fd.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return {};
    if (size == 0) break;
    all.append(piece.data(), static_cast<std::size_t>(size));
  }
  return std::string(trimmed(all));
}

std::optional<std::uint64_t> SystemFiles::number(std::string_view path) const {
  const auto all = text(path);
  return all ? to_number(*all) : std::nullopt;
}

std::optional<std::string> SystemFiles::field(std::string_view path, std::string_view name) const {
  const auto all = text(path);
  if (!all) return {};
  for (const std::string& line : lines_of(*all)) {
    if (!line.starts_with(name)) continue;
    std::string_view rest = std::string_view(line).substr(name.size());
    if (rest.empty() || (rest.front() != ':' && kBlanks.find(rest.front()) == std::string_view::npos)) continue;
    rest = trimmed(rest);
    if (rest.starts_with(':')) rest = trimmed(rest.substr(1));
    return std::string(rest);
  }
  return {};
}

std::vector<std::string> SystemFiles::names(std::string_view folder) const {
  std::vector<std::string> result;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(real(folder).c_str()), &::closedir);
  if (!stream) return result;
  // readdir is safe on a stream of one's own; readdir_r is deprecated. Source: readdir(3).
  while (const dirent* entry = ::readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name(entry->d_name);
    if (name != "." && name != "..") result.emplace_back(name);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::optional<std::uint64_t> to_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return {};
  return value;
}

std::vector<std::string> words_of(std::string_view text) { return pieces(text, kBlanks); }
std::vector<std::string> lines_of(std::string_view text) { return pieces(text, "\n"); }

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string text;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) text.append(between);
    text.append(part);
  }
  return text;
}

std::optional<std::string> chosen_of(std::string_view text) {
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || close == std::string_view::npos) return {};
  return std::string(text.substr(open + 1, close - open - 1));
}

std::optional<std::vector<int>> parse_cpus(std::string_view text) {
  std::vector<int> cpus;
  text = trimmed(text);
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    int first = 0;
    const char* const end = part.data() + part.size();
    auto [at, error] = std::from_chars(part.data(), end, first);
    if (error != std::errc{}) return {};
    int last = first;
    if (at != end) {
      if (*at != '-') return {};
      const auto [after, wrong] = std::from_chars(at + 1, end, last);
      if (wrong != std::errc{} || after != end) return {};
    }
    if (first < 0 || last < first || last > kMostCpu) return {};
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) return {};
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string cpus_text(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text.append(",");
    text.append(std::to_string(cpus[i]));
    if (last > i) text.append(last == i + 1 ? "," : "-").append(std::to_string(cpus[last]));
    i = last + 1;
  }
  return text;
}

std::vector<int> online_cpus(const SystemFiles& files) {
  const auto text = files.text("/sys/devices/system/cpu/online");
  const auto cpus = text ? parse_cpus(*text) : std::nullopt;
  return cpus && !cpus->empty() ? *cpus : std::vector<int>{0};
}

std::vector<int> allowed_cpus(const SystemFiles& files) {
  const auto text = files.field("/proc/self/status", "Cpus_allowed_list");
  const auto cpus = text ? parse_cpus(*text) : std::nullopt;
  std::vector<int> online = online_cpus(files);
  if (!cpus) return online;
  std::vector<int> both;  // the list has CPUs that may come, too
  std::set_intersection(cpus->begin(), cpus->end(), online.begin(), online.end(), std::back_inserter(both));
  return both.empty() ? online : both;
}

std::optional<Limit> limit_of(const SystemFiles& files, std::string_view name) {
  const auto text = files.field("/proc/self/limits", name);
  if (!text) return {};
  const auto words = words_of(*text);
  if (words.size() < 2) return {};
  const auto read = [](const std::string& word) -> std::optional<std::uint64_t> {
    return word == "unlimited" ? kUnlimited : to_number(word);
  };
  const auto soft = read(words[0]), hard = read(words[1]);
  if (!soft || !hard) return {};
  return Limit{*soft, *hard};
}

std::optional<bool> has_capability(const SystemFiles& files, unsigned number) {
  const auto text = files.field("/proc/self/status", "CapEff");
  std::uint64_t set = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), set, 16).ec != std::errc{}) return {};
  return (set >> number & 1U) != 0;
}

std::optional<CpuTicks> cpu_ticks(const SystemFiles& files) {
  const auto text = files.field("/proc/stat", "cpu");
  if (!text) return {};
  // user nice system idle iowait irq softirq steal guest guest_nice; the last two are in user and nice already.
  const auto words = words_of(*text);
  if (words.size() < 8) return {};
  CpuTicks ticks;
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint64_t value = to_number(words[i]).value_or(0);
    (i == 3 || i == 4 ? ticks.idle : i == 7 ? ticks.steal : ticks.busy) += value;
  }
  return ticks;
}

std::optional<CpuQuota> cpu_quota(const SystemFiles& files) {
  std::optional<CpuQuota> tightest;
  const std::string path2 = group_path(files, "").value_or("/");
  tighten(files, "/sys/fs/cgroup", path2, true, tightest);
  tighten(files, "/sys/fs/cgroup/unified", path2, true, tightest);
  const std::string path1 = group_path(files, "cpu").value_or("/");
  for (const std::string_view mount : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
    tighten(files, std::string(mount), path1, false, tightest);
  }
  return tightest;
}

std::string container_of(const SystemFiles& files) {
  if (files.has("/run/.containerenv")) return "podman";
  if (const auto name = files.text("/run/systemd/container"); name && !name->empty()) return *name;
  const std::string groups = files.text("/proc/self/cgroup").value_or("");
  if (groups.find("kubepods") != std::string::npos) return "kubernetes";
  if (groups.find("/docker") != std::string::npos) return "docker";
  if (groups.find("/lxc") != std::string::npos) return "lxc";
  if (groups.find("containerd") != std::string::npos) return "a container";
  if (files.has("/.dockerenv")) return "docker";
  return {};
}

}  // namespace bus::tools::measure
