// tools/measure/trace.cpp: seize, count, let go. Source: ptrace(2).
#include "tools/measure/trace.hpp"

#include <elf.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <cerrno>
#include <filesystem>
#include <string>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

constexpr long kMark = SYS_getppid;  // nothing that is measured calls it
constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
constexpr int kCallStop = SIGTRAP | 0x80;

/// Waits for any traced thread; false: there is nothing to hear now.
bool next_stop(pid_t& thread, int& status) noexcept {
  thread = ::waitpid(-1, &status, __WALL | WNOHANG);
  return thread > 0;
}

}  // namespace

void CallCounter::mark() noexcept { ::syscall(kMark); }

CallCounter::~CallCounter() { detach_all(); }

void CallCounter::attach_thread(pid_t process, pid_t thread) {
  if (::ptrace(PTRACE_SEIZE, thread, nullptr, kOptions) != 0 ||
      ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) {
    const auto error = last_system_error();
    throw Error(Errc::permission_denied, "system calls are not counted: ptrace: " + error.message());
  }
  int status = 0;
  while (::waitpid(thread, &status, __WALL) < 0 && errno == EINTR) {
  }
  threads_[thread] = {process, false};
  ::ptrace(PTRACE_SYSCALL, thread, nullptr, nullptr);
}

void CallCounter::attach(pid_t process) {
  attach_thread(process, process);  // the leader first: the threads that it makes from here are traced by themselves
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    const auto thread = static_cast<pid_t>(std::stol(task.path().filename().string()));
    if (!threads_.contains(thread)) attach_thread(process, thread);
  }
}

void CallCounter::on_call(pid_t thread, Thread& of) {
  of.in_call = !of.in_call;
  if (!of.in_call) return;
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0) return;
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) {
    of.in_call = false;  // seized in the midst of a call: this was its end
    return;
  }
  const auto number = static_cast<long>(info.entry.nr);
  if (number == kMark) {
    ++marks_;
  } else if (marks_ > 0 && marks_ < wanted_) {
    ++(number == SYS_sched_yield ? counts_.yields : counts_.calls);
  }
}

void CallCounter::on_stop(pid_t thread, int status) {
  if (WIFEXITED(status) || WIFSIGNALED(status)) {
    ended_ = ended_ || threads_[thread].process == thread;
    threads_.erase(thread);
    return;
  }
  int signal = 0;
  if (WSTOPSIG(status) == kCallStop) {
    if (const auto it = threads_.find(thread); it != threads_.end()) on_call(thread, it->second);
  } else if ((status >> 16) == PTRACE_EVENT_CLONE) {
    unsigned long made = 0;
    ::ptrace(PTRACE_GETEVENTMSG, thread, nullptr, &made);
    threads_[static_cast<pid_t>(made)] = {threads_[thread].process, false};
  } else if ((status >> 16) == 0) {
    signal = WSTOPSIG(status);  // the thread's own, which it shall get
  }
  ::ptrace(PTRACE_SYSCALL, thread, nullptr, signal);
}

bool CallCounter::run(std::uint64_t marks, Deadline deadline) {
  wanted_ = marks;
  while (marks_ < wanted_ && !ended_) {
    pid_t thread = 0;
    int status = 0;
    if (next_stop(thread, status)) {
      on_stop(thread, status);
    } else if (Clock::now() >= deadline) {
      return false;
    } else {
      ::sched_yield();
    }
  }
  detach_all();
  return true;
}

void CallCounter::detach_all() noexcept {
  for (const auto& [thread, of] : threads_) {
    // A thread can be let go while it is stopped only. One that ends meanwhile is gone, which is as good.
    if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) continue;
    int status = 0;
    pid_t heard = 0;
    do {
      heard = ::waitpid(thread, &status, __WALL);
    } while (heard < 0 && errno == EINTR);
    if (heard == thread && WIFSTOPPED(status)) ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
  }
  threads_.clear();
}

}  // namespace bus::tools::measure
