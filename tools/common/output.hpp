// tools/common/output.hpp: where data goes: stdout or a file, gathered into few system calls.
//
// A signal ends a write that waits for a slow reader, and a reader that has gone ends the program quietly.
// Threads: one.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

/// Whoever read our output has gone. Not a failure: the program ends, without a word.
class OutputClosed : public std::runtime_error {
 public:
  OutputClosed() : std::runtime_error("the reader of our output has gone") {}
};

/// A signal came while a write waited for a reader that does not read.
class OutputStuck : public std::runtime_error {
 public:
  OutputStuck() : std::runtime_error("the reader of our output does not read") {}
};

class Output {
 public:
  /// stdout.
  explicit Output(Signals& signals);
  /// A file, made or emptied; "-" is stdout. Throws Error.
  Output(Signals& signals, const std::string& path);

  // These throw OutputClosed, OutputStuck or Error (a full disk).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void flush();

  [[nodiscard]] bool empty() const noexcept { return buffer_.empty(); }
  [[nodiscard]] bool is_terminal() const noexcept { return is_terminal_; }
  /// A descriptor that reports (POLLERR) that the reader has gone; -1 when this output has no reader.
  [[nodiscard]] int watched_fd() const noexcept { return is_pipe_ ? fd_ : -1; }

 private:
  void inspect();
  void write_now(std::span<const std::byte> bytes);

  Signals& signals_;
  os::Fd owned_;
  int fd_;
  std::string name_;
  bool is_pipe_ = false, is_terminal_ = false;
  bool may_block_ = false;
  std::vector<std::byte> buffer_;
};

}  // namespace bus::tools
