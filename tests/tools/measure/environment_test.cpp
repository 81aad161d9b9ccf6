// tests/tools/measure/environment_test.cpp: what a result says of its machine.
#include "tools/measure/environment.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <set>

#include "tests/tools/measure/fake_machine.hpp"
#include "tools/measure/anonymise.hpp"

namespace bus::test {

using namespace bus::tools::measure;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

std::vector<std::string> keys_of(const Environment& environment) {
  std::vector<std::string> keys;
  for (const auto& [group, entries] : environment) {
    for (const auto& entry : entries) keys.push_back(group + "." + entry.first);
  }
  return keys;
}

std::string text_of(const Environment& environment) {
  std::string text;
  for (const auto& [group, entries] : environment) {
    for (const auto& [key, value] : entries)
      text.append(group).append(".").append(key).append("=").append(value).append("\n");
  }
  return text;
}

}  // namespace

TEST_CASE("an environment has all its keys, each once and with a value, anonymised or not", "[measure]") {
  Environment plain = capture_environment({"bus", "latency", "shm://lab"}, false);
  Environment anonymous = capture_environment({"bus", "latency", "shm://lab"}, true);
  const auto keys = keys_of(plain);
  const std::set<std::string> all(keys.begin(), keys.end());
  REQUIRE(all.size() == keys.size());
  for (const char* const key : {"build.version",
                                "build.compiler",
                                "build.flags",
                                "build.type",
                                "libraries.libc",
                                "libraries.boost",
                                "host.command",
                                "host.name",
                                "host.user",
                                "host.container",
                                "kernel.release",
                                "kernel.boot_parameters",
                                "machine.cpu",
                                "machine.cpus_online",
                                "machine.governor",
                                "machine.turbo",
                                "machine.smt",
                                "machine.hypervisor",
                                "machine.numa_nodes",
                                "memory.total_bytes",
                                "memory.thp_enabled",
                                "memory.huge_pages_total",
                                "clock.source",
                                "clock.available",
                                "clock.monotonic_cost_ns",
                                "clock.monotonic_resolution_ns",
                                "clock.tsc_invariant",
                                "clock.tsc_measured_hz",
                                "limits.memlock_bytes",
                                "limits.nofile",
                                "limits.rtprio",
                                "limits.core_bytes",
                                "limits.cpu_limit",
                                "affinity.cpus",
                                "affinity.policy",
                                "sockets.rmem_max",
                                "sockets.wmem_max",
                                "sockets.rmem_default",
                                "sockets.wmem_default",
                                "sockets.somaxconn",
                                "sockets.udp_receive_granted_bytes",
                                "mitigations.affected",
                                "activity.load_before",
                                "activity.steal_ms_before"}) {
    CAPTURE(key);
    REQUIRE(all.contains(key));
  }
  REQUIRE(keys_of(anonymous) == keys);

  finish_environment(plain);
  finish_environment(anonymous);
  const auto finished = keys_of(plain);
  for (const char* const key : {"activity.load_after", "activity.steal_ms", "activity.context_switches"}) {
    REQUIRE(std::count(finished.begin(), finished.end(), key) == 1);
  }
  REQUIRE(keys_of(anonymous) == finished);
  for (const auto& [group, entries] : plain) {
    for (const auto& [key, value] : entries) {
      CAPTURE(group, key);
      REQUIRE_FALSE(value.empty());
    }
  }
}

TEST_CASE("an environment says what this process and build are", "[measure]") {
  const Environment environment = capture_environment({"bus", "compare"}, false);
  REQUIRE(value_of(environment, "host", "command") == "bus compare");
  REQUIRE_THAT(std::string(value_of(environment, "build", "flags")), Contains("-D_GLIBCXX_ASSERTIONS"));
  REQUIRE_THAT(std::string(value_of(environment, "build", "flags")), !Contains("-Wall"));
  REQUIRE(value_of(environment, "build", "type") != "unknown");
  REQUIRE(value_of(environment, "kernel", "release") != "unknown");
  REQUIRE(value_of(environment, "affinity", "cpus") != "unknown");
  REQUIRE(std::strtod(std::string(value_of(environment, "clock", "monotonic_cost_ns")).c_str(), nullptr) > 0);
  REQUIRE(to_number(value_of(environment, "sockets", "udp_receive_granted_bytes")).value_or(0) > 0);
  REQUIRE(value_of(environment, "no", "such").empty());
}

TEST_CASE("an anonymised environment names neither host, user, path nor address", "[measure]") {
  ::setenv("USER", "johanna-doe", 1);
  const std::vector<std::string> command{"/home/johanna/bin/bus",
                                         "latency",
                                         "shm://secret-project?wait=spin",
                                         "--peer=tcp://lab7.example.org:7000",
                                         "--json",
                                         "/srv/secret/out.json",
                                         "--rate",
                                         "10k"};
  const std::string plain = text_of(capture_environment(command, false));
  const std::string anonymous = text_of(capture_environment(command, true));
  ::unsetenv("USER");
  REQUIRE_THAT(plain, Contains("secret-project") && Contains("johanna-doe"));
  for (const char* const word : {"johanna", "secret", "lab7", "/srv", "/home", "7000"}) {
    CAPTURE(word);
    REQUIRE_THAT(anonymous, !Contains(word));
  }
  REQUIRE_THAT(anonymous, Contains("host.name=(anonymised)") && Contains("host.user=(anonymised)") &&
                              Contains("host.program=(anonymised)"));
  REQUIRE_THAT(anonymous,
               Contains("host.command=bus latency shm://(anonymised)?wait=spin --peer=tcp://(anonymised) --json "
                        "(anonymised) --rate 10k\n"));
}

TEST_CASE("anonymising a word takes out places and people, and nothing else", "[measure]") {
  const auto [word, expected] = GENERATE(table<std::string, std::string>({
      {"compare", "compare"},
      {"--quick", "--quick"},
      {"--rate=10k", "--rate=10k"},
      {"64,1KiB", "64,1KiB"},
      {"1.5ms", "1.5ms"},
      {"p99<200us,loss=0", "p99<200us,loss=0"},
      {"send=0,receive=1", "send=0,receive=1"},
      {"-", "-"},
      {"shm://lab", "shm://(anonymised)"},
      {"unix:///run/me/x?framing=line", "unix://(anonymised)?framing=line"},
      {"tcp://127.0.0.1:0", "tcp://127.0.0.1:0"},
      {"tcp://localhost:7000?x=1", "tcp://localhost:7000?x=1"},
      {"udp://[::1]:7000", "udp://[::1]:7000"},
      {"udp://[2001:db8::1]:7000", "udp://(anonymised)"},
      {"10.0.0.1", "(anonymised)"},
      {"10.0.0.1:80", "(anonymised)"},
      {"server:7000", "(anonymised)"},
      {"results.json", "(anonymised)"},
      {"--html=out/report", "--html=(anonymised)"},
      {"-I/home/me", "-I(anonymised)"},
      {"-ffile-prefix-map=/a=/b", "-ffile-prefix-map=(anonymised)"},
  }));
  REQUIRE(anonymised(word) == expected);
}

TEST_CASE("nothing to read gives unknown and no error", "[measure]") {
  const FakeRoot nothing;
  Environment environment = capture_environment(nothing.files(), {"bus"}, false);
  REQUIRE(value_of(environment, "machine", "governor") == "unknown");
  REQUIRE(value_of(environment, "clock", "source") == "unknown");
  REQUIRE(value_of(environment, "limits", "cpu_limit") == "unknown");
  REQUIRE(value_of(environment, "mitigations", "affected") == "unknown");
  REQUIRE(value_of(environment, "activity", "load_before") == "unknown");
  finish_environment(nothing.files(), environment);
  REQUIRE(value_of(environment, "activity", "steal_ms") == "unknown");
  REQUIRE(keys_of(capture_environment(nothing.files(), {"bus"}, false)) ==
          keys_of(capture_environment({"bus"}, false)));
}

TEST_CASE("an environment reads what the kernel's files say", "[measure]") {
  const QuietMachine quiet;
  quiet.root.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave");
  quiet.root.put("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI");
  quiet.root.put("/sys/devices/system/cpu/vulnerabilities/mds", "Not affected");
  quiet.root.put("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000");
  quiet.root.put("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=UUID=1234 isolcpus=6,7 quiet mitigations=off");
  const Environment environment = capture_environment(quiet.root.files(), {"bus"}, false);
  REQUIRE(value_of(environment, "machine", "cpu") == "A CPU");
  REQUIRE(value_of(environment, "machine", "cpus_online") == "8");
  REQUIRE(value_of(environment, "machine", "cores") == "8");
  REQUIRE(value_of(environment, "machine", "governor") == "performance (0-2,4-7), powersave (3)");
  REQUIRE(value_of(environment, "machine", "turbo") == "off");
  REQUIRE(value_of(environment, "machine", "isolated") == "6-7");
  REQUIRE(value_of(environment, "memory", "total_bytes") == "16384000000");
  REQUIRE(value_of(environment, "memory", "thp_enabled") == "madvise");
  REQUIRE(value_of(environment, "clock", "available") == "tsc hpet acpi_pm");
  REQUIRE(value_of(environment, "limits", "nofile") == "1024 of 1048576");
  REQUIRE(value_of(environment, "limits", "memlock_bytes") == "unlimited of unlimited");
  REQUIRE(value_of(environment, "limits", "cpu_limit") == "1.50 CPUs, each 100000 us");
  REQUIRE(value_of(environment, "mitigations", "affected") == "meltdown: Mitigation: PTI");
  REQUIRE(value_of(environment, "mitigations", "boot_parameter") == "off");
  REQUIRE(value_of(environment, "kernel", "boot_parameters") == "isolcpus=6,7 mitigations=off");
  REQUIRE(value_of(environment, "activity", "load_before") == "0.03 0.05 0.01 1/120");
}

TEST_CASE("the end of a measurement adds what passed since its start", "[measure]") {
  const QuietMachine quiet;
  quiet.stat(1000, 5000, 30);
  Environment environment = capture_environment(quiet.root.files(), {"bus"}, false);
  quiet.stat(1500, 5000, 130);
  quiet.root.put("/proc/loadavg", "1.50 0.10 0.01 3/120 4243");
  finish_environment(quiet.root.files(), environment);
  const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  REQUIRE(value_of(environment, "activity", "steal_ms") == std::to_string(100 * 1000 / ticks));
  REQUIRE(value_of(environment, "activity", "context_switches") == "10000");
  REQUIRE(value_of(environment, "activity", "interrupts") == "5000");
  REQUIRE(value_of(environment, "activity", "load_before") == "0.03 0.05 0.01 1/120");
  REQUIRE(value_of(environment, "activity", "load_after") == "1.50 0.10 0.01 3/120");

  SECTION("a second end replaces the first") {
    const auto keys = keys_of(environment);
    quiet.stat(1600, 5000, 130);
    finish_environment(quiet.root.files(), environment);
    REQUIRE(value_of(environment, "activity", "context_switches") == "12000");
    REQUIRE(keys_of(environment) == keys);
  }
  SECTION("counters that went back say nothing") {
    quiet.stat(10, 20, 0);
    finish_environment(quiet.root.files(), environment);
    REQUIRE(value_of(environment, "activity", "steal_ms") == "unknown");
    REQUIRE(value_of(environment, "activity", "context_switches") == "unknown");
  }
}

TEST_CASE("the hypervisor is found by whatever tells of it", "[measure]") {
  const FakeRoot root;
  REQUIRE(hypervisor_of(root.files(), std::nullopt) == "unknown");
  REQUIRE(hypervisor_of(root.files(), "none") == "none");
  REQUIRE(hypervisor_of(root.files(), "KVMKVMKVM") == "KVMKVMKVM");
  SECTION("sysfs") {
    root.put("/sys/hypervisor/type", "xen");
    REQUIRE(hypervisor_of(root.files(), std::nullopt) == "xen");
  }
  SECTION("cpuinfo") {
    root.put("/proc/cpuinfo", "flags : fpu hypervisor tsc");
    REQUIRE_THAT(hypervisor_of(root.files(), std::nullopt), Contains("hypervisor"));
  }
  SECTION("firmware, where the CPU cannot tell") {
    root.put("/sys/class/dmi/id/sys_vendor", "QEMU");
    REQUIRE(hypervisor_of(root.files(), std::nullopt) == "QEMU");
    REQUIRE(hypervisor_of(root.files(), "none") == "none");
  }
  SECTION("firmware of a machine") {
    root.put("/sys/class/dmi/id/sys_vendor", "Some Maker");
    root.put("/proc/cpuinfo", "flags : fpu tsc");
    REQUIRE(hypervisor_of(root.files(), std::nullopt) == "none");
  }
}

TEST_CASE("lists of CPUs are read and written as the kernel has them", "[measure]") {
  const auto [text, cpus] = GENERATE(table<std::string, std::vector<int>>({
      {"0", {0}},
      {"0,1", {0, 1}},
      {"0-3", {0, 1, 2, 3}},
      {"0,2-4,9", {0, 2, 3, 4, 9}},
      {"", {}},
  }));
  REQUIRE(parse_cpus(text) == cpus);
  REQUIRE(cpus_text(cpus) == text);
  for (const char* const wrong : {"a", "1-", "-1", "3-1", "1,,2", "1,", "0-99999999", "0 1", "99999999999999999999"}) {
    CAPTURE(wrong);
    REQUIRE_FALSE(parse_cpus(wrong));
  }
  REQUIRE(cpus_text(*parse_cpus("3,1,2,1")) == "1-3");
}

TEST_CASE("a limit on CPU time is found wherever it is set", "[measure]") {
  const FakeRoot root;
  REQUIRE_FALSE(cpu_quota(root.files()));
  SECTION("version 2, in a group further up") {
    root.put("/proc/self/cgroup", "0::/a/b");
    root.put("/sys/fs/cgroup/cgroup.controllers", "cpu");
    root.put("/sys/fs/cgroup/a/b/cpu.max", "max 100000");
    REQUIRE(cpu_quota(root.files()));
    REQUIRE_FALSE(cpu_quota(root.files())->cpus);
    root.put("/sys/fs/cgroup/a/cpu.max", "50000 100000");
    root.put("/sys/fs/cgroup/a/cpu.stat", "usage_usec 1\nnr_periods 9\nnr_throttled 4");
    REQUIRE(cpu_quota(root.files())->cpus == 0.5);
    REQUIRE(cpu_quota(root.files())->throttled == 4);
    REQUIRE(cpu_quota(root.files())->file == "/sys/fs/cgroup/a/cpu.max");
  }
  SECTION("version 2, in a container that sees its own group as the root, but the host's path") {
    root.put("/proc/self/cgroup", "0::/system.slice/docker-1.scope");
    root.put("/sys/fs/cgroup/cgroup.controllers", "cpu");
    root.put("/sys/fs/cgroup/cpu.max", "200000 100000");
    REQUIRE(cpu_quota(root.files())->cpus == 2.0);
    REQUIRE(container_of(root.files()) == "docker");
  }
  SECTION("version 1") {
    root.put("/proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x");
    root.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
    root.put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "25000");
    root.put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000");
    REQUIRE(cpu_quota(root.files())->cpus == 0.25);
  }
}

}  // namespace bus::test
