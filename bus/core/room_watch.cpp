// bus/core/room_watch.cpp: arming, reporting, forgetting.
#include "bus/core/room_watch.hpp"

#include <sys/epoll.h>

#include <algorithm>

namespace bus {
namespace {

using namespace std::chrono_literals;

constexpr auto kBlindSlice = 10ms;

}  // namespace

// Source: epoll_ctl(2), poll(2): the bits are the same on Linux.
static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLRDHUP == POLLRDHUP);

void RoomWatch::want(ChannelState& channel, Key key) {
  forget(channel);
  const std::size_t most = due_.size() + wishes_.size() + 1;
  if (due_.capacity() < most) due_.reserve(2 * most);
  const auto wish = wishes_.try_emplace(&channel).first;
  wish->second.key = key;
  arm(wish, Clock::now());
}

void RoomWatch::forget(ChannelState& channel) noexcept {
  std::erase_if(due_, [&](const Due& due) { return due.channel == &channel; });
  const auto wish = wishes_.find(&channel);
  if (wish == wishes_.end()) return;
  static_cast<void>(channel.end_room());
  drop(wish);
}

void RoomWatch::arm(Wishes::iterator at, Clock::time_point now) noexcept {
  auto& [channel, wish] = *at;
  WaitSet set;
  if (channel->arm_room(set)) return report(at);
  unwatch(wish);
  watch(wish, channel, set);
  auto slice = set.slice();
  if (wish.blind) slice = std::min<std::chrono::nanoseconds>(slice, kBlindSlice);
  wish.look_again = slice == std::chrono::nanoseconds::max() ? forever : now + std::max(slice, 0ns);
  look_again_ = std::min(look_again_, wish.look_again);
}

void RoomWatch::watch(Wish& wish, ChannelState* channel, const WaitSet& set) noexcept {
  const auto all = set.descriptors();
  for (auto fd = all.begin(); fd != all.end(); ++fd) {
    if (std::any_of(all.begin(), fd, [&](const pollfd& other) { return other.fd == fd->fd; })) continue;
    std::uint32_t events = 0;  // a descriptor may have been named twice
    for (const pollfd& other : all) {
      if (other.fd == fd->fd) events |= static_cast<std::uint16_t>(other.events);
    }
    if (os::epoll_set(epoll_.get(), fd->fd, events, reinterpret_cast<std::uintptr_t>(channel))) {
      wish.fds[wish.count++] = fd->fd;
    } else {
      wish.blind = true;
    }
  }
}

void RoomWatch::unwatch(Wish& wish) noexcept {
  for (std::size_t i = 0; i < wish.count; ++i) os::epoll_remove(epoll_.get(), wish.fds[i]);
  wish.count = 0;
  wish.blind = false;
}

void RoomWatch::drop(Wishes::iterator at) noexcept {
  unwatch(at->second);
  wishes_.erase(at);
  if (wishes_.empty()) look_again_ = forever;
}

void RoomWatch::report(Wishes::iterator at) noexcept {
  due_.push_back({at->first, at->second.key});
  drop(at);
}

void RoomWatch::look_at_ready() noexcept {
  std::array<epoll_event, 64> events{};
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel hands back what it was given
    const auto wish = wishes_.find(reinterpret_cast<ChannelState*>(events[static_cast<std::size_t>(i)].data.u64));
    if (wish == wishes_.end()) continue;  // reported already: two of its descriptors are ready
    wish->first->end_room() ? report(wish) : drop(wish);
  }
}

/// Wishes whose slice is over, and those that a send has ended.
void RoomWatch::look_at_late(Clock::time_point now) noexcept {
  look_again_ = forever;
  for (auto next = wishes_.begin(); next != wishes_.end();) {
    const auto wish = next++;
    if (wish->second.look_again > now) {
      look_again_ = std::min(look_again_, wish->second.look_again);
    } else if (!wish->first->end_room()) {
      drop(wish);
    } else if (wish->second.blind) {
      report(wish);
    } else {
      arm(wish, now);
    }
  }
}

std::size_t RoomWatch::take(std::span<Key> out) noexcept {
  if (!wishes_.empty() && due_.size() < out.size()) {
    look_at_ready();
    if (const auto now = Clock::now(); now >= look_again_) look_at_late(now);
  }
  const std::size_t count = std::min(out.size(), due_.size());
  for (std::size_t i = 0; i < count; ++i) out[i] = due_[i].key;
  due_.erase(due_.begin(), due_.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace bus
