// tools/measure/doctor_system.cpp: the checks on memory, limits, sockets, the kernel and this build.
#include <array>

#include "tools/measure/doctor_checks.hpp"

namespace bus::tools::measure {
namespace {

std::uint64_t meminfo(const Examination& e, std::string_view name) {
  const auto text = e.files.field("/proc/meminfo", name);
  return to_number(text.value_or("")).value_or(0) * kKiB;
}

void huge_pages(Examination& e) {
  const std::string file = "/sys/kernel/mm/transparent_hugepage/enabled";
  const std::string chosen = chosen_of(e.files.text(file).value_or("")).value_or("unknown");
  if (chosen != "always") {
    e.ok("transparent huge pages: " + chosen);
    return;
  }
  e.add(Severity::warning, "transparent huge pages: always",
        "the kernel joins pages behind a program's back: faults that clear 2 MiB (about 100 us) and stalls of ms while "
        "it "
        "moves others out of the way",
        e.set_file("madvise", file));
}

void swap(Examination& e) {
  const std::uint64_t total = meminfo(e, "SwapTotal"), free = meminfo(e, "SwapFree");
  const std::uint64_t used = total > free ? total - free : 0;
  if (used < kMiB) {
    e.ok(total == 0 ? "no swap" : "swap is not in use");
    return;
  }
  const bool fits = meminfo(e, "MemAvailable") > used;
  e.add(Severity::warning, short_size(used) + " of swap are in use",
        std::string("touching a page that was swapped out takes 0.1 to 10 ms") +
            (fits ? "" : ". Memory is too small to take it all back: end something first"),
        fits ? e.as_root("swapoff -a") + " && " + e.as_root("swapon -a") : "");
}

void memlock(Examination& e) {
  // A measurement locks its rings, its histograms and the stack of each role: some ten MiB with large messages.
  constexpr std::uint64_t kEnough = 64 * kMiB, kLeast = 4 * kMiB;
  const auto limit = limit_of(e.files, "Max locked memory");
  if (has_capability(e.files, 14).value_or(false)) {  // CAP_IPC_LOCK
    e.ok("memory can be locked without limit");
  } else if (!limit) {
    e.ok("the limit on locked memory is not told");
  } else if (limit->soft >= kEnough) {
    e.ok("memory can be locked: " + (limit->soft == kUnlimited ? "without limit" : short_size(limit->soft)));
  } else {
    // The hard limit can be raised by root alone; the shell's is what its programs get.
    e.add(limit->soft >= kLeast ? Severity::note : Severity::warning,
          "only " + short_size(limit->soft) + " of memory can be locked",
          "what cannot be locked may be faulted in or swapped out in the midst of a measurement; rings of 256 KiB and "
          "histograms want about 64 MiB",
          limit->hard >= kEnough ? "ulimit -l unlimited || ulimit -l " + std::to_string(limit->hard / kKiB)
                                 : e.as_root("prlimit --pid $$ --memlock=unlimited"));
  }
}

void nofile(Examination& e) {
  // A shm channel takes up to seven descriptors at each end (transports/shm/README.md). The bus program raises its own
  // limit to the hard one; other programs do not.
  constexpr std::uint64_t kEnough = 4096;
  const auto limit = limit_of(e.files, "Max open files");
  if (!limit || limit->hard >= kEnough) {
    e.ok(limit ? "descriptors: " + std::to_string(limit->soft) + ", can be raised to " +
                     (limit->hard == kUnlimited ? "any number" : std::to_string(limit->hard))
               : "the limit on descriptors is not told");
    return;
  }
  e.add(limit->hard < 256 ? Severity::problem : Severity::warning,
        "a process may open " + std::to_string(limit->hard) + " descriptors",
        "a channel over shared memory takes up to seven at each end: this is enough for " +
            std::to_string(limit->hard / 7) + " of them",
        e.as_root("prlimit --pid $$ --nofile=65536"));
}

void rmem_max(Examination& e) {
  constexpr std::uint64_t kAsked = 4 * kMiB;  // transports/udp/README.md, "The window"
  const auto most = e.files.number("/proc/sys/net/core/rmem_max");
  if (!most || *most >= kAsked) {
    e.ok(most ? "udp gets the receive buffer that it asks for" : "net.core.rmem_max is not told");
  } else if (has_capability(e.files, 12).value_or(false)) {  // CAP_NET_ADMIN: SO_RCVBUFFORCE, socket(7)
    e.ok("net.core.rmem_max is " + short_size(*most) + ", but this user may exceed it");
  } else {
    e.add(Severity::warning, "net.core.rmem_max is " + short_size(*most) + "; udp asks for 4 MiB",
          // The kernel doubles what it grants (socket(7)), and half of that is the window.
          "its window is then about " + short_size(*most) +
              " instead of 4 MiB: senders wait for acks more often, and "
              "large messages go in many windows",
          e.as_root("sysctl -w net.core.rmem_max=4194304"));
  }
}

void wmem_max(Examination& e) {
  constexpr std::uint64_t kLeast = 212992;  // the kernel's default
  const auto most = e.files.number("/proc/sys/net/core/wmem_max");
  if (!most || *most >= kLeast) {
    e.ok(most ? "net.core.wmem_max is " + short_size(*most) : "net.core.wmem_max is not told");
    return;
  }
  e.add(Severity::warning, "net.core.wmem_max is " + short_size(*most) + ", below the kernel's default of 208KiB",
        "a datagram must fit into the send buffer: 64 KiB of udp may not, and unix holds fewer messages",
        e.as_root("sysctl -w net.core.wmem_max=4194304"));
}

void somaxconn(Examination& e) {
  const auto most = e.files.number("/proc/sys/net/core/somaxconn");
  if (!most || *most >= 1024) {
    e.ok(most ? "a listener queues up to " + std::to_string(*most) + " connections" : "net.core.somaxconn is not told");
    return;
  }
  e.add(Severity::note, "a listener queues at most " + std::to_string(*most) + " connections",
        "when more than that connect at once, tcp clients wait a second for their next try and others are told to try "
        "again",
        e.as_root("sysctl -w net.core.somaxconn=4096"));
}

void rt_throttling(Examination& e) {
  const auto text = e.files.text("/proc/sys/kernel/sched_rt_runtime_us");
  const auto period = e.files.number("/proc/sys/kernel/sched_rt_period_us").value_or(0);
  const auto runtime = text ? to_number(*text) : std::nullopt;  // -1: none
  if (!runtime || *runtime >= period) {
    e.ok(text ? "real-time threads are not throttled" : "the throttle of real-time threads is not told");
    return;
  }
  const auto limit = limit_of(e.files, "Max realtime priority");
  const bool may = has_capability(e.files, 23).value_or(false) || (limit && limit->soft > 0);  // CAP_SYS_NICE
  if (!may) {
    e.ok("real-time threads are throttled, and this user can start none");
    return;
  }
  const double gap = static_cast<double>(period - *runtime) / 1000;
  e.add(Severity::note,
        "real-time threads get " + short_number(100.0 * static_cast<double>(*runtime) / static_cast<double>(period)) +
            " % of each " + short_number(static_cast<double>(period) / 1000) + " ms",
        "one under SCHED_FIFO that spins stands still for " + short_number(gap) +
            " ms in each. Without the throttle it can take a CPU for good: only on one that nothing else needs",
        e.as_root("sysctl -w kernel.sched_rt_runtime_us=-1"));
}

void membarrier(Examination& e) {
  if (e.machine.has_membarrier) {
    e.ok("the kernel has membarrier");
    return;
  }
  e.add(Severity::warning, "the kernel has no membarrier with expedited commands, or a sandbox forbids it",
        "shm then pays a full fence for each message, 5 to 20 ns. Linux 4.16 has it; under a seccomp profile allow "
        "membarrier(2)",
        "");
}

void memfd(Examination& e) {
  if (!e.machine.memfd) {
    e.ok("the kernel makes sealed anonymous memory");
    return;
  }
  // With 2 the kernel refuses memory that might be executed later. Source: the kernel's userspace-api/mfd_noexec.rst.
  const bool refused = e.files.number("/proc/sys/vm/memfd_noexec").value_or(0) >= 2;
  e.add(Severity::problem, "no sealed anonymous memory: memfd_create: " + e.machine.memfd.message(),
        std::string("shm and mq cannot open a channel; unix and tcp can") +
            (refused ? "" : ". Linux 3.17 has it; under a seccomp profile allow memfd_create(2)"),
        refused ? e.as_root("sysctl -w vm.memfd_noexec=1") : "");
}

void kernel_debugging(Examination& e) {
  std::vector<std::string> found;
  if (e.files.has("/proc/lockdep")) found.emplace_back("lock checking (CONFIG_PROVE_LOCKING)");
  if (e.files.has("/sys/kernel/debug/kmemleak")) found.emplace_back("kmemleak");
  if (e.files.has("/sys/kernel/debug/kfence/stats") &&
      e.files.text("/sys/module/kfence/parameters/check_on_panic").value_or("N") == "Y") {
    found.emplace_back("kfence");
  }
  if (found.empty()) {
    e.ok("the kernel is no debugging build, as far as can be seen");
    return;
  }
  e.add(Severity::warning, "a debugging kernel: " + joined(found, ", "),
        "system calls take up to several times as long: figures compare with nothing", "");
}

void container(Examination& e) {
  const std::string kind = container_of(e.files);
  if (kind.empty()) {
    e.ok("no container");
    return;
  }
  e.add(Severity::note, "this seems to be a container (" + kind + ")",
        "who is in another one sees none of our local names: share the runtime directory and /dev/shm (mq), and the "
        "network "
        "for tcp and udp over loopback. Settings of the kernel are the host's",
        "");
}

void build(Examination& e) {
  const std::string& text = e.machine.build;
  const auto contains = [&](std::string_view what) { return text.find(what) != std::string::npos; };
  std::vector<std::string> wrong;
  if (contains("sanitizers: ")) wrong.emplace_back("with sanitizers");
  if (contains(", Debug,") || contains(", ,")) wrong.emplace_back("without optimisation");
  if (contains("fault points")) wrong.emplace_back("with fault points");
  if (wrong.empty()) {
    e.ok("this program is " + text);
    return;
  }
  e.add(Severity::problem, "this program was built " + joined(wrong, ", ") + " (" + text + ")",
        "it is 2 to 20 times slower: its figures mean nothing",
        "cmake --preset release && cmake --build --preset release");
}

}  // namespace

std::span<const Check> system_checks() noexcept {
  static constexpr std::array<Check, 13> kChecks{{
      {"huge-pages", huge_pages},
      {"swap", swap},
      {"memlock", memlock},
      {"nofile", nofile},
      {"rmem-max", rmem_max},
      {"wmem-max", wmem_max},
      {"somaxconn", somaxconn},
      {"rt-throttling", rt_throttling},
      {"membarrier", membarrier},
      {"memfd", memfd},
      {"kernel-debugging", kernel_debugging},
      {"container", container},
      {"build", build},
  }};
  return kChecks;
}

}  // namespace bus::tools::measure
