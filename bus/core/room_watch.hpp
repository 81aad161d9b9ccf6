// bus/core/room_watch.hpp: waits for room to send in many channels at once. Internal: the part of Poller for that.
//
// A wish stands for one armed wait of one channel: the transport was told that the sender waits (arm(Ready::send)),
// and the descriptors that it named lie in an epoll here. It ends with its report, or with the next call that sends on
// that channel (which disarms the transport first), or with forget(). As in every wait, what has no descriptor is
// seen to when the slice that the transport gave is over: it is then armed anew.
// Cost: nothing for channels without a wish. Those with one cost a wait one epoll_wait and one reading of the clock
// together, and some system calls each when they are armed, at the end of a slice and at their report.
// Threads: one, which is the sender's thread of all these channels.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "bus/core/channel_state.hpp"
#include "bus/core/deadline.hpp"
#include "bus/core/os/fd.hpp"

namespace bus {

class RoomWatch {
 public:
  using Key = std::uint64_t;

  /// Throws Error, std::bad_alloc.
  RoomWatch() : epoll_(os::make_epoll()) {}
  RoomWatch(const RoomWatch&) = delete;
  RoomWatch& operator=(const RoomWatch&) = delete;

  /// Replaces a wish of the same channel. Throws std::bad_alloc.
  void want(ChannelState& channel, Key key);
  /// Ends a wish, and what it would still have reported.
  void forget(ChannelState& channel) noexcept;

  /// Moves keys of channels that are worth trying again to `out`, as many as there are and fit.
  [[nodiscard]] std::size_t take(std::span<Key> out) noexcept;
  /// Sleep no longer than this, and on descriptor() as well.
  [[nodiscard]] Deadline look_again() const noexcept { return due_.empty() ? look_again_ : Deadline::min(); }
  [[nodiscard]] int descriptor() const noexcept { return epoll_.get(); }

 private:
  struct Wish {
    Key key = 0;
    std::array<int, WaitSet::kMost> fds{};  // in epoll_
    std::size_t count = 0;
    bool blind = false;  // epoll had no memory for one of them: the end of the slice is a report
    Deadline look_again = forever;
  };
  struct Due {
    ChannelState* channel;
    Key key;
  };
  using Wishes = std::unordered_map<ChannelState*, Wish>;

  void arm(Wishes::iterator, Clock::time_point now) noexcept;
  void look_at_ready() noexcept;
  void look_at_late(Clock::time_point now) noexcept;
  void drop(Wishes::iterator) noexcept;
  void watch(Wish&, ChannelState*, const WaitSet&) noexcept;
  void unwatch(Wish&) noexcept;
  void report(Wishes::iterator) noexcept;

  os::Fd epoll_;
  Wishes wishes_;
  std::vector<Due> due_;           // has room for all of wishes_, too
  Deadline look_again_ = forever;  // the earliest of wishes_, or earlier
};

}  // namespace bus
