// bus/core/channel_state.hpp: blocking, deadlines and closing, once for all transports. Internal to bus/core.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include "bus/core/os/barrier.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"

namespace bus {

/// Lets one thread interrupt the calls of others for good, and wait until they have returned.
///
/// A caller passes through with two stores and a load and no locked instruction; the closing side pays:
///   [enter]  caller: inside := 1, light barrier, load closing
///   [shut]   closer: closing := 1, heavy barrier, load inside
/// One of the two sees the other. [leave] is a release store, so that what the caller did is visible after it.
class Gate {
 public:
  enum Side : unsigned { kSender = 0, kReceiver = 1 };

  Gate() noexcept { os::has_heavy_barrier(); }

  /// One call of one side. False: the gate is shut, nothing may be done.
  class Entry {
   public:
    Entry(Gate& gate, Side side) noexcept : inside_(gate.inside_[side].flag) {
#ifndef NDEBUG
      assert_alone(inside_);
#endif
      inside_.store(true, std::memory_order_relaxed);  // [enter]
      os::light_barrier();
      open_ = !gate.closing_.load(std::memory_order_relaxed) && !gate.forked();
    }
    ~Entry() { inside_.store(false, std::memory_order_release); }  // [leave]
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    explicit operator bool() const noexcept { return open_; }

   private:
    static void assert_alone(const std::atomic<bool>& inside) noexcept;
    std::atomic<bool>& inside_;
    bool open_;
  };

  /// This is a forked child, and what is behind the gate is its parent's: nothing may be done.
  [[nodiscard]] bool forked() const noexcept { return origin_.inherited(); }

  [[nodiscard]] bool shut() const noexcept { return closing_.load(std::memory_order_relaxed); }
  /// Makes calls inside return soon and waits until none is. From any thread but one that is inside.
  void shut_and_drain() noexcept;
  /// Adds what ends a sleep when the gate is shut. False: it is shut already.
  [[nodiscard]] bool arm(WaitSet&) noexcept;

 private:
  struct alignas(64) Inside {
    std::atomic<bool> flag{false};
  };
  const os::Origin origin_;
  std::atomic<bool> closing_{false};
  Inside inside_[2];
  // Made by the first sleeper. seq_cst with closing_: a sleeper makes it and then looks at closing_, the closer
  // sets closing_ and then looks at it.
  std::atomic<int> wake_{-1};
  std::mutex mutex_;  // guards the making of wake_owner_
  os::Fd wake_owner_;
};

class ChannelState {
 public:
  ChannelState(std::unique_ptr<ChannelImpl> channel, WaitMode mode, std::string name) noexcept
      : impl(std::move(channel)), wait(mode), address(std::move(name)) {}

  /// In a forked child the transport's part is left alone: its locks may be held by threads that are not there.
  ~ChannelState() {
    if (gate.forked()) static_cast<void>(impl.release());
  }
  ChannelState(const ChannelState&) = delete;
  ChannelState& operator=(const ChannelState&) = delete;

  /// Tries until it is neither would_block nor too late. `attempt` returns an error_code or a Result.
  template <class Attempt>
  auto wait_for(Ready ready, Deadline deadline, Attempt&& attempt) noexcept -> decltype(attempt());

  /// One step of sleeping; false when the gate was shut.
  [[nodiscard]] bool sleep(Ready ready, Deadline deadline) noexcept;

  /// Counts the outcome of an offer.
  void count_sent(std::error_code outcome, std::size_t bytes) noexcept;
  void count_received(const Message& message) noexcept {
    impl->ledger().received.add();
    impl->ledger().bytes_received.add(message.size());
  }
  /// Remembers a death for the books.
  void note(std::error_code outcome) noexcept {
    if (outcome == Errc::peer_died) impl->ledger().peer_died();
  }

  /// See Channel::close(). Without `confirm` it waits for nobody if a close has waited in vain before.
  std::error_code close(Deadline deadline, bool confirm) noexcept;

  /// Inside the gate, before anything is sent. Errors: busy.
  [[nodiscard]] std::error_code begin_send() noexcept {
    disarm_room();
    return loan_open ? make_error_code(Errc::busy) : std::error_code{};
  }

  // A sender's wait for room that lasts beyond one call: see room_watch.hpp. Between arm() and disarm() a transport
  // takes no other call of the sender, so each of those ends the wait first.
  /// Outside the gate, sender's thread. True: do not wait, try again now.
  [[nodiscard]] bool arm_room(WaitSet&) noexcept;
  /// The same thread: whether the wait still stood; it does not any more.
  bool end_room() noexcept;
  /// Inside the gate.
  void disarm_room() noexcept {
    if (!room_armed) [[likely]]
      return;
    room_armed = false;
    impl->disarm(Ready::send);
  }

  std::unique_ptr<ChannelImpl> impl;
  const WaitMode wait;
  const std::string address;
  Gate gate;
  bool loan_open = false;         // owned by the sender's thread
  bool room_armed = false;        // the same
  std::atomic<int> readable{-1};  // readable_fd(), once it was made; stays valid until the channel is gone

 private:
  [[nodiscard]] std::error_code close_alone(Deadline deadline, bool confirm) noexcept;

  // One closer at a time. No timed_mutex: ThreadSanitizer of clang 14 does not know how it waits.
  std::mutex close_mutex_;
  std::condition_variable close_over_;
  bool closing_ = false;  // guarded by close_mutex_: a thread is in close_alone()
  bool gave_up_ = false;  // guarded by close_mutex_: a close has timed out
};

namespace detail {
inline std::error_code code_of(std::error_code code) noexcept { return code; }
template <class T>
std::error_code code_of(const Result<T>& result) noexcept {
  return result ? std::error_code{} : result.error();
}
}  // namespace detail

template <class Attempt>
auto ChannelState::wait_for(Ready ready, Deadline deadline, Attempt&& attempt) noexcept -> decltype(attempt()) {
  const auto undecided = [](const auto& outcome) { return detail::code_of(outcome) == Errc::would_block; };
  auto outcome = attempt();
  if (!undecided(outcome)) return outcome;

  constexpr unsigned kTurnsPerClockRead = 64;
  Spinner spinner(wait);
  for (unsigned turns = 1; spinner.turn(); ++turns) {
    if (gate.shut()) return Errc::closed;
    outcome = attempt();
    if (!undecided(outcome)) return outcome;
    if (turns % kTurnsPerClockRead == 0 && Clock::now() >= deadline) return Errc::timed_out;
  }
  while (deadline == forever || Clock::now() < deadline) {
    if (!sleep(ready, deadline)) return Errc::closed;
    outcome = attempt();
    if (!undecided(outcome)) return outcome;
  }
  return Errc::timed_out;
}

}  // namespace bus
