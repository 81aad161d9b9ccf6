// transports/mq/control.cpp: reading the peer's last words.
#include "transports/mq/control.hpp"

#include <ctime>

#include "bus/core/errc.hpp"
#include "transports/mq/link.hpp"

namespace bus::mq {

void Control::change(State state) noexcept {
  state_.store(state, std::memory_order_release);
  // Both threads may sleep on the socket, and only one of them reads what is in it.
  os::signal_event(message_);
  os::signal_event(room_);
}

void Control::look() noexcept {
  const std::lock_guard lock(mutex_);
  for (;;) {
    const State now = state_.load(std::memory_order_relaxed);
    if (now == State::gone || now == State::corrupt) return;
    const std::error_code error = read_frame(socket_.get(), frame_, have_);
    if (error == Errc::would_block) return;
    if (error) {
      if (now == State::there) change(State::gone);
      if (now == State::ended) told_.store(true, std::memory_order_release);  // an orderly end of the stream, too
      return;
    }
    have_ = 0;
    const Result<Counts> counts = decode_counts(frame_);
    if (!counts || (counts->kind == Kind::end && now == State::ended)) {
      change(State::corrupt);
      return;
    }
    ledger_.peer_accepted(counts->accepted);
    ledger_.peer_settled(counts->received, counts->dropped, Reason::closed);
    if (!counts->more) told_.store(true, std::memory_order_release);
    if (counts->kind == Kind::end) change(State::ended);
  }
}

void Control::set_gone(State state) noexcept {
  const std::lock_guard lock(mutex_);
  change(state);
}

std::error_code Control::say(const Counts& counts) noexcept { return send_frame(socket_.get(), encode(counts)); }

bool Patience::over() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const long long ms = static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
  if (last_ms_ != 0 && ms - last_ms_ < kMilliseconds) return false;
  last_ms_ = ms;
  return true;
}

}  // namespace bus::mq
