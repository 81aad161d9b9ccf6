// tools/measure/cpu_id.cpp: CPUID, where there is one.
#include "tools/measure/cpu_id.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>
#endif

namespace bus::tools::measure {

#if defined(__x86_64__) || defined(__i386__)

namespace {

constexpr unsigned kHypervisorLeaf = 0x40000000, kHypervisorRateLeaf = 0x40000010, kRateLeaf = 0x15;

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

// Not __get_cpuid(): that one knows nothing of the hypervisor's range.
Registers cpuid(unsigned leaf) noexcept {
  Registers r;
  __cpuid_count(leaf, 0, r.a, r.b, r.c, r.d);
  return r;
}

bool is_guest() noexcept { return (cpuid(1).c >> 31 & 1U) != 0; }

}  // namespace

std::optional<std::string> cpuid_hypervisor() {
  if (!is_guest()) return "none";
  const Registers r = cpuid(kHypervisorLeaf);
  std::array<char, 13> name{};
  std::memcpy(name.data(), &r.b, 4);
  std::memcpy(name.data() + 4, &r.c, 4);
  std::memcpy(name.data() + 8, &r.d, 4);
  std::string text(name.data());
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  // As people call them. Source: Linux, arch/x86/kernel/cpu/hypervisor.c and the drivers behind it.
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kNames{{{"KVMKVMKVM", "KVM"},
                                                                                        {"Microsoft Hv", "Hyper-V"},
                                                                                        {"VMwareVMware", "VMware"},
                                                                                        {"XenVMMXenVMM", "Xen"},
                                                                                        {"TCGTCGTCGTCG", "QEMU"},
                                                                                        {"bhyve bhyve ", "bhyve"}}};
  for (const auto& [told, known] : kNames) {
    if (text == told) return std::string(known);
  }
  return text.empty() || !printable ? "a hypervisor without a name" : text;
}

std::optional<double> cpuid_counter_rate() {
  if (cpuid(0).a >= kRateLeaf) {
    const Registers r = cpuid(kRateLeaf);  // the crystal's rate in ECX, the counter's ratio to it in EBX / EAX
    if (r.a != 0 && r.b != 0 && r.c != 0) return static_cast<double>(r.c) * r.b / r.a;
  }
  if (is_guest() && cpuid(kHypervisorLeaf).a >= kHypervisorRateLeaf) {
    const unsigned khz = cpuid(kHypervisorRateLeaf).a;
    if (khz != 0) return static_cast<double>(khz) * 1000;
  }
  return {};
}

#else

std::optional<std::string> cpuid_hypervisor() { return {}; }
std::optional<double> cpuid_counter_rate() { return {}; }

#endif

}  // namespace bus::tools::measure
