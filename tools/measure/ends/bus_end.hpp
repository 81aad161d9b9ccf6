// tools/measure/ends/bus_end.hpp: channels of ipcbus, used as any program would use them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/poller.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

class BusEnd {
 public:
  static constexpr bool kLoans = true;
  static constexpr bool kBatches = true;

  /// The near end. Throws Error.
  static BusEnd connected(const std::string& address, Deadline deadline);
  /// The far end, for `channels` near ones. Throws Error.
  static BusEnd accepted(Listener& listener, std::size_t channels, Deadline deadline);

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept { return ok(channels_[0].send(message)); }
  [[nodiscard]] bool send_to(std::size_t, std::span<const std::byte> message) noexcept { return send(message); }
  template <class Fill>
  [[nodiscard]] bool send_in_place(std::size_t size, Fill&& fill) noexcept {
    auto loan = channels_[0].loan(size);
    if (!loan) return ok(loan.error());
    fill(loan->bytes());
    return ok(loan->publish());
  }
  [[nodiscard]] bool send_batch(std::span<const std::span<const std::byte>> messages) noexcept {
    while (!messages.empty()) {
      std::error_code error;
      messages = messages.subspan(channels_[0].send_some(messages, error));
      if (error && error != Errc::would_block) return ok(error);
      // There is no room: the blocking call waits for it.
      if (error && !ok(channels_[0].send(messages[0]))) return false;
      if (error) messages = messages.subspan(1);
    }
    return true;
  }
  [[nodiscard]] bool flush() noexcept { return ok(channels_[0].flush()); }

  [[nodiscard]] bool receive(View& view) noexcept {
    if (channels_.size() > 1) return receive_from_any(view);
    auto message = channels_[0].receive();
    if (!message) return ok_received(message.error());
    message_ = std::move(*message);
    view.bytes = message_.bytes();
    return true;
  }

  [[nodiscard]] std::string failure() const { return send_error_ ? send_error_.message() : receive_error_.message(); }
  [[nodiscard]] Traits traits() const { return channels_[0].traits(); }
  /// Over all channels.
  [[nodiscard]] Books books() const;

 private:
  BusEnd() = default;
  // Sending and receiving may be two threads' work: each keeps its own failure.
  [[nodiscard]] bool ok(std::error_code error) noexcept {
    if (error) send_error_ = error;
    return !error;
  }
  [[nodiscard]] bool ok_received(std::error_code error) noexcept {
    if (error) receive_error_ = error;
    return !error;
  }
  [[nodiscard]] bool receive_from_any(View& view) noexcept;

  std::vector<Channel> channels_;
  Message message_;
  std::error_code send_error_, receive_error_;
  // several channels: those that may have something, in turn
  std::optional<Poller> poller_;
  std::vector<Poller::Key> ready_;
  std::size_t ready_count_ = 0, at_ = 0, taken_ = 0;
};

}  // namespace bus::tools::measure
