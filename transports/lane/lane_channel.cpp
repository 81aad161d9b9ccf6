// transports/lane/lane_channel.cpp: sending, receiving, sleeping, growing, closing.
#include "transports/lane/lane_channel.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "bus/core/fault_point.hpp"
#include "bus/core/os/barrier.hpp"
#include "transports/lane/pass_ring.hpp"

namespace bus::lane {

using namespace std::chrono_literals;

namespace {

// How long a peer's death may go unseen by a caller that never sleeps: a quarter of the promised 100 ms.
constexpr std::int64_t kLookEvery = std::chrono::nanoseconds(25ms).count();
// A sender that waits for room asks again this often; see Reader::release() for the race that this closes.
constexpr auto kAskAgain = 50ms;
constexpr auto kYieldAfter = 1500ns;  // as in bus/core/wait.cpp
constexpr unsigned kMostInVain = 8;   // one look in 256, when no look has paid lately

/// Good to a few milliseconds, and cheap: no system call, no timer read.
std::int64_t coarse_now() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::nanoseconds(std::chrono::seconds(now.tv_sec)).count() + now.tv_nsec;
}

}  // namespace

Offer Offer::make(std::size_t capacity) {
  Offer offer;
  offer.page = std::make_shared<Page>(Page::make());
  offer.ring = Ring::make(ring_capacity(capacity));
  offer.bell = os::make_event();
  offer.room_bell = os::make_event();
  return offer;
}

Offer view_of(const Offer& offer) {
  Offer view;
  view.page = std::make_shared<Page>(Page::map(offer.page->memfd()));
  view.ring = Ring::map(offer.ring.memfd(), offer.ring.capacity());
  view.bell = os::duplicate(offer.bell.get());
  view.room_bell = os::duplicate(offer.room_bell.get());
  return view;
}

LaneChannel::LaneChannel(Offer mine, Offer theirs, Link link)
    : mine_(std::move(mine.page)),
      theirs_(std::move(theirs.page)),
      bell_(std::move(mine.bell)),
      room_bell_(std::move(mine.room_bell)),
      their_bell_(std::move(theirs.bell)),
      their_room_bell_(std::move(theirs.room_bell)),
      link_(std::move(link)),
      writer_(std::move(mine.ring), theirs_->status()),
      reader_(Reader::make(std::move(theirs.ring), mine_, theirs_, {bell_.get(), their_room_bell_.get()},
                           link_.max_receive)) {
  link_.traits.max_message = link_.max_send;
  mine_->drop_memfd();
}

// ---- sending ----

std::error_code LaneChannel::try_send(std::span<const std::byte> payload) noexcept {
  const Result<std::byte*> place = reserve(payload.size());
  if (!place) return place.error();
  if (!payload.empty()) std::memcpy(*place, payload.data(), payload.size());
  return publish(payload.size());
}

Result<std::span<std::byte>> LaneChannel::try_loan(std::size_t size) noexcept {
  const Result<std::byte*> place = reserve(size);
  if (!place) return place.error();
  return std::span<std::byte>(*place, size);
}

std::error_code LaneChannel::publish(std::size_t used) noexcept {
  writer_.commit(used);
  if (!in_batch_) wake_reader();
  return {};
}

void LaneChannel::batch_end() noexcept {
  in_batch_ = false;
  wake_reader();
}

Result<std::byte*> LaneChannel::reserve(std::size_t size) noexcept {
  if (theirs().ended.load(std::memory_order_relaxed) != 0) return Errc::closed;
  if (broken_.load(std::memory_order_relaxed)) return Errc::peer_died;
  if (size > link_.max_send) return Errc::message_too_large;
  if (writer_.wants_growth(size)) {
    if (const std::error_code error = grow(size)) return error;
  }
  std::byte* const place = writer_.reserve(size);
  if (place != nullptr) return place;
  if (writer_.corrupt()) return Errc::corrupt;
  wanted_ = record_bytes(size);
  if (in_batch_) wake_reader();  // it has to make room
  return no_room();
}

/// What a sender without room is told, with a look at the kernel now and then. A peer that closed in good order said so
/// before it hung up: whoever sees the hang-up looks for that once more.
std::error_code LaneChannel::no_room() noexcept {
  if (!time_to_look(sender_looked_) || !hung_up()) return Errc::would_block;
  return gone();
}

std::error_code LaneChannel::gone() const noexcept {
  return theirs().ended.load(std::memory_order_acquire) != 0 ? Errc::closed : Errc::peer_died;  // [ended]
}

/// Makes a larger ring, passes it to the peer, and goes on there.
std::error_code LaneChannel::grow(std::size_t size) noexcept {
  if (!writer_.can_move()) {
    wanted_ = kRecordAlign;
    if (writer_.corrupt()) return Errc::corrupt;
    return no_room();
  }
  try {
    Ring ring = Ring::make(Writer::grown_capacity(size));
    BUS_FAULT_POINT();
    if (const std::error_code error = pass_ring(link_.socket.get(), ring.memfd(), ring.capacity())) {
      return error == Errc::peer_died ? gone() : error;
    }
    ring.drop_memfd();
    writer_.move_to(std::move(ring));
    wake_reader();
    return {};
  } catch (const Error& e) {
    return e.code();
  } catch (const std::exception&) {
    return Errc::no_room;
  }
}

/// Rings the peer's bell if it sleeps, once for each sleep.
void LaneChannel::wake_reader() noexcept {
  if (link_.fenced) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // [sleep]
  } else {
    os::light_barrier();  // [sleep]
  }
  const std::uint32_t asleep = theirs().asleep.load(std::memory_order_relaxed);
  if (asleep % 2 != 0 && asleep != rung_sleep_) {
    rung_sleep_ = asleep;
    ring_peer();
    return;
  }
  // It did not have to be woken, so nothing has shown that it lives: ask the kernel now and then. One that does
  // not wake from its sleep is asked about at once, one that never sleeps at every eighth message.
  if ((asleep % 2 != 0 || ++unproven_ % 8 == 0) && time_to_look(sender_looked_) && hung_up()) {
    broken_.store(true, std::memory_order_relaxed);
  }
}

void LaneChannel::ring_peer() noexcept {
  BUS_FAULT_POINT();
  os::signal_event(their_bell_.get());
  mine().rung.store(mine().rung.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // [rung]
}

// ---- receiving ----

Result<Message> LaneChannel::try_receive() noexcept {
  if (over_) return over_;
  Result<Message> message = take_front();
  if (message || message.error() != Errc::would_block) {
    fresh_ = taken_ = true;
    return message;
  }

  reader_->publish_released();
  if (const std::error_code end = at_end()) return end;
  if (epoll_ && !lingers() && !rearm()) {
    // Something came while the sleep was announced: the descriptor has to say that more may be there.
    os::signal_event(bell_.get());
    armed_ = false;
    fresh_ = taken_ = true;
    return take_front();
  }
  return Errc::would_block;
}

/// The next message, following the stream into a larger ring. Errors: would_block, or the end of the channel.
Result<Message> LaneChannel::take_front() noexcept {
  for (;;) {
    switch (reader_->peek()) {
      case Reader::State::message: {
        Result<Message> message = reader_->take();
        if (!message && message.error() == Errc::corrupt) return finish(Errc::corrupt);
        return message;
      }
      case Reader::State::empty:
        return Errc::would_block;
      case Reader::State::moved:
        if (const std::error_code error = follow_move()) return finish(error);
        break;
      case Reader::State::corrupt:
        return finish(Errc::corrupt);
    }
  }
}

std::error_code LaneChannel::follow_move() noexcept {
  try {
    const Result<PassedRing> passed = take_ring(link_.socket.get());
    if (!passed) return passed.error();
    reader_->move_to(Ring::map(passed->memfd.get(), passed->capacity));
    return {};
  } catch (const Error& e) {
    return e.code();
  } catch (const std::exception&) {
    return Errc::no_room;
  }
}

/// The ring is empty: is that for good?
std::error_code LaneChannel::at_end() noexcept {
  const auto ended = [this] { return theirs().ended.load(std::memory_order_acquire) != 0; };  // [ended]
  bool over = ended();
  bool gone = false;
  if (!over && (std::exchange(look_now_, false) || time_to_look(receiver_looked_)) && hung_up()) {
    gone = true;
    over = ended();  // it may have closed in good order before it went
  }
  if (!over && !gone) return {};
  // Everything that was published before is visible now.
  if (reader_->peek() != Reader::State::empty) return {};
  if (!over) return finish(Errc::peer_died);
  read_final_counts();
  tell_counts(mine().settled_counts, mine().settled);
  os::signal_event(their_room_bell_.get());
  return finish(Errc::closed);
}

void LaneChannel::read_final_counts() noexcept {
  const Counts& counts = theirs().final_counts;
  ledger_.peer_accepted(counts.accepted.load(std::memory_order_relaxed));
  ledger_.peer_settled(counts.received.load(std::memory_order_relaxed), counts.dropped.load(std::memory_order_relaxed),
                       Reason::closed);
}

std::error_code LaneChannel::finish(std::error_code why) noexcept {
  over_ = why;
  if (why != Errc::closed) broken_.store(true, std::memory_order_relaxed);
  if (epoll_) os::signal_event(bell_.get());  // readable for good: the next call says why
  return why;
}

/// With readable_fd() in use: whether the ring, found empty, is left as it is, because the last message came just now
/// and a sleep costs both sides more than some looks: us a membarrier, the writer a system call for its next message.
///
/// Where that was in vain, the next empty rings are not waited at: at first one, then twice as many each time, until
/// a message comes in time again. So a loop with little to do sleeps at once, and leaves the CPU to its peers.
///
/// No wake-up is lost by that. The bell is cleared in one place, rearm(), and a sleep of a new number is announced
/// behind that. So whenever this returns true, either nobody has rung for the last sleep that was announced, and the
/// next message will; or somebody has after the bell was cleared, and the descriptor is readable still; or armed_ is
/// false, and we have rung it ourselves.
bool LaneChannel::lingers() noexcept {
  if (link_.linger == 0ns || sleep_is_unused()) return false;
  if (std::exchange(fresh_, false)) {
    if (std::exchange(lingering_, false)) in_vain_ = 0;  // the message came in time
    if (skip_ > 0) {
      --skip_;
      return false;
    }
    quiet_since_ = Clock::now();
    return lingering_ = true;
  }
  if (!lingering_) return false;
  const auto quiet = Clock::now() - quiet_since_;
  if (quiet < link_.linger) {
    if (quiet >= kYieldAfter) sched_yield();  // the writer may need this CPU
    return true;
  }
  lingering_ = false;
  in_vain_ = std::min(in_vain_ + 1, kMostInVain);
  skip_ = (1U << in_vain_) - 1;
  return false;
}

/// The sleep that was announced has not been ended by anybody. It has when a message came since: the writer rings, or
/// is about to, and it may have lost its CPU between the bell and its count of rings.
bool LaneChannel::sleep_is_unused() const noexcept {
  return armed_ && !taken_ && theirs().rung.load(std::memory_order_acquire) == rung_seen_ &&  // [rung]
         !reader_->was_nudged(mine().asleep.load(std::memory_order_relaxed));
}

/// With readable_fd() in use: announces a sleep, so that the bell makes the descriptor readable. False: something
/// arrived meanwhile.
bool LaneChannel::rearm() noexcept {
  if (sleep_is_unused()) return true;
  rung_seen_ = theirs().rung.load(std::memory_order_acquire);  // [rung]
  os::clear_event(bell_.get());
  announce_sleep();
  armed_ = true;
  taken_ = false;
  return reader_->peek() == Reader::State::empty && theirs().ended.load(std::memory_order_acquire) == 0;
}

/// asleep becomes the next odd number, and whoever publishes after this sees it.
void LaneChannel::announce_sleep() noexcept {
  const std::uint32_t asleep = mine().asleep.load(std::memory_order_relaxed);
  BUS_FAULT_POINT();
  mine().asleep.store(asleep + (asleep % 2 == 0 ? 1 : 2), std::memory_order_relaxed);
  if (link_.fenced) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // [sleep]
  } else {
    os::heavy_barrier_global();  // [sleep]
  }
}

int LaneChannel::readable_fd() {
  if (!epoll_) {
    os::Fd epoll = os::make_epoll();
    if (!os::epoll_set(epoll.get(), bell_.get(), EPOLLIN, 0) ||
        !os::epoll_set(epoll.get(), link_.socket.get(), EPOLLRDHUP, 0)) {
      throw Error(last_system_error(), describe("readable_fd", link_.peer.address, last_system_error()));
    }
    epoll_ = std::move(epoll);
    os::signal_event(bell_.get());  // until the first try_receive() knows better
  }
  return epoll_.get();
}

// ---- waiting ----

bool LaneChannel::arm(Ready ready, WaitSet& set) noexcept {
  set.add(link_.socket.get(), POLLRDHUP);
  const bool ended = theirs().ended.load(std::memory_order_acquire) != 0;
  switch (ready) {
    case Ready::receive:
      set.add(bell_.get(), POLLIN);
      announce_sleep();
      return over_ || ended || reader_->peek() != Reader::State::empty ||
             theirs().ended.load(std::memory_order_acquire) != 0;
    case Ready::send: {
      set.add(room_bell_.get(), POLLIN);
      const std::uint32_t waiting = mine().waiting.load(std::memory_order_relaxed);
      BUS_FAULT_POINT();
      mine().waiting.store(waiting + 1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_seq_cst);  // [wait]
      if (ended || writer_.has_room(wanted_) || writer_.corrupt()) return true;
      // A sleeping reader gives room back when it is called; see Reader.
      if (theirs().asleep.load(std::memory_order_relaxed) % 2 != 0) ring_peer();
      set.at_most(kAskAgain);
      return broken_.load(std::memory_order_relaxed);
    }
    case Ready::close:
      set.add(bell_.get(), POLLIN);
      set.add(room_bell_.get(), POLLIN);
      announce_sleep();
      return reader_->peek() != Reader::State::empty || theirs().ended.load(std::memory_order_acquire) != 0 ||
             theirs().settled.load(std::memory_order_acquire) != 0;
  }
  return true;
}

void LaneChannel::disarm(Ready ready) noexcept {
  if (ready == Ready::send) {
    const std::uint32_t waiting = mine().waiting.load(std::memory_order_relaxed);
    mine().waiting.store(waiting + 1, std::memory_order_relaxed);
    os::clear_event(room_bell_.get());
    sender_looked_ = 0;
    return;
  }
  look_now_ = true;
  if (epoll_) {
    // Somebody waits on the descriptor, too: it stays readable until try_receive() finds nothing.
    armed_ = false;
    os::signal_event(bell_.get());
    return;
  }
  const std::uint32_t asleep = mine().asleep.load(std::memory_order_relaxed);
  const bool nudged = reader_->was_nudged(asleep);
  mine().asleep.store(asleep + 1, std::memory_order_relaxed);
  const std::uint32_t rung = theirs().rung.load(std::memory_order_acquire);  // [rung]
  if (rung != rung_seen_ || nudged || ready == Ready::close) {
    rung_seen_ = rung;
    os::clear_event(bell_.get());
    if (ready == Ready::close) os::clear_event(room_bell_.get());
  }
}

/// Asks the kernel whether the other end is gone.
bool LaneChannel::hung_up() noexcept {
  pollfd fd{link_.socket.get(), POLLRDHUP, 0};
  if (poll(&fd, 1, 0) <= 0 || (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) return false;
  if (theirs().ended.load(std::memory_order_acquire) == 0 && link_.on_peer_death && !death_told_.exchange(true)) {
    link_.on_peer_death();
  }
  return true;
}

bool LaneChannel::time_to_look(std::int64_t& last) noexcept {
  const std::int64_t now = coarse_now();
  if (now - last < kLookEvery) return false;
  last = now;
  return true;
}

// ---- closing ----

void LaneChannel::tell_counts(Counts& counts, std::atomic<std::uint32_t>& flag) noexcept {
  BUS_FAULT_POINT();
  counts.accepted.store(ledger_.accepted.get(), std::memory_order_relaxed);
  counts.received.store(ledger_.received.get(), std::memory_order_relaxed);
  counts.dropped.store(ledger_.dropped_total(), std::memory_order_relaxed);
  BUS_FAULT_POINT();
  flag.store(1, std::memory_order_release);  // [ended], [settled]
}

std::error_code LaneChannel::try_close(bool confirm) noexcept {
  if (mine().ended.load(std::memory_order_relaxed) == 0) {
    tell_counts(mine().final_counts, mine().ended);
    os::signal_event(their_bell_.get());
    mine().rung.store(mine().rung.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // [rung]
    os::signal_event(their_room_bell_.get());
  }
  if (!confirm) return {};
  if (over_) return over_ == Errc::closed ? std::error_code{} : over_;

  // Read the flags first: what was published before them is found by the drain after them.
  const bool gone = hung_up();
  const bool ended = theirs().ended.load(std::memory_order_acquire) != 0;      // [ended]
  const bool settled = theirs().settled.load(std::memory_order_acquire) != 0;  // [settled]
  for (;;) {
    const Result<Message> unwanted = take_front();
    if (!unwanted && unwanted.error() != Errc::would_block) return unwanted.error();
    if (!unwanted) break;
    ledger_.dropped[static_cast<std::size_t>(Reason::closed)].add();
  }
  reader_->publish_released();
  if (ended) {
    read_final_counts();
    tell_counts(mine().settled_counts, mine().settled);
    os::signal_event(their_room_bell_.get());
  }
  if (settled) {
    const Counts& counts = theirs().settled_counts;
    if (!ended) ledger_.peer_accepted(counts.accepted.load(std::memory_order_relaxed));
    ledger_.peer_settled(counts.received.load(std::memory_order_relaxed),
                         counts.dropped.load(std::memory_order_relaxed), Reason::closed);
  }
  if (ended || settled) return finish(Errc::closed) == Errc::closed ? std::error_code{} : over_;
  if (gone) return finish(Errc::peer_died);
  return Errc::would_block;
}

}  // namespace bus::lane
