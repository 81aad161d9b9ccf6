// transports/mq/channel.hpp: a channel over two of Boost's message queues and a control socket.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>

#include "bus/core/transport.hpp"
#include "transports/common/chunk.hpp"
#include "transports/mq/control.hpp"
#include "transports/mq/link.hpp"

namespace bus::mq {

class MqChannel final : public ChannelImpl {
 public:
  /// `listener` is where this end connected to: its leftovers are swept when it is seen to have died.
  /// Throws std::bad_alloc.
  MqChannel(Link link, std::optional<Place> listener);
  ~MqChannel() override;

  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept override;
  [[nodiscard]] Result<std::span<std::byte>> try_loan(std::size_t size) noexcept override;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept override;
  void drop_loan() noexcept override {}
  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  void disarm(Ready) noexcept override;
  [[nodiscard]] int readable_fd() override;
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] Peer peer() const override { return peer_; }
  void refresh_ledger() noexcept override { control_.look(); }

 private:
  /// A queue, its words and its eventfds, seen from one end.
  struct Side {
    Queue queue;
    WakeWords& words;
    Events events;
  };

  // The sender's.
  [[nodiscard]] std::error_code check_sending(std::size_t size) noexcept;
  [[nodiscard]] std::error_code push(std::span<const std::byte> payload) noexcept;
  [[nodiscard]] std::error_code no_room() noexcept;
  // The receiver's.
  [[nodiscard]] std::span<std::byte> room() noexcept;
  [[nodiscard]] Message lend(std::size_t size) noexcept;
  [[nodiscard]] Outcome pop(std::span<std::byte> room, std::size_t& size) noexcept;
  [[nodiscard]] Outcome pop_after_looking(std::span<std::byte> room, std::size_t& size) noexcept;
  void announce() noexcept;
  void unannounce() noexcept;
  [[nodiscard]] std::error_code nothing_left() noexcept;
  // Closing.
  void drain() noexcept;
  void count_lost() noexcept;
  [[nodiscard]] std::error_code bury() noexcept;
  [[nodiscard]] Counts counts(Kind kind) noexcept;
  void settle() noexcept;
  // Either.
  [[nodiscard]] std::error_code code_of(Outcome outcome) noexcept;
  [[nodiscard]] std::error_code over(Control::State) noexcept;
  void clear(const os::Fd& event) const noexcept;

  // Set at construction.
  WakePage page_;
  Side in_, out_;
  const std::size_t max_message_;
  const Peer peer_;
  const std::optional<Place> listener_;
  Control control_;
  std::atomic<bool> swept_{false};  // the dead listener's leftovers were looked for

  // The sender's.
  Patience sending_;
  std::unique_ptr<std::byte[]> loan_;
  std::size_t loan_room_ = 0;
  std::size_t loan_size_ = 0;

  // The receiver's.
  Patience receiving_;
  common::OwnedChunk room_;  // for the next message
  os::Fd readable_;          // once readable_fd() was called
  bool announced_ = false;   // with readable_: the word that we sleep was set, and no message was taken since
  std::error_code end_;      // what try_receive() says for good

  // The closer's.
  bool end_said_ = false;
  bool ack_owed_ = false;  // our END has promised one
  Counts said_;            // what the peer was told last; the receiver's as long as there is one
  bool lost_counted_ = false;
  int burials_ = 0;  // how often bury() has found the lock still held

  // [count] Guards the pushes and their count, so that an ACK says the last word about them.
  std::mutex push_mutex_;
  std::uint64_t pushed_ = 0;
  bool sending_shut_ = false;
};

}  // namespace bus::mq
