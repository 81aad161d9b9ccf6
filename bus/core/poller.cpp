// bus/core/poller.cpp: one epoll over the readable descriptors of all, and one for those that wait for room.
#include "bus/core/poller.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <optional>

#include "bus/core/os/fd.hpp"
#include "bus/core/room_watch.hpp"

namespace bus {

using namespace std::chrono_literals;

struct Poller::State {
  static constexpr std::size_t kMost = 64;   // reported by one wait()
  static constexpr std::uint32_t kWake = 1;  // marks the descriptor behind wake() in `outer`
  os::Fd epoll = os::make_epoll();
  os::Fd wake = os::make_event();
  // wake() has an epoll of its own around the members', so that every value of a key is the user's.
  os::Fd outer = os::make_epoll();
  std::optional<RoomWatch> rooms;  // made by the first wish
  bool rooms_first = false;        // in this wait(): neither kind of readiness can starve the other

  State() {
    if (!os::epoll_set(outer.get(), epoll.get(), EPOLLIN, 0) ||
        !os::epoll_set(outer.get(), wake.get(), EPOLLIN, kWake)) {
      throw Error(last_system_error(), describe("Poller", "", last_system_error()));
    }
  }

  void add(int fd, Key key) const {
    if (!os::epoll_set(epoll.get(), fd, EPOLLIN, key)) {
      const std::error_code code = last_system_error();
      throw Error(code, describe("Poller::add", "", code));
    }
  }

  RoomWatch& room_watch() {
    if (!rooms) {
      rooms.emplace();
      if (!os::epoll_set(outer.get(), rooms->descriptor(), EPOLLIN, 0)) {
        const std::error_code code = last_system_error();
        rooms.reset();
        throw Error(code, describe("Poller::want_room", "", code));
      }
    }
    return *rooms;
  }

  [[nodiscard]] std::size_t take_readable(std::span<Key> out) const noexcept {
    std::array<epoll_event, kMost> events{};
    if (out.empty()) return 0;
    const int count = epoll_wait(epoll.get(), events.data(), static_cast<int>(out.size()), 0);
    for (int i = 0; i < count; ++i) out[static_cast<std::size_t>(i)] = events[static_cast<std::size_t>(i)].data.u64;
    return count > 0 ? static_cast<std::size_t>(count) : 0;
  }

  /// Everything that is ready now, as far as it fits.
  [[nodiscard]] std::size_t take(std::span<Key> out) noexcept {
    if (!rooms) return take_readable(out);
    rooms_first = !rooms_first;
    std::size_t count = rooms_first ? rooms->take(out) : take_readable(out);
    out = out.subspan(count);
    count += rooms_first ? take_readable(out) : rooms->take(out);
    return count;
  }
};

Poller::Poller() : state_(std::make_unique<State>()) {}
Poller::Poller(Poller&&) noexcept = default;
Poller& Poller::operator=(Poller&&) noexcept = default;
Poller::~Poller() = default;

void Poller::add(Channel& channel, Key key) { state_->add(channel.readable_fd(), key); }
void Poller::add(Listener& listener, Key key) { state_->add(listener.readable_fd(), key); }
void Poller::add(int fd, Key key) { state_->add(fd, key); }

void Poller::remove(int fd) noexcept { os::epoll_remove(state_->epoll.get(), fd); }

// Private to this file: a closed object gives no descriptor any more; the kernel has dropped it from the epoll.
template <class Object>
static int descriptor_of(Object& object) noexcept {
  try {
    return object.readable_fd();
  } catch (const std::exception&) {
    return -1;
  }
}

void Poller::remove(Channel& channel) noexcept {
  forget_room(channel);
  remove(descriptor_of(channel));
}
void Poller::remove(Listener& listener) noexcept { remove(descriptor_of(listener)); }

void Poller::want_room(Channel& channel, Key key) {
  if (!channel.state_) throw Error(Errc::closed, "Poller::want_room: the channel is closed");
  state_->room_watch().want(*channel.state_, key);
}

void Poller::forget_room(Channel& channel) noexcept {
  if (state_->rooms && channel.state_) state_->rooms->forget(*channel.state_);
}

void Poller::wake() noexcept { os::signal_event(state_->wake.get()); }

std::size_t Poller::wait(std::span<Key> ready, Deadline deadline) {
  ready = ready.first(std::min(ready.size(), State::kMost));
  if (ready.empty()) return 0;
  for (;;) {
    if (const std::size_t count = state_->take(ready); count > 0) return count;
    const Deadline until = state_->rooms ? std::min(deadline, state_->rooms->look_again()) : deadline;
    timespec limit{};
    if (until != forever) {
      const auto now = Clock::now();
      const auto rest = std::chrono::nanoseconds(std::max(until, now) - now);
      limit.tv_sec = static_cast<time_t>(rest / 1s);
      limit.tv_nsec = static_cast<long>((rest % 1s).count());
    }
    std::array<epoll_event, 3> outer{};
    const int count = epoll_pwait2(state_->outer.get(), outer.data(), static_cast<int>(outer.size()),
                                   until == forever ? nullptr : &limit, nullptr);
    if (count < 0 && errno != EINTR) {
      throw Error(last_system_error(), describe("Poller::wait", "", last_system_error()));
    }
    for (int i = 0; i < count; ++i) {
      if (outer[static_cast<std::size_t>(i)].data.u64 == State::kWake) {
        os::clear_event(state_->wake.get());
        return 0;
      }
    }
    if (count == 0 && deadline <= Clock::now()) return 0;
  }
}

}  // namespace bus
