// transports/udp/inbound.cpp: order, parts and counts of one direction.
#include "transports/udp/inbound.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace bus::udp {
namespace {

constexpr std::size_t kFirstQueue = 256;
constexpr std::uint64_t kUnwindowed = std::uint64_t{4} << 20;

std::size_t parts_of(std::size_t message_bytes, std::size_t most_payload) noexcept {
  return message_bytes == 0 ? 1 : (message_bytes + most_payload - 1) / most_payload;
}

}  // namespace

Inbound::Inbound(const Terms& terms, Ledger& ledger, const Start& start)
    : terms_(terms),
      most_payload_(terms.max_datagram - kHeaderBytes),
      most_waiting_(2 * (terms.window != 0 ? terms.window : kUnwindowed) + terms.max_message),
      ledger_(ledger),
      first_sequence_(start.sequence),
      history_(start.datagram),
      next_(start.sequence),
      known_(start.sequence),
      position_(start.position),
      queue_(kFirstQueue) {}

Inbound::~Inbound() {
  while (!empty()) pop().chunk->release(nullptr);
  for (Slot& slot : slots_) {
    if (slot.state == State::whole) slot.item.chunk->release(nullptr);
    if (slot.state == State::partial) free_part(slot);
  }
}

Inbound::Taken Inbound::take(std::span<const std::byte> datagram, Intake& intake) noexcept {
  const Packet packet = decode(datagram);
  const Header& header = packet.header;
  if (packet.soundness == Soundness::bad_header) {
    ++damaged_headers_;
    return Taken::nothing;
  }
  if (packet.soundness == Soundness::foreign || header.session != terms_.session) return Taken::nothing;
  if (header.kind != Kind::data) {
    if (packet.soundness == Soundness::bad_payload) return Taken::nothing;
    control_ = packet;
    return Taken::control;
  }
  return take_data(packet, intake);
}

Inbound::Taken Inbound::take_data(const Packet& packet, Intake& intake) noexcept {
  const Header& header = packet.header;
  const std::uint64_t number = history_.extend(header.datagram);
  const std::uint64_t known_before = history_.known();
  const std::int64_t ahead = History::ahead(header.sequence, next_);

  if (packet.soundness == Soundness::bad_payload) {
    const std::uint64_t skipped = history_.announce(number + 1);
    gap(skipped > 0 ? skipped - 1 : 0);
    if (ahead < 0) return Taken::nothing;
    if (History::ahead(header.sequence, known_) >= 0) {
      if (ended_) return Taken::corrupt;
      known_ = header.sequence;
      if (ahead >= static_cast<std::int64_t>(kAhead)) advance(header.sequence - kAhead + 1);
    }
    slot(header.sequence).damaged = true;
    return Taken::data;
  }

  switch (history_.arrive(number)) {
    case History::Arrival::duplicate:
      ledger_.duplicates.add();
      return Taken::nothing;
    case History::Arrival::late:
      ledger_.reordered.add();
      break;
    case History::Arrival::fresh: {
      const std::uint64_t jump = History::ahead(number, known_before) > 0 ? number - known_before : 0;
      gap(jump);
      break;
    }
  }
  const std::uint64_t position = History::nearest(position_, header.position);
  if (History::ahead(position, position_) > 0) position_ = position;
  if (ahead < 0) return Taken::nothing;  // dropped long ago, and counted then

  const bool fits =
      header.message_bytes <= terms_.max_message && header.offset % most_payload_ == 0 &&
      header.offset <= header.message_bytes &&
      packet.payload.size() == std::min<std::size_t>(most_payload_, header.message_bytes - header.offset) &&
      (!packet.payload.empty() || header.message_bytes == 0);
  if (!fits) return Taken::corrupt;
  if (History::ahead(header.sequence, known_) >= 0) {
    if (ended_) return Taken::corrupt;
    known_ = header.sequence;
    if (ahead >= static_cast<std::int64_t>(kAhead)) advance(header.sequence - kAhead + 1);
  }

  if (packet.payload.size() != header.message_bytes) return take_part(slot(header.sequence), packet);

  Item item{.data = packet.payload.data(), .size = packet.payload.size(), .chunk = nullptr, .position = position};
  if (header.sequence == next_ && !has_gap()) {  // the common case: alone, whole, in its place
    Slot& at = slot(next_);
    if (at.state != State::empty) return Taken::corrupt;
    at.damaged = false;
    item.chunk = &intake.issue();
    ++next_;
    known_ = next_;
    push(item);
    return Taken::data;
  }
  Slot& at = slot(header.sequence);
  if (at.state != State::empty) return Taken::corrupt;  // the same message under two datagram numbers
  item.chunk = &intake.issue();
  at = Slot{.state = State::whole, .damaged = false, .item = item, .left = 0};
  deliver_whole();
  return Taken::data;
}

Inbound::Taken Inbound::take_part(Slot& at, const Packet& packet) noexcept {
  const Header& header = packet.header;
  const std::size_t parts = parts_of(header.message_bytes, most_payload_);
  if (at.state == State::whole) return Taken::corrupt;
  if (at.state == State::empty) {
    while (partial_ >= kPartial) {  // the oldest of them is given up
      std::uint64_t oldest = next_;
      while (slot(oldest).state != State::partial) ++oldest;
      if (History::ahead(oldest, header.sequence) >= 0) return Taken::data;  // too late to begin this one
      advance(oldest + 1);
    }
    // Behind the message: which parts are there, a bit each.
    Chunk* const chunk = Chunk::take(header.message_bytes + (parts + 7) / 8);
    if (chunk == nullptr) return Taken::data;  // no memory: the message stays incomplete and is counted as missing
    std::memset(chunk->data() + header.message_bytes, 0, (parts + 7) / 8);
    const bool damaged = at.damaged;
    at = Slot{.state = State::partial,
              .damaged = damaged,
              .item = {.data = chunk->data(), .size = header.message_bytes, .chunk = chunk, .position = 0},
              .left = static_cast<std::uint32_t>(parts)};
    ++partial_;
  }
  if (at.item.size != header.message_bytes) return Taken::corrupt;
  const std::size_t part = header.offset / most_payload_;
  std::byte& bits = at.item.chunk->data()[header.message_bytes + part / 8];
  const std::byte bit{static_cast<unsigned char>(1U << (part % 8))};
  if ((bits & bit) != std::byte{0}) return Taken::corrupt;
  bits |= bit;
  std::memcpy(at.item.chunk->data() + header.offset, packet.payload.data(), packet.payload.size());
  if (--at.left > 0) return Taken::data;
  at.item.position = position_;
  at.item.chunk->retire(1);  // the message is all that it holds
  at.state = State::whole;
  --partial_;
  deliver_whole();
  return Taken::data;
}

void Inbound::kernel_drops(std::uint32_t count) noexcept {
  drops_new_ += count - drops_seen_;
  drops_seen_ = count;
}

// `skipped` datagrams before the one that just arrived have not: what explains them?
void Inbound::gap(std::uint64_t skipped) noexcept {
  const std::uint64_t kernel = std::min(skipped, std::uint64_t{drops_new_} * kMostSegments);
  kernel_missing_ += kernel;
  damaged_missing_ += std::min(skipped - kernel, damaged_headers_);
  drops_new_ = 0;
  damaged_headers_ = 0;
}

void Inbound::settle() noexcept { advance(known_); }

bool Inbound::announce(const Header& header) noexcept {
  if (History::ahead(header.sequence, next_) < 0) return true;  // an old one that was under way for long
  gap(history_.announce(history_.extend(header.datagram)));
  const std::uint64_t position = History::nearest(position_, header.position);
  if (History::ahead(position, position_) > 0) position_ = position;
  if (History::ahead(header.sequence, known_) > 0) {
    if (ended_) return false;
    known_ = header.sequence;
    // A jump beyond the slots is dropped at once.
    if (History::ahead(known_, next_) > static_cast<std::int64_t>(kAhead)) advance(known_ - kAhead);
    deliver_whole();
  }
  return true;
}

bool Inbound::end(const Header& header) noexcept {
  if (ended_) return header.sequence == known_;
  if (History::ahead(header.sequence, known_) < 0 || !announce(header)) return false;
  if (header.sequence != known_) return false;
  // A message that stands at the end but was begun would be beyond what the sender says that it sent.
  if (slot(known_).state == State::partial && History::ahead(known_, next_) < static_cast<std::int64_t>(kAhead)) {
    return false;
  }
  ended_ = true;
  return true;
}

Inbound::Item Inbound::pop() noexcept {
  const Item item = queue_[first_];
  first_ = (first_ + 1) & (queue_.size() - 1);
  --count_;
  waiting_bytes_ -= item.size;
  return item;
}

void Inbound::drop_waiting(Reason reason) noexcept {
  drop(reason, count_);
  while (!empty()) pop().chunk->release(nullptr);
}

void Inbound::refuse(Reason reason) noexcept {
  refusing_ = true;
  refusal_ = reason;
  drop_waiting(reason);
}

void Inbound::advance(std::uint64_t until) noexcept {
  for (std::uint64_t i = 0; i < kAhead && History::ahead(until, next_) > 0; ++i) {
    Slot& at = slot(next_++);
    if (at.state == State::whole) {
      push(at.item);
      at = Slot{};
    } else {
      drop_missing(at);
    }
  }
  if (History::ahead(until, next_) > 0) {
    drop_missing(until - next_);
    next_ = until;
  }
  if (History::ahead(next_, known_) > 0) known_ = next_;
  deliver_whole();
}

void Inbound::deliver_whole() noexcept {
  for (Slot* at = &slot(next_); at->state == State::whole; at = &slot(next_)) {
    push(at->item);
    *at = Slot{};
    ++next_;
  }
  if (History::ahead(next_, known_) > 0) known_ = next_;
  if (!has_gap() && slot(next_).state == State::empty) kernel_missing_ = damaged_missing_ = 0;
}

void Inbound::push(const Item& item) noexcept {
  if (refusing_ || waiting_bytes_ > most_waiting_) {
    // Above the limit the peer has ignored the window that it was granted.
    drop(refusing_ ? refusal_ : Reason::queue_full);
    item.chunk->release(nullptr);
    return;
  }
  if (count_ == queue_.size()) {
    try {
      std::vector<Item> larger(2 * queue_.size());
      for (std::size_t i = 0; i < count_; ++i) larger[i] = queue_[(first_ + i) & (queue_.size() - 1)];
      queue_.swap(larger);
      first_ = 0;
    } catch (const std::bad_alloc&) {
      drop(Reason::queue_full);
      item.chunk->release(nullptr);
      return;
    }
  }
  queue_[(first_ + count_) & (queue_.size() - 1)] = item;
  ++count_;
  waiting_bytes_ += item.size;
}

void Inbound::drop_missing(Slot& at) noexcept {
  const std::uint64_t datagrams = at.state == State::partial ? at.left : 1;
  if (at.damaged) {
    drop(Reason::corrupt);
  } else if (kernel_missing_ > 0) {
    kernel_missing_ -= std::min(kernel_missing_, datagrams);
    drop(Reason::kernel_buffer);
  } else if (damaged_missing_ > 0) {
    damaged_missing_ -= std::min(damaged_missing_, datagrams);
    drop(Reason::corrupt);
  } else {
    drop(refusing_ ? refusal_ : Reason::network);
  }
  if (at.state == State::partial) free_part(at);
  at = Slot{};
}

void Inbound::drop_missing(std::uint64_t count) noexcept {
  const std::uint64_t kernel = std::min(count, kernel_missing_);
  kernel_missing_ -= kernel;
  drop(Reason::kernel_buffer, kernel);
  const std::uint64_t damaged = std::min(count - kernel, damaged_missing_);
  damaged_missing_ -= damaged;
  drop(Reason::corrupt, damaged);
  drop(refusing_ ? refusal_ : Reason::network, count - kernel - damaged);
}

void Inbound::drop(Reason reason, std::uint64_t count) noexcept {
  if (count > 0) ledger_.dropped[static_cast<std::size_t>(reason)].add(count);
}

void Inbound::free_part(Slot& at) noexcept {
  Chunk::give(at.item.chunk);
  --partial_;
}

}  // namespace bus::udp
