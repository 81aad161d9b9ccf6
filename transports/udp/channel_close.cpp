// transports/udp/channel_close.cpp: the end: counts go both ways, and are repeated until they are answered.
#include <algorithm>

#include "bus/core/errc.hpp"
#include "transports/udp/channel.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr auto kFirstEnd = 10ms;
constexpr auto kLastEnd = 100ms;
constexpr int kEnds = 3;  // copies at once: a single loss delays nothing

}  // namespace

// The peer has closed, and all that it sent has been handed out or dropped: the counts are final.
void BusChannel::finish() noexcept {
  finished_ = true;
  {
    const std::lock_guard lock(send_mutex_);
    stopped_ = true;
    // It takes nothing more. What can still leave lets it see what it was that it did not take.
    static_cast<void>(out_.flush(acked_.load(std::memory_order_relaxed)));
    out_.discard();
    note_held();
  }
  ledger_.peer_accepted(inbound_.accepted());
  ledger_.peer_settled(peer_counts_.received, peer_counts_.dropped, Reason::closed);
  for (int i = 0; i < kEnds && !settled_; ++i) send_settled();  // an answer wants no answer
}

void BusChannel::send_settled() noexcept {
  Header header;
  {
    const std::lock_guard lock(send_mutex_);
    header = out_.mark(Kind::settled);
  }
  Datagram room;
  const Counts counts{.received = delivered_, .dropped = ledger_.dropped_total()};
  control_sent(send_one(fd_.get(), make_counts(header, counts, room)));
}

void BusChannel::drop_batch() noexcept {
  const std::size_t rest = batch_size_ - batch_at_;
  if (rest > 0) {
    ledger_.dropped[static_cast<std::size_t>(Reason::closed)].add(rest);
    delivered_ -= rest;
  }
  while (batch_at_ < batch_size_) batch_[batch_at_++].chunk->release(nullptr);
  batch_open_ = false;
}

std::error_code BusChannel::try_close(bool confirm) noexcept {
  if (is_forked()) return {};  // the channel is the parent's, who goes on with it
  const Lock lock(receive_mutex_);
  if (!closing_.exchange(true, std::memory_order_relaxed)) {
    drop_batch();
    pump_all(kMostPumps);
    inbound_.settle();  // what was lost before this end closed
    inbound_.refuse(Reason::closed);
  }
  const Clock::time_point now = Clock::now();
  for (;;) {
    // In this order: what a peer said before it left is read after its absence was noticed.
    const bool dead = dead_.load(std::memory_order_relaxed);
    pump_all(kMostPumps);
    if (corrupt_.load(std::memory_order_relaxed)) return {};
    if (inbound_.ended()) {
      // The peer has closed too, or has answered: what it sent and is not here will not come.
      inbound_.settle();
      if (!finished_) finish();
      return {};
    }
    if (dead) return Errc::peer_died;
    const std::error_code outcome = say_end(confirm, now);
    if (!dead_.load(std::memory_order_relaxed)) return outcome;
  }
}

// Everything that is held, then our end, which is repeated until it is answered.
std::error_code BusChannel::say_end(bool confirm, Clock::time_point now) noexcept {
  if (!end_sent_) {
    const std::lock_guard send_lock(send_mutex_);
    stopped_ = true;
    refusal_ = out_.flush(acked_.load(std::memory_order_relaxed));
    note_held();
    if (refusal_ == Outbound::Outcome::nobody) dead_.store(true, std::memory_order_relaxed);
    if (refusal_ != Outbound::Outcome::done) return Errc::would_block;
  }
  if (!end_sent_ || (confirm && now >= next_end_)) {
    end_interval_ = end_sent_ ? std::min<Clock::duration>(end_interval_ * 2, kLastEnd) : Clock::duration(kFirstEnd);
    next_end_ = now + end_interval_;
    for (int i = 0; i < (end_sent_ ? 1 : kEnds); ++i) {
      if (const auto error = send_end(); error == Errc::would_block && !end_sent_) {
        refusal_ = Outbound::Outcome::no_buffer;
        return error;
      }
      end_sent_ = true;
    }
  }
  return confirm ? make_error_code(Errc::would_block) : std::error_code{};
}

std::error_code BusChannel::send_end() noexcept {
  Header header;
  {
    const std::lock_guard lock(send_mutex_);
    header = out_.mark(Kind::end);
  }
  Datagram room;
  const Counts counts{.received = delivered_, .dropped = ledger_.dropped_total()};
  const std::error_code error = send_one(fd_.get(), make_counts(header, counts, room));
  control_sent(error);
  return error;
}

}  // namespace bus::udp
