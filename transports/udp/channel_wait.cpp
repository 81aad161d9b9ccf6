// transports/udp/channel_wait.cpp: what wakes whoever waits, and the pings that find out a death.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "bus/core/errc.hpp"
#include "transports/udp/channel.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr auto kWelcome = 20ms;  // between repeats

}  // namespace

bool BusChannel::ping_if_due(Clock::time_point now) noexcept {
  if (now < next_ping_) return false;
  const bool heard = heard_.load(std::memory_order_relaxed);
  next_ping_ = now + (heard ? ping_every_ : std::chrono::nanoseconds(kWelcome));
  Datagram room;
  control_sent(send_one(fd_.get(), heard ? make_control({.kind = Kind::ping, .session = terms_.session}, room)
                                         : make_welcome(terms_.session, welcome_, room)));
  if (timer_) {
    ::itimerspec when{};
    const auto at = std::chrono::duration_cast<std::chrono::nanoseconds>(next_ping_.time_since_epoch());
    when.it_value.tv_sec = static_cast<time_t>(at / 1s);
    when.it_value.tv_nsec = static_cast<long>((at % 1s).count());
    static_cast<void>(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr));  // valid, so it succeeds
  }
  return true;
}

bool BusChannel::is_over() const noexcept {
  return corrupt_.load(std::memory_order_relaxed) || finished_ || dead_.load(std::memory_order_relaxed) ||
         inbound_.ended();
}

// Behind a gap whole messages may wait for the receiver's next call, which is what says that the rest is missing: the
// socket may be empty by then and tell nobody.
bool BusChannel::has_for_receiver() const noexcept { return !inbound_.empty() || inbound_.has_gap() || is_over(); }

// Someone else than the thread that waits has taken something in: tell it.
void BusChannel::wake_others(bool receiver) noexcept {
  if (!receiver && (receive_armed_ || readable_) && has_for_receiver()) show_readable(true);
  if (sender_news_ && send_armed_) os::signal_event(send_event_.get());
  sender_news_ = false;
}

void BusChannel::show_readable(bool readable) noexcept {
  if (readable == receive_signalled_) return;
  receive_signalled_ = readable;
  if (readable) {
    os::signal_event(receive_event_.get());
  } else {
    os::clear_event(receive_event_.get());
  }
}

bool BusChannel::arm(Ready ready, WaitSet& set) noexcept {
  const Lock lock(receive_mutex_);
  const Clock::time_point now = Clock::now();
  set.add(fd_.get(), POLLIN);
  switch (ready) {
    case Ready::receive: {
      if (has_for_receiver()) return true;
      if (ping_if_due(now)) return true;
      receive_armed_ = true;
      set.add(receive_event_.get(), POLLIN);
      set.at_most(next_ping_ - now);
      return false;
    }
    case Ready::send: {
      pump_all(kMostPumps);
      wake_others(false);
      if (is_over()) return true;
      const std::lock_guard send_lock(send_mutex_);
      if (refusal_ == Outbound::Outcome::no_buffer) {
        set.add(fd_.get(), POLLOUT);
      } else if (out_.could_go_on(acked_.load(std::memory_order_relaxed))) {
        return true;
      }
      if (probe_if_due(now) && dead_.load(std::memory_order_relaxed)) return true;
      send_armed_ = true;  // also behind a probe: it may have reached a peer that dies before it answers
      set.add(send_event_.get(), POLLIN);
      set.at_most(next_probe_ - now);
      return false;
    }
    case Ready::close: {
      const std::lock_guard send_lock(send_mutex_);
      if (!end_sent_ && refusal_ == Outbound::Outcome::no_buffer) set.add(fd_.get(), POLLOUT);
      if (!end_sent_) static_cast<void>(probe_if_due(now));
      set.at_most((end_sent_ ? next_end_ : next_probe_) - now);
      return false;
    }
  }
  return true;
}

void BusChannel::disarm(Ready ready) noexcept {
  const Lock lock(receive_mutex_);
  if (ready == Ready::receive) {
    receive_armed_ = false;
    if (!readable_) show_readable(false);
  } else if (ready == Ready::send) {
    send_armed_ = false;
    os::clear_event(send_event_.get());
  }
}

int BusChannel::readable_fd() {
  const Lock lock(receive_mutex_);
  if (readable_) return readable_.get();
  os::Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) throw Error(last_system_error(), "readable_fd: cannot make a timer");
  os::Fd epoll = os::make_epoll();
  for (const int fd : {fd_.get(), receive_event_.get(), timer.get()}) {
    if (!os::epoll_set(epoll.get(), fd, EPOLLIN, 0)) throw Error(last_system_error(), "readable_fd: cannot use epoll");
  }
  readable_ = std::move(epoll);
  timer_ = std::move(timer);
  next_ping_ = Clock::time_point{};
  static_cast<void>(ping_if_due(Clock::now()));  // sets the timer
  show_readable(batch_at_ < batch_size_ || has_for_receiver());
  return readable_.get();
}

}  // namespace bus::udp
