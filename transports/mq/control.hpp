// transports/mq/control.hpp: what is known about the peer, from the control socket.
//
// The socket is the kernel's evidence: it ends when the peer's process does. It also carries the counts at the end of a
// channel. What was queued before either of them is in the queue by then: so whoever finds a queue empty looks here
// first and at the queue once more.
//
// Threads: look() and say() from any; each sees a consistent state.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <system_error>

#include "bus/core/books.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "transports/mq/handshake.hpp"

namespace bus::mq {

class Control {
 public:
  /// there: it lives and may send. ended: it has said END. gone: it vanished, or broke the format (`corrupt`).
  enum class State : unsigned char { there, ended, gone, corrupt };

  /// `message` and `room` are this end's eventfds: a change of state is signalled on both, for good.
  Control(os::Fd socket, int message, int room, Ledger& ledger)
      : socket_(std::move(socket)), message_(message), room_(room), ledger_(ledger) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] State state() const noexcept { return state_.load(std::memory_order_acquire); }
  /// The peer has said what became of our messages, and there is no more to wait for.
  [[nodiscard]] bool told() const noexcept { return told_.load(std::memory_order_acquire); }

  /// Takes in what has arrived, and puts the peer's counts into the ledger.
  void look() noexcept;
  /// From evidence elsewhere: a queue's mutex says that its owner died, or its memory makes no sense.
  void set_gone(State) noexcept;
  /// Tells the peer our counts. Errors: peer_died.
  [[nodiscard]] std::error_code say(const Counts&) noexcept;

 private:
  void change(State) noexcept;  // with mutex_

  const os::Fd socket_;
  const os::Lifeline lifeline_{socket_.get()};
  const int message_, room_;
  Ledger& ledger_;

  std::mutex mutex_;
  std::array<std::byte, Counts::kBytes> frame_{};  // guarded by mutex_
  std::size_t have_ = 0;                           // guarded by mutex_
  std::atomic<State> state_{State::there};         // written with mutex_
  std::atomic<bool> told_{false};                  // written with mutex_
};

/// Says now and then that it is time to look at the control socket: one object per thread of a channel.
/// The clock is the coarse one: 4 ms steps, and 5 ns a reading.
class Patience {
 public:
  [[nodiscard]] bool over() noexcept;
  void end() noexcept { last_ms_ = 0; }

 private:
  static constexpr long long kMilliseconds = 10;
  long long last_ms_ = 0;
};

}  // namespace bus::mq
