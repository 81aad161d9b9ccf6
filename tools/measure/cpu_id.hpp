// tools/measure/cpu_id.hpp: what the CPU says of itself by instruction and in no file: the hypervisor, and the rate of
// its counter. What can be had of the counter by measuring is in clock.hpp.
#pragma once

#include <optional>
#include <string>

namespace bus::tools::measure {

/// The hypervisor's name as people have it, "KVM", "Hyper-V", else as CPUID leaf 0x40000000 has it; "none" on
/// bare metal. None on other CPUs than x86. Source: CPUID.1:ECX[31] is reserved for hypervisors (AMD64 manual vol. 3,
/// appendix E); the leaf: the kernel's arch/x86/include/asm/hypervisor.h.
[[nodiscard]] std::optional<std::string> cpuid_hypervisor();

/// Ticks a second of the time stamp counter, as CPUID leaf 0x15 (Intel SDM vol. 3, 19.7.3) or the hypervisor's leaf
/// 0x40000010 (VMware's convention, also KVM's users') have it. None where neither says so.
[[nodiscard]] std::optional<double> cpuid_counter_rate();

}  // namespace bus::tools::measure
