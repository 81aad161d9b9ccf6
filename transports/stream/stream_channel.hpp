// transports/stream/stream_channel.hpp: a channel over a connected stream socket: unix and tcp.
//
// framing=bus: the end of a channel is said, so a stream that ends otherwise is a death.
//   closing end:  [messages] end{accepted, received, dropped}      then it takes in what comes, and drops it
//   other end:    hands out every message before the end, answers ack{accepted, received, dropped}, is `closed`
//   Ends that cross are both answered. An ack without an end before it, a second end, or a message behind an end
//   is corrupt.
// framing=raw|line: the end of the stream is `closed`, for receiving only (the peer may still read); a reset is
// peer_died. No counts are exchanged.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/stream/frame.hpp"
#include "transports/stream/inbox.hpp"
#include "transports/stream/outbox.hpp"
#include "transports/stream/wire.hpp"

namespace bus::stream {

class StreamChannel final : public ChannelImpl {
 public:
  /// What is agreed, and what this end wants.
  struct Terms {
    Framing framing = Framing::bus;
    std::size_t max_message = Options::kDefaultMaxMessage;    // bytes that this end accepts
    std::size_t peer_max_message = Options::kMostMaxMessage;  // bytes that the peer accepts
    std::size_t capacity = Options::kDefaultCapacity;
    bool acknowledged = false;  // closing the socket may lose what the peer's kernel has not acknowledged: tcp(7)
    std::string sweep;          // a listener's socket path, to be cleared when the peer turns out to have died
    Peer peer;
  };

  StreamChannel(os::Fd connected, Terms terms);  // throws std::bad_alloc
  ~StreamChannel() override = default;

  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept override;
  [[nodiscard]] std::error_code try_send_pieces(std::span<const std::byte> head,
                                                std::span<const std::byte> tail) noexcept override;
  [[nodiscard]] Result<std::span<std::byte>> try_loan(std::size_t size) noexcept override;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept override;
  void drop_loan() noexcept override { outbox_.drop_loan(); }
  [[nodiscard]] std::error_code try_flush() noexcept override;
  void batch_begin() noexcept override { outbox_.begin_batch(); }
  void batch_end() noexcept override { outbox_.end_batch(); }
  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  void disarm(Ready) noexcept override;
  [[nodiscard]] int readable_fd() override;
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] Peer peer() const override { return terms_.peer; }

  [[nodiscard]] const Wire& wire() const noexcept { return wire_; }  // its count of system calls

 private:
  enum class Waits : unsigned char { for_peer, for_room, for_acknowledgement };

  enum class LastWords : unsigned char { unknown, an_end, other };
  static LastWords words_in(std::span<const std::byte> tail) noexcept;

  [[nodiscard]] bool inherited() const noexcept;
  [[nodiscard]] std::error_code send_failure(std::error_code) noexcept;
  [[nodiscard]] LastWords last_words() const noexcept;
  [[nodiscard]] Transfer fill() noexcept;
  [[nodiscard]] std::error_code peer_stopped_writing() noexcept;
  [[nodiscard]] std::error_code still_refused(std::error_code) noexcept;
  void on_control(const Cut&) noexcept;
  void on_transfer(const Transfer&) noexcept;
  void fail(Errc) noexcept;
  void end(Errc) noexcept;
  void note_readable() noexcept;
  void drop_incoming() noexcept;
  [[nodiscard]] std::error_code hand_over() noexcept;

  const Terms terms_;
  const os::Origin origin_;
  Wire wire_;
  const os::Lifeline lifeline_{wire_.fd()};
  Outbox outbox_;

  std::atomic<LastWords> taken_in_{LastWords::other};  // what the receiver's thread has read ends so; any thread asks

  unsigned refusals_ = 0;  // owned by the sender's thread: sends that found no room

  // owned by the receiver's thread, and by the closing one when the others have returned
  Inbox inbox_;
  std::error_code over_;             // what try_receive() says from now on
  std::uint64_t handed_out_ = 0;     // messages
  bool at_end_ = false;              // the peer's direction has ended, in order or not
  Errc ended_by_ = Errc::peer_died;  // what that means if nothing else was said
  bool peer_said_end_ = false;
  bool peer_said_ack_ = false;
  bool said_end_ = false;
  bool ended_writing_ = false;
  bool tends_ = false;  // between arm(receive) and disarm(receive)
  Waits close_waits_ = Waits::for_peer;
  bool shown_readable_ = false;  // event_ is set
  os::Fd event_, readable_;      // made by readable_fd()
};

}  // namespace bus::stream
