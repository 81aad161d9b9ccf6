// tools/measure/ends/udp_end.hpp: the floor of datagrams: a connected UDP socket without this library.
//
// Alone, a message is one send. Gathered, messages leave as runs of equal datagrams (UDP_SEGMENT), the receiver takes
// runs (UDP_GRO), and a word goes back for every 256 KiB, so that the socket's buffer is never overrun: the least that
// a sender needs to lose nothing. A message is a datagram: none above 65507 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bus/core/wait.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class UdpEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;
  static constexpr std::size_t kMost = 65507;

  /// A connected socket, made non-blocking; not owned. `gather` for both ends of a flood, of which `sends` has one.
  UdpEnd(int fd, std::size_t size, bool gather, bool sends, WaitMode wait);

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept;
  [[nodiscard]] bool flush() noexcept;
  [[nodiscard]] bool receive(View& view) noexcept;
  [[nodiscard]] std::string failure() const;

 private:
  [[nodiscard]] bool wait_for_window() noexcept;
  [[nodiscard]] bool take_one() noexcept;
  [[nodiscard]] bool take_run() noexcept;
  [[nodiscard]] bool again(Spinner& spinner, short events) noexcept;

  const int fd_;
  const bool gather_, sends_;
  const WaitMode wait_;
  const std::size_t run_;  // messages of one run
  std::vector<std::byte> outgoing_, incoming_;
  std::size_t gathered_ = 0, size_;
  std::size_t at_ = 0, end_ = 0, segment_ = 0;  // of the run that was received last
  std::uint64_t sent_ = 0, acked_ = 0;          // costs
  std::uint64_t taken_ = 0, told_ = 0;
  int error_ = 0;
};

}  // namespace bus::tools::measure
