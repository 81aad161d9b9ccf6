// transports/udp/channel_send.cpp: the sending half of a channel.
#include <algorithm>
#include <new>

#include "bus/core/errc.hpp"
#include "bus/core/os/ticks.hpp"
#include "transports/udp/channel.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr auto kGatheredFor = 200us;  // and 50 us for the Flusher to get a CPU
constexpr auto kPendingTick = 1ms;    // how often the rest of a large message looks for room by itself
constexpr auto kFirstProbe = 2ms;
constexpr auto kLastProbe = 40ms;  // also finds out that a full window's receiver has died
constexpr std::size_t kLastLook = 4096;
constexpr std::size_t kAcks = 64;  // receives in search of one

}  // namespace

std::error_code BusChannel::why_not() noexcept {
  if (closing_.load(std::memory_order_relaxed) || peer_ended_.load(std::memory_order_relaxed)) return Errc::closed;
  if (corrupt_.load(std::memory_order_relaxed)) return Errc::corrupt;
  if (dead_.load(std::memory_order_relaxed)) return after_nobody();
  return {};
}

// Nobody is there any more. If the peer closed in good order, it said so before: that is in the socket.
std::error_code BusChannel::after_nobody() noexcept {
  const Lock lock(receive_mutex_);
  dead_.store(true, std::memory_order_relaxed);
  pump_all(kLastLook);
  sender_news_ = true;
  wake_others(false);
  if (inbound_.ended()) return Errc::closed;
  return corrupt_.load(std::memory_order_relaxed) ? Errc::corrupt : Errc::peer_died;
}

// Takes in what waits in the socket, for the sake of the acks. If the receiver's thread is at it, they are its to find.
void BusChannel::take_acks(std::size_t budget) noexcept {
  const Lock lock(receive_mutex_, std::try_to_lock);
  if (!lock) return;
  pump_all(budget);
  if (!heard_.load(std::memory_order_relaxed)) static_cast<void>(ping_if_due(Clock::now()));
  wake_others(false);
}

void BusChannel::note_held() noexcept {
  if (!out_.idle() && !watched_) {
    watched_ = Flusher::watch(
        *this, Clock::now() + (out_.pending() ? Clock::duration(kPendingTick) : Clock::duration(kGatheredFor)));
    // Without the Flusher nothing is left lying about. What finds no room now leaves with the caller's next call.
    if (!watched_ && out_.flush(acked_.load(std::memory_order_relaxed)) == Outbound::Outcome::nobody) {
      dead_.store(true, std::memory_order_relaxed);
    }
  }
  held_.store(!out_.idle(), std::memory_order_relaxed);
}

std::error_code BusChannel::send_message(std::span<const std::byte> payload, bool promised) noexcept {
  using Outcome = Outbound::Outcome;
  if (!heard_.load(std::memory_order_relaxed)) take_acks(kAcks);  // the first messages only
  Outcome outcome;
  for (bool again = false;; again = true) {
    const std::uint64_t taken = acked_.load(std::memory_order_relaxed);
    {
      const std::lock_guard lock(send_mutex_);
      if (stopped_) return Errc::closed;
      const bool gather = batching_ || os::ticks() - last_send_ < os::kTicksOfABurst;
      const bool past_half = terms_.window_there != 0 && out_.position() - taken > terms_.window_there / 2 &&
                             out_.position() - looked_at_ > terms_.window_there / 16;
      if (past_half && !again) {
        looked_at_ = out_.position();
        outcome = Outcome::no_window;
      } else {
        outcome = out_.send(payload, taken, gather, promised);
        if (outcome == Outcome::no_window) {
          // The receiver has to get what is gathered, or it will never make room.
          const Outcome flushed = out_.flush(taken);
          if (flushed == Outcome::nobody) outcome = flushed;
        }
        refusal_ = outcome;
        note_held();
        last_send_ = os::ticks();
      }
    }
    if (outcome == Outcome::no_window && !again) {
      take_acks(kAcks);
      continue;
    }
    break;
  }
  switch (outcome) {
    case Outcome::done:
      return {};
    case Outcome::no_window:
    case Outcome::no_buffer:
      // The search for acks may have found something else.
      if (peer_ended_.load(std::memory_order_relaxed)) return Errc::closed;
      return corrupt_.load(std::memory_order_relaxed) ? Errc::corrupt : Errc::would_block;
    case Outcome::no_memory:
      return Errc::no_room;
    case Outcome::nobody:
      break;
  }
  return after_nobody();
}

std::error_code BusChannel::try_send(std::span<const std::byte> payload) noexcept {
  if (const auto error = why_not()) return error;
  if (payload.size() > terms_.max_message_there) return Errc::message_too_large;
  return send_message(payload, false);
}

Result<std::span<std::byte>> BusChannel::try_loan(std::size_t size) noexcept {
  if (const auto error = why_not()) return error;
  if (size > terms_.max_message_there) return Errc::message_too_large;
  for (bool again = false;; again = true) {
    Outbound::Outcome flushed;
    {
      const std::uint64_t taken = acked_.load(std::memory_order_relaxed);
      const std::lock_guard lock(send_mutex_);
      if (stopped_) return Errc::closed;
      flushed = out_.flush(taken);
      note_held();
      if (flushed == Outbound::Outcome::done && out_.has_room(size, taken)) {
        try {
          if (loan_.size() < size) loan_.resize(size);
        } catch (const std::bad_alloc&) {
          return Errc::no_room;
        }
        return std::span<std::byte>(loan_).first(size);
      }
      refusal_ = flushed == Outbound::Outcome::done ? Outbound::Outcome::no_window : flushed;
      if (flushed == Outbound::Outcome::done) out_.wait_for(size);
    }
    if (flushed == Outbound::Outcome::nobody) return after_nobody();
    if (again) return Errc::would_block;
    take_acks(kAcks);
  }
}

std::error_code BusChannel::publish(std::size_t used) noexcept {
  if (const auto error = why_not()) return error;
  return send_message(std::span<const std::byte>(loan_).first(used), true);
}

void BusChannel::drop_loan() noexcept {}  // its memory serves the next one

std::error_code BusChannel::try_flush() noexcept {
  if (held_.load(std::memory_order_relaxed)) take_acks(kAcks);
  Outbound::Outcome outcome;
  {
    const std::lock_guard lock(send_mutex_);
    if (out_.idle()) return {};
    outcome = refusal_ = out_.flush(acked_.load(std::memory_order_relaxed));
    note_held();
  }
  if (outcome == Outbound::Outcome::nobody) return after_nobody();
  return outcome == Outbound::Outcome::done ? std::error_code{} : make_error_code(Errc::would_block);
}

// What is left has its reason and leaves by later calls, or by the Flusher.
void BusChannel::flush_gathered() noexcept {
  // relaxed: what the calling thread gathered is always seen; what another did has its Flusher
  if (!held_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(send_mutex_);
  const Outbound::Outcome outcome = out_.flush(acked_.load(std::memory_order_relaxed));
  if (outcome == Outbound::Outcome::nobody) dead_.store(true, std::memory_order_relaxed);
  note_held();
}

void BusChannel::batch_begin() noexcept {
  const std::lock_guard lock(send_mutex_);
  batching_ = true;
}

void BusChannel::batch_end() noexcept {
  {
    const std::lock_guard lock(send_mutex_);
    batching_ = false;
  }
  flush_gathered();
}

// With the send lock: asks the receiver how far it is, in case its ack was lost.
bool BusChannel::probe_if_due(Clock::time_point now) noexcept {
  const std::uint64_t taken = acked_.load(std::memory_order_relaxed);
  if (probed_at_ != taken || next_probe_ == Clock::time_point{}) {  // it has moved: be patient again
    probed_at_ = taken;
    probe_interval_ = kFirstProbe;
    next_probe_ = now + probe_interval_;
    return false;
  }
  if (now < next_probe_) return false;
  probe_interval_ = std::min<Clock::duration>(probe_interval_ * 2, kLastProbe);
  next_probe_ = now + probe_interval_;
  // The receiver must not count as sent what is still gathered here: that goes first. It asks as well as a probe does.
  if (out_.gathered()) {
    if (out_.flush(taken) == Outbound::Outcome::nobody) {
      dead_.store(true, std::memory_order_relaxed);
      return true;
    }
    if (out_.gathered()) {
      next_probe_ = now + kFirstProbe;
      return false;
    }
  }
  Datagram room;
  control_sent(send_one(fd_.get(), make_control(out_.mark(Kind::probe), room)));
  return true;
}

// On the Flusher's thread.
void BusChannel::on_due() noexcept {
  take_acks(kAcks);
  const std::lock_guard lock(send_mutex_);
  watched_ = false;
  if (stopped_ && out_.idle()) return;
  const Outbound::Outcome outcome = out_.flush(acked_.load(std::memory_order_relaxed));
  if (outcome == Outbound::Outcome::nobody) {
    dead_.store(true, std::memory_order_relaxed);
    out_.discard();
  }
  if (!out_.idle()) static_cast<void>(probe_if_due(Clock::now()));
  note_held();
}

}  // namespace bus::udp
