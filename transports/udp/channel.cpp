// transports/udp/channel.cpp: taking datagrams in and handing messages out. Sending is in channel_send.cpp, waiting in
// channel_wait.cpp, the end in channel_close.cpp.
#include "transports/udp/channel.hpp"

#include <algorithm>

#include "bus/core/errc.hpp"
#include "bus/core/os/fork.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr auto kPingLocal = 40ms;  // a death is noticed within 100 ms
constexpr auto kPingRemote = 1s;   // keeps the ways open
constexpr std::uint64_t kUnwindowedBatch = std::uint64_t{256} << 10;
constexpr std::size_t kRepeats = 8;

}  // namespace

BusChannel::BusChannel(os::Fd socket, const Agreement& terms, const std::optional<Greeting>& welcome)
    : fd_(std::move(socket)),
      terms_(terms),
      peer_(connected_to(fd_.get())),
      local_peer_(peer_.is_loopback() || peer_.same_host(bound_to(fd_.get()))),
      ping_every_(local_peer_ ? std::chrono::nanoseconds(kPingLocal) : std::chrono::nanoseconds(kPingRemote)),
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
  if (!is_forked()) Flusher::forget(*this);
  while (batch_at_ < batch_size_) batch_[batch_at_++].chunk->release(nullptr);
}

bool BusChannel::is_forked() const noexcept { return origin_.inherited(); }

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

}  // namespace bus::udp
