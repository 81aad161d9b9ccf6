// tools/common/progress.hpp: one line on the terminal that says how far a long work has come; nothing elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bus/core/deadline.hpp"

namespace bus::tools {

class Progress {
 public:
  /// `what` is "sent" or "received"; `whole` the bytes in all, where known. `wanted` is false where data goes to the
  /// same terminal.
  explicit Progress(std::string what, std::optional<std::uint64_t> whole = {}, bool wanted = true);
  ~Progress();  // takes the line away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Cheap: looks at the clock only now and then, and draws five times a second at most.
  void update(std::uint64_t messages, std::uint64_t bytes) {
    if (shown_ && ++calls_ % kCallsPerLook == 0) look(messages, bytes);
  }

 private:
  static constexpr unsigned kCallsPerLook = 16;
  void look(std::uint64_t messages, std::uint64_t bytes);

  const std::string what_;
  const std::optional<std::uint64_t> whole_;
  const bool shown_;
  const Clock::time_point start_;
  Clock::time_point next_;
  unsigned calls_ = 0;
};

}  // namespace bus::tools
