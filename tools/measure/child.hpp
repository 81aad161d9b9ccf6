// tools/measure/child.hpp: another program, run beside a measurement: it ends with the process that has started it.
//
// Threads: by one. The thread that makes a Child has to live as long as it does: the program dies with it
// (PR_SET_PDEATHSIG), so that a measurement which is killed leaves nothing that runs.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/deadline.hpp"
#include "bus/core/os/fd.hpp"

namespace bus::tools::measure {

/// Where the program of that name is: in PATH, or where the system's own are. None: nowhere.
[[nodiscard]] std::optional<std::string> find_program(std::string_view name);

/// A file without a place on a disk, for a program that wants to be configured by one. Programs that are started while
/// it lives can read it.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text);  // throws Error
  [[nodiscard]] std::string path() const;

 private:
  os::Fd file_;
};

class Child {
 public:
  /// Starts a program, `words[0]` being what it is called; in a process group of its own, so that a Ctrl-C at the
  /// terminal is this program's to handle. Its stdin is empty, what it says is kept. Throws Error; a program that
  /// cannot be run has ended and said why.
  Child(const std::string& program, std::vector<std::string> words);
  /// SIGTERM, and SIGKILL if it takes longer than two seconds. It is waited for.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] bool ended();
  /// Readable when it has ended.
  [[nodiscard]] int end_fd() const noexcept { return gone_.get(); }
  /// All that it has written to stdout and stderr so far.
  [[nodiscard]] std::string said() const;
  /// What is said of one that should not have ended: how it did, and its last line.
  [[nodiscard]] std::string epitaph();
  /// Until `ready` says so. Throws Error, with the program's last line, when it ends before that, or at the deadline.
  void wait_until(const std::function<bool()>& ready, Deadline deadline);

 private:
  [[nodiscard]] bool ends_until(Deadline deadline);
  [[nodiscard]] std::string with_last_line(std::string text) const;

  const std::string name_;
  os::Fd said_, gone_;
  pid_t pid_ = 0;
  bool ended_ = false;
  int status_ = 0;  // of wait(2), when it has ended
};

}  // namespace bus::tools::measure
