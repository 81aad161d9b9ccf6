// tools/measure/role.cpp: set up, meet, run, tell.
#include "tools/measure/role.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <csignal>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>

#include "bus/core/errc.hpp"
#include "tools/measure/broker_process.hpp"
#include "tools/measure/control.hpp"
#include "tools/measure/crossings.hpp"

namespace bus::tools::measure {
namespace {

/// With the measuring process, over the Control.
class MeetingByControl final : public Meeting {
 public:
  explicit MeetingByControl(Control& control) : control_(control) {}
  void tell_address(const std::string& address) override { control_.say(address); }
  std::string await_address() override { return *control_.hear(); }
  std::uint64_t await_start() override {
    control_.say("ready");
    return std::stoull(*control_.hear());
  }
  void report(Findings found) override {
    found.warnings.insert(found.warnings.end(), warnings.begin(), warnings.end());
    control_.say(to_json(found));
    static_cast<void>(control_.hear());
  }

  std::vector<std::string> warnings;

 private:
  Control& control_;
};

/// Of two threads of this process; the near one speaks for both.
class MeetingOfThreads {
 public:
  explicit MeetingOfThreads(Control& control) : control_(control) {}

  class Side final : public Meeting {
   public:
    Side(MeetingOfThreads& both, bool near) : both_(both), near_(near) {}
    void tell_address(const std::string& address) override { both_.put(both_.address_, address); }
    std::string await_address() override { return both_.get(both_.address_); }
    std::uint64_t await_start() override {
      if (!near_) {
        both_.put(both_.far_ready_, "yes");
        return std::stoull(both_.get(both_.start_));
      }
      static_cast<void>(both_.get(both_.far_ready_));
      both_.control_.say("ready");
      const std::string start = *both_.control_.hear();
      both_.put(both_.start_, start);
      return std::stoull(start);
    }
    void report(Findings found) override {
      const std::lock_guard lock(both_.mutex_);
      if (!found.failure.empty() && both_.failure_.empty()) both_.failure_ = found.failure;
      (near_ ? both_.near_ : both_.far_) = std::move(found);
      both_.changed_.notify_all();
    }

   private:
    MeetingOfThreads& both_;
    const bool near_;
  };

  /// When both have reported. Each has the first failure of the two.
  [[nodiscard]] std::pair<Findings, Findings> found() {
    near_.failure = far_.failure = failure_;
    far_.cpu_ns = 0;  // the near one's are those of the whole process
    far_.voluntary_switches = far_.involuntary_switches = far_.page_faults = 0;
    return {std::move(near_), std::move(far_)};
  }

 private:
  using Word = std::optional<std::string>;
  void put(Word& word, const std::string& text) {
    const std::lock_guard lock(mutex_);
    word = text;
    changed_.notify_all();
  }
  std::string get(Word& word) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return word || !failure_.empty(); });
    if (!word) throw Error(Errc::closed, failure_);
    return *word;
  }

  Control& control_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Word address_, far_ready_, start_;
  Findings near_, far_;
  std::string failure_;
};

void stay_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    const auto error = last_system_error();
    throw Error(error, "cannot stay on CPU " + std::to_string(cpu) + ": " + error.message());
  }
}

void lock_memory(std::vector<std::string>& warnings) {
  // Without a limit for it the kernel refuses; then pages may be taken away under load.
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    warnings.push_back("memory is not locked (" + last_system_error().message() +
                       "): raise the limit with ulimit -l, or run as root");
  }
}

/// On `cpu`, which is the calling thread's, and that of those that it makes.
void run_guarded(const Job& job, std::span<const int> fds, Meeting& meeting, std::optional<int> cpu) {
  try {
    if (cpu) stay_on(*cpu);
    run_role(job, fds, meeting);
  } catch (const Error& error) {
    Findings found;
    found.failure = error.what();
    meeting.report(std::move(found));
  }
}

/// Near and far in two threads of this process.
void run_both(Job job, const std::vector<std::string>& warnings, Control& control) {
  MeetingOfThreads both(control);
  job.role = Role::far;
  std::jthread thread([&both, job] {
    MeetingOfThreads::Side side(both, false);
    run_guarded(job, {}, side, job.far_cpu);
  });
  job.role = Role::near;
  MeetingOfThreads::Side side(both, true);
  run_guarded(job, {}, side, job.cpu);
  thread.join();
  auto [near, far] = both.found();
  near.warnings = warnings;
  control.say(to_json(near));
  control.say(to_json(far));
  static_cast<void>(control.hear());
}

void run(Control& control) {
  const Job job = job_from_json(*control.hear());
  if (job.role == Role::broker) {
    // Ended neither with the measuring process nor by a signal to all, but told, if by silence: there is a server to
    // end, and what it leaves.
    ::prctl(PR_SET_PDEATHSIG, 0);
    for (const int signal : {SIGTERM, SIGHUP}) ::signal(signal, SIG_IGN);
    static_cast<void>(::fcntl(kControlFd, F_SETFD, FD_CLOEXEC));
    return serve_broker(job, control);
  }
  MeetingByControl meeting(control);
  lock_memory(meeting.warnings);
  if (job.role == Role::both) return run_both(job, meeting.warnings, control);
  std::vector<int> fds;
  for (int fd = kControlFd + 1; ::fcntl(fd, F_GETFD) != -1; ++fd) fds.push_back(fd);
  run_guarded(job, fds, meeting, job.cpu);
}

}  // namespace

int role_main() noexcept {
  // A role never outlives the process that measures.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);  // from the terminal: the measuring process ends this one
  ::signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  try {
    Control control{os::Fd(kControlFd)};
    run(control);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bus measure: %s\n", error.what());
    return 1;
  }
}

}  // namespace bus::tools::measure
