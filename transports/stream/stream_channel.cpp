// transports/stream/stream_channel.cpp: receiving, the end, and what wakes a waiter.
#include "transports/stream/stream_channel.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "bus/core/os/fork.hpp"
#include "bus/core/os/local_socket.hpp"

namespace bus::stream {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookAgain = 1ms;                             // nothing tells when a peer's kernel acknowledges
constexpr unsigned kRefusalsPerLook = 64;                    // sends without room for each look at the peer
constexpr std::size_t kMostDropped = std::size_t{16} << 20;  // bytes taken in by one call of try_close()

bool is_errno(std::error_code code) noexcept { return code.category() == std::system_category(); }

}  // namespace

StreamChannel::StreamChannel(os::Fd connected, Terms terms)
    : terms_(std::move(terms)),
      wire_(std::move(connected)),
      outbox_(wire_, terms_.framing, terms_.capacity),
      inbox_(terms_.framing, terms_.max_message) {}

/// In a forked child the connection is the parent's: nothing is said or taken here.
bool StreamChannel::inherited() const noexcept { return origin_.inherited(); }

// ---- sending ----

std::error_code StreamChannel::try_send(std::span<const std::byte> payload) noexcept {
  if (inherited()) return Errc::closed;
  if (payload.size() > terms_.peer_max_message) return Errc::message_too_large;
  const std::error_code error = outbox_.send(payload);
  if (!error) return {};
  return is_errno(error) ? send_failure(error) : still_refused(error);
}

std::error_code StreamChannel::try_send_pieces(std::span<const std::byte> head,
                                               std::span<const std::byte> tail) noexcept {
  // Whether a line can carry it is seen where it is in one piece.
  if (terms_.framing == Framing::line) return ChannelImpl::try_send_pieces(head, tail);
  if (inherited()) return Errc::closed;
  if (head.size() + tail.size() > terms_.peer_max_message) return Errc::message_too_large;
  const std::error_code error = outbox_.send_pieces(head, tail);
  if (!error) return {};
  return is_errno(error) ? send_failure(error) : still_refused(error);
}

Result<std::span<std::byte>> StreamChannel::try_loan(std::size_t size) noexcept {
  if (inherited()) return Errc::closed;
  if (size > terms_.peer_max_message) return Errc::message_too_large;
  auto room = outbox_.loan(size);
  if (room) return room;
  return is_errno(room.error()) ? send_failure(room.error()) : still_refused(room.error());
}

std::error_code StreamChannel::publish(std::size_t used) noexcept {
  if (inherited()) return Errc::closed;
  const std::error_code error = outbox_.publish(used);
  return error ? send_failure(error) : error;
}

std::error_code StreamChannel::try_flush() noexcept {
  if (inherited()) return Errc::closed;
  const std::error_code error = outbox_.flush();
  if (error == Errc::would_block) {
    const std::error_code gone = peer_stopped_writing();
    return gone ? gone : error;
  }
  return error ? send_failure(error) : error;
}

/// The connection does not take our bytes any more. A peer that has closed in good order said so before.
std::error_code StreamChannel::send_failure(std::error_code error) noexcept {
  if (!is_errno(error)) return error;
  if (error.value() == ENOMEM) return Errc::no_room;
  if (terms_.framing != Framing::bus) return error.value() == EPIPE ? Errc::closed : Errc::peer_died;
  const LastWords last = last_words();
  if (last == LastWords::unknown) return Errc::would_block;
  if (last == LastWords::other) return Errc::peer_died;
  outbox_.stop(Errc::closed);
  return Errc::closed;
}

StreamChannel::LastWords StreamChannel::words_in(std::span<const std::byte> tail) noexcept {
  if (tail.size() < kCountsFrameBytes) return LastWords::other;
  Cutter cutter(Framing::bus, kCountsFrameBytes);
  const Cut cut = cutter.next(tail, true);
  return cut.what == Cut::What::end || cut.what == Cut::What::ack ? LastWords::an_end : LastWords::other;
}

/// What the peer said last: it stands at the end of our kernel's queue, or of what our receiver has read and not handed
/// out. Unknown for the moment in which it moves from the one to the other. A payload that looks like an end is only
/// ever asked for when the peer's direction is over: it makes one final code of the other, and does no other harm.
StreamChannel::LastWords StreamChannel::last_words() const noexcept {
  std::array<std::byte, kCountsFrameBytes> tail{};
  return wire_.peek_tail(tail) ? words_in(tail) : taken_in_.load();
}

Transfer StreamChannel::fill() noexcept {
  // seq_cst: whoever finds the kernel's queue empty sees at least that it was about to be
  const LastWords before = taken_in_.exchange(LastWords::unknown);
  const Transfer transfer = inbox_.fill(wire_);
  taken_in_.store(transfer.state == Transfer::State::moved ? words_in(inbox_.tail(kCountsFrameBytes)) : before);
  return transfer;
}

/// A peer that has closed, and keeps its socket, takes nothing any more: a sender without room would wait for ever.
/// Empty: it has not ended its direction, or what it said last is just being read.
std::error_code StreamChannel::peer_stopped_writing() noexcept {
  if (terms_.framing != Framing::bus || !wire_.peer_ended_writing()) return {};  // else it may still read
  const LastWords last = last_words();
  if (last == LastWords::unknown) return {};
  outbox_.stop(last == LastWords::an_end ? Errc::closed : Errc::peer_died);
  return last == LastWords::an_end ? Errc::closed : Errc::peer_died;
}

/// For those who only try, or spin, and so never come to arm(): a look now and then.
std::error_code StreamChannel::still_refused(std::error_code error) noexcept {
  if (error != Errc::would_block || ++refusals_ % kRefusalsPerLook != 0) return error;
  const std::error_code gone = peer_stopped_writing();
  return gone ? gone : error;
}

// ---- receiving ----

Result<Message> StreamChannel::try_receive() noexcept {
  if (inherited()) return Errc::closed;
  while (!over_) {
    const Cut cut = inbox_.next();
    if (cut.what == Cut::What::message) [[likely]] {
      ++handed_out_;
      Message message = inbox_.take(cut);
      if (event_) note_readable();
      return message;
    }
    if (cut.what != Cut::What::more) {
      on_control(cut);
      continue;
    }
    if (at_end_) {
      end(ended_by_);
      break;
    }
    const Transfer transfer = fill();
    if (transfer.state == Transfer::State::moved) continue;
    if (transfer.state == Transfer::State::again) {
      outbox_.flush_gathered();
      if (event_) {
        inbox_.rest();
        note_readable();
      }
      return Errc::would_block;
    }
    on_transfer(transfer);
  }
  if (event_) note_readable();
  return over_;
}

/// The peer's direction has ended, or the connection is gone. Whole messages that are there are still handed out.
void StreamChannel::on_transfer(const Transfer& transfer) noexcept {
  if (transfer.state == Transfer::State::broken && transfer.error == ENOMEM) return fail(Errc::no_room);
  at_end_ = true;
  inbox_.at_end();
  ended_by_ =
      transfer.state == Transfer::State::over && terms_.framing != Framing::bus ? Errc::closed : Errc::peer_died;
}

/// An end, an ack, or what breaks the format.
void StreamChannel::on_control(const Cut& cut) noexcept {
  if (cut.what == Cut::What::bad) {
    if (cut.error == Errc::message_too_large) ledger_.dropped[static_cast<std::size_t>(Reason::too_large)].add();
    return fail(cut.error);
  }
  const bool is_end = cut.what == Cut::What::end;
  if (is_end ? peer_said_end_ : peer_said_ack_ || !said_end_) return fail(Errc::corrupt);
  const Counts counts = decode_counts(inbox_.body(cut).first<kCountsFrameBytes - kHeaderBytes>());
  inbox_.skip(cut);
  ledger_.peer_accepted(counts.accepted);
  ledger_.peer_settled(counts.received, counts.dropped, Reason::closed);
  if (!is_end) {
    peer_said_ack_ = true;
    return;
  }
  peer_said_end_ = true;
  outbox_.stop(Errc::closed);  // our count is final now
  if (!ended_writing_) {
    // A peer that does not wait for it may be gone already: it has then lost nothing that it wanted.
    if (!outbox_.send_counts(Kind::ack, handed_out_, ledger_.dropped_total())) static_cast<void>(outbox_.flush());
  }
  end(Errc::closed);
}

/// The peer broke the format, or memory ran out: the channel cannot go on, and the peer is not left waiting.
void StreamChannel::fail(Errc why) noexcept {
  over_ = why;
  outbox_.stop(over_);
  wire_.end_both();
}

void StreamChannel::end(Errc why) noexcept {
  over_ = why;
  if (why == Errc::closed && terms_.framing != Framing::bus) return;  // the peer may still read
  outbox_.stop(over_);
  if (why == Errc::peer_died && !terms_.sweep.empty()) os::sweep_after_death(terms_.sweep);
}

// ---- the end ----

/// Drops what has arrived, so that nothing unread turns our close into a reset, and so that two closing ends never
/// wait for each other.
void StreamChannel::drop_incoming() noexcept {
  for (std::size_t bytes = 0; bytes < kMostDropped;) {
    const Cut cut = inbox_.next();
    if (cut.what == Cut::What::message) {
      if (peer_said_end_) return fail(Errc::corrupt);  // behind its end a peer sends an ack at most
      ledger_.dropped[static_cast<std::size_t>(Reason::closed)].add();
      inbox_.skip(cut);
    } else if (cut.what != Cut::What::more) {
      on_control(cut);
      if (over_ && over_ != Errc::closed) return;
    } else {
      if (at_end_) return;
      const Transfer transfer = fill();
      if (transfer.state == Transfer::State::again) return;
      bytes += transfer.count;
      if (transfer.state != Transfer::State::moved) on_transfer(transfer);
    }
  }
}

/// Everything that is queued goes to the kernel, and to where closing the socket cannot lose it.
std::error_code StreamChannel::hand_over() noexcept {
  if (const std::error_code error = outbox_.flush()) {
    close_waits_ = Waits::for_room;
    return error;
  }
  // Also what wakes a sender there that nobody receives for.
  if (!ended_writing_) wire_.end_writing();
  ended_writing_ = true;
  // A peer that has answered our end has read all there was, and says nothing more.
  if (!terms_.acknowledged || peer_said_ack_) return {};
  // Source: tcp(7), RFC 2525 2.17: a close with unread bytes resets the connection, and the peer's kernel may then
  // discard what it has not delivered. It has everything when all is acknowledged, the end of our direction too.
  switch (wire_.acknowledged()) {
    case Wire::Acknowledged::all:
      return {};
    case Wire::Acknowledged::never:
      return {ECONNRESET, std::system_category()};
    case Wire::Acknowledged::not_yet:
      break;
  }
  close_waits_ = Waits::for_acknowledgement;
  return Errc::would_block;
}

std::error_code StreamChannel::try_close(bool confirm) noexcept {
  if (inherited()) return {};
  const auto failed = [this] { return over_ && over_ != Errc::closed; };
  if (failed()) return over_;
  drop_incoming();
  if (failed()) return over_;
  const bool bus = terms_.framing == Framing::bus;
  const bool settled = !bus || peer_said_end_ || peer_said_ack_;
  if (!settled && at_end_) {
    end(Errc::peer_died);
    return over_;
  }
  if (bus && !said_end_ && !peer_said_end_) {
    outbox_.stop(Errc::closed);
    said_end_ = true;
    // A failure shows in the flush.
    static_cast<void>(outbox_.send_counts(Kind::end, handed_out_, ledger_.dropped_total()));
  }
  std::error_code error;
  if (confirm && !settled) {
    // The connection stays open in both directions: an end of the peer wants its ack.
    error = outbox_.flush();
    close_waits_ = error ? Waits::for_room : Waits::for_peer;
    if (!error) error = Errc::would_block;
  } else {
    error = hand_over();
  }
  if (!error || error == Errc::would_block) return error;
  if (!bus) return error.value() == EPIPE ? Errc::closed : Errc::peer_died;
  if (settled) return {};  // the peer has said its counts and left
  // It has left meanwhile: what it said before has come.
  drop_incoming();
  if (failed()) return over_;
  if (peer_said_end_ || peer_said_ack_) return {};
  if (!at_end_) {
    close_waits_ = Waits::for_peer;  // more lies there than one call takes in
    return Errc::would_block;
  }
  end(Errc::peer_died);
  return over_;
}

// ---- waiting ----

bool StreamChannel::arm(Ready ready, WaitSet& wait) noexcept {
  if (inherited()) return true;
  switch (ready) {
    case Ready::receive:
      if (over_ || inbox_.next().what != Cut::What::more || at_end_) return true;
      outbox_.flush_gathered();
      inbox_.rest();
      // What the kernel did not take is seen to by whoever waits here, without the Flusher.
      tends_ = outbox_.held() != 0;
      if (tends_) outbox_.tend(true);
      wait.add(wire_.fd(), static_cast<short>(tends_ ? POLLIN | POLLOUT : POLLIN));
      return false;
    case Ready::send:
      outbox_.tend(true);
      if (peer_stopped_writing()) return true;
      if (terms_.framing != Framing::bus) {
        wait.add(wire_.fd(), POLLOUT);
      } else if (!wire_.peer_ended_writing()) {
        wait.add(wire_.fd(), POLLOUT | POLLRDHUP);
      } else {
        wait.add(wire_.fd(), POLLOUT);  // its last words are being read: not long now
        wait.at_most(kLookAgain);
      }
      return false;
    case Ready::close:
      if (close_waits_ == Waits::for_acknowledgement) wait.at_most(kLookAgain);
      {
        int events = at_end_ ? 0 : POLLIN;
        if (close_waits_ == Waits::for_room) events |= POLLOUT;
        wait.add(wire_.fd(), static_cast<short>(events));
      }
      return false;
  }
  return false;
}

void StreamChannel::disarm(Ready ready) noexcept {
  if (inherited()) return;
  if (ready == Ready::send || (ready == Ready::receive && tends_)) outbox_.tend(false);
  if (ready == Ready::receive) tends_ = false;
}

int StreamChannel::readable_fd() {
  if (!readable_) {
    os::Fd event = os::make_event();
    os::Fd both = os::make_epoll();
    if (!os::epoll_set(both.get(), event.get(), EPOLLIN, 0) || !os::epoll_set(both.get(), wire_.fd(), EPOLLIN, 0)) {
      const std::error_code error = last_system_error();
      throw Error(error, describe("readable_fd", terms_.peer.address, error));
    }
    event_ = std::move(event);
    readable_ = std::move(both);
    note_readable();
  }
  return readable_.get();
}

/// The socket says what the kernel has; the event, that something is in the inbox already.
void StreamChannel::note_readable() noexcept {
  const bool readable = over_ || inbox_.next().what != Cut::What::more;
  if (readable == shown_readable_) return;
  shown_readable_ = readable;
  readable ? os::signal_event(event_.get()) : os::clear_event(event_.get());
}

Traits StreamChannel::traits() const noexcept {
  Traits traits;
  traits.keeps_boundaries = terms_.framing != Framing::raw;
  traits.exchanges_books = terms_.framing == Framing::bus;
  traits.loans_in_place = false;
  traits.max_message = terms_.peer_max_message;
  return traits;
}

}  // namespace bus::stream
