// transports/mq/channel.cpp: sending, receiving, sleeping and ending.
#include "transports/mq/channel.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <new>
#include <utility>

#include "bus/core/fault_point.hpp"

namespace bus::mq {
namespace {

using namespace std::chrono_literals;

// How long a sleep lasts at most. Everything that ends one has a descriptor; this is for a peer that scribbled over
// the words by which sleepers announce themselves.
constexpr auto kSlice = 100ms;
constexpr int kBurials = 200;
constexpr auto kBurialPause = 1ms;
constexpr std::size_t kLeastLoan = 4096;

constexpr std::size_t index(Reason reason) noexcept { return static_cast<std::size_t>(reason); }

}  // namespace

MqChannel::MqChannel(Link link, std::optional<Place> listener)
    : page_(std::move(link.page)),
      in_{std::move(link.in), link.listens ? page_.up() : page_.down(), std::move(link.listens ? link.up : link.down)},
      out_{std::move(link.out), link.listens ? page_.down() : page_.up(),
           std::move(link.listens ? link.down : link.up)},
      max_message_(link.max_message),
      peer_(std::move(link.peer)),
      listener_(std::move(listener)),
      control_(std::move(link.control), in_.events.message.get(), out_.events.room.get(), ledger_) {}

MqChannel::~MqChannel() = default;

Traits MqChannel::traits() const noexcept {
  Traits traits;
  traits.survives_peer = false;
  traits.receives_in_place = false;
  traits.loans_in_place = false;
  traits.max_message = max_message_;
  return traits;
}

// ---- sending ----

std::error_code MqChannel::try_send(std::span<const std::byte> payload) noexcept {
  if (const std::error_code error = check_sending(payload.size())) return error;
  return push(payload);
}

std::error_code MqChannel::check_sending(std::size_t size) noexcept {
  // relaxed: a hint where to look
  if (in_.words.ended.load(std::memory_order_relaxed) != 0 || sending_.over()) control_.look();
  if (const Control::State state = control_.state(); state != Control::State::there) return over(state);
  if (size > max_message_) return Errc::message_too_large;
  return {};
}

std::error_code MqChannel::push(std::span<const std::byte> payload) noexcept {
  Outcome outcome = Outcome::wait;
  {
    const std::lock_guard lock(push_mutex_);
    if (sending_shut_) return Errc::closed;
    outcome = out_.queue.try_push(payload);
    if (outcome == Outcome::done) ++pushed_;
  }
  if (outcome == Outcome::done) {
    BUS_FAULT_POINT();
    wake(out_.words.receiver_asleep, out_.events.message.get());
    return {};
  }
  return outcome == Outcome::wait ? make_error_code(Errc::would_block) : code_of(outcome);
}

Result<std::span<std::byte>> MqChannel::try_loan(std::size_t size) noexcept {
  if (const std::error_code error = check_sending(size)) return error;
  // Nobody else puts messages into this queue: room that is there now is there when the loan is published.
  std::size_t waiting = 0;
  const Outcome outcome = out_.queue.count(waiting);
  if (outcome == Outcome::died || outcome == Outcome::broken) return code_of(outcome);
  if (waiting >= out_.queue.depth()) return Errc::would_block;
  if (loan_ == nullptr || size > loan_room_) {
    const std::size_t room = std::bit_ceil(std::max(size, kLeastLoan));
    loan_.reset(new (std::nothrow) std::byte[room]);
    loan_room_ = loan_ != nullptr ? room : 0;
    if (loan_ == nullptr) return Errc::no_room;
  }
  loan_size_ = size;
  return std::span(loan_.get(), size);
}

std::error_code MqChannel::publish(std::size_t used) noexcept {
  if (used > loan_size_) return Errc::message_too_large;
  const std::error_code error = push({loan_.get(), used});
  // try_loan() saw room and only a peer that breaks the queue can have taken it.
  return error == Errc::would_block ? code_of(Outcome::broken) : error;
}

// ---- receiving ----

/// Where the next message goes: a queue copies it out into memory that must have room for the largest. Empty: no
/// memory.
std::span<std::byte> MqChannel::room() noexcept {
  if (!room_) room_.reset(common::Chunk::take(in_.queue.slot()));
  return room_ ? std::span(room_->data(), room_->capacity()) : std::span<std::byte>();
}

/// The room's first bytes as a message that gives it back.
Message MqChannel::lend(std::size_t size) noexcept {
  common::Chunk* const chunk = room_.release();
  chunk->touched(size);
  chunk->retire(1);
  return {std::span<const std::byte>(chunk->data(), size), chunk, nullptr};
}

Outcome MqChannel::pop(std::span<std::byte> room, std::size_t& size) noexcept {
  const Outcome outcome = in_.queue.try_pop(room, size);
  if (outcome == Outcome::done) {
    BUS_FAULT_POINT();
    wake(in_.words.sender_asleep, in_.events.room.get());
  }
  return outcome;
}

Result<Message> MqChannel::try_receive() noexcept {
  if (end_) return end_;
  const std::span<std::byte> room = this->room();
  if (room.empty()) return Errc::no_room;
  std::size_t size = 0;
  Outcome outcome = pop(room, size);
  if (outcome == Outcome::wait) outcome = pop_after_looking(room, size);
  if (outcome == Outcome::done) {
    unannounce();
    return lend(size);
  }
  if (outcome == Outcome::wait) return nothing_left();
  return end_ = code_of(outcome);
}

/// The queue was empty. If the peer has ended meanwhile, or a descriptor has to be made unreadable first, the queue is
/// asked once more after that: what was put into it before must not be missed.
Outcome MqChannel::pop_after_looking(std::span<std::byte> room, std::size_t& size) noexcept {
  // relaxed: a hint where to look
  if (in_.words.ended.load(std::memory_order_relaxed) != 0 || receiving_.over()) control_.look();
  if (readable_) announce();
  if (control_.state() == Control::State::there && !readable_) return Outcome::wait;
  return pop(room, size);
}

/// Why there is no message. Ends the channel when there will be none.
std::error_code MqChannel::nothing_left() noexcept {
  const Control::State state = control_.state();
  if (state == Control::State::there) return Errc::would_block;
  if (state == Control::State::ended) settle();
  return end_ = over(state);
}

/// With readable_fd(): makes it unreadable, and has the next message make it readable.
void MqChannel::announce() noexcept {
  control_.look();
  clear(in_.events.message);
  in_.words.receiver_asleep.store(1, std::memory_order_relaxed);
  announced_ = true;
}

/// With readable_fd(): a message was taken, and there may be more. The descriptor is readable if the peer woke us; if
/// it had not come to that, we do it ourselves.
void MqChannel::unannounce() noexcept {
  if (announced_) wake(in_.words.receiver_asleep, in_.events.message.get());
  announced_ = false;
}

int MqChannel::readable_fd() {
  if (!readable_) {
    os::Fd epoll = os::make_epoll();
    if (!os::epoll_set(epoll.get(), in_.events.message.get(), EPOLLIN, 0) ||
        !os::epoll_set(epoll.get(), control_.fd(), EPOLLIN, 0)) {
      throw Error(last_system_error(), describe("readable_fd", peer_.address, last_system_error()));
    }
    os::signal_event(in_.events.message.get());  // the first try_receive() finds out what is there
    readable_ = std::move(epoll);
  }
  return readable_.get();
}

// ---- sleeping ----

bool MqChannel::arm(Ready ready, WaitSet& set) noexcept {
  if (ready == Ready::close && control_.state() == Control::State::gone) {
    set.at_most(kBurialPause);
    return false;
  }
  set.at_most(kSlice);
  set.add(control_.fd(), POLLIN);
  if (ready == Ready::close) return false;  // only the peer's counts are waited for

  std::size_t waiting = 0;
  if (ready == Ready::receive) {
    if (!readable_) in_.words.receiver_asleep.store(1, std::memory_order_relaxed);
    const Outcome outcome = in_.queue.count(waiting);
    set.add(in_.events.message.get(), POLLIN);
    return outcome != Outcome::wait || control_.state() != Control::State::there;
  }
  out_.words.sender_asleep.store(1, std::memory_order_relaxed);
  const Outcome outcome = out_.queue.count(waiting);
  set.add(out_.events.room.get(), POLLIN);
  return waiting < out_.queue.depth() || outcome == Outcome::died || outcome == Outcome::broken ||
         control_.state() != Control::State::there;
}

void MqChannel::disarm(Ready ready) noexcept {
  if (ready == Ready::close) return;
  if (ready == Ready::receive) {
    receiving_.end();
    if (readable_) return;  // the word and the event are those of the descriptor
    // 1: nobody has woken us, so there is nothing to clear
    if (in_.words.receiver_asleep.exchange(0, std::memory_order_relaxed) == 0) clear(in_.events.message);
  } else {
    sending_.end();
    if (out_.words.sender_asleep.exchange(0, std::memory_order_relaxed) == 0) clear(out_.events.room);
  }
}

/// Clears an event, but never the one that says that the peer is no more.
void MqChannel::clear(const os::Fd& event) const noexcept {
  if (control_.state() != Control::State::there) return;
  os::clear_event(event.get());
  if (control_.state() != Control::State::there) os::signal_event(event.get());
}

// ---- ending ----

std::error_code MqChannel::code_of(Outcome outcome) noexcept {
  control_.set_gone(outcome == Outcome::died ? Control::State::gone : Control::State::corrupt);
  return over(control_.state());
}

std::error_code MqChannel::over(Control::State state) noexcept {
  switch (state) {
    case Control::State::there:
      break;
    case Control::State::ended:
      return Errc::closed;
    case Control::State::gone:
      if (listener_ && !swept_.exchange(true)) sweep(*listener_);
      return Errc::peer_died;
    case Control::State::corrupt:
      return Errc::corrupt;
  }
  return {};
}

/// Takes what nobody will receive any more out of the queue.
void MqChannel::drain() noexcept {
  const std::span<std::byte> room = this->room();
  if (room.empty()) return;  // it stays in the queue, and the peer's books have it as lost
  std::size_t size = 0;
  Outcome outcome = Outcome::wait;
  while ((outcome = in_.queue.try_pop(room, size)) == Outcome::done) {
    ledger_.dropped[index(Reason::closed)].add();
  }
  if (outcome != Outcome::wait) static_cast<void>(code_of(outcome));
}

/// The peer is dead: what it has not taken out of the queue has certainly not reached its caller.
void MqChannel::count_lost() noexcept {
  std::size_t waiting = 0;
  if (std::exchange(lost_counted_, true) || out_.queue.count(waiting) != Outcome::done) return;
  ledger_.lost[index(Reason::peer_died)].add(waiting);
}

/// Closes the channel of a dead peer. The queue's mutex, or the socket, may tell a death some time before the kernel
/// frees the dead listener's lock: then this looks again for what it has left.
std::error_code MqChannel::bury() noexcept {
  count_lost();
  if (!listener_) return Errc::peer_died;
  const bool ended = has_ended(peer_.pid.value_or(0));
  if (!sweep(*listener_) && !ended && burials_ < kBurials) {
    ++burials_;
    return Errc::would_block;
  }
  return Errc::peer_died;
}

/// Our counts for the peer. From here on nothing more is sent, so the number of messages is the last one.
Counts MqChannel::counts(Kind kind) noexcept {
  Counts counts;
  counts.kind = kind;
  {
    const std::lock_guard lock(push_mutex_);  // [count]
    sending_shut_ = true;
    counts.accepted = pushed_;
  }
  counts.received = ledger_.received.get();
  counts.dropped = ledger_.dropped_total();
  return counts;
}

/// The peer has ended, and the queue is empty: our counts are final, and it is told if it does not know them.
void MqChannel::settle() noexcept {
  const Counts now = counts(Kind::ack);
  if (now == said_) return;
  said_ = now;
  // A peer that did not wait for this has closed its socket: then there is nobody to tell.
  static_cast<void>(control_.say(now));
}

std::error_code MqChannel::try_close(bool confirm) noexcept {
  control_.look();
  const bool told = control_.told();
  const Control::State before = control_.state();
  // After the looks above: if the peer has said its last count, then all of that is in the queue now.
  if (confirm || !end_said_) drain();
  if (before == Control::State::gone) return bury();
  if (before == Control::State::corrupt) return over(before);
  if (!end_said_) {
    Counts last = counts(Kind::end);
    last.more = confirm && before == Control::State::there;
    const std::error_code error = control_.say(last);
    if (error && error != Errc::peer_died) return error;
    BUS_FAULT_POINT();
    out_.words.ended.store(1, std::memory_order_relaxed);
    end_said_ = true;
    ack_owed_ = last.more;
    said_ = last;  // that is as good as an ACK, unless one was promised
    said_.kind = Kind::ack;
    said_.more = false;
    if (error) return try_close(confirm);  // it has hung up, and what it said before that can be read now
  }
  if (told || before == Control::State::ended) {
    if (std::exchange(ack_owed_, false)) said_ = Counts{};
    settle();
  }
  return !confirm || told ? std::error_code{} : make_error_code(Errc::would_block);
}

}  // namespace bus::mq
