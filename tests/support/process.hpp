// tests/support/process.hpp: starts a program, feeds it, reads what it says, and always ends it.
//
// A thread behind each Process reads its stdout and stderr as they come, so the program never blocks on a full
// pipe whatever the test does meanwhile. The program ends with its Process (SIGKILL, and it is waited for), and
// with the thread that started it (prctl(2), PR_SET_PDEATHSIG): start programs from a thread that outlives them.
// Calls that wait take a deadline and throw std::runtime_error when it passes, with the command line and all
// that the program has said: a test that fails by a deadline says why.
#pragma once

#include <sys/types.h>
#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/deadline.hpp"

namespace bus::test {

/// How a program ended: by exit code, or by a signal.
struct ExitStatus {
  int code = -1;   // -1 when a signal ended it
  int signal = 0;  // 0 when it exited
  bool operator==(const ExitStatus&) const = default;
};
/// For Catch's messages: "exit code 3", "signal 9".
std::ostream& operator<<(std::ostream&, const ExitStatus&);

struct ProcessOptions {
  bool stdin_pipe = false;                   // else stdin is stdin_file
  std::string stdin_file = "/dev/null";      // what stdin reads from
  std::map<std::string, std::string> env{};  // added to ours, or instead of ours; an empty value removes the name
  std::string directory{};                   // working directory, if not ours
};

class Process {
 public:
  using Options = ProcessOptions;

  /// Starts argv[0] (a path, or a name that PATH finds). Throws std::system_error when it cannot be run.
  [[nodiscard]] static Process start(std::vector<std::string> argv, Options options = {});

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  [[nodiscard]] pid_t pid() const noexcept;

  /// All that the program has written so far.
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;

  /// Waits until stdout contains `text`, or until `enough` says so of all of stdout; returns all of stdout.
  /// Throws when the deadline passes, or the program ends, before that.
  std::string wait_for_output(std::string_view text, Deadline deadline = in(std::chrono::seconds(30)));
  std::string wait_for_output(const std::function<bool(const std::string&)>& enough,
                              Deadline deadline = in(std::chrono::seconds(30)));
  /// The same for stderr.
  std::string wait_for_error(std::string_view text, Deadline deadline = in(std::chrono::seconds(30)));
  std::string wait_for_error(const std::function<bool(const std::string&)>& enough,
                             Deadline deadline = in(std::chrono::seconds(30)));

  /// Writes all of it, waiting for the program to take it. Throws when the program has closed its stdin.
  void write_stdin(std::string_view text, Deadline deadline = in(std::chrono::seconds(30)));
  void close_stdin();
  /// Closes our end of its stdout: its next write there gets EPIPE.
  void close_stdout();

  /// Sends a signal; false when the program has ended. Never hits another process (pidfd_send_signal(2)).
  bool kill(int signal = SIGKILL);

  /// True once the program has ended and all its output was read.
  [[nodiscard]] bool ended() const;
  /// Waits for the end. May be called again.
  ExitStatus wait(Deadline deadline = in(std::chrono::seconds(30)));

 private:
  struct State;
  explicit Process(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

/// What a program that ran to its end left.
struct Finished {
  ExitStatus status;
  std::string out, err;
};
/// Starts a program, gives it `input` as its stdin, and waits for its end.
[[nodiscard]] Finished run(std::vector<std::string> argv, std::string_view input = {},
                           Deadline deadline = in(std::chrono::seconds(60)), ProcessOptions options = {});

/// Paths of what the build made: the `bus` program, and an example or a test's helper by its name.
[[nodiscard]] std::string bus_program();
[[nodiscard]] std::string example_program(std::string_view name);
[[nodiscard]] std::string helper_program(std::string_view name);
/// The root of the source tree.
[[nodiscard]] std::string source_directory();

}  // namespace bus::test
