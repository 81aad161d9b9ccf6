// tools/measure/system_files.hpp: what the kernel says in files, read below a root, so that tests can give a machine of
// their own.
//
// Nothing here throws for what cannot be read: it is none. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bus::tools::measure {

class SystemFiles {
 public:
  explicit SystemFiles(std::string root = "/");

  /// Where `path`, which begins with '/', really is.
  [[nodiscard]] std::string real(std::string_view path) const;
  [[nodiscard]] bool has(std::string_view path) const noexcept;
  /// The whole file, at most 4 MiB, without blanks and newlines at its ends. None when it cannot be read.
  [[nodiscard]] std::optional<std::string> text(std::string_view path) const;
  /// The number that the file begins with. None also when it begins with something else.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view path) const;
  /// The rest of the first line that begins with `name`, a colon or blank, and perhaps blanks: /proc/cpuinfo,
  /// /proc/meminfo, /proc/self/status, /proc/stat.
  [[nodiscard]] std::optional<std::string> field(std::string_view path, std::string_view name) const;
  /// The names in a folder, sorted. Empty when it cannot be read.
  [[nodiscard]] std::vector<std::string> names(std::string_view folder) const;

 private:
  std::string root_;  // without a slash at its end
};

[[nodiscard]] std::optional<std::uint64_t> to_number(std::string_view text) noexcept;  // that it begins with
[[nodiscard]] std::vector<std::string> words_of(std::string_view text);                // between blanks and newlines
[[nodiscard]] std::vector<std::string> lines_of(std::string_view text);
[[nodiscard]] std::string joined(const std::vector<std::string>& parts, std::string_view between);
/// The word in brackets: "always [madvise] never" gives "madvise". None when there is none.
[[nodiscard]] std::optional<std::string> chosen_of(std::string_view text);

/// "0-3,8" as numbers, rising. None for anything else; an empty text is no CPUs. Source: cpuset(7), list format.
[[nodiscard]] std::optional<std::vector<int>> parse_cpus(std::string_view text);
/// The reverse; rising numbers.
[[nodiscard]] std::string cpus_text(const std::vector<int>& cpus);
/// The CPUs online; at least one.
[[nodiscard]] std::vector<int> online_cpus(const SystemFiles& files);
/// The CPUs that this process may use; those online when that cannot be read.
[[nodiscard]] std::vector<int> allowed_cpus(const SystemFiles& files);

/// A line of /proc/self/limits: soft and hard limit; a limit that is none is kUnlimited. Source: getrlimit(2), proc(5).
struct Limit {
  std::uint64_t soft, hard;
};
inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
/// `name` is the file's: "Max open files".
[[nodiscard]] std::optional<Limit> limit_of(const SystemFiles& files, std::string_view name);
/// Whether this process has a capability in effect; `number` as in <linux/capability.h>.
[[nodiscard]] std::optional<bool> has_capability(const SystemFiles& files, unsigned number);

/// The cpu line of /proc/stat in clock ticks, summed over all CPUs, and what else counts up there. Source: proc(5).
struct CpuTicks {
  std::uint64_t busy = 0, idle = 0, steal = 0;  // busy is without steal, idle with waiting for disks
  [[nodiscard]] std::uint64_t total() const noexcept { return busy + idle + steal; }
};
[[nodiscard]] std::optional<CpuTicks> cpu_ticks(const SystemFiles& files);

/// How much CPU time the control groups of this process leave it. Source: the kernel's cgroup-v2.rst ("cpu.max") and
/// sched-bwc.rst for version 1.
struct CpuQuota {
  std::optional<double> cpus;   // none: no limit
  std::uint64_t period_us = 0;  // the limit counts anew at each
  std::uint64_t throttled = 0;  // periods in which it was used up, since the group was made
  std::string file;             // that sets it, as this process sees it
};
/// The tightest limit from the group of this process up to the root of what is mounted. None: nothing to read.
[[nodiscard]] std::optional<CpuQuota> cpu_quota(const SystemFiles& files);

/// "docker", "podman", "kubernetes", "lxc" or "a container"; empty when nothing speaks for one. Sources: /.dockerenv,
/// /run/.containerenv (podman(1)), /run/systemd/container (systemd's CONTAINER_INTERFACE), the names of control groups.
[[nodiscard]] std::string container_of(const SystemFiles& files);

}  // namespace bus::tools::measure
