// bus/core/os/memory.hpp: how much memory there is.
#pragma once

#include <cstdint>
#include <string>

namespace bus::os {

/// Bytes that this process may use: the machine's memory, or less where a control group says so. Reads some files.
[[nodiscard]] std::uint64_t usable_memory();

/// What control groups allow: the least of the process's own and all above it. `groups`: where /proc/self/cgroup is;
/// `mounts`: where /sys/fs/cgroup is. Version 1 and 2 (cgroups(7)). No limit, or nothing to read: the largest number.
[[nodiscard]] std::uint64_t memory_of_groups(const std::string& groups, const std::string& mounts);

}  // namespace bus::os
