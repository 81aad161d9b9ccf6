// tests/transports/mq/child.hpp: a forked process that runs a function, to be killed or waited for.
//
// Forked, not started as a program: these tests kill a process inside one library call. The test process has no
// threads when it forks.
#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <utility>

namespace bus::test {

class Child {
 public:
  template <class F>
  explicit Child(F&& body) {
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 0;
    try {
      body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "child: %s\n", e.what());
      code = 1;
    }
    ::_exit(code);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    kill();
    wait();
  }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void kill() const noexcept {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }
  /// The status as of waitpid(2); -1 when there is none.
  int wait() noexcept {
    int status = -1;
    if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_;
};

/// Makes a fault end this process at once, without a sanitizer's report about what is done here on purpose.
inline void die_quietly_of_faults() noexcept {
  ::signal(SIGSEGV, SIG_DFL);
  ::signal(SIGBUS, SIG_DFL);
}

}  // namespace bus::test
