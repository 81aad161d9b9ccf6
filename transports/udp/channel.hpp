// transports/udp/channel.hpp: a channel with sessions, counts and a window, over a connected UDP socket of its own.
//
// Locks: the receive lock guards what comes in (socket, chunks, order, counts), the send lock what goes out. Data and
// acks come in on one socket, so whoever needs either takes datagrams in for both, under the receive lock. The
// send lock may be taken inside the receive lock, never the other way round; the Flusher's is the innermost.
// Liveness: the kernel answers a datagram to a port that nobody has (ICMP), and tells the connected socket. A
// receiver that waits sends a ping now and then, so that there is something to answer. Silence proves nothing: a
// stopped process is alive.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "bus/core/flusher.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/udp/endpoint.hpp"
#include "transports/udp/inbound.hpp"
#include "transports/udp/intake.hpp"
#include "transports/udp/outbound.hpp"

namespace bus::udp {

/// What two ends have agreed on.
struct Agreement {
  std::uint32_t session = 0;
  std::size_t max_datagram = 0;
  std::size_t max_message_here = 0;   // that this end accepts
  std::size_t max_message_there = 0;  // that the peer accepts
  std::uint64_t window_here = 0;      // granted to the peer; 0: none is kept
  std::uint64_t window_there = 0;     // granted by the peer
  std::array<std::uint8_t, 16> peer_instance{};
  Start start{};  // for tests of the wrap-around
};

class BusChannel final : public ChannelImpl, private FlusherClient {
 public:
  /// `socket` is connected to the peer. With a `welcome`, this is the listening end: that is said again until the
  /// peer is heard of, for it may have been lost, and the listener's port is not attended to all the time.
  /// Throws Error or std::bad_alloc.
  BusChannel(os::Fd socket, const Agreement&, const std::optional<Greeting>& welcome = {});
  ~BusChannel() override;

  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept override;
  [[nodiscard]] Result<std::span<std::byte>> try_loan(std::size_t size) noexcept override;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept override;
  void drop_loan() noexcept override;
  [[nodiscard]] std::error_code try_flush() noexcept override;
  void batch_begin() noexcept override;
  void batch_end() noexcept override;
  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  void disarm(Ready) noexcept override;
  [[nodiscard]] int readable_fd() override;
  [[nodiscard]] Traits traits() const noexcept override;
  [[nodiscard]] Peer peer() const override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  static constexpr std::size_t kBatch = 64;
  static constexpr std::size_t kMostPumps = 512;  // receives in one call, so that junk cannot hold it for ever

  // with the receive lock
  enum class Pumped : std::uint8_t { something, nothing };
  [[nodiscard]] Pumped pump() noexcept;
  void pump_all(std::size_t budget) noexcept;
  void handle(std::span<const std::byte> datagram) noexcept;
  void handle_control(const Packet&) noexcept;
  void acked(std::uint32_t position) noexcept;
  void break_off() noexcept;
  void send_ack() noexcept;
  void ack_if_worthwhile() noexcept;
  void finish() noexcept;
  void send_settled() noexcept;
  void wake_others(bool receiver) noexcept;
  [[nodiscard]] bool ping_if_due(Clock::time_point now) noexcept;
  [[nodiscard]] std::uint64_t taken_here() const noexcept;
  [[nodiscard]] bool is_over() const noexcept;
  [[nodiscard]] bool has_for_receiver() const noexcept;
  void refill() noexcept;
  void show_readable(bool readable) noexcept;
  void drop_batch() noexcept;
  [[nodiscard]] std::error_code say_end(bool confirm, Clock::time_point now) noexcept;
  [[nodiscard]] std::error_code send_end() noexcept;

  [[nodiscard]] Message hand_out() noexcept;  // receiver's thread
  [[nodiscard]] std::error_code send_message(std::span<const std::byte>, bool promised) noexcept;
  [[nodiscard]] std::error_code why_not() noexcept;
  [[nodiscard]] std::error_code after_nobody() noexcept;
  void take_acks(std::size_t budget) noexcept;
  void flush_gathered() noexcept;
  void note_held() noexcept;                                        // with the send lock
  [[nodiscard]] bool probe_if_due(Clock::time_point now) noexcept;  // with the send lock
  void on_due() noexcept override;
  [[nodiscard]] bool is_forked() const noexcept;
  void control_sent(std::error_code) noexcept;

  // set at construction
  const os::Fd fd_;
  const os::Lifeline lifeline_{fd_.get()};
  const Agreement terms_;
  const Endpoint peer_;
  const bool local_peer_;  // on this host: its death has evidence
  const std::chrono::nanoseconds ping_every_;
  const os::Origin origin_;
  const Greeting welcome_;
  const os::Fd receive_event_, send_event_;  // "another thread took in what you wait for"

  // any thread
  std::atomic<std::uint64_t> acked_;     // position up to which the peer has taken what we sent
  std::atomic<bool> heard_;              // something came from the peer: it knows where this channel is
  std::atomic<bool> dead_{false};        // the kernel says that nobody is there
  std::atomic<bool> corrupt_{false};     // the peer broke the format
  std::atomic<bool> peer_ended_{false};  // the peer has closed
  std::atomic<bool> closing_{false};     // this side has
  std::atomic<bool> held_{false};        // something is gathered or pending

  // receiver's thread
  std::array<Inbound::Item, kBatch> batch_;
  std::size_t batch_at_ = 0, batch_size_ = 0;

  // guarded by receive_mutex_
  std::mutex receive_mutex_;
  Intake intake_;
  Inbound inbound_;
  bool sender_news_ = false;  // something came in that a waiting sender wants to know
  bool settled_ = false;      // the peer has answered our end
  bool finished_ = false;     // the peer's last message was handed out, and it knows our counts
  bool batch_open_ = false;   // the receiver's thread still has messages in its batch
  std::uint64_t batch_end_position_ = 0;
  std::uint64_t handed_position_ = 0;  // of the sender behind what was handed out
  std::uint64_t delivered_ = 0;        // messages handed out
  std::uint64_t acked_here_ = 0;       // position that we last told
  Counts peer_counts_;                 // as its end or settled said
  bool receive_armed_ = false, send_armed_ = false;
  bool receive_signalled_ = false;  // the receiver's event is set
  os::Fd readable_, timer_;         // made by readable_fd()
  Clock::time_point next_ping_;
  bool end_sent_ = false;
  Clock::time_point next_end_{};
  Clock::duration end_interval_{};

  // guarded by send_mutex_
  std::mutex send_mutex_;
  Outbound out_;
  bool batching_ = false;
  bool stopped_ = false;  // nothing is accepted any more: our count is final
  bool watched_ = false;  // the Flusher knows that something is held
  Outbound::Outcome refusal_ = Outbound::Outcome::done;
  std::uint64_t last_send_ = 0;  // ticks
  std::uint64_t looked_at_ = 0;  // position at which acks were last looked for
  std::vector<std::byte> loan_;
  std::uint64_t probed_at_ = 0;  // acked_ when probing began
  Clock::time_point next_probe_{};
  Clock::duration probe_interval_{};
};

}  // namespace bus::udp
