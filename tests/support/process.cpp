// tests/support/process.cpp: see process.hpp.
#include "tests/support/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "bus/core/os/fd.hpp"

namespace bus::test {
namespace {

using os::Fd;

// By number: the header of glibc 2.36 declares both without extern "C".
int open_pidfd(pid_t pid) noexcept { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
bool send_signal(const Fd& pidfd, int signal) noexcept {
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

[[noreturn]] void fail_with_errno(const std::string& what) {
  throw std::system_error(errno, std::system_category(), what);
}

std::pair<Fd, Fd> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_with_errno("pipe2");
  return {Fd(ends[0]), Fd(ends[1])};
}

void make_non_blocking(const Fd& fd) {
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) fail_with_errno("fcntl");
}

std::vector<std::string> environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!changes.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : changes) {
    if (!value.empty()) all.push_back(name + "=" + value);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Keeps SIGPIPE from this thread, and swallows the one that a write may have raised.
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
  ~WithoutSigpipe() {
    const timespec at_once{};
    while (sigtimedwait(&pipe_, nullptr, &at_once) == -1 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_{}, before_{};
};

}  // namespace

std::ostream& operator<<(std::ostream& stream, const ExitStatus& status) {
  if (status.signal != 0) return stream << "signal " << status.signal;
  return stream << "exit code " << status.code;
}

struct Process::State {
  // Set at the start.
  std::string command;
  pid_t pid = -1;
  Fd pidfd, stop;
  // Owned by the test's thread.
  Fd in;
  // Owned by the reading thread.
  Fd out_pipe, err_pipe;
  // Guarded by the mutex.
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::string out, err;
  bool out_over = false, err_over = false;
  bool drop_out = false, ending = false;
  std::optional<ExitStatus> status;

  std::thread reader;  // joined by the destructor: the last member to be made, the first to end

  ~State() {
    if (pidfd) send_signal(pidfd, SIGKILL);
    if (reader.joinable()) {
      {
        const std::lock_guard lock(mutex);
        ending = true;
      }
      os::signal_event(stop.get());
      reader.join();
    }
    if (pid > 0 && !status) {  // the reader is over: nobody else waits for the pid
      while (::waitpid(pid, nullptr, 0) == -1 && errno == EINTR) {
      }
    }
  }

  void spawn(std::vector<std::string>& argv, const Options& options);
  void read_all() noexcept;
  /// Takes what is in the pipe now.
  void drain(Fd& pipe, std::string& into, bool& over);
  void note_exit();
  [[nodiscard]] std::string story() const;  // with the mutex held
  std::string wait_for(const std::string& into, const bool& over, const std::function<bool(const std::string&)>& enough,
                       Deadline deadline, std::string_view what);
};

void Process::State::spawn(std::vector<std::string>& argv, const Options& options) {
  for (const std::string& word : argv) command += (command.empty() ? "" : " ") + word;
  auto [out_read, out_write] = make_pipe();
  auto [err_read, err_write] = make_pipe();
  auto [failure_read, failure_write] = make_pipe();  // closed by a successful exec
  Fd child_in;
  if (options.stdin_pipe) {
    auto [in_read, in_write] = make_pipe();
    make_non_blocking(in_write);
    child_in = std::move(in_read);
    in = std::move(in_write);
  } else {
    child_in = Fd(::open(options.stdin_file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!child_in) fail_with_errno("open " + options.stdin_file);
  }
  // All that the child needs is made here: after fork() in a program with threads, only async-signal-safe calls
  // are allowed. Source: fork(2).
  std::vector<std::string> env = environment(options.env);
  const std::vector<char*> arguments = pointers(argv);
  const std::vector<char*> variables = pointers(env);
  const pid_t parent = ::getpid();
  stop = os::make_event();

  pid = ::fork();
  if (pid == -1) fail_with_errno("fork");
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent && ::dup2(child_in.get(), 0) == 0 &&
        ::dup2(out_write.get(), 1) == 1 && ::dup2(err_write.get(), 2) == 2 &&
        (options.directory.empty() || ::chdir(options.directory.c_str()) == 0)) {
      ::execvpe(arguments[0], arguments.data(), variables.data());
    }
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(failure_write.get(), &error, sizeof error);
    ::_exit(127);
  }
  failure_write.reset();
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(failure_read.get(), &error, sizeof error);
  } while (got == -1 && errno == EINTR);
  if (got > 0) {
    errno = error;
    fail_with_errno("start " + command);  // the destructor waits for the child
  }
  pidfd = Fd(open_pidfd(pid));
  if (!pidfd) {
    const int reason = errno;
    ::kill(pid, SIGKILL);  // not waited for yet: the pid is still this child's
    errno = reason;
    fail_with_errno("pidfd_open");
  }
  make_non_blocking(out_read);
  make_non_blocking(err_read);
  out_pipe = std::move(out_read);
  err_pipe = std::move(err_read);
  reader = std::thread([this] { read_all(); });
}

void Process::State::drain(Fd& pipe, std::string& into, bool& over) {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(pipe.get(), buffer.data(), buffer.size());
    if (got == -1 && errno == EINTR) continue;
    if (got == -1 && errno == EAGAIN) return;
    const std::lock_guard lock(mutex);
    if (got > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(got));
    } else {
      over = true;
      pipe.reset();
    }
    changed.notify_all();
    if (got <= 0) return;
  }
}

void Process::State::note_exit() {
  int raw = 0;
  while (::waitpid(pid, &raw, 0) == -1) {
    if (errno != EINTR) return;
  }
  // What it wrote, it wrote before it ended. A child of its own may still hold the pipes: that is read on as it comes.
  if (out_pipe) drain(out_pipe, out, out_over);
  if (err_pipe) drain(err_pipe, err, err_over);
  const std::lock_guard lock(mutex);
  ExitStatus ended;
  if (WIFSIGNALED(raw)) {
    ended.signal = WTERMSIG(raw);
  } else {
    ended.code = WEXITSTATUS(raw);
  }
  status = ended;
  changed.notify_all();
}

void Process::State::read_all() noexcept {
  bool running = true;
  while (running || out_pipe || err_pipe) {
    // poll() passes over negative descriptors.
    std::array<pollfd, 4> fds{pollfd{out_pipe.get(), POLLIN, 0}, pollfd{err_pipe.get(), POLLIN, 0},
                              pollfd{running ? pidfd.get() : -1, POLLIN, 0}, pollfd{stop.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) == -1) {
      if (errno == EINTR) continue;
      return;
    }
    if (fds[2].revents != 0) {
      note_exit();
      running = false;
    }
    if (fds[3].revents != 0) {
      os::clear_event(stop.get());
      const std::lock_guard lock(mutex);
      if (ending) return;  // the destructor waits for the pid
      if (drop_out) {
        out_pipe.reset();
        out_over = true;
        changed.notify_all();
      }
    }
    if (fds[0].revents != 0 && out_pipe) drain(out_pipe, out, out_over);
    if (fds[1].revents != 0 && err_pipe) drain(err_pipe, err, err_over);
  }
}

std::string Process::State::story() const {
  std::string text = "command: " + command + "\nstdout: " + out + "\nstderr: " + err;
  if (status) {
    text += status->signal != 0 ? "\nended by signal " + std::to_string(status->signal)
                                : "\nended with code " + std::to_string(status->code);
  } else {
    text += "\nstill running";
  }
  return text;
}

std::string Process::State::wait_for(const std::string& into, const bool& over,
                                     const std::function<bool(const std::string&)>& enough, Deadline deadline,
                                     std::string_view what) {
  std::unique_lock lock(mutex);
  for (;;) {
    if (enough(into)) return into;
    if (over || status)
      throw std::runtime_error("the program ended before it wrote " + std::string(what) + "\n" + story());
    if (Clock::now() >= deadline) throw std::runtime_error("no " + std::string(what) + " in time\n" + story());
    changed.wait_until(lock, deadline);
  }
}

Process::Process(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
Process::~Process() = default;

Process Process::start(std::vector<std::string> argv, Options options) {
  auto state = std::make_unique<State>();
  state->spawn(argv, options);
  return Process(std::move(state));
}

pid_t Process::pid() const noexcept { return state_->pid; }

std::string Process::out() const {
  const std::lock_guard lock(state_->mutex);
  return state_->out;
}

std::string Process::err() const {
  const std::lock_guard lock(state_->mutex);
  return state_->err;
}

std::string Process::wait_for_output(std::string_view text, Deadline deadline) {
  return state_->wait_for(
      state_->out, state_->out_over, [&](const std::string& all) { return all.find(text) != std::string::npos; },
      deadline, "\"" + std::string(text) + "\" to stdout");
}

std::string Process::wait_for_output(const std::function<bool(const std::string&)>& enough, Deadline deadline) {
  return state_->wait_for(state_->out, state_->out_over, enough, deadline, "what was waited for to stdout");
}

std::string Process::wait_for_error(std::string_view text, Deadline deadline) {
  return state_->wait_for(
      state_->err, state_->err_over, [&](const std::string& all) { return all.find(text) != std::string::npos; },
      deadline, "\"" + std::string(text) + "\" to stderr");
}

std::string Process::wait_for_error(const std::function<bool(const std::string&)>& enough, Deadline deadline) {
  return state_->wait_for(state_->err, state_->err_over, enough, deadline, "what was waited for to stderr");
}

void Process::write_stdin(std::string_view text, Deadline deadline) {
  if (!state_->in) throw std::logic_error("this program's stdin is not a pipe, or is closed");
  const WithoutSigpipe guard;
  while (!text.empty()) {
    const ssize_t done = ::write(state_->in.get(), text.data(), text.size());
    if (done >= 0) {
      text.remove_prefix(static_cast<std::size_t>(done));
    } else if (errno == EAGAIN) {
      if (Clock::now() >= deadline) throw std::runtime_error("the program does not read its stdin");
      pollfd fd{state_->in.get(), POLLOUT, 0};
      ::poll(&fd, 1, 100);  // then the deadline is looked at again
    } else if (errno != EINTR) {
      fail_with_errno("write to the stdin of: " + state_->command);
    }
  }
}

void Process::close_stdin() { state_->in.reset(); }

void Process::close_stdout() {
  std::unique_lock lock(state_->mutex);
  state_->drop_out = true;
  os::signal_event(state_->stop.get());
  state_->changed.wait(lock, [&] { return state_->out_over; });
}

bool Process::kill(int signal) { return send_signal(state_->pidfd, signal); }

bool Process::ended() const {
  const std::lock_guard lock(state_->mutex);
  return state_->status.has_value();
}

ExitStatus Process::wait(Deadline deadline) {
  std::unique_lock lock(state_->mutex);
  while (!state_->status) {
    if (Clock::now() >= deadline) throw std::runtime_error("the program did not end in time\n" + state_->story());
    state_->changed.wait_until(lock, deadline);
  }
  return *state_->status;
}

Finished run(std::vector<std::string> argv, std::string_view input, Deadline deadline, ProcessOptions options) {
  if (!input.empty()) options.stdin_pipe = true;
  Process process = Process::start(std::move(argv), std::move(options));
  if (!input.empty()) {
    process.write_stdin(input, deadline);
    process.close_stdin();
  }
  const ExitStatus status = process.wait(deadline);
  return {status, process.out(), process.err()};
}

std::string bus_program() { return helper_program("bus"); }
std::string example_program(std::string_view name) { return helper_program(name); }
std::string helper_program(std::string_view name) { return std::string(BUS_PROGRAMS_DIR "/").append(name); }
std::string source_directory() { return BUS_SOURCE_DIR; }

}  // namespace bus::test
