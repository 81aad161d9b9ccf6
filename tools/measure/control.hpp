// tools/measure/control.hpp: texts between the process that measures and those that it has started.
//
// A socket pair; each text goes with its length in front of it (8 bytes, host order).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bus/core/deadline.hpp"
#include "bus/core/os/fd.hpp"

namespace bus::tools::measure {

class Control {
 public:
  explicit Control(os::Fd socket) noexcept : socket_(std::move(socket)) {}

  /// Throws Error when the other process is gone.
  void say(std::string_view text);
  /// The next text; none at the deadline. Throws Error when the other process is gone.
  [[nodiscard]] std::optional<std::string> hear(Deadline deadline = forever);
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

 private:
  [[nodiscard]] bool read(void* to, std::size_t size, Deadline deadline);
  os::Fd socket_;
};

}  // namespace bus::tools::measure
