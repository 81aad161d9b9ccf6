// transports/udp/channel.cpp: receiving and closing; sending is in channel_send.cpp.
#include "transports/udp/channel.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>

#include "bus/core/errc.hpp"
#include "bus/core/os/fork.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostPumps = 512;  // receives in one call, so that junk cannot hold it for ever

constexpr auto kPingLocal = 40ms;  // a death is noticed within 100 ms
constexpr auto kPingRemote = 1s;   // keeps the ways open
constexpr auto kWelcome = 20ms;    // between repeats
constexpr auto kFirstEnd = 10ms;
constexpr auto kLastEnd = 100ms;
constexpr std::uint64_t kUnwindowedBatch = std::uint64_t{256} << 10;
constexpr std::size_t kRepeats = 8;
constexpr int kEnds = 3;  // copies at once: a single loss delays nothing

}  // namespace

BusChannel::BusChannel(os::Fd socket, const Agreement& terms, const std::optional<Greeting>& welcome)
    : fd_(std::move(socket)),
      terms_(terms),
      peer_(connected_to(fd_.get())),
      local_peer_(peer_.is_loopback() || peer_.same_host(bound_to(fd_.get()))),
      ping_every_(local_peer_ ? std::chrono::nanoseconds(kPingLocal) : std::chrono::nanoseconds(kPingRemote)),
      forks_(os::watch_forks()),
      welcome_(welcome.value_or(Greeting{})),
      receive_event_(os::make_event()),
      send_event_(os::make_event()),
      acked_(terms.start.position),
      heard_(!welcome.has_value()),
      inbound_({.session = terms.session,
                .max_message = terms.max_message_here,
                .max_datagram = terms.max_datagram,
                .window = terms.window_here},
               ledger_, terms.start),
      batch_end_position_(terms.start.position),
      handed_position_(terms.start.position),
      acked_here_(terms.start.position),
      next_ping_(Clock::now() + ping_every_),
      out_({.fd = fd_.get(),
            .session = terms.session,
            .max_datagram = terms.max_datagram,
            .window = terms.window_there,
            .start = terms.start}),
      looked_at_(terms.start.position) {
  tell_drops(fd_.get());
  join_runs(fd_.get());
}

BusChannel::~BusChannel() {
  if (!is_forked()) common::Flusher::forget(*this);
  while (batch_at_ < batch_size_) batch_[batch_at_++].chunk->release(nullptr);
}

bool BusChannel::is_forked() const noexcept { return forks_ != os::forks_so_far(); }

Traits BusChannel::traits() const noexcept {
  Traits traits;
  traits.reliable = false;
  traits.ordered = true;
  traits.keeps_boundaries = true;
  traits.exchanges_books = true;
  traits.tells_death = local_peer_;
  traits.receives_in_place = true;
  traits.loans_in_place = false;
  traits.max_message = terms_.max_message_there;
  return traits;
}

Peer BusChannel::peer() const {
  Peer peer;
  peer.address = peer_.text();
  peer.instance = terms_.peer_instance;
  return peer;
}

// ---- taking in ----

BusChannel::Pumped BusChannel::pump() noexcept {
  const std::span<std::byte> room = intake_.room();
  if (room.empty()) return Pumped::nothing;  // no memory now: what waits stays in the kernel's buffer
  const Result<Received> received = receive(fd_.get(), room);
  if (!received) {
    if (received.error() == Errc::would_block) return Pumped::nothing;
    if (received.error() == std::errc::connection_refused) {
      dead_.store(true, std::memory_order_relaxed);
      sender_news_ = true;
    }
    // Other reports (no route, for instance) are about datagrams that will be missing, and are counted there.
    return Pumped::something;
  }
  if (received->drops) inbound_.kernel_drops(*received->drops);
  auto rest = std::span<const std::byte>(room).first(received->bytes);
  do {
    const auto datagram = rest.first(std::min(received->segment, rest.size()));
    rest = rest.subspan(datagram.size());
    handle(datagram);
  } while (!rest.empty() && !corrupt_.load(std::memory_order_relaxed));
  intake_.received(received->bytes);
  return Pumped::something;
}

void BusChannel::pump_all(std::size_t budget) noexcept {
  while (budget-- > 0 && !corrupt_.load(std::memory_order_relaxed) && pump() == Pumped::something) {
  }
}

void BusChannel::handle(std::span<const std::byte> datagram) noexcept {
  switch (inbound_.take(datagram, intake_)) {
    case Inbound::Taken::nothing:
      break;
    case Inbound::Taken::data:
      heard_.store(true, std::memory_order_relaxed);
      break;
    case Inbound::Taken::control:
      heard_.store(true, std::memory_order_relaxed);
      handle_control(inbound_.control());
      break;
    case Inbound::Taken::corrupt:
      break_off();
      break;
  }
}

void BusChannel::handle_control(const Packet& packet) noexcept {
  const Header& header = packet.header;
  switch (header.kind) {
    case Kind::ack:
      acked(header.position);
      break;
    case Kind::probe:
      if (inbound_.announce(header)) {
        send_ack();
      } else {
        break_off();
      }
      break;
    case Kind::end:
    case Kind::settled: {
      const auto counts = read_counts(packet);
      // A settled without an end of ours, and one that contradicts what was received, are no answers.
      if (!counts || (header.kind == Kind::settled && !end_sent_) || !inbound_.end(header)) {
        break_off();
        break;
      }
      peer_counts_ = *counts;
      if (header.kind == Kind::settled) settled_ = true;
      peer_ended_.store(true, std::memory_order_relaxed);
      sender_news_ = true;
      if (finished_ && header.kind == Kind::end) send_settled();  // it did not get our answer
      break;
    }
    case Kind::ping:
    case Kind::data:
    case Kind::hello:
    case Kind::cookie:
    case Kind::welcome:
    case Kind::refuse:
      break;  // late repeats of the handshake, which is over
  }
}

void BusChannel::break_off() noexcept {
  corrupt_.store(true, std::memory_order_relaxed);
  sender_news_ = true;
}

void BusChannel::acked(std::uint32_t position) noexcept {
  const std::uint64_t before = acked_.load(std::memory_order_relaxed);
  const std::uint64_t now = History::nearest(before, position);
  // An old one, or more than was ever allowed to be sent.
  if (History::ahead(now, before) <= 0 || now - before > terms_.window_there) return;
  acked_.store(now, std::memory_order_relaxed);
  sender_news_ = true;
}

// What the receiving side holds no more: with nothing queued, all that has left the kernel's buffer.
std::uint64_t BusChannel::taken_here() const noexcept {
  if (inbound_.empty() && !batch_open_) return inbound_.position();
  return handed_position_;
}

void BusChannel::control_sent(std::error_code outcome) noexcept {
  // Lost or refused for want of buffers: whoever needs the answer asks again.
  if (outcome == std::errc::connection_refused) dead_.store(true, std::memory_order_relaxed);
}

void BusChannel::send_ack() noexcept {
  const std::uint64_t taken = taken_here();
  if (History::ahead(taken, acked_here_) > 0) acked_here_ = taken;
  Datagram room;
  control_sent(send_one(
      fd_.get(),
      make_control({.kind = Kind::ack, .session = terms_.session, .position = static_cast<std::uint32_t>(acked_here_)},
                   room)));
}

void BusChannel::ack_if_worthwhile() noexcept {
  if (terms_.window_here == 0) return;
  const std::int64_t news = History::ahead(taken_here(), acked_here_);
  if (news > 0 && static_cast<std::uint64_t>(news) >= terms_.window_here / 4) send_ack();
}

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

// Someone else than the thread that waits has taken something in: tell it.
void BusChannel::wake_others(bool receiver) noexcept {
  if (!receiver && (receive_armed_ || readable_) && (!inbound_.empty() || is_over())) show_readable(true);
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

// ---- handing out ----

// Moves messages to the receiver's thread, which hands them out without the lock.
void BusChannel::refill() noexcept {
  const std::uint64_t enough = terms_.window_here != 0 ? terms_.window_here / 16 : kUnwindowedBatch;
  std::uint64_t bytes = 0;
  batch_at_ = batch_size_ = 0;
  while (!inbound_.empty() && batch_size_ < kBatch && (batch_size_ == 0 || bytes < enough)) {
    batch_[batch_size_] = inbound_.pop();
    bytes += window_cost(batch_[batch_size_].size);
    ++batch_size_;
  }
  const std::uint64_t end = batch_[batch_size_ - 1].position;
  if (History::ahead(end, batch_end_position_) > 0) batch_end_position_ = end;
  batch_open_ = true;
  delivered_ += batch_size_;
}

Message BusChannel::hand_out() noexcept {
  const Inbound::Item& item = batch_[batch_at_++];
  return {{item.data, item.size}, item.chunk, nullptr};
}

Result<Message> BusChannel::try_receive() noexcept {
  if (batch_at_ < batch_size_) return hand_out();
  const Lock lock(receive_mutex_);
  batch_open_ = false;
  handed_position_ = batch_end_position_;
  for (std::size_t pumps = 0; pumps < kMostPumps;) {
    if (!inbound_.empty()) {
      refill();
      ack_if_worthwhile();
      if (readable_) show_readable(batch_size_ > 1 || !inbound_.empty());
      wake_others(true);
      return hand_out();
    }
    std::error_code end;
    if (corrupt_.load(std::memory_order_relaxed)) {
      end = Errc::corrupt;
    } else if (finished_) {
      pump_all(kRepeats);  // the peer says its end again if it did not get our answer
      end = Errc::closed;
    } else if (inbound_.complete()) {
      finish();
      end = Errc::closed;
    } else {
      ++pumps;
      if (pump() == Pumped::something) continue;
      if (inbound_.has_gap()) {
        inbound_.settle();
        continue;
      }
      if (dead_.load(std::memory_order_relaxed)) end = Errc::peer_died;
    }
    if (end) {
      if (readable_) show_readable(true);
      wake_others(true);
      return end;
    }
    if (ping_if_due(Clock::now())) continue;  // the kernel's answer, if any, is there at once
    break;
  }
  ack_if_worthwhile();
  show_readable(false);
  wake_others(true);
  flush_gathered();
  return Errc::would_block;
}

// The peer has closed, and all that it sent has been handed out or dropped: the counts are final.
void BusChannel::finish() noexcept {
  finished_ = true;
  {
    const std::lock_guard lock(send_mutex_);
    stopped_ = true;
    // It takes nothing more. What can still leave lets it see what it was that it did not take.
    static_cast<void>(out_.flush(acked_.load(std::memory_order_relaxed)));
    out_.discard();
    note_held();
  }
  ledger_.peer_accepted(inbound_.accepted());
  ledger_.peer_settled(peer_counts_.received, peer_counts_.dropped, Reason::closed);
  for (int i = 0; i < kEnds && !settled_; ++i) send_settled();  // an answer wants no answer
}

void BusChannel::send_settled() noexcept {
  Header header;
  {
    const std::lock_guard lock(send_mutex_);
    header = out_.mark(Kind::settled);
  }
  Datagram room;
  const Counts counts{.received = delivered_, .dropped = ledger_.dropped_total()};
  control_sent(send_one(fd_.get(), make_counts(header, counts, room)));
}

// ---- waiting ----

bool BusChannel::arm(Ready ready, WaitSet& set) noexcept {
  const Lock lock(receive_mutex_);
  const Clock::time_point now = Clock::now();
  set.add(fd_.get(), POLLIN);
  switch (ready) {
    case Ready::receive: {
      if (!inbound_.empty() || is_over()) return true;
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
  show_readable(batch_at_ < batch_size_ || !inbound_.empty() || is_over());
  return readable_.get();
}

// ---- closing ----

void BusChannel::drop_batch() noexcept {
  const std::size_t rest = batch_size_ - batch_at_;
  if (rest > 0) {
    ledger_.dropped[static_cast<std::size_t>(Reason::closed)].add(rest);
    delivered_ -= rest;
  }
  while (batch_at_ < batch_size_) batch_[batch_at_++].chunk->release(nullptr);
  batch_open_ = false;
}

std::error_code BusChannel::try_close(bool confirm) noexcept {
  if (is_forked()) return {};  // the channel is the parent's, who goes on with it
  const Lock lock(receive_mutex_);
  if (!closing_.exchange(true, std::memory_order_relaxed)) {
    drop_batch();
    pump_all(kMostPumps);
    inbound_.settle();  // what was lost before this end closed
    inbound_.refuse(Reason::closed);
  }
  const Clock::time_point now = Clock::now();
  for (;;) {
    // In this order: what a peer said before it left is read after its absence was noticed.
    const bool dead = dead_.load(std::memory_order_relaxed);
    pump_all(kMostPumps);
    if (corrupt_.load(std::memory_order_relaxed)) return {};
    if (inbound_.ended()) {
      // The peer has closed too, or has answered: what it sent and is not here will not come.
      inbound_.settle();
      if (!finished_) finish();
      return {};
    }
    if (dead) return Errc::peer_died;
    const std::error_code outcome = say_end(confirm, now);
    if (!dead_.load(std::memory_order_relaxed)) return outcome;
  }
}

// Everything that is held, then our end, which is repeated until it is answered.
std::error_code BusChannel::say_end(bool confirm, Clock::time_point now) noexcept {
  if (!end_sent_) {
    const std::lock_guard send_lock(send_mutex_);
    stopped_ = true;
    refusal_ = out_.flush(acked_.load(std::memory_order_relaxed));
    note_held();
    if (refusal_ == Outbound::Outcome::nobody) dead_.store(true, std::memory_order_relaxed);
    if (refusal_ != Outbound::Outcome::done) return Errc::would_block;
  }
  if (!end_sent_ || (confirm && now >= next_end_)) {
    end_interval_ = end_sent_ ? std::min<Clock::duration>(end_interval_ * 2, kLastEnd) : Clock::duration(kFirstEnd);
    next_end_ = now + end_interval_;
    for (int i = 0; i < (end_sent_ ? 1 : kEnds); ++i) {
      if (const auto error = send_end(); error == Errc::would_block && !end_sent_) {
        refusal_ = Outbound::Outcome::no_buffer;
        return error;
      }
      end_sent_ = true;
    }
  }
  return confirm ? make_error_code(Errc::would_block) : std::error_code{};
}

std::error_code BusChannel::send_end() noexcept {
  Header header;
  {
    const std::lock_guard lock(send_mutex_);
    header = out_.mark(Kind::end);
  }
  Datagram room;
  const Counts counts{.received = delivered_, .dropped = ledger_.dropped_total()};
  const std::error_code error = send_one(fd_.get(), make_counts(header, counts, room));
  control_sent(error);
  return error;
}

}  // namespace bus::udp
