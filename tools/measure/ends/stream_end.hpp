// tools/measure/ends/stream_end.hpp: the floor of byte streams: a pipe, a Unix or a TCP socket, without this library.
//
// A message goes with its size in front of it (8 bytes). Alone, each is one writev; gathered, they leave 256 KiB at a
// time; the receiver takes up to 256 KiB and reads messages in place. Waits are those of the library: the same Spinner.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bus/core/wait.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class StreamEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Descriptors to read from and write to, which may be the same. They are made non-blocking; not owned.
  StreamEnd(int in, int out, std::size_t most, bool gather, WaitMode wait);

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept;
  [[nodiscard]] bool flush() noexcept;
  [[nodiscard]] bool receive(View& view) noexcept;
  [[nodiscard]] std::string failure() const;

 private:
  [[nodiscard]] bool write_all(iovec* parts, std::size_t count) noexcept;
  [[nodiscard]] bool fill(std::size_t needed) noexcept;

  const int in_, out_;
  const bool gather_;
  const WaitMode wait_;
  std::vector<std::byte> outgoing_, incoming_;
  std::size_t gathered_ = 0;
  std::size_t begin_ = 0, end_ = 0;  // of what was read and not handed out
  int error_ = 0;
};

}  // namespace bus::tools::measure
