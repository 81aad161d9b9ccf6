// bus/core/channel_state.cpp: sleeping, counting, closing.
#include "bus/core/channel_state.hpp"

#include <poll.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>

namespace bus {

using namespace std::chrono_literals;

void Gate::Entry::assert_alone(const std::atomic<bool>& inside) noexcept {
  if (!inside.load(std::memory_order_relaxed)) return;
  std::fputs("ipcbus: two threads used the same side of a channel at once\n", stderr);
  std::abort();
}

void Gate::shut_and_drain() noexcept {
  closing_.store(true, std::memory_order_seq_cst);  // [shut]
  os::heavy_barrier_process();
  for (const Inside& inside : inside_) {
    while (inside.flag.load(std::memory_order_acquire)) {  // [leave]
      if (const int fd = wake_.load(std::memory_order_seq_cst); fd >= 0) os::signal_event(fd);
      sched_yield();
    }
  }
}

bool Gate::arm(WaitSet& set) noexcept {
  int fd = wake_.load(std::memory_order_relaxed);
  if (fd < 0) {
    const std::lock_guard lock(mutex_);
    if (!wake_owner_) {
      try {
        wake_owner_ = os::make_event();
        wake_.store(wake_owner_.get(), std::memory_order_seq_cst);
      } catch (const std::exception&) {
        // Out of descriptors: the sleep is kept short instead.
      }
    }
    fd = wake_owner_.get();
  }
  if (fd >= 0) {
    set.add(fd, POLLIN);
  } else {
    set.at_most(20ms);
  }
  return !closing_.load(std::memory_order_seq_cst);
}

bool ChannelState::sleep(Ready ready, Deadline deadline) noexcept {
  if (gate.shut()) return false;
  if (impl->sleeps_itself(ready, deadline)) return !gate.shut();
  WaitSet set;
  const bool open = gate.arm(set);
  const bool again = impl->arm(ready, set);
  if (open && !again) set.sleep(deadline);
  impl->disarm(ready);
  return !gate.shut();
}

bool ChannelState::arm_room(WaitSet& set) noexcept {
  const Gate::Entry entry(gate, Gate::kSender);
  if (!entry) return true;  // the next call says why
  disarm_room();
  room_armed = true;
  if (!impl->arm(Ready::send, set)) return false;
  disarm_room();
  return true;
}

bool ChannelState::end_room() noexcept {
  const Gate::Entry entry(gate, Gate::kSender);
  if (!entry) return true;  // close() has disarmed it
  const bool stood = room_armed;
  disarm_room();
  return stood;
}

namespace {

Reason refusal(std::error_code code) noexcept {
  if (code == Errc::closed) return Reason::closed;
  if (code == Errc::peer_died) return Reason::peer_died;
  if (code == Errc::message_too_large) return Reason::too_large;
  if (code == Errc::not_supported) return Reason::not_supported;
  if (code == Errc::corrupt || code == Errc::version_mismatch) return Reason::corrupt;
  return Reason::queue_full;  // would_block, timed_out, no_room
}

}  // namespace

void ChannelState::count_sent(std::error_code outcome, std::size_t bytes) noexcept {
  Ledger& ledger = impl->ledger();
  note(outcome);
  ledger.offered.add();
  if (!outcome) {
    ledger.accepted.add();
    ledger.bytes_sent.add(bytes);
  } else {
    ledger.refused[static_cast<std::size_t>(refusal(outcome))].add();
  }
}

std::error_code ChannelState::close(Deadline deadline, bool confirm) noexcept {
  if (gate.forked()) return Errc::closed;
  gate.shut_and_drain();
  {
    std::unique_lock lock(close_mutex_);
    // Another closer goes on when this one's time is over.
    if (!close_over_.wait_until(lock, deadline, [this] { return !closing_; })) return Errc::timed_out;
    closing_ = true;
    if (gave_up_ && !confirm) deadline = Deadline::min();
  }
  const std::error_code outcome = close_alone(deadline, confirm);
  {
    const std::lock_guard lock(close_mutex_);
    closing_ = false;
    gave_up_ = gave_up_ || outcome == Errc::timed_out;
  }
  close_over_.notify_one();
  return outcome;
}

std::error_code ChannelState::close_alone(Deadline deadline, bool confirm) noexcept {
  disarm_room();
  if (loan_open) {
    impl->drop_loan();
    loan_open = false;
  }
  Spinner spinner(wait);
  for (;;) {
    const std::error_code outcome = impl->try_close(confirm);
    note(outcome);
    if (outcome != Errc::would_block) return outcome;
    if (Clock::now() >= deadline) return Errc::timed_out;
    if (wait != WaitMode::spin && spinner.turn()) continue;
    if (impl->sleeps_itself(Ready::close, deadline)) continue;
    WaitSet set;
    const bool again = impl->arm(Ready::close, set);
    if (!again) set.sleep(deadline);
    impl->disarm(Ready::close);
  }
}

}  // namespace bus
