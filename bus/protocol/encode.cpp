// bus/protocol/encode.cpp: frames to bytes.
#include <cassert>
#include <cstring>

#include "bus/core/os/bytes.hpp"
#include "bus/protocol/frame.hpp"
#include "bus/protocol/headers.hpp"
#include "bus/protocol/layout.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::protocol {
namespace {

std::uint8_t flag(bool set, std::uint8_t bit) noexcept { return set ? bit : std::uint8_t{0}; }
Bytes as_bytes(std::string_view text) noexcept { return std::as_bytes(std::span(text)); }

/// Adds fields to the end of a vector.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& to) noexcept : to_(to) {}

  Writer& head(Type type, std::uint32_t id, std::size_t first_size = 0, std::uint8_t flags = 0) {
    assert(first_size <= kMaxText);
    u8(static_cast<std::uint8_t>(type)).u8(flags).u16(static_cast<std::uint16_t>(first_size));
    return u32(id);
  }
  Writer& u8(std::uint8_t value) { return number(value); }
  Writer& u16(std::uint16_t value) { return number(value); }
  Writer& u32(std::uint32_t value) { return number(value); }
  Writer& u64(std::uint64_t value) { return number(value); }
  Writer& bytes(Bytes more) {
    to_.insert(to_.end(), more.begin(), more.end());
    return *this;
  }
  Writer& text(std::string_view more) { return bytes(as_bytes(more)); }
  Writer& instance(const Instance& value) { return bytes(std::as_bytes(std::span(value))); }
  /// Room for `size` bytes at the end.
  std::byte* room(std::size_t size) {
    to_.resize(to_.size() + size);
    return to_.data() + (to_.size() - size);
  }

 private:
  template <class Integer>
  Writer& number(Integer value) {
    os::put(room(sizeof value), value);
    return *this;
  }

  std::vector<std::byte>& to_;
};

void write(const Hello& frame, Writer& to) {
  to.head(Type::hello, kMagic, frame.name.size(), flag(frame.again, kAgain))
      .u16(frame.version)
      .instance(frame.instance)
      .u64(frame.publisher)
      .u64(frame.sequence)
      .u32(frame.subscribed);
  to.text(frame.name);
}

void write(const Subscribe& frame, Writer& to) {
  assert(frame.queue.size() <= kMaxText);
  to.head(Type::subscribe, frame.subscription, frame.pattern.size(), flag(frame.again, kAgain));
  to.u32(frame.depth).u32(frame.history).u8(static_cast<std::uint8_t>(frame.full));
  to.u16(static_cast<std::uint16_t>(frame.queue.size())).text(frame.pattern).text(frame.queue);
}

void write(const Unsubscribe& frame, Writer& to) { to.head(Type::unsubscribe, frame.subscription); }

template <class T>
void write_message(const T& frame, Bytes head, Writer& to) {
  const std::size_t tail = tail_size(frame.subject, frame.reply, frame.headers, frame.payload);
  std::byte* const at = to.room(head.size() + tail);
  std::copy(head.begin(), head.end(), at);
  write_tail(at + head.size(), frame.subject, frame.reply, frame.headers, frame.payload);
}
void write(const Publish& frame, Writer& to) { write_message(frame, publish_head(frame), to); }
void write(const Deliver& frame, Writer& to) { write_message(frame, deliver_head(frame), to); }

template <class Batch>
void write_batch(const Batch& frame, Writer& to) {
  Front front;
  to.bytes(front_of(frame, front)).bytes(frame.items);
}
void write(const PublishBatch& frame, Writer& to) { write_batch(frame, to); }
void write(const DeliverBatch& frame, Writer& to) { write_batch(frame, to); }

void write(const Taken& frame, Writer& to) {
  to.head(Type::taken, frame.subscription).u64(frame.index).u64(frame.dropped);
}

void write(const Acknowledge& frame, Writer& to) {
  to.head(Type::acknowledge, frame.subscription, 0, flag(frame.dropped, kDropped));
  to.u64(frame.message.publisher).u64(frame.message.sequence);
}

void write(const Flush& frame, Writer& to) { to.head(Type::flush, frame.token).u64(frame.sequence); }

void write(const Watch& frame, Writer& to) {
  to.head(Type::watch, frame.token, frame.subject.size()).u32(frame.count).text(frame.subject);
}

void write(const Query& frame, Writer& to) { to.head(Type::query, frame.token, frame.what.size()).text(frame.what); }

void write(const Bye& frame, Writer& to) { to.head(Type::bye, 0, 0, flag(frame.stays, kStays)).u64(frame.sequence); }

void write(const Welcome& frame, Writer& to) {
  to.head(Type::welcome, kMagic, frame.name.size()).u16(frame.version).instance(frame.instance);
  to.u32(frame.window_messages).u32(frame.window_bytes).u32(frame.max_payload).u32(frame.subscriptions);
  to.u32(frame.subscribed).text(frame.name);
}

void write(const Refused& frame, Writer& to) {
  to.head(Type::refused, frame.id, frame.text.size()).u8(static_cast<std::uint8_t>(frame.why)).text(frame.text);
}

void write(const Subscribed& frame, Writer& to) { to.head(Type::subscribed, frame.subscription); }

void write(const Progress& frame, Writer& to) { to.head(Type::progress, frame.subscription).u64(frame.index); }

void write(const Dropped& frame, Writer& to) {
  to.head(Type::dropped, frame.subscription).u64(frame.count).u8(static_cast<std::uint8_t>(frame.reason));
}

void write(const Receipt& frame, Writer& to) {
  to.head(Type::receipt, 0).u64(frame.sequence).u64(frame.accepted).u64(frame.unreached).u64(frame.dropped);
}

void write(const Outcome& frame, Writer& to) {
  to.head(Type::outcome, 0).u64(frame.sequence).u32(frame.reached).u32(frame.failed);
  to.u8(static_cast<std::uint8_t>(frame.reason));
}

void write(const Flushed& frame, Writer& to) { to.head(Type::flushed, frame.token); }

void write(const Watched& frame, Writer& to) { to.head(Type::watched, frame.token).u32(frame.count); }

void write(const Answer& frame, Writer& to) { to.head(Type::answer, frame.token).bytes(frame.payload); }

void write(const Farewell& frame, Writer& to) {
  to.head(Type::farewell, 0, 0, flag(frame.stays, kStays)).u64(frame.accepted).u64(frame.delivered);
}

void write_head(std::byte* to, Type type, std::uint8_t flags, std::size_t subject_size, std::uint32_t id) noexcept {
  assert(subject_size <= kMaxSubject);
  to[0] = static_cast<std::byte>(type);
  to[1] = static_cast<std::byte>(flags);
  os::put_u16(to + 2, static_cast<std::uint16_t>(subject_size));
  os::put_u32(to + 4, id);
}

/// What a tail's strings put into the flags of its head.
template <class T>
std::uint8_t tail_flags(const T& frame) noexcept {
  return flag(!frame.reply.empty(), kReply) | flag(!frame.headers.empty(), kHeaders);
}

std::byte* append(std::byte* to, Bytes more) noexcept {
  if (!more.empty()) std::memcpy(to, more.data(), more.size());  // an empty span may have no address at all
  return to + more.size();
}

}  // namespace

std::string_view name(Full full) noexcept {
  switch (full) {
    case Full::block:
      return "block";
    case Full::drop_new:
      return "drop_new";
    case Full::drop_old:
      return "drop_old";
    case Full::disconnect:
      return "disconnect";
  }
  return "unknown";
}

std::string_view name(Level level) noexcept {
  switch (level) {
    case Level::accepted:
      return "accepted";
    case Level::delivered:
      return "delivered";
  }
  return "unknown";
}

void encode(const Frame& frame, std::vector<std::byte>& to) {
  to.clear();
  Writer writer(to);
  std::visit([&writer](const auto& some) { write(some, writer); }, frame);
}

static_assert(kDeliverHead >= kPublishHead && kMostAround >= kDeliverHead + kReplySize + kHeadersSize);

std::size_t tail_size(std::string_view subject, std::string_view reply, Bytes headers, Bytes payload) noexcept {
  return (reply.empty() ? 0 : kReplySize) + (headers.empty() ? 0 : kHeadersSize) + subject.size() + reply.size() +
         headers.size() + payload.size();
}

void write_tail(std::byte* to, std::string_view subject, std::string_view reply, Bytes headers,
                Bytes payload) noexcept {
  assert(reply.size() <= kMaxSubject && headers.size() <= kMaxHeaders);
  if (!reply.empty()) {
    os::put_u16(to, static_cast<std::uint16_t>(reply.size()));
    to += kReplySize;
  }
  if (!headers.empty()) {
    os::put_u32(to, static_cast<std::uint32_t>(headers.size()));
    to += kHeadersSize;
  }
  append(append(append(append(to, as_bytes(subject)), as_bytes(reply)), headers), payload);
}

std::array<std::byte, kPublishHead> publish_head(const Publish& frame) noexcept {
  std::array<std::byte, kPublishHead> head;
  const unsigned flags = tail_flags(frame) | flag(frame.again, kAgain) |
                         flag(frame.level == Level::delivered, kDelivered) | flag(frame.tell, kTell);
  write_head(head.data(), Type::publish, static_cast<std::uint8_t>(flags), frame.subject.size(), frame.history);
  os::put_u64(head.data() + 8, frame.sequence);
  return head;
}

std::array<std::byte, kDeliverHead> deliver_head(const Deliver& frame) noexcept {
  std::array<std::byte, kDeliverHead> head;
  const unsigned flags =
      tail_flags(frame) | flag(frame.again, kAgain) | flag(frame.acknowledge, kDelivered) | flag(frame.kept, kKept);
  write_head(head.data(), Type::deliver, static_cast<std::uint8_t>(flags), frame.subject.size(), frame.subscription);
  os::put_u64(head.data() + 8, frame.index);
  os::put_u64(head.data() + 16, frame.message.publisher);
  os::put_u64(head.data() + 24, frame.message.sequence);
  return head;
}

Bytes front_of(const PublishBatch& frame, Front& room) noexcept {
  write_head(room.data(), Type::publish_batch, 0, frame.subject.size(), frame.count);
  os::put_u64(room.data() + 8, frame.sequence);
  return {room.data(), append(room.data() + kPublishHead, as_bytes(frame.subject))};
}

Bytes front_of(const DeliverBatch& frame, Front& room) noexcept {
  write_head(room.data(), Type::deliver_batch, 0, frame.subject.size(), frame.subscription);
  os::put_u64(room.data() + 8, frame.index);
  os::put_u64(room.data() + 16, frame.message.publisher);
  os::put_u64(room.data() + 24, frame.message.sequence);
  os::put_u32(room.data() + kDeliverHead, frame.count);
  return {room.data(), append(room.data() + kDeliverHead + 4, as_bytes(frame.subject))};
}

}  // namespace bus::protocol
