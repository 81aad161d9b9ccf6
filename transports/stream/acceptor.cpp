// transports/stream/acceptor.cpp: the pool of unfinished handshakes behind a listening socket.
#include "transports/stream/acceptor.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace bus::stream {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostPending = 64;  // unfinished handshakes at a time
constexpr auto kGreetingLimit = 2s;       // for one handshake
constexpr auto kPause = 100ms;            // no accepting for so long when not even the reserve helps
constexpr std::size_t kBatch = 16;        // connections taken between two looks at those that are pending
constexpr std::size_t kMostTurnedAway = 128;

constexpr std::uint64_t kListening = 0;
constexpr std::uint64_t kTimer = 1;
constexpr std::uint64_t kFirstPending = 2;

std::uint32_t epoll_events(short events) noexcept {
  // poll's and epoll's bits have the same values on Linux; only these two are asked for
  return ((events & POLLIN) != 0 ? std::uint32_t{EPOLLIN} : 0U) |
         ((events & POLLOUT) != 0 ? std::uint32_t{EPOLLOUT} : 0U);
}

os::Fd make_reserve() noexcept { return os::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

/// The connection failed before it was taken, or the network did: the next one may be fine. Source: accept(2).
bool concerns_one_connection(int error) noexcept {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

[[noreturn]] void fail(std::string_view what) {
  const std::error_code error = last_system_error();
  throw Error(error, describe("listen", what, error));
}

}  // namespace

struct Acceptor::State {
  struct Pending {
    std::unique_ptr<Greeting> greeting;
    Clock::time_point until;
    std::uint64_t id;
    int fd;
    short events;
  };

  int listening;
  Greet greet;
  os::Fd epoll, timer, reserve;
  std::vector<Pending> pending;  // oldest first; never reallocates
  std::uint64_t next_id = kFirstPending;
  Clock::time_point timer_at = Clock::time_point::max();  // when the timer fires; max: it does not
  Clock::time_point paused_until{};                       // no accepting before this
  bool paused = false;

  using Outcome = Result<std::unique_ptr<ChannelImpl>>;

  void forget(std::size_t index) noexcept {
    // Before its descriptor closes: a forked child may keep the socket open, and then epoll keeps it, too.
    os::epoll_remove(epoll.get(), pending[index].fd);
    pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void drop_late(Clock::time_point now) noexcept {
    while (!pending.empty() && pending.front().until <= now) forget(0);
  }

  /// One step of a pending handshake; would_block keeps it, anything else ends its time in the pool.
  Outcome step(std::size_t index) noexcept {
    Outcome outcome = pending[index].greeting->step();
    if (!outcome && outcome.error() == Errc::would_block) {
      Pending& p = pending[index];
      const short events = p.greeting->events();
      if (events == p.events) return outcome;
      if (os::epoll_set(epoll.get(), p.fd, epoll_events(events), p.id)) {
        p.events = events;
        return outcome;
      }
    }
    forget(index);
    if (!outcome) return Errc::would_block;  // a peer that breaks its handshake is nobody's error but its own
    return outcome;
  }

  /// Takes one connection that accept4 gave.
  Outcome take(os::Fd connection) noexcept {
    const int fd = connection.get();
    std::unique_ptr<Greeting> greeting;
    try {
      greeting = greet(std::move(connection));
    } catch (...) {  // out of memory: this peer is turned away
      return Errc::no_room;
    }
    if (!greeting) return Errc::would_block;
    Outcome outcome = greeting->step();  // most peers have spoken already, and never enter the pool
    if (outcome || outcome.error() != Errc::would_block) {
      if (!outcome) return Errc::would_block;
      return outcome;
    }
    if (pending.size() == kMostPending) forget(0);
    const short events = greeting->events();
    if (!os::epoll_set(epoll.get(), fd, epoll_events(events), next_id)) return Errc::no_room;
    pending.push_back({std::move(greeting), Clock::now() + kGreetingLimit, next_id++, fd, events});
    return Errc::would_block;
  }

  /// No descriptors are left: spends the reserve to take the connections that wait and close them, so that they
  /// are not reported for ever. Without the reserve, accepting pauses.
  void turn_away() noexcept {
    if (reserve) {
      for (std::size_t i = 0; i < kMostTurnedAway; ++i) {
        reserve.reset();
        const os::Fd victim(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        const int error = errno;
        const bool done = !victim && !concerns_one_connection(error);
        const bool helpless = done && error != EAGAIN;  // somebody was quicker and has the descriptor now
        if (helpless) pause();
        if (done) break;
      }
    } else {
      pause();
    }
    if (!reserve) reserve = make_reserve();
  }

  void pause() noexcept {
    paused = true;
    paused_until = Clock::now() + kPause;
    os::epoll_remove(epoll.get(), listening);
  }

  void unpause(Clock::time_point now) noexcept {
    if (!paused || now < paused_until) return;
    if (!reserve) reserve = make_reserve();
    if (os::epoll_set(epoll.get(), listening, EPOLLIN, kListening)) {
      paused = false;
    } else {
      paused_until = now + kPause;
    }
  }

  /// Connections in the listening socket's queue, at most a batch. would_block also when some are left.
  Outcome accept_batch() noexcept {
    for (std::size_t i = 0; i < kBatch; ++i) {
      os::Fd connection(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (connection) {
        Outcome outcome = take(std::move(connection));
        if (outcome || outcome.error() != Errc::would_block) return outcome;
        continue;
      }
      const int error = errno;
      if (error == EAGAIN) break;
      if (concerns_one_connection(error)) continue;
      if (error == EMFILE || error == ENFILE) {
        turn_away();
        return Errc::no_room;
      }
      if (error == ENOMEM || error == ENOBUFS) {
        pause();
        return Errc::no_room;
      }
      return std::error_code(error, std::system_category());
    }
    return Errc::would_block;
  }

  Outcome advance() noexcept {
    std::array<epoll_event, kMostPending + 2> ready;
    const int count = ::epoll_wait(epoll.get(), ready.data(), static_cast<int>(ready.size()), 0);
    if (count < 0) return errno == EINTR ? std::error_code(Errc::would_block) : last_system_error();
    bool accepting = false;
    for (int i = 0; i < count; ++i) {
      const std::uint64_t id = ready[static_cast<std::size_t>(i)].data.u64;
      if (id == kListening) {
        accepting = true;
      } else if (id == kTimer) {
        std::uint64_t expirations = 0;
        if (::read(timer.get(), &expirations, sizeof expirations) > 0) timer_at = Clock::time_point::max();
      } else {
        const auto it = std::find_if(pending.begin(), pending.end(), [id](const Pending& p) { return p.id == id; });
        if (it == pending.end()) continue;
        Outcome outcome = step(static_cast<std::size_t>(it - pending.begin()));
        if (outcome) return outcome;  // the others stay ready: epoll is level-triggered here
      }
    }
    return accepting ? accept_batch() : Outcome(Errc::would_block);
  }

  void set_timer() noexcept {
    Clock::time_point at = pending.empty() ? Clock::time_point::max() : pending.front().until;
    if (paused) at = std::min(at, paused_until);
    if (at == timer_at) return;
    itimerspec spec{};
    if (at != Clock::time_point::max()) {
      // steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++
      const auto since = std::max(at.time_since_epoch(), Clock::duration(1));  // all zero would disarm it
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
      spec.it_value.tv_sec = seconds.count();
      spec.it_value.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds).count();
    }
    if (::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0) timer_at = at;
  }
};

Acceptor::Acceptor(int listening, Greet greet) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.listening = listening;
  s.greet = std::move(greet);
  s.pending.reserve(kMostPending);
  s.epoll = os::make_epoll();
  s.timer = os::Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!s.timer) fail("timerfd_create");
  s.reserve = make_reserve();
  if (!s.reserve) fail("/dev/null");
  if (!os::epoll_set(s.epoll.get(), s.listening, EPOLLIN, kListening) ||
      !os::epoll_set(s.epoll.get(), s.timer.get(), EPOLLIN, kTimer)) {
    fail("epoll_ctl");
  }
}

Acceptor::~Acceptor() = default;

Result<std::unique_ptr<ChannelImpl>> Acceptor::try_accept() noexcept {
  State& s = *state_;
  const Clock::time_point now = Clock::now();
  s.drop_late(now);
  s.unpause(now);
  State::Outcome outcome = s.advance();
  s.set_timer();
  return outcome;
}

// Nothing has to be announced: everything that try_accept() waits for is a level-triggered member of the epoll.
bool Acceptor::arm(WaitSet& wait) noexcept {
  wait.add(state_->epoll.get(), POLLIN);
  return false;
}

int Acceptor::readable_fd() noexcept { return state_->epoll.get(); }

}  // namespace bus::stream
