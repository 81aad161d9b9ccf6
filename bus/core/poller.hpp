// bus/core/poller.hpp: waits for many channels and listeners of mixed transports in one call.
//
// Level-triggered: what stays ready is reported again. Ready means: try_receive() or try_accept() has something
// to say; now and then that is would_block. Built on epoll and on the readable_fd() of each.
// Threads: one thread at a time. wake() from any. That thread is the receiver's of the channels that were added, and
// the sender's of those whose room is waited for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"

namespace bus {

class Poller {
 public:
  using Key = std::uint64_t;

  Poller();  // throws Error
  Poller(Poller&&) noexcept;
  Poller& operator=(Poller&&) noexcept;
  ~Poller();

  /// `key` is what wait() reports; keys need not differ. The object must be removed before it is destroyed, moved away
  /// from or assigned to.
  /// Throws Error.
  void add(Channel&, Key key);
  void add(Listener&, Key key);
  /// Any descriptor of the program's own: a signalfd, a terminal.
  void add(int fd, Key key);
  void remove(Channel&) noexcept;
  void remove(Listener&) noexcept;
  void remove(int fd) noexcept;

  /// Has wait() report `key` once, when a send that found no room is worth trying again, or when that send would say
  /// why there will be none. Call it after each would_block of try_send(), try_loan(), send_some() or try_flush(): the
  /// wish ends with its report, with the next call that sends on the channel, and with remove(). The channel need not
  /// have been added, and waits for room in one poller at a time. As with readiness, what is reported may be gone:
  /// then there is another would_block and another wish.
  /// Cost: some system calls for each wish, none for channels without one. Throws Error, std::bad_alloc.
  void want_room(Channel&, Key key);
  /// Takes the wish back, if it has not ended: wait() has nothing to do with the channel's sender from then on, which
  /// may be another thread.
  void forget_room(Channel&) noexcept;

  /// Fills `ready` with the keys of what is ready and returns how many; 0 when the deadline passed or wake()
  /// was called. A signal does not end the wait.
  [[nodiscard]] std::size_t wait(std::span<Key> ready, Deadline = forever);
  /// Ends the present or the next wait(). Safe from any thread and in signal handlers.
  void wake() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bus
