// tests/bus/core/flusher_test.cpp: the start of the process's one thread, in processes that have none yet.
#include "bus/core/flusher.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <functional>
#include <mutex>
#include <thread>

#include "bus/core/channel.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sanitized.hpp"

using namespace bus;
using namespace std::chrono_literals;
using bus::Flusher;

namespace {

struct Client final : FlusherClient {
  ~Client() override { Flusher::forget(*this); }
  void on_due() noexcept override { called = true; }
  [[nodiscard]] bool is_served() noexcept {
    return Flusher::watch(*this, Clock::now()) && test::eventually([this] { return called.load(); });
  }
  std::atomic<bool> called{false};
};

/// What `act` returns in a child process, which has no Flusher yet. One that hangs is killed: 128 + SIGALRM.
int in_child(const std::function<int()>& act) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(60);
    ::_exit(act());
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// From now on this process gets no more threads. False: the kernel does not let us.
bool forbid_threads() {
  constexpr std::uint32_t kNo = SECCOMP_RET_ERRNO | EAGAIN;
  std::array<sock_filter, 5> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, kNo),
  }};
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

TEST_CASE("callers that need the first flusher at the same moment are all served", "[flusher]") {
  for (int round = 0; round < 30; ++round) {
    CAPTURE(round);
    REQUIRE(in_child([] {
              constexpr int kCallers = 4;
              std::array<Client, kCallers> clients;
              std::atomic<int> there{0}, served{0};
              {
                std::vector<std::jthread> callers;
                for (Client& client : clients) {
                  callers.emplace_back([&] {
                    ++there;
                    while (there < kCallers) std::this_thread::yield();
                    if (client.is_served()) ++served;
                  });
                }
              }
              return served == kCallers ? 0 : 1;
            }) == 0);
  }
}

TEST_CASE("a child that was forked while another thread started the flusher gets one of its own", "[flusher]") {
  if (test::kSanitized) {
    // ThreadSanitizer lets the child of a process with several threads have none of its own, and the allocator of
    // AddressSanitizer may be locked in it.
    WARN("not tested: a sanitizer does not bear it");
    return;
  }
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    REQUIRE(in_child([round] {
              static_cast<void>(os::watch_forks());
              Client client;
              std::atomic<bool> go{false};
              std::jthread starter([&] {
                while (!go) {
                }
                static_cast<void>(client.is_served());
              });
              go = true;
              // Each round a little later, to hit the moment.
              for (const auto until = Clock::now() + std::chrono::microseconds(round); Clock::now() < until;) {
              }
              return in_child([] {
                Client of_child;
                return of_child.is_served() ? 0 : 1;
              });
            }) == 0);
  }
}

TEST_CASE("a client is forgotten while the flusher waits for a lock that the caller holds", "[flusher]") {
  struct Locked final : FlusherClient {
    ~Locked() override { Flusher::forget(*this); }
    void on_due() noexcept override {
      entered = true;
      const std::lock_guard lock(mutex);
    }
    std::mutex mutex;
    std::atomic<bool> entered{false};
  };
  REQUIRE(in_child([] {  // hangs where this is not so
            std::array<int, 2> ends{};
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) return 1;
            const os::Fd one(ends[0]), other(ends[1]);
            const std::array<char, 4096> bytes{};
            while (::write(one.get(), bytes.data(), bytes.size()) > 0) continue;
            Client full;  // the last one that waits for its socket
            if (!Flusher::watch_writable(full, one.get())) return 2;
            Client pass;  // served by a flusher that polls from then on
            if (!pass.is_served()) return 3;
            Locked locked;
            const std::lock_guard lock(locked.mutex);
            if (!Flusher::watch(locked, Clock::now())) return 4;
            if (!test::eventually([&] { return locked.entered.load(); })) return 5;
            Flusher::forget(full);
            ::_exit(0);  // the lock is held
          }) == 0);
}

TEST_CASE("without a flusher nothing that was accepted stays behind", "[flusher]") {
  const std::string scheme = GENERATE(as<std::string>(), "udp", "unix", "tcp");
  CAPTURE(scheme);
  constexpr int kNotPossible = 77;
  const int outcome = in_child([&] {
    auto pair = test::open_pair(scheme);
    if (!forbid_threads()) return kNotPossible;
    constexpr int kCount = 100;  // the kernel has room for them all
    for (int i = 0; i < kCount; ++i) {
      if (pair.client.try_send(bytes_of("one of a burst"))) return 1;
    }
    for (int i = 0; i < kCount; ++i) {
      if (!pair.server.receive(in(5s))) return 2;
    }
    return 0;
  });
  if (outcome == kNotPossible) {
    WARN("seccomp is not allowed here: skipped");
    return;
  }
  REQUIRE(outcome == 0);
}
