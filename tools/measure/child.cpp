// tools/measure/child.cpp: fork, and what has to be done before exec. Source: prctl(2), pidfd_open(2), memfd_create(2).
#include "tools/measure/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

extern "C" {  // glibc 2.36 forgot to say so in its header
#include <sys/pidfd.h>
}

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr auto kEndsWithin = 2s;
constexpr auto kLook = 1ms;  // between two looks at a condition that has no descriptor

[[noreturn]] void fail_to_start(const std::string& program) {
  const auto error = last_system_error();
  throw Error(error, "cannot start " + program + ": " + error.message());
}

/// In the child, where nothing may be allocated any more.
[[noreturn]] void become(const char* program, char* const* words, pid_t parent, int input, int output) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before that
  ::setpgid(0, 0);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execv(program, words);
  const char* const why = ::strerrordesc_np(errno);
  static_cast<void>(!::write(STDERR_FILENO, why, std::strlen(why)));
  ::_exit(127);
}

}  // namespace

std::optional<std::string> find_program(std::string_view name) {
  const char* const path = std::getenv("PATH");
  // Servers are in folders that users need not have in their PATH.
  const std::string folders =
      std::string(path == nullptr ? "/usr/bin:/bin" : path) + ":/usr/sbin:/usr/local/sbin:/sbin";
  for (std::string_view rest = folders;;) {
    const auto colon = rest.find(':');
    const std::string file = std::string(rest.substr(0, colon)).append("/").append(name);
    if (file.front() == '/' && ::access(file.c_str(), X_OK) == 0) return file;
    if (colon == std::string_view::npos) return {};
    rest.remove_prefix(colon + 1);
  }
}

MemoryFile::MemoryFile(std::string_view text) : file_(::memfd_create("configuration", 0)) {
  if (!file_ || ::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw Error(last_system_error(), "cannot make a file in memory");
  }
}

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

Child::Child(const std::string& program, std::vector<std::string> words)
    : name_(words.at(0)), said_(::memfd_create("said", MFD_CLOEXEC)) {
  const os::Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!said_ || !nothing) fail_to_start(program);
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(program.c_str(), pointers.data(), parent, nothing.get(), said_.get());
  if (pid_ < 0) fail_to_start(program);
  gone_ = os::Fd(::pidfd_open(pid_, 0));  // not waited for yet: the pid is its own
}

Child::~Child() {
  if (ended()) return;
  ::kill(pid_, SIGTERM);
  if (ends_until(in(kEndsWithin))) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Child::ended() {
  while (!ended_) {
    const pid_t heard = ::waitpid(pid_, &status_, WNOHANG);
    if (heard == 0) return false;
    if (heard < 0 && errno == EINTR) continue;
    ended_ = true;
  }
  return true;
}

bool Child::ends_until(Deadline deadline) {
  while (!ended()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd poll{gone_.get(), POLLIN, 0};
    static_cast<void>(::poll(&poll, 1, static_cast<int>(gone_ ? left : 1)));
  }
  return true;
}

std::string Child::said() const {
  std::string text;
  std::string piece(4096, '\0');
  for (;;) {
    const ssize_t got = ::pread(said_.get(), piece.data(), piece.size(), static_cast<off_t>(text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(piece, 0, static_cast<std::size_t>(got));
  }
}

std::string Child::epitaph() {
  std::string text = name_ + " has ended before its time";
  if (!ended()) return with_last_line(text);
  if (WIFSIGNALED(status_)) {
    const char* const name = ::sigdescr_np(WTERMSIG(status_));
    text.append(" (signal ").append(std::to_string(WTERMSIG(status_))).append(name == nullptr ? "" : ", ");
    text.append(name == nullptr ? "" : name).append(")");
  } else {
    text.append(" (exit code ").append(std::to_string(WEXITSTATUS(status_))).append(")");
  }
  return with_last_line(text);
}

std::string Child::with_last_line(std::string text) const {
  std::string last = said();
  last.erase(last.find_last_not_of(" \n\r") + 1);
  const auto line = last.rfind('\n');
  if (line != std::string::npos) last.erase(0, line + 1);
  return last.empty() ? text : text.append("; it said last: ").append(last);
}

void Child::wait_until(const std::function<bool()>& ready, Deadline deadline) {
  while (!ready()) {
    if (ended()) throw Error(Errc::refused, epitaph());
    if (Clock::now() >= deadline) throw Error(Errc::timed_out, with_last_line(name_ + " did not get ready in time"));
    static_cast<void>(ends_until(std::min<Deadline>(deadline, in(kLook))));
  }
}

}  // namespace bus::tools::measure
