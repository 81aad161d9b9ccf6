// bus/core/os/memory.cpp: see memory.hpp.
#include "bus/core/os/memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace bus::os {

namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::uint64_t limit_in(const std::string& file) {
  std::uint64_t limit = kNoLimit;
  std::ifstream in(file);
  return in >> limit ? limit : kNoLimit;  // "max": none
}

/// Of a group and all above it.
std::uint64_t least_limit(const std::string& mount, std::string group, const std::string& file) {
  std::uint64_t least = limit_in(mount + file);
  while (group.size() > 1) {
    least = std::min(least, limit_in(mount + group + file));
    group.resize(group.rfind('/'));
  }
  return least;
}

}  // namespace

std::uint64_t memory_of_groups(const std::string& groups, const std::string& mounts) {
  std::uint64_t least = kNoLimit;
  std::ifstream in(groups);
  for (std::string line; std::getline(in, line);) {  // NUMBER:CONTROLLERS:/GROUP
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") least = std::min(least, least_limit(mounts, group, "/memory.max"));
    if (controllers.find(",memory,") != line.npos) {
      least = std::min(least, least_limit(mounts + "/memory", group, "/memory.limit_in_bytes"));
    }
  }
  return least;
}

std::uint64_t usable_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  const std::uint64_t all =
      pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size) : kNoLimit;
  return std::min(all, memory_of_groups("/proc/self/cgroup", "/sys/fs/cgroup"));
}

}  // namespace bus::os
