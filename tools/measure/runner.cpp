// tools/measure/runner.cpp: starting roles, the meeting, and putting findings together.
#include "tools/measure/runner.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "bus/core/errc.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/units.hpp"
#include "tools/common/log.hpp"
#include "tools/measure/broker_process.hpp"
#include "tools/measure/brokers.hpp"
#include "tools/measure/control.hpp"
#include "tools/measure/crossings.hpp"
#include "tools/measure/hiccup.hpp"
#include "tools/measure/loops.hpp"
#include "tools/measure/role.hpp"
#include "tools/measure/trace.hpp"

extern char** environ;

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr auto kMeetWithin = 15s;
constexpr auto kOverrun = 20s;  // behind the time that the work should take
constexpr std::uint64_t kTracedBytes = std::uint64_t{8} << 20;
constexpr auto kTracing = 10s;
constexpr auto kEndWithin = 5s;
constexpr auto kBrokerTells = 200ms;  // that it has ended, when an end has failed
constexpr auto kMachinePause = 1ms;   // shorter ones are the scheduler's everyday life
constexpr auto kBeat = 5ms;           // two hundred wake-ups a second of some microseconds: below p99.9
constexpr auto kUntilStart = 3ms;     // for all roles to be asleep before the start

/// A role's process. Killed when it is still there at the end; a broker's, which has a server to end, is told before.
class RoleProcess {
 public:
  RoleProcess(const Job& job, std::span<const os::Fd> resources)
      : is_broker_(job.role == Role::broker), control_(start(resources)) {
    control_.say(to_json(job));
  }
  ~RoleProcess() {
    if (is_broker_) end_quietly();
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  RoleProcess(const RoleProcess&) = delete;
  RoleProcess& operator=(const RoleProcess&) = delete;

  [[nodiscard]] Control& control() noexcept { return control_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// Lets it end by itself: it has endpoints to take away.
  void end() {
    control_.say("end");
    try {
      static_cast<void>(control_.hear(in(kEndWithin)));
    } catch (const Error&) {
      // It has closed its end, which is what was waited for.
      while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
      }
      pid_ = 0;
    }
  }

 private:
  Control start(std::span<const os::Fd> resources) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail();
    os::Fd ours(pair[0]), theirs(pair[1]);
    // Descriptors that are in the way of those that the role expects are moved first.
    const int free_from = kControlFd + 1 + static_cast<int>(resources.size()) + 1;
    std::vector<os::Fd> moved;
    const auto move = [&](int fd) {
      moved.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, free_from));
      if (!moved.back()) fail();
    };
    move(theirs.get());
    for (const os::Fd& fd : resources) move(fd.get());
    ::posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    for (std::size_t i = 0; i < moved.size(); ++i) {
      ::posix_spawn_file_actions_adddup2(&actions, moved[i].get(), kControlFd + static_cast<int>(i));
    }
    ::posix_spawn_file_actions_addclose(&actions, kControlFd + static_cast<int>(moved.size()));
    std::array<char*, 3> arguments{const_cast<char*>("bus"), const_cast<char*>(kRoleWord), nullptr};
    const int error = ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      pid_ = 0;
      throw Error({error, std::system_category()}, "cannot start a process of the measurement");
    }
    return Control(std::move(ours));
  }
  [[noreturn]] static void fail() { throw Error(last_system_error(), "cannot start a process of the measurement"); }
  void end_quietly() noexcept {
    try {
      if (pid_ > 0) end();
    } catch (const std::exception&) {
      // It is gone already.
    }
  }

  const bool is_broker_;
  pid_t pid_ = 0;
  Control control_;
};

/// Hears what a role says; a signal to us, or the deadline, ends that.
std::string hear(RoleProcess& role, Deadline deadline, Signals& signals, const char* what) {
  if (!signals.wait_for(role.control().fd(), POLLIN, deadline)) {
    if (signals.stopped()) throw Error(Errc::closed, "stopped");
    throw Error(Errc::timed_out, std::string("a process did not ") + what);
  }
  auto text = role.control().hear(deadline);
  if (!text) throw Error(Errc::timed_out, std::string("a process did not ") + what);
  return *text;
}

struct Ends {
  Findings near, far;
};

void add(Findings& to, const Findings& more) {
  if (to.failure.empty()) to.failure = more.failure;
  to.sent += more.sent;
  to.messages += more.messages;
  to.cpu_ns += more.cpu_ns;
  to.voluntary_switches += more.voluntary_switches;
  to.involuntary_switches += more.involuntary_switches;
  to.page_faults += more.page_faults;
  to.damaged += more.damaged;
  to.clock_back += more.clock_back;
}

/// What a role says before the start: a failure is said in its findings, which begin with a brace as no address does.
std::string hear_early(RoleProcess& role, Deadline deadline, Signals& signals, const char* what) {
  std::string text = hear(role, deadline, signals, what);
  if (text.starts_with('{')) throw Error(Errc::refused, findings_from_json(text).failure);
  return text;
}

struct Started {
  std::unique_ptr<RoleProcess> broker;  // ends behind the others
  std::vector<std::unique_ptr<RoleProcess>> roles;
  bool has_far = false;  // the first of them
  pid_t broker_pid = 0;  // of what routes, which may be a child of its role
};

/// Starts all roles and lets them meet. What a floor needs stays open in the roles alone, so that a death is seen.
Started start_roles(const Task& task, Signals& signals) {
  Started started;
  auto& roles = started.roles;
  const Resources resources = make_resources(task.job);
  Job job = task.job;
  started.has_far = !task.one_process && task.peer.empty() && job.load_model != LoadModel::none;
  const Deadline met = in(kMeetWithin);
  if (is_through_broker(job.crossing)) {
    job.role = Role::broker;
    started.broker = std::make_unique<RoleProcess>(job, std::span<const os::Fd>());
    ServedBroker served = parse_served(hear_early(*started.broker, met, signals, "start the broker in time"));
    job.address = std::move(served.address);
    job.broker_pid = started.broker_pid = served.pid;
  }
  if (task.one_process) {
    job.role = Role::both;
    job.cpu = task.near_cpu;
    job.far_cpu = task.far_cpu;
    roles.push_back(std::make_unique<RoleProcess>(job, std::span<const os::Fd>()));
  } else {
    if (started.has_far) {
      job.role = Role::far;
      job.cpu = task.far_cpu;
      roles.push_back(std::make_unique<RoleProcess>(job, resources.far));
    }
    job.role = Role::near;
    job.cpu = task.near_cpu;
    for (job.index = 0; job.index < job.producers; ++job.index) {
      roles.push_back(std::make_unique<RoleProcess>(job, resources.near));
    }
    const std::string address =
        started.has_far ? hear_early(*roles[0], met, signals, "open its end in time") : task.peer;
    for (std::size_t i = started.has_far ? 1 : 0; i < roles.size(); ++i) roles[i]->control().say(address);
  }
  for (auto& role : roles) static_cast<void>(hear_early(*role, met, signals, "get ready in time"));
  return started;
}

/// Throws what an end has failed of; or, when the broker has ended, what its role says of that. The end and that role
/// hear of it at the same time: either may be the first to tell.
[[noreturn]] void fail_at(const Started& started, std::string why, Signals& signals) {
  try {
    if (started.broker && signals.wait_for(started.broker->control().fd(), POLLIN, in(kBrokerTells))) {
      why = findings_from_json(hear(*started.broker, in(kBrokerTells), signals, "tell")).failure;
    }
  } catch (const Error&) {
    why = "the broker's process has ended before its time";
  }
  throw Error(Errc::refused, why);
}

/// The findings of all roles, whoever is first. One that fails or dies ends it: the others might wait for it for ever.
std::vector<Findings> hear_findings(const Started& started, Deadline deadline, Signals& signals) {
  const std::size_t count = started.roles.size();
  std::vector<Findings> found(count);
  std::vector<bool> heard(count, false);
  for (std::size_t left = count; left > 0;) {
    std::vector<pollfd> fds{{signals.fd(), POLLIN, 0},
                            {started.broker ? started.broker->control().fd() : -1, POLLIN, 0}};
    for (std::size_t i = 0; i < count; ++i) {
      fds.push_back({heard[i] ? -1 : started.roles[i]->control().fd(), POLLIN, 0});
    }
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int ready = ::poll(fds.data(), fds.size(), static_cast<int>(std::clamp<long long>(wait, 0, 1 << 30)));
    if (ready < 0 && errno == EINTR) continue;
    if (signals.stopped()) throw Error(Errc::closed, "stopped");
    if (ready == 0) {
      throw Error(Errc::timed_out, "a process did not finish: a message was lost, or the machine is far too slow");
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (heard[i] || fds[i + 2].revents == 0) continue;
      found[i] = findings_from_json(hear(*started.roles[i], deadline, signals, "say what it found"));
      if (!found[i].failure.empty()) fail_at(started, found[i].failure, signals);
      heard[i] = true;
      --left;
    }
    // The ends may say nothing of it: some wait for a broker to come back.
    if (left > 0 && fds[1].revents != 0) fail_at(started, {}, signals);
  }
  return found;
}

/// With counts the roles are traced from the start on.
Ends run_roles(const Task& task, Signals& signals, CallCounter::Counts* counts = nullptr) {
  const Started started = start_roles(task, signals);
  CallCounter counter;  // lets go before the roles end, however that is: what is traced cannot end
  const Job& job = task.job;
  if (counts != nullptr) {
    for (const auto& role : started.roles) counter.attach(role->pid());
    if (started.broker_pid > 0) counter.attach(started.broker_pid);
  }
  const std::string start =
      std::to_string(monotonic_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(kUntilStart).count()));
  log::debug("all roles start");
  for (const auto& role : started.roles) role->control().say(start);
  if (counts != nullptr) {
    // Until each end has done its work: a producer may be done long before a broker and the consumer are.
    const std::uint64_t working = job.producers + (started.has_far || task.one_process ? 1 : 0);
    if (!counter.run(2 * working, in(kTracing))) throw Error(Errc::timed_out, "tracing took too long");
    *counts = counter.counts();
  }
  // A closed loop that is slow goes on for ten times as long.
  const std::uint64_t timed = job.timed_ns * (job.load_model == LoadModel::closed ? 10 : 1);
  const Deadline over = in(std::chrono::nanoseconds(job.warm_up_ns + timed) + kOverrun);
  std::vector<Findings> found = hear_findings(started, over, signals);
  Ends ends;
  if (task.one_process) {
    ends.near = std::move(found[0]);
    ends.far = findings_from_json(hear(*started.roles[0], over, signals, "say what it found"));
  } else {
    const std::size_t first = started.has_far ? 1 : 0;
    ends.near = std::move(found[first]);
    for (std::size_t i = first + 1; i < found.size(); ++i) add(ends.near, found[i]);
    if (started.has_far) ends.far = std::move(found[0]);
  }
  for (const auto& role : started.roles) role->end();
  return ends;
}

void judge(const Job& job, const Ends& ends, Repetition& made) {
  const auto invalid = [&made](const std::string& why) { made.invalid.push_back(why); };
  for (const Findings* found : {&ends.near, &ends.far}) {
    if (!found->failure.empty()) invalid(found->failure);
    for (const std::string& warning : found->warnings) {
      if (std::find(made.warnings.begin(), made.warnings.end(), warning) == made.warnings.end()) {
        made.warnings.push_back(warning);
      }
    }
  }
  const std::uint64_t clock_back = ends.near.clock_back + ends.far.clock_back;
  if (clock_back > 0) invalid("the clock went back " + std::to_string(clock_back) + " times");
  if (made.damaged > 0) invalid(std::to_string(made.damaged) + " damaged");
  if (made.lost > 0) invalid(std::to_string(made.lost) + " lost");
  if (made.duplicates > 0) invalid(std::to_string(made.duplicates) + " came twice");
  if (made.reordered > 0) invalid(std::to_string(made.reordered) + " out of order");
  if (job.load_model == LoadModel::open) {
    const double target = static_cast<double>(ends.near.offered);
    if (static_cast<double>(made.messages) < 0.99 * target) {
      invalid("only " + std::to_string(made.messages) + " of " + std::to_string(ends.near.offered) +
              " messages that were due");
    }
    if (const auto lag = made.histograms.find("send_lag"); lag != made.histograms.end() && lag->second.count() > 0) {
      const double period =
          job.arrivals.kind == Arrivals::Kind::trace || job.arrivals.rate <= 0 ? 0 : 1e9 / job.arrivals.rate;
      const auto p99 = static_cast<double>(lag->second.quantile(0.99));
      // What is due together leaves one after the other: the period of a burst is that of its first messages.
      const double allowed =
          job.arrivals.kind == Arrivals::Kind::burst ? period * static_cast<double>(job.arrivals.burst) : period;
      if (allowed > 0 && p99 > allowed) invalid("the sender was late: p99 of its lag is above the period");
    }
  }
  if (job.load_model == LoadModel::none) return;
  if (job.load_model != LoadModel::flood) {
    const Histogram* const histogram = main_histogram(made);
    if (histogram == nullptr || histogram->count() < kFewSamples) invalid("too few samples");
  } else if (made.messages == 0) {
    invalid("nothing arrived in the timed part");
  }
}

/// Names the machine as the cause of what was slow while a thread that had nothing to do was late, too.
void blame_machine(const PauseLog& pauses, std::uint64_t from_ns, std::vector<Worst>& worst) {
  for (Worst& one : worst) {
    const Clock::time_point end(std::chrono::nanoseconds(from_ns) +
                                std::chrono::nanoseconds(static_cast<std::int64_t>(one.at_seconds * 1e9)));
    const auto length = std::chrono::nanoseconds(static_cast<std::int64_t>(one.duration));
    const std::optional<Pause> pause = pauses.longest_between(end - length, end);
    if (!pause || pause->length() < length / 4) continue;
    if (!one.cause.empty()) one.cause += ", ";
    one.cause += "the machine paused for " + format_duration(pause->length());
  }
}

/// Roles that were killed have left their endpoint: the next listener on it takes that away, and then itself.
void sweep(const Task& task) noexcept {
  const Job& job = task.job;
  if (!task.peer.empty() || task.one_process) return;
  if (job.crossing != "bus" && job.crossing != kOwnBroker) return sweep_peer(job);
  try {
    const Listener listener = listen(job.address);
  } catch (const Error&) {
    // Nothing can be done about it here; bus doctor finds what is left.
  }
}

}  // namespace

std::string fresh_name() {
  static std::atomic<unsigned> next{0};
  return "measure-" + std::to_string(::getpid()) + "-" + std::to_string(next++);
}

std::optional<CallsPerMessage> count_calls(const Task& task, Signals& signals) {
  Task traced = task;
  Job& job = traced.job;
  job.trace = true;
  job.warm_up_ns = 0;
  job.timed_ns = 1'000'000'000;
  job.most_messages =
      std::clamp<std::uint64_t>(kTracedBytes / job.size, 50, job.load_model == LoadModel::flood ? 5000 : 300);
  job.delay_ns = 0;
  try {
    CallCounter::Counts counts;
    const Ends ends = run_roles(traced, signals, &counts);
    const auto sent = static_cast<double>(ends.near.sent);
    if (sent == 0) return {};
    return CallsPerMessage{static_cast<double>(counts.calls) / sent, static_cast<double>(counts.yields) / sent};
  } catch (const Error&) {
    sweep(task);
    if (signals.stopped()) throw Stopped();
    return {};
  }
}

Repetition run_repetition(const Task& task, Signals& signals) {
  Repetition made;
  Ends ends;
  HiccupMeter meter({.threshold = kMachinePause, .beat = kBeat});
  try {
    ends = run_roles(task, signals);
  } catch (const Error& error) {
    sweep(task);
    if (signals.stopped()) throw Stopped();
    made.invalid.push_back(error.what());
    return made;
  }
  const bool has_far = task.peer.empty() && task.job.load_model != LoadModel::none;
  const Job& job = task.job;
  // The near end measures round trips; in all else the far end sees what arrives.
  Findings& measured = job.load_model == LoadModel::closed || !has_far ? ends.near : ends.far;
  made.messages = measured.messages;
  made.bytes = measured.bytes;
  made.seconds = measured.seconds;
  made.achieved_rate = measured.seconds > 0 ? static_cast<double>(measured.messages) / measured.seconds : 0;
  if (job.load_model == LoadModel::open && job.timed_ns > 0) {
    made.seconds = static_cast<double>(job.timed_ns) / 1e9;
    made.achieved_rate = static_cast<double>(measured.messages) / made.seconds;
  }
  made.damaged = ends.near.damaged + ends.far.damaged;
  made.duplicates = ends.near.duplicates + ends.far.duplicates;
  made.reordered = ends.near.reordered + ends.far.reordered;
  const std::uint64_t arrived = has_far ? ends.far.received : measured.received;
  made.lost = ends.near.sent > arrived ? ends.near.sent - arrived : 0;
  made.histograms = std::move(measured.histograms);
  if (&measured != &ends.near) made.histograms.merge(ends.near.histograms);  // the sender's lag
  made.timeline = std::move(measured.timeline);
  made.worst = std::move(measured.worst);
  meter.stop();
  blame_machine(meter.log(), measured.worst_from_ns, made.worst);
  if (made.messages > 0) {
    const auto each = [&](double sum) { return sum / static_cast<double>(made.messages); };
    made.cpu = each(ends.near.cpu_ns + ends.far.cpu_ns);
    made.voluntary_switches = each(static_cast<double>(ends.near.voluntary_switches + ends.far.voluntary_switches));
    made.involuntary_switches =
        each(static_cast<double>(ends.near.involuntary_switches + ends.far.involuntary_switches));
    made.page_faults = each(static_cast<double>(ends.near.page_faults + ends.far.page_faults));
  }
  made.cost = ends.near.cost;
  judge(job, ends, made);
  return made;
}

}  // namespace bus::tools::measure
