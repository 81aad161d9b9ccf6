// tools/common/input.hpp: reads messages from stdin or a file: lines, pieces of one size, or all of it.
//
// A signal ends a read that waits. Threads: one.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

/// Of an input that becomes one message of a bus. The limit of a broker is told when the message is published.
inline constexpr std::size_t kLongestInput = Options::kMostMaxMessage;
inline constexpr std::string_view kLongestInputAdvice = "no message has more";

class Input {
 public:
  /// `path` "-" is stdin. Throws Error.
  Input(Signals& signals, const std::string& path);

  /// Called whenever a read is about to wait for a slow writer.
  void before_waiting(std::function<void()> action) { before_waiting_ = std::move(action); }
  /// A descriptor whose readiness ends a wait as the end of the input does.
  void also_end_on(int fd) noexcept { other_fd_ = fd; }

  /// The input ended because of a signal, or of also_end_on().
  [[nodiscard]] bool was_cut_off() const noexcept { return stopped_; }

  /// The size of a regular file; none for anything else.
  [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }

  /// The next line without its newline; the last one may lack it. None at the end, or after a signal.
  /// Valid until the next call. Throws Error.
  [[nodiscard]] std::optional<std::span<const std::byte>> line();
  /// As many lines as are there, with their newlines, at least one; the very last one may lack it. A line longer than
  /// `most` bytes throws Error. None at the end, or after a signal. Valid until the next call.
  [[nodiscard]] std::optional<std::span<const std::byte>> lines(std::size_t most);
  /// The next `bytes` bytes, fewer only at the end. None at the end, or after a signal (a piece that was not
  /// complete by then is left out). Valid until the next call. Throws Error.
  [[nodiscard]] std::optional<std::span<const std::byte>> piece(std::size_t bytes);
  /// Everything that is left, up to `most` bytes; more throws Error that ends with `advice`. None after a signal.
  [[nodiscard]] std::optional<std::span<const std::byte>> whole(std::size_t most, std::string_view advice);

 private:
  /// Reads more behind what is in the buffer. False at the end and after a signal.
  bool read_more();
  [[nodiscard]] std::span<const std::byte> rest() const noexcept { return std::span(buffer_).subspan(taken_, held()); }
  [[nodiscard]] std::size_t held() const noexcept { return filled_ - taken_; }

  Signals& signals_;
  os::Fd owned_;
  int fd_;
  int other_fd_ = -1;
  std::string name_;
  std::optional<std::uint64_t> size_;
  std::function<void()> before_waiting_;
  std::vector<std::byte> buffer_;
  std::size_t taken_ = 0, filled_ = 0;
  bool over_ = false, stopped_ = false;
};

}  // namespace bus::tools
