// tests/tools/measure/doctor_test.cpp: each check on a machine without fault, and on one with it.
#include "tools/measure/doctor.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <catch2/catch.hpp>
#include <charconv>
#include <cstring>
#include <set>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/local_socket.hpp"
#include "tests/tools/measure/fake_machine.hpp"
#include "tools/common/json.hpp"

namespace bus::test {

using namespace bus::tools::measure;
using Catch::Matchers::Contains;
using tools::Json;

namespace {

const Finding& of(const std::vector<Finding>& findings, std::string_view check) {
  for (const Finding& finding : findings) {
    if (finding.check == check) return finding;
  }
  throw std::runtime_error("no finding of " + std::string(check));
}

/// A fault, and what the doctor has to say of it.
struct Fault {
  std::string name;
  std::function<void(QuietMachine&)> make;
  std::string check;
  Severity severity;
  std::string what, mend;  // parts of them; an empty mend: there is none
};
std::ostream& operator<<(std::ostream& out, const Fault& fault) { return out << fault.name; }

const std::string kCpu = "/sys/devices/system/cpu";

void set_status(const QuietMachine& quiet, const std::string& cpus, const std::string& capabilities) {
  quiet.root.put("/proc/self/status", "TracerPid:\t0\nCapEff:\t" + capabilities + "\nCpus_allowed_list:\t" + cpus);
}

void set_limits(const QuietMachine& quiet, const std::string& files, const std::string& locked,
                const std::string& priority) {
  quiet.root.put("/proc/self/limits", "Limit Soft Hard Units\nMax open files  " + files +
                                          " files\nMax locked memory  " + locked + " bytes\nMax realtime priority  " +
                                          priority);
}

const std::vector<Fault>& faults() {
  using enum Severity;
  static const std::vector<Fault> all{
      {"one CPU allowed", [](auto& q) { set_status(q, "3", "0"); }, "cpus", warning, "CPU 3 alone",
       "taskset -cp 0-7 $$"},
      {"one CPU there",
       [](auto& q) {
         q.root.put(kCpu + "/online", "0");
         set_status(q, "0-7", "0");
       },
       "cpus", warning, "has one CPU", ""},
      {"governor", [](auto& q) { q.root.put(kCpu + "/cpu2/cpufreq/scaling_governor", "powersave"); }, "governor",
       warning, "powersave on CPU 2", "tee " + kCpu + "/cpu*/cpufreq/scaling_governor"},
      {"turbo of Intel", [](auto& q) { q.root.put(kCpu + "/intel_pstate/no_turbo", "0"); }, "turbo", note, "are on",
       "echo 1 | "},
      {"turbo of others",
       [](auto& q) {
         q.root.take(kCpu + "/intel_pstate");
         q.root.put(kCpu + "/cpufreq/boost", "1");
       },
       "turbo", note, "are on", "echo 0 | "},
      {"siblings",
       [](auto& q) {
         q.root.put(kCpu + "/cpu6/topology/thread_siblings_list", "6-7");
         q.root.put(kCpu + "/cpu7/topology/thread_siblings_list", "6-7");
       },
       "smt", note, "6,7", "smt/control"},
      {"fast and slow cores by capacity", [](auto& q) { q.root.put(kCpu + "/cpu0/cpu_capacity", "400"); }, "core-types",
       warning, "the fast ones: 1-7", "taskset -cp 1-7 $$"},
      {"fast and slow cores of Intel",
       [](auto& q) {
         q.root.put("/sys/devices/cpu_core/cpus", "0-3");
         q.root.put("/sys/devices/cpu_atom/cpus", "4-7");
       },
       "core-types", warning, "the fast ones: 0-3", "taskset -cp 0-3 $$"},
      {"guest", [](auto& q) { q.machine.hypervisor = "KVMKVMKVM"; }, "hypervisor", note, "KVMKVMKVM", ""},
      {"deep idle state",
       [](auto& q) {
         q.root.put(kCpu + "/cpu5/cpuidle/state3/latency", "133");
         q.root.put(kCpu + "/cpu5/cpuidle/state3/name", "C6");
       },
       "idle-states", note, "C6, which takes 133 us", "/dev/cpu_dma_latency"},
      {"no isolated CPU, grub",
       [](auto& q) {
         q.root.put(kCpu + "/isolated", "");
         q.root.put("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"");
         q.root.put("/usr/sbin/update-grub", "");
       },
       "isolated-cpus", note, "no CPU is isolated", "isolcpus=6,7"},
      {"isolated CPUs not used", [](auto& q) { set_status(q, "0-5", "0"); }, "isolated-cpus", note, "CPUs 6,7",
       "taskset -cp 6,7 $$"},
      {"memory nodes",
       [](auto& q) {
         q.root.put("/sys/devices/system/node/online", "0-1");
         q.root.put("/sys/devices/system/node/node0/cpulist", "0-3");
       },
       "numa", note, "2 memory nodes", "numactl --cpunodebind=0"},
      {"moving pages between nodes",
       [](auto& q) {
         q.root.put("/sys/devices/system/node/online", "0-1");
         q.root.put("/proc/sys/kernel/numa_balancing", "1");
       },
       "numa", warning, "moves pages", "sysctl -w kernel.numa_balancing=0"},
      {"limited CPU time",
       [](auto& q) {
         q.root.put("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000");
         q.root.put("/sys/fs/cgroup/user.slice/cpu.stat", "nr_throttled 12");
       },
       "cpu-limit", warning, "1.5 CPUs, counted each 100 ms; it was used up 12 times",
       "tee /sys/fs/cgroup/user.slice/cpu.max"},
      {"slow clock source",
       [](auto& q) { q.root.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"); },
       "clocksource", warning, "hpet", "echo tsc | "},
      {"slow clock source without a better one",
       [](auto& q) {
         q.root.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm");
         q.root.put("/sys/devices/system/clocksource/clocksource0/available_clocksource", "acpi_pm");
       },
       "clocksource", warning, "acpi_pm", ""},
      {"clock source of a guest",
       [](auto& q) {
         q.root.put("/sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock");
         q.root.put("/sys/devices/system/clocksource/clocksource0/available_clocksource", "kvm-clock acpi_pm");
       },
       "clocksource", note, "kvm-clock", ""},
      {"counter not invariant", [](auto& q) { q.root.put("/proc/cpuinfo", "flags : fpu tsc constant_tsc"); }, "tsc",
       warning, "not invariant", ""},
      {"huge pages",
       [](auto& q) { q.root.put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"); },
       "huge-pages", warning, "always", "echo madvise | "},
      {"swap in use",
       [](auto& q) {
         q.root.put("/proc/meminfo", "MemAvailable: 9000000 kB\nSwapTotal: 2097152 kB\nSwapFree: 1048576 kB");
       },
       "swap", warning, "1GiB of swap", "swapoff -a"},
      {"swap in use that does not fit into memory",
       [](auto& q) {
         q.root.put("/proc/meminfo", "MemAvailable: 90000 kB\nSwapTotal: 2097152 kB\nSwapFree: 1048576 kB");
       },
       "swap", warning, "1GiB of swap", ""},
      {"little locked memory", [](auto& q) { set_limits(q, "1024 4096", "8388608 8388608", "0 0"); }, "memlock", note,
       "8MiB", "prlimit --pid $$ --memlock=unlimited"},
      {"hardly any locked memory", [](auto& q) { set_limits(q, "1024 4096", "65536 unlimited", "0 0"); }, "memlock",
       warning, "64KiB", "ulimit -l"},
      {"few descriptors", [](auto& q) { set_limits(q, "1024 1024", "unlimited unlimited", "0 0"); }, "nofile", warning,
       "1024", "prlimit --pid $$ --nofile=65536"},
      {"hardly any descriptors", [](auto& q) { set_limits(q, "64 64", "unlimited unlimited", "0 0"); }, "nofile",
       problem, "64", "--nofile=65536"},
      {"small receive buffers", [](auto& q) { q.root.put("/proc/sys/net/core/rmem_max", "212992"); }, "rmem-max",
       warning, "208KiB", "sysctl -w net.core.rmem_max=4194304"},
      {"small send buffers", [](auto& q) { q.root.put("/proc/sys/net/core/wmem_max", "65536"); }, "wmem-max", warning,
       "64KiB", "sysctl -w net.core.wmem_max=4194304"},
      {"few connections wait", [](auto& q) { q.root.put("/proc/sys/net/core/somaxconn", "128"); }, "somaxconn", note,
       "128", "sysctl -w net.core.somaxconn=4096"},
      {"throttled real-time threads", [](auto& q) { set_limits(q, "1024 4096", "unlimited unlimited", "99 99"); },
       "rt-throttling", note, "95 % of each 1000 ms", "sysctl -w kernel.sched_rt_runtime_us=-1"},
      {"no membarrier", [](auto& q) { q.machine.has_membarrier = false; }, "membarrier", warning, "membarrier", ""},
      {"no memfd", [](auto& q) { q.machine.memfd = std::make_error_code(std::errc::function_not_supported); }, "memfd",
       problem, "memfd_create", ""},
      {"memfd only without execution",
       [](auto& q) {
         q.machine.memfd = std::make_error_code(std::errc::permission_denied);
         q.root.put("/proc/sys/vm/memfd_noexec", "2");
       },
       "memfd", problem, "ermission", "sysctl -w vm.memfd_noexec=1"},
      {"debugging kernel", [](auto& q) { q.root.put("/proc/lockdep", "x"); }, "kernel-debugging", warning,
       "lock checking", ""},
      {"container", [](auto& q) { q.root.put("/.dockerenv", ""); }, "container", note, "docker", ""},
      {"sanitizers", [](auto& q) { q.machine.build = "GNU 12.2.0, RelWithDebInfo, x86_64, sanitizers: thread"; },
       "build", problem, "with sanitizers", "cmake --preset release"},
      {"debug build", [](auto& q) { q.machine.build = "GNU 12.2.0, Debug, x86_64, with fault points"; }, "build",
       problem, "without optimisation, with fault points", "cmake --preset release"},
      {"busy", [](auto& q) { q.machine.wait = [&q] { q.stat(1300, 99500, 0); }; }, "load", warning, "37.5 % busy",
       "ps -eo"},
      {"busy a while ago", [](auto& q) { q.root.put("/proc/loadavg", "6.00 2.00 1.00 1/100 1"); }, "load", note,
       "6 on 8", "ps -eo"},
      {"stolen now", [](auto& q) { q.machine.wait = [&q] { q.stat(1000, 99760, 40); }; }, "steal", warning, "5 %",
       "--intrinsic"},
      {"stolen once",
       [](auto& q) {
         q.stat(1000, 98000, 1000);
         q.machine.wait = [&q] { q.stat(1000, 98800, 1000); };
       },
       "steal", note, "since the start", "--intrinsic"},
      {"busy processes",
       [](auto& q) {
         q.process(200, "a (b) c", 10);
         q.process(300, "kworker", 10, 0x00200000);
         q.machine.wait = [&q] {
           q.stat(1010, 99790, 0);  // 800 ticks on 8 CPUs: 100 of each
           q.process(200, "a (b) c", 60);
           q.process(300, "kworker", 30, 0x00200000);
         };
       },
       "busy-processes", warning, "a (b) c (200) 50 %, kworker (300) 20 %",
       "kill -STOP 200   # and afterwards: kill -CONT 200"},
      {"irqbalance", [](auto& q) { q.process(77, "irqbalance", 5); }, "irqbalance", note, "irqbalance",
       "systemctl stop irqbalance"},
      {"a tracer runs", [](auto& q) { q.process(78, "strace", 5); }, "tracing", warning, "strace runs", ""},
      {"kernel tracing", [](auto& q) { q.root.put("/sys/kernel/tracing/set_event", "sched:sched_switch"); }, "tracing",
       warning, "trace events", "tee /sys/kernel/tracing/tracing_on"},
      {"no /dev/shm", [](auto& q) { q.machine.dev_shm.reset(); }, "dev-shm", problem, "no /dev/shm", "mount -t tmpfs"},
      {"/dev/shm of others", [](auto& q) { q.machine.dev_shm->writable = false; }, "dev-shm", problem,
       "cannot be written", "mount -o remount"},
      {"/dev/shm without the sticky bit", [](auto& q) { q.root.folder("/dev/shm", 0777); }, "dev-shm", warning, "0777",
       "chmod 1777 /dev/shm"},
      {"small /dev/shm",
       [](auto& q) {
         q.machine.dev_shm = Machine::Room{64 << 20, 64 << 20, true};
       },
       "dev-shm", warning, "64MiB of 64MiB", "size=1g"},
      {"no runtime directory", [](auto& q) { q.machine.runtime_base = "/nowhere"; }, "runtime-directory", problem,
       "/nowhere", "unset XDG_RUNTIME_DIR"},
      {"open runtime directory", [](auto& q) { q.root.folder("/run/user/1/ipcbus", 0755); }, "runtime-directory",
       problem, "mode 0755", "chmod 700 /run/user/1/ipcbus"},
      {"a file for a runtime directory",
       [](auto& q) {
         q.root.take("/run/user/1/ipcbus");
         q.root.put("/run/user/1/ipcbus", "x");
       },
       "runtime-directory", problem, "is no folder", "mv /run/user/1/ipcbus /run/user/1/ipcbus.aside"},
      {"a link for a runtime directory",
       [](auto& q) {
         q.root.take("/run/user/1/ipcbus");
         std::filesystem::create_symlink("/tmp", q.root.path() + "/run/user/1/ipcbus");
       },
       "runtime-directory", problem, "symbolic link", "mv "},
      {"somebody else's runtime directory", [](auto& q) { q.machine.uid += 1; }, "runtime-directory", problem,
       "belongs to the user", "unset XDG_RUNTIME_DIR"},
      {"a long runtime directory",
       [](auto& q) {
         q.machine.runtime_base = "/run/" + std::string(90, 'x');
         q.root.folder(q.machine.runtime_base, 0700);
       },
       "runtime-directory", problem, "names may have", "/run/user/$(id -u)"},
      {"a fallback in /tmp",
       [](auto& q) {
         q.machine.runtime_base = "";
         q.root.folder("/tmp", 01777);
       },
       "runtime-directory", note, "/tmp/ipcbus-", ""},
  };
  return all;
}

/// The name of a queue of this runtime directory, as transports/mq/link.hpp has it.
std::string queue_name(const QuietMachine& quiet, const std::string& name) {
  struct stat info {};
  REQUIRE(::stat((quiet.root.path() + "/run/user/1/ipcbus").c_str(), &info) == 0);
  std::array<char, 20> inode{};
  std::to_chars(inode.data(), inode.data() + inode.size(), info.st_ino, 16);
  return "ipcbus." + std::to_string(::geteuid()) + "." + inode.data() + "." + name + "." + std::string(32, 'a') + ".up";
}

/// A socket that nobody listens on any more.
void leave_socket(const std::string& path) {
  const os::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

}  // namespace

TEST_CASE("a machine without fault is in order, check by check", "[measure]") {
  const QuietMachine quiet;
  const auto findings = examine(quiet.machine);
  for (const Finding& finding : findings) {
    CAPTURE(finding.check, finding.what);
    REQUIRE(finding.severity == Severity::ok);
    REQUIRE_FALSE(finding.what.empty());
    REQUIRE(finding.mend.empty());
  }
  for (const std::string_view name : check_names()) REQUIRE_NOTHROW(of(findings, name));
  REQUIRE(tally(findings).ok == findings.size());
}

TEST_CASE("each fault is found, said why, and has its command", "[measure]") {
  for (const Fault& fault : faults()) {
    CAPTURE(fault);
    QuietMachine quiet;
    fault.make(quiet);
    const auto findings = examine(quiet.machine);
    const Finding& finding = of(findings, fault.check);
    CAPTURE(finding.what, finding.why, finding.mend);
    REQUIRE(name_of(finding.severity) == name_of(fault.severity));
    REQUIRE_THAT(finding.what, Contains(fault.what));
    REQUIRE_FALSE(finding.why.empty());
    if (fault.mend.empty()) {
      REQUIRE(finding.mend.empty());
    } else {
      REQUIRE_THAT(finding.mend, Contains(fault.mend));
    }
  }
}

TEST_CASE("every check has a fault that a test makes", "[measure]") {
  std::set<std::string> tested{"leftovers"};  // below
  for (const Fault& fault : faults()) tested.insert(fault.check);
  for (const std::string_view name : check_names()) {
    CAPTURE(name);
    REQUIRE(tested.contains(std::string(name)));
  }
}

TEST_CASE("rights take the place of limits", "[measure]") {
  QuietMachine quiet;
  set_limits(quiet, "1024 4096", "65536 65536", "0 0");
  quiet.root.put("/proc/sys/net/core/rmem_max", "212992");
  set_status(quiet, "6-7", "0000000000005000");  // CAP_NET_ADMIN and CAP_IPC_LOCK
  const auto findings = examine(quiet.machine);
  REQUIRE(of(findings, "memlock").severity == Severity::ok);
  REQUIRE(of(findings, "rmem-max").severity == Severity::ok);
}

TEST_CASE("commands for root have sudo unless we are root", "[measure]") {
  QuietMachine quiet;
  quiet.root.put("/proc/sys/net/core/somaxconn", "128");
  quiet.machine.uid = 1000;
  REQUIRE(of(examine(quiet.machine), "somaxconn").mend == "sudo sysctl -w net.core.somaxconn=4096");
  quiet.machine.uid = 0;
  REQUIRE(of(examine(quiet.machine), "somaxconn").mend == "sysctl -w net.core.somaxconn=4096");
}

TEST_CASE("a machine of which nothing can be read gives findings and no error", "[measure]") {
  const FakeRoot nothing;
  Machine machine;
  machine.files = nothing.files();
  machine.uid = ::geteuid();
  std::vector<Finding> findings;
  REQUIRE_NOTHROW(findings = examine(machine));
  for (const std::string_view name : check_names()) REQUIRE_NOTHROW(of(findings, name));
}

TEST_CASE("leftovers are what the dead left, and never what belongs to the living", "[measure]") {
  QuietMachine quiet;
  const std::string folder = quiet.root.path() + "/run/user/1/ipcbus";
  const os::LocalListener living(folder + "/living.shm", "shm://living");
  const os::LocalListener mq(folder + "/queues.mq", "mq://queues");
  quiet.root.put("/dev/shm/" + queue_name(quiet, "queues"), "x");
  quiet.root.put("/run/user/1/ipcbus/notes.txt", "not ours");
  quiet.root.put("/dev/shm/ipcbus.unrelated", "not ours");
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::ok);

  leave_socket(folder + "/dead one.unix");
  quiet.root.put("/run/user/1/ipcbus/dead one.unix.ipcbus-lock", "4242");
  quiet.root.put("/run/user/1/ipcbus/alone.shm.ipcbus-lock", "4242");
  const std::string queue = queue_name(quiet, "gone");
  quiet.root.put("/dev/shm/" + queue, "x");
  const auto findings = examine(quiet.machine);
  const Finding& finding = of(findings, "leftovers");
  CAPTURE(finding.what, finding.mend);
  REQUIRE(finding.severity == Severity::note);
  REQUIRE_THAT(finding.what, Contains("4 files") && !Contains("living") && !Contains("queues"));
  REQUIRE(finding.mend ==
          "rm -f -- /run/user/1/ipcbus/alone.shm.ipcbus-lock '/run/user/1/ipcbus/dead one.unix' "
          "'/run/user/1/ipcbus/dead one.unix.ipcbus-lock' /dev/shm/" +
              queue);
  // Looking has changed nothing.
  REQUIRE(std::filesystem::exists(folder + "/dead one.unix"));
  REQUIRE(std::filesystem::exists(folder + "/alone.shm.ipcbus-lock"));
  REQUIRE(std::filesystem::exists(folder + "/living.shm"));
}

TEST_CASE("a queue of another runtime directory is a leftover once it is old", "[measure]") {
  const QuietMachine quiet;
  const std::string queue = "ipcbus." + std::to_string(::geteuid()) + ".1.lab." + std::string(32, '0') + ".down";
  quiet.root.put("/dev/shm/" + queue, "x");
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::ok);
  std::filesystem::last_write_time(quiet.root.path() + "/dev/shm/" + queue,
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  REQUIRE_THAT(of(examine(quiet.machine), "leftovers").mend, Contains(queue));
}

TEST_CASE("a socket without a lock is a leftover only if nobody has it", "[measure]") {
  const QuietMachine quiet;
  leave_socket(quiet.root.path() + "/run/user/1/ipcbus/x.unix");
  quiet.root.put("/proc/net/unix",
                 "Num RefCount Protocol Flags Type St Inode Path\n0: 2 0 0 1 1 1 /run/user/1/ipcbus/x.unix");
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::ok);
  quiet.root.put("/proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path");
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::note);
}

TEST_CASE("nothing in a runtime directory of somebody else is called a leftover", "[measure]") {
  QuietMachine quiet;
  quiet.root.put("/run/user/1/ipcbus/alone.shm.ipcbus-lock", "4242");
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::note);
  quiet.machine.uid += 1;
  REQUIRE(of(examine(quiet.machine), "leftovers").severity == Severity::ok);
}

TEST_CASE("the runtime directory is not made by looking for it", "[measure]") {
  QuietMachine quiet;
  quiet.root.take("/run/user/1/ipcbus");
  REQUIRE(of(examine(quiet.machine), "runtime-directory").severity == Severity::ok);
  REQUIRE_FALSE(std::filesystem::exists(quiet.root.path() + "/run/user/1/ipcbus"));
}

TEST_CASE("findings are written the worst first, within 100 columns but for commands", "[measure]") {
  QuietMachine quiet;
  quiet.machine.runtime_base = "/nowhere";
  quiet.machine.hypervisor = "KVMKVMKVM";
  quiet.root.put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never");
  const auto findings = examine(quiet.machine);
  const std::string text = findings_text(findings, false, false);
  CAPTURE(text);
  REQUIRE_THAT(text, Catch::Matchers::StartsWith("1 problem, 1 warning, 1 note, ") && Contains("Nothing was changed."));
  REQUIRE(text.find("\nproblem  runtime-directory: ") < text.find("\nwarning  huge-pages: "));
  REQUIRE(text.find("\nwarning  huge-pages: ") < text.find("\nnote     hypervisor: "));
  REQUIRE(text.find("\nnote     hypervisor: ") < text.find("\nok       cpus, governor"));
  REQUIRE(text.find('\x1b') == std::string::npos);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    CAPTURE(line);
    if (line.find(" mend ") == std::string::npos) REQUIRE(line.size() <= 100);
    at = end + 1;
  }
  REQUIRE_THAT(findings_text(findings, true, false),
               Contains("\nok       governor: the CPU frequency governor is performance\n"));
  REQUIRE_THAT(findings_text(findings, false, true), Contains("\x1b[1;31mproblem\x1b[0m  runtime-directory"));
}

TEST_CASE("names of strange processes do not reach the terminal as they are", "[measure]") {
  const std::vector<Finding> findings{
      {"busy-processes", Severity::warning, "busy: \x1b[2Jx\n\xff (1)", "why", "kill -STOP 1"}};
  const std::string text = findings_text(findings, false, false);
  REQUIRE(text.find('\x1b') == std::string::npos);
  REQUIRE_NOTHROW(Json::parse(findings_json(findings).substr(0, findings_json(findings).find('\n'))));
}

TEST_CASE("findings as JSON are an object a line, the summary last", "[measure]") {
  QuietMachine quiet;
  quiet.machine.runtime_base = "/nowhere";
  const auto findings = examine(quiet.machine);
  const std::string text = findings_json(findings);
  std::vector<Json> lines;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    lines.push_back(Json::parse(text.substr(at, text.find('\n', at) - at)));
  }
  REQUIRE(lines.size() == findings.size() + 1);
  for (std::size_t i = 0; i < findings.size(); ++i) {
    REQUIRE(lines[i].at("type") == "finding");
    REQUIRE(lines[i].at("check") == findings[i].check);
    REQUIRE(lines[i].at("severity") == name_of(findings[i].severity));
    REQUIRE(lines[i].at("mend") == findings[i].mend);
  }
  REQUIRE(lines.back() ==
          Json{{"type", "summary"}, {"ok", findings.size() - 1}, {"notes", 0}, {"warnings", 0}, {"problems", 1}});
}

TEST_CASE("this machine can be examined", "[measure]") {
  const auto findings = examine(Machine::here({}));
  for (const std::string_view name : check_names()) REQUIRE_NOTHROW(of(findings, name));
}

}  // namespace bus::test
