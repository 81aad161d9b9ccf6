// bus/core/poller.cpp: one epoll over the readable descriptors of all.
#include "bus/core/poller.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "bus/core/os/fd.hpp"

namespace bus {

using namespace std::chrono_literals;

struct Poller::State {
  static constexpr std::uint32_t kWake = 1;  // marks the descriptor behind wake() in `wakers`
  os::Fd epoll = os::make_epoll();
  os::Fd wake = os::make_event();
  // wake() has an epoll of its own around the members', so that every value of a key is the user's.
  os::Fd outer = os::make_epoll();

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

void Poller::remove(Channel& channel) noexcept { remove(descriptor_of(channel)); }
void Poller::remove(Listener& listener) noexcept { remove(descriptor_of(listener)); }

void Poller::wake() noexcept { os::signal_event(state_->wake.get()); }

std::size_t Poller::wait(std::span<Key> ready, Deadline deadline) {
  constexpr std::size_t kMost = 64;
  std::array<epoll_event, kMost> events{};
  const int most = static_cast<int>(std::min(ready.size(), kMost));
  if (most == 0) return 0;
  for (;;) {
    int count = epoll_wait(state_->epoll.get(), events.data(), most, 0);
    if (count > 0) {
      for (int i = 0; i < count; ++i) ready[static_cast<std::size_t>(i)] = events[static_cast<std::size_t>(i)].data.u64;
      return static_cast<std::size_t>(count);
    }
    timespec limit{};
    if (deadline != forever) {
      const auto rest = std::max<std::chrono::nanoseconds>(deadline - Clock::now(), 0ns);
      limit.tv_sec = static_cast<time_t>(rest / 1s);
      limit.tv_nsec = static_cast<long>((rest % 1s).count());
    }
    std::array<epoll_event, 2> outer{};
    count = epoll_pwait2(state_->outer.get(), outer.data(), 2, deadline == forever ? nullptr : &limit, nullptr);
    if (count < 0 && errno != EINTR) {
      throw Error(last_system_error(), describe("Poller::wait", "", last_system_error()));
    }
    for (int i = 0; i < count; ++i) {
      if (outer[static_cast<std::size_t>(i)].data.u64 == State::kWake) {
        os::clear_event(state_->wake.get());
        return 0;
      }
    }
    if (count == 0) return 0;  // the deadline
  }
}

}  // namespace bus
