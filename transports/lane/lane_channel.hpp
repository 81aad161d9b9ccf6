// transports/lane/lane_channel.hpp: a channel of two lanes: what inproc and shm have in common.
//
// Beside the memory there is a Unix stream socket between the two ends. Nothing travels on it but larger rings
// (a 16-byte note with one descriptor), and the kernel's word that the other end is gone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/lane/layout.hpp"
#include "transports/lane/memory.hpp"
#include "transports/lane/reader.hpp"
#include "transports/lane/writer.hpp"

namespace bus::lane {

/// What one end makes, and the other end maps.
struct Offer {
  std::shared_ptr<Page> page;  // the status page of the end that made it
  Ring ring;                   // its outgoing lane
  os::Fd bell;                 // wakes its receiver
  os::Fd room_bell;            // wakes its sender, who waits for room, and whoever closes

  /// Throws Error(no_room).
  [[nodiscard]] static Offer make(std::size_t capacity);
};
/// The other end's half of an offer, for two ends in one process: the same memory, mapped as the peer maps it.
/// Throws Error.
[[nodiscard]] Offer view_of(const Offer& offer);

struct Link {
  os::Fd socket;                       // between the two ends; non-blocking
  std::size_t max_send = 0;            // the peer's max_message
  std::size_t max_receive = 0;         // ours
  bool fenced = false;                 // an end has no membarrier: both use full fences
  std::chrono::nanoseconds linger{0};  // with readable_fd(): how long an empty ring is not worth a sleep; see lingers()
  Traits traits;                       // as of the transport; max_message is filled in here
  Peer peer;
  std::function<void()> on_peer_death;  // called once, from the thread that finds out; may be empty
};

class LaneChannel final : public ChannelImpl {
 public:
  /// `mine` was made here, `theirs` holds the peer's page, ring and bells, mapped. Throws std::bad_alloc.
  LaneChannel(Offer mine, Offer theirs, Link link);

  [[nodiscard]] std::error_code try_send(std::span<const std::byte> payload) noexcept override;
  [[nodiscard]] Result<std::span<std::byte>> try_loan(std::size_t size) noexcept override;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept override;
  void drop_loan() noexcept override {}
  void batch_begin() noexcept override { in_batch_ = true; }
  void batch_end() noexcept override;
  [[nodiscard]] Result<Message> try_receive() noexcept override;
  [[nodiscard]] std::error_code try_close(bool confirm) noexcept override;
  [[nodiscard]] bool arm(Ready, WaitSet&) noexcept override;
  void disarm(Ready) noexcept override;
  [[nodiscard]] int readable_fd() override;
  void stay_awake(std::chrono::nanoseconds length) noexcept override {
    if (link_.linger != std::chrono::nanoseconds(0)) link_.linger = length;
  }
  [[nodiscard]] Traits traits() const noexcept override { return link_.traits; }
  [[nodiscard]] Peer peer() const override { return link_.peer; }

 private:
  [[nodiscard]] Result<std::byte*> reserve(std::size_t size) noexcept;
  [[nodiscard]] std::error_code grow(std::size_t size) noexcept;
  [[nodiscard]] std::error_code no_room() noexcept;
  [[nodiscard]] std::error_code gone() const noexcept;
  void wake_reader() noexcept;
  void ring_peer() noexcept;

  [[nodiscard]] Result<Message> take_front() noexcept;
  [[nodiscard]] std::error_code follow_move() noexcept;
  [[nodiscard]] std::error_code at_end() noexcept;
  [[nodiscard]] std::error_code finish(std::error_code why) noexcept;
  void read_final_counts() noexcept;
  [[nodiscard]] bool lingers() noexcept;
  [[nodiscard]] bool sleep_is_unused() const noexcept;
  [[nodiscard]] bool rearm() noexcept;
  void announce_sleep() noexcept;

  [[nodiscard]] bool hung_up() noexcept;
  [[nodiscard]] bool time_to_look(std::int64_t& last) noexcept;
  void tell_counts(Counts& counts, std::atomic<std::uint32_t>& flag) noexcept;
  [[nodiscard]] StatusPage& mine() const noexcept { return mine_->status(); }
  [[nodiscard]] const StatusPage& theirs() const noexcept { return theirs_->status(); }

  // Set at construction.
  const std::shared_ptr<Page> mine_, theirs_;
  const os::Fd bell_, room_bell_, their_bell_, their_room_bell_;
  Link link_;
  const os::Lifeline lifeline_{link_.socket.get()};

  // Sender's thread.
  Writer writer_;
  std::uint64_t wanted_ = 0;      // room that the last refused message needs
  std::uint32_t rung_sleep_ = 0;  // the peer's sleep that we ended, so that one sleep is ended once
  std::int64_t sender_looked_ = 0;
  unsigned unproven_ = 0;  // messages sent to a peer that did not have to be woken
  bool in_batch_ = false;

  // Receiver's thread.
  Reader::Handle reader_;
  os::Fd epoll_;                     // behind readable_fd()
  bool armed_ = false;               // with epoll_: a sleep is announced, and the bell was not rung by this end since
  bool taken_ = false;               // something was received since that announcement
  bool fresh_ = false;               // with epoll_: something was received, and the ring not found empty since
  Clock::time_point quiet_since_{};  // when the ring was first found empty after that
  bool lingering_ = false;           // since then
  unsigned in_vain_ = 0, skip_ = 0;  // how often that did not pay; how many empty rings to go without it
  std::uint32_t rung_seen_ = 0;      // the peer's count of rings when the bell was last cleared
  std::int64_t receiver_looked_ = 0;
  bool look_now_ = false;  // a sleep ended: the kernel may have news
  std::error_code over_;   // why nothing will be received any more

  std::atomic<bool> broken_{false};  // the receiving side found the peer dead or corrupt: sending is over, too
  std::atomic<bool> death_told_{false};
};

}  // namespace bus::lane
