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
#include <iterator>
#include <string>

#include "bus/core/errc.hpp"
#include "tools/measure/system_files.hpp"

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

/// One that a traced thread has made is, before that was heard of.
bool is_traced_by_us(pid_t thread) {
  const std::string status = "/proc/" + std::to_string(thread) + "/status";
  return SystemFiles().field(status, "TracerPid") == std::to_string(::getpid());
}

/// The thread that one has made which is stopped for that.
pid_t made_by(pid_t thread) noexcept {
  unsigned long made = 0;
  ::ptrace(PTRACE_GETEVENTMSG, thread, nullptr, &made);
  return static_cast<pid_t>(made);
}

}  // namespace

void CallCounter::mark() noexcept { ::syscall(kMark); }

CallCounter::~CallCounter() { detach_all(); }

void CallCounter::attach_thread(pid_t process, pid_t thread) {
  if (::ptrace(PTRACE_SEIZE, thread, nullptr, kOptions) != 0 ||
      ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) {
    const auto error = last_system_error();
    if (thread != process && (error.value() == ESRCH || is_traced_by_us(thread))) return;
    throw Error(Errc::permission_denied, "system calls are not counted: ptrace: " + error.message());
  }
  int status = 0;
  while (::waitpid(thread, &status, __WALL) < 0 && errno == EINTR) {
  }
  threads_[thread] = {process, false};
  if ((status >> 16) == PTRACE_EVENT_CLONE) threads_[made_by(thread)] = {process, false};
  ::ptrace(PTRACE_SYSCALL, thread, nullptr, nullptr);
}

void CallCounter::attach(pid_t process) {
  attach_thread(process, process);  // the threads that a traced one makes are traced by themselves
  for (std::size_t before = 0; before != threads_.size();) {  // again: another may have made some meanwhile
    before = threads_.size();
    for (const std::string& task : SystemFiles().names("/proc/" + std::to_string(process) + "/task")) {
      const auto thread = static_cast<pid_t>(std::stol(task));
      if (!threads_.contains(thread)) attach_thread(process, thread);
    }
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
    threads_[made_by(thread)] = {threads_[thread].process, false};
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
  // The leader of a process last, mostly: it is not waited for before its threads were.
  while (!threads_.empty()) {
    const pid_t thread = std::prev(threads_.end())->first;
    threads_.erase(thread);
    // A thread can be let go while it is stopped only. One that has ended is gone, which is as good.
    const bool there = ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0;
    int status = 0;
    pid_t heard = 0;
    do {
      heard = ::waitpid(thread, &status, there ? __WALL : __WALL | WNOHANG);
    } while (heard < 0 && errno == EINTR);
    if (heard != thread || !WIFSTOPPED(status)) continue;
    if ((status >> 16) == PTRACE_EVENT_CLONE) threads_[made_by(thread)] = {};
    ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
  }
}

}  // namespace bus::tools::measure
