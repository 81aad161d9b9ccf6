// tools/common/command.cpp: see command.hpp.
#include "tools/common/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>

extern "C" {  // glibc 2.36 forgot to say so in its header
#include <sys/pidfd.h>
}

#include "bus/core/errc.hpp"
#include "bus/core/os/fd.hpp"

namespace bus::tools {
namespace {

[[noreturn]] void fail(const std::string& what, std::error_code code) {
  throw Error(code, "--exec: " + what + ": " + code.message());
}

/// A file in memory instead of a pipe: nobody has to feed it, and a command that does not read it holds up nobody.
os::Fd file_of(std::span<const std::byte> bytes) {
  os::Fd file(::memfd_create("message", MFD_CLOEXEC));
  if (!file) fail("memfd_create", last_system_error());
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("writing the message", last_system_error());
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (::lseek(file.get(), 0, SEEK_SET) != 0) fail("lseek", last_system_error());
  return file;
}

struct Actions {
  posix_spawn_file_actions_t value;
  Actions() { posix_spawn_file_actions_init(&value); }
  ~Actions() { posix_spawn_file_actions_destroy(&value); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() { posix_spawnattr_init(&value); }
  ~Attributes() { posix_spawnattr_destroy(&value); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
};

/// Whether Ctrl-C and the like reach this process's group from a terminal: then what it starts stays in that group.
bool is_in_foreground() noexcept {
  const os::Fd terminal(::open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY));
  return terminal && ::tcgetpgrp(terminal.get()) == ::getpgrp();
}

/// `group`: it has one of its own, with whom it has started.
int wait_for(::pid_t child, bool group, Signals& signals) {
  // The child is ours and not waited for: its pid is its own until waitpid().
  const os::Fd ended(::pidfd_open(child, 0));
  if (ended && !signals.wait_for(ended.get(), POLLIN)) {
    const ::pid_t all = group ? -child : child;
    ::kill(all, SIGTERM);
    ::kill(all, SIGCONT);  // one that is stopped, too
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("waitpid", last_system_error());
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Ours, with `more` beside and instead of it. Points into both.
std::vector<char*> environment_of(const Environment& more) {
  const auto name = [](std::string_view pair) { return pair.substr(0, pair.find('=')); };
  std::vector<char*> all;
  for (char** pair = environ; *pair != nullptr; ++pair) {
    const auto same = [&](const std::string& other) { return name(other) == name(*pair); };
    if (std::none_of(more.begin(), more.end(), same)) all.push_back(*pair);
  }
  for (const std::string& pair : more) all.push_back(const_cast<char*>(pair.c_str()));  // posix_spawn() changes nothing
  all.push_back(nullptr);
  return all;
}

/// `output` becomes its stdout, unless it is -1.
int run(const std::string& command, std::span<const std::byte> input, int output, Signals& signals,
        const Environment& environment) {
  const os::Fd file = file_of(input);
  Actions actions;
  posix_spawn_file_actions_adddup2(&actions.value, file.get(), STDIN_FILENO);
  if (output >= 0) posix_spawn_file_actions_adddup2(&actions.value, output, STDOUT_FILENO);
  // The child hears the signals that are blocked or ignored here.
  Attributes attributes;
  sigset_t none, ignored;
  sigemptyset(&none);
  sigemptyset(&ignored);
  sigaddset(&ignored, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes.value, &none);
  posix_spawnattr_setsigdefault(&attributes.value, &ignored);
  const bool group = !is_in_foreground();
  posix_spawnattr_setpgroup(&attributes.value, 0);  // one of its own
  const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (group ? POSIX_SPAWN_SETPGROUP : 0);
  posix_spawnattr_setflags(&attributes.value, static_cast<short>(flags));

  std::string shell = "/bin/sh", option = "-c", text = command;
  char* const argv[] = {shell.data(), option.data(), text.data(), nullptr};
  const std::vector<char*> variables = environment_of(environment);
  ::pid_t child = 0;
  if (const int error = ::posix_spawn(&child, "/bin/sh", &actions.value, &attributes.value, argv, variables.data());
      error != 0) {
    fail("cannot start /bin/sh", std::error_code(error, std::system_category()));
  }
  return wait_for(child, group, signals);
}

}  // namespace

Environment environment_about(const Delivery& message) {
  Environment environment{"BUS_SUBJECT=" + std::string(message.subject())};
  if (!message.reply().empty()) environment.push_back("BUS_REPLY=" + std::string(message.reply()));
  for (const auto& [key, value] : message.headers()) {
    std::string variable = "BUS_HEADER_" + std::string(key);
    for (char& c : variable) {
      const bool named = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
      if (!named) c = '_';
    }
    environment.push_back(variable + "=" + std::string(value));
  }
  return environment;
}

int run_command(const std::string& command, std::span<const std::byte> input, bool to_stderr, Signals& signals,
                const Environment& environment) {
  return run(command, input, to_stderr ? STDERR_FILENO : -1, signals, environment);
}

Filtered filter_command(const std::string& command, std::span<const std::byte> input, Signals& signals,
                        const Environment& environment) {
  const os::Fd file = file_of({});  // in memory as well: nobody has to empty it
  Filtered filtered;
  filtered.status = run(command, input, file.get(), signals, environment);
  const ::off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) fail("lseek", last_system_error());
  filtered.output.resize(static_cast<std::size_t>(size));
  for (std::size_t at = 0; at < filtered.output.size();) {
    const ssize_t got =
        ::pread(file.get(), filtered.output.data() + at, filtered.output.size() - at, static_cast<::off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail("reading its output", last_system_error());
    at += static_cast<std::size_t>(got);
  }
  return filtered;
}

}  // namespace bus::tools
