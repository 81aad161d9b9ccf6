// bus/protocol/decode.cpp: bytes to frames, whoever sent them.
#include <utility>

#include "bus/core/os/bytes.hpp"
#include "bus/protocol/frame.hpp"
#include "bus/protocol/headers.hpp"
#include "bus/protocol/layout.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::protocol {
namespace {

std::string_view as_text(const std::byte* bytes, std::size_t size) noexcept {
  return {reinterpret_cast<const char*>(bytes), size};
}

// No default, so that the compiler asks for what is added to them.
bool known(Full full) noexcept {
  switch (full) {
    case Full::block:
    case Full::drop_new:
    case Full::drop_old:
    case Full::disconnect:
      return true;
  }
  return false;
}

bool known(Errc why) noexcept {
  switch (why) {
    case Errc::would_block:
    case Errc::timed_out:
    case Errc::closed:
    case Errc::peer_died:
    case Errc::no_peer:
    case Errc::refused:
    case Errc::message_too_large:
    case Errc::no_room:
    case Errc::corrupt:
    case Errc::version_mismatch:
    case Errc::permission_denied:
    case Errc::address_in_use:
    case Errc::bad_address:
    case Errc::busy:
    case Errc::not_supported:
    case Errc::no_subscriber:
      return true;
  }
  return false;
}

/// The parts of a frame, taken from its front. What is not there gives 0 or nothing, and whole() is false from then on.
class Fields {
 public:
  /// `frame` has a head.
  explicit Fields(Bytes frame) noexcept
      : flags_(std::to_integer<std::uint8_t>(frame[1])),
        first_size_(os::get_u16(frame.data() + 2)),
        id_(os::get_u32(frame.data() + 4)),
        rest_(frame.subspan(kHead)) {}

  bool flag(std::uint8_t bit) noexcept {
    const bool set = (flags_ & bit) != 0;
    flags_ &= static_cast<std::uint8_t>(~bit);
    return set;
  }
  std::uint32_t id() noexcept { return std::exchange(id_, 0); }
  std::uint8_t u8() noexcept { return number<std::uint8_t>(); }
  std::uint16_t u16() noexcept { return number<std::uint16_t>(); }
  std::uint32_t u32() noexcept { return number<std::uint32_t>(); }
  std::uint64_t u64() noexcept { return number<std::uint64_t>(); }
  Reason reason() noexcept {
    const auto value = static_cast<Reason>(u8());
    require(static_cast<std::size_t>(value) < kReasons);
    return value;
  }
  MessageId message() noexcept {
    const std::uint64_t publisher = u64();
    return {publisher, u64()};
  }
  Instance instance() noexcept {
    Instance value{};
    const Bytes bytes = take(value.size());
    if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), value.size());
    return value;
  }
  /// The string whose size is in the head.
  std::string_view first_text(std::size_t limit) noexcept {
    return text(std::exchange(first_size_, std::uint16_t{0}), limit);
  }
  std::string_view text(std::size_t size, std::size_t limit) noexcept {
    require(size <= limit);
    const Bytes bytes = take(size);
    return as_text(bytes.data(), bytes.size());
  }
  Bytes rest() noexcept { return std::exchange(rest_, {}); }

  void require(bool holds) noexcept { whole_ = whole_ && holds; }
  /// Everything was there, and everything that was there has been asked for.
  [[nodiscard]] bool whole() const noexcept {
    return whole_ && flags_ == 0 && first_size_ == 0 && id_ == 0 && rest_.empty();
  }

 private:
  Bytes take(std::size_t size) noexcept {
    require(size <= rest_.size());
    if (!whole_) return {};
    const Bytes taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  template <class Integer>
  Integer number() noexcept {
    const Bytes bytes = take(sizeof(Integer));
    return bytes.empty() ? Integer{0} : os::get<Integer>(bytes.data());
  }

  bool whole_ = true;
  std::uint8_t flags_;
  std::uint16_t first_size_;
  std::uint32_t id_;
  Bytes rest_;
};

/// The strings and bytes behind the head of a Publish or Deliver.
struct Tail {
  std::string_view subject, reply;
  Bytes headers, payload;
};

/// False if that is not exactly a tail.
inline bool read_tail(const Bytes tail, std::uint8_t flags, std::size_t subject_size, Tail& to) noexcept {
  const std::byte* at = tail.data();
  std::size_t left = tail.size();
  std::size_t reply_size = 0;
  std::size_t headers_size = 0;
  if ((flags & kReply) != 0) {
    if (left < kReplySize) return false;
    reply_size = os::get_u16(at);
    if (reply_size == 0) return false;
    at += kReplySize;
    left -= kReplySize;
  }
  if ((flags & kHeaders) != 0) {
    if (left < kHeadersSize) return false;
    headers_size = os::get_u32(at);
    if (headers_size == 0) return false;
    at += kHeadersSize;
    left -= kHeadersSize;
  }
  // Each against its limit, then the sum, which cannot wrap any more.
  if (subject_size > kMaxSubject || reply_size > kMaxSubject || headers_size > kMaxHeaders) return false;
  if (subject_size + reply_size + headers_size > left) return false;
  to.subject = as_text(at, subject_size);
  if (!valid_subject(to.subject)) return false;
  at += subject_size;
  left -= subject_size + reply_size + headers_size;
  if (reply_size != 0) {
    to.reply = as_text(at, reply_size);
    if (!valid_subject(to.reply)) return false;
    at += reply_size;
  }
  if (headers_size != 0) {
    to.headers = {at, headers_size};
    if (!Headers(to.headers).valid()) return false;
    at += headers_size;
  }
  to.payload = {at, left};
  return true;
}

template <class T>
Result<Frame> decoded(const T& frame) noexcept {
  return Result<Frame>(boost::system::in_place_value, std::in_place_type<T>, frame);
}

Result<Frame> decode_publish(Bytes bytes) noexcept {
  if (bytes.size() < kPublishHead) return Errc::corrupt;
  const std::byte* const head = bytes.data();
  const auto flags = std::to_integer<std::uint8_t>(head[1]);
  Tail tail;
  if ((flags & ~unsigned{kPublishFlags}) != 0) return Errc::corrupt;
  if (!read_tail(bytes.subspan(kPublishHead), flags, os::get_u16(head + 2), tail)) return Errc::corrupt;
  return decoded(Publish{.sequence = os::get_u64(head + 8),
                         .level = (flags & kDelivered) != 0 ? Level::delivered : Level::accepted,
                         .tell = (flags & kTell) != 0,
                         .again = (flags & kAgain) != 0,
                         .history = os::get_u32(head + 4),
                         .subject = tail.subject,
                         .reply = tail.reply,
                         .headers = tail.headers,
                         .payload = tail.payload});
}

Result<Frame> decode_deliver(Bytes bytes) noexcept {
  if (bytes.size() < kDeliverHead) return Errc::corrupt;
  const std::byte* const head = bytes.data();
  const auto flags = std::to_integer<std::uint8_t>(head[1]);
  Tail tail;
  if ((flags & ~unsigned{kDeliverFlags}) != 0) return Errc::corrupt;
  if (!read_tail(bytes.subspan(kDeliverHead), flags, os::get_u16(head + 2), tail)) return Errc::corrupt;
  return decoded(Deliver{.subscription = os::get_u32(head + 4),
                         .index = os::get_u64(head + 8),
                         .message = {os::get_u64(head + 16), os::get_u64(head + 24)},
                         .acknowledge = (flags & kDelivered) != 0,
                         .again = (flags & kAgain) != 0,
                         .kept = (flags & kKept) != 0,
                         .subject = tail.subject,
                         .reply = tail.reply,
                         .headers = tail.headers,
                         .payload = tail.payload});
}

void read(Fields& from, Hello& frame) noexcept {
  from.require(from.id() == kMagic);
  frame.version = from.u16();
  frame.instance = from.instance();
  frame.publisher = from.u64();
  frame.sequence = from.u64();
  frame.subscribed = from.u32();
  frame.name = from.first_text(kMaxText);
  frame.again = from.flag(kAgain);
}

void read(Fields& from, Subscribe& frame) noexcept {
  frame.subscription = from.id();
  frame.again = from.flag(kAgain);
  frame.depth = from.u32();
  frame.history = from.u32();
  frame.full = static_cast<Full>(from.u8());
  from.require(known(frame.full));
  const std::size_t queue_size = from.u16();
  frame.pattern = from.first_text(kMaxSubject);
  from.require(valid_pattern(frame.pattern));
  frame.queue = from.text(queue_size, kMaxText);
}

void read(Fields& from, Unsubscribe& frame) noexcept { frame.subscription = from.id(); }

/// Whether that is exactly so many items.
bool are_items(Bytes bytes, std::uint32_t count) noexcept {
  if (count == 0 || count > kMostInBatch) return false;
  for (; count > 0; --count) {
    if (bytes.size() < kItemSize || bytes.size() - kItemSize < os::get_u16(bytes.data())) return false;
    static_cast<void>(take_item(bytes));
  }
  return bytes.empty();
}

template <class Batch>
void read_items(Fields& from, Batch& frame) noexcept {
  frame.subject = from.first_text(kMaxSubject);
  from.require(valid_subject(frame.subject));
  frame.items = from.rest();
  from.require(are_items(frame.items, frame.count));
}

void read(Fields& from, PublishBatch& frame) noexcept {
  frame.count = from.id();
  frame.sequence = from.u64();
  read_items(from, frame);
}

void read(Fields& from, DeliverBatch& frame) noexcept {
  frame.subscription = from.id();
  frame.index = from.u64();
  frame.message = from.message();
  frame.count = from.u32();
  read_items(from, frame);
}

void read(Fields& from, Taken& frame) noexcept {
  frame.subscription = from.id();
  frame.index = from.u64();
  frame.dropped = from.u64();
}

void read(Fields& from, Acknowledge& frame) noexcept {
  frame.subscription = from.id();
  frame.dropped = from.flag(kDropped);
  frame.message = from.message();
}

void read(Fields& from, Flush& frame) noexcept {
  frame.token = from.id();
  frame.sequence = from.u64();
}

void read(Fields& from, Watch& frame) noexcept {
  frame.token = from.id();
  frame.count = from.u32();
  frame.subject = from.first_text(kMaxSubject);
  from.require(valid_subject(frame.subject));
}

void read(Fields& from, Query& frame) noexcept {
  frame.token = from.id();
  frame.what = from.first_text(kMaxText);
}

void read(Fields& from, Bye& frame) noexcept {
  frame.stays = from.flag(kStays);
  frame.sequence = from.u64();
}

void read(Fields& from, Welcome& frame) noexcept {
  from.require(from.id() == kMagic);
  frame.version = from.u16();
  frame.instance = from.instance();
  frame.window_messages = from.u32();
  frame.window_bytes = from.u32();
  frame.max_payload = from.u32();
  frame.subscriptions = from.u32();
  frame.subscribed = from.u32();
  frame.name = from.first_text(kMaxText);
}

void read(Fields& from, Refused& frame) noexcept {
  frame.id = from.id();
  frame.why = static_cast<Errc>(from.u8());
  from.require(known(frame.why));
  frame.text = from.first_text(kMaxText);
}

void read(Fields& from, Subscribed& frame) noexcept { frame.subscription = from.id(); }

void read(Fields& from, Progress& frame) noexcept {
  frame.subscription = from.id();
  frame.index = from.u64();
}

void read(Fields& from, Dropped& frame) noexcept {
  frame.subscription = from.id();
  frame.count = from.u64();
  frame.reason = from.reason();
}

void read(Fields& from, Receipt& frame) noexcept {
  frame.sequence = from.u64();
  frame.accepted = from.u64();
  frame.unreached = from.u64();
  frame.dropped = from.u64();
}

void read(Fields& from, Outcome& frame) noexcept {
  frame.sequence = from.u64();
  frame.reached = from.u32();
  frame.failed = from.u32();
  frame.reason = from.reason();
}

void read(Fields& from, Flushed& frame) noexcept { frame.token = from.id(); }

void read(Fields& from, Watched& frame) noexcept {
  frame.token = from.id();
  frame.count = from.u32();
}

void read(Fields& from, Answer& frame) noexcept {
  frame.token = from.id();
  frame.payload = from.rest();
}

void read(Fields& from, Farewell& frame) noexcept {
  frame.stays = from.flag(kStays);
  frame.accepted = from.u64();
  frame.delivered = from.u64();
}

template <class T>
Result<Frame> decode_as(Bytes bytes) noexcept {
  Fields fields(bytes);
  T frame;
  read(fields, frame);
  if (!fields.whole()) return Errc::corrupt;
  return decoded(frame);
}

/// A hello or welcome: up to its version it is the same in every version.
template <class T>
Result<Frame> decode_greeting(Bytes bytes) noexcept {
  constexpr std::size_t kSame = kHead + sizeof(std::uint16_t);
  if (bytes.size() < kSame || os::get_u32(bytes.data() + 4) != kMagic) return Errc::corrupt;
  if (os::get_u16(bytes.data() + kHead) != kVersion) return Errc::version_mismatch;
  return decode_as<T>(bytes);
}

}  // namespace

Result<Frame> decode(Bytes bytes) noexcept {
  if (bytes.size() < kHead) return Errc::corrupt;
  switch (static_cast<Type>(bytes[0])) {
    case Type::publish:
      return decode_publish(bytes);
    case Type::deliver:
      return decode_deliver(bytes);
    case Type::publish_batch:
      return decode_as<PublishBatch>(bytes);
    case Type::deliver_batch:
      return decode_as<DeliverBatch>(bytes);
    case Type::hello:
      return decode_greeting<Hello>(bytes);
    case Type::welcome:
      return decode_greeting<Welcome>(bytes);
    case Type::subscribe:
      return decode_as<Subscribe>(bytes);
    case Type::unsubscribe:
      return decode_as<Unsubscribe>(bytes);
    case Type::taken:
      return decode_as<Taken>(bytes);
    case Type::acknowledge:
      return decode_as<Acknowledge>(bytes);
    case Type::flush:
      return decode_as<Flush>(bytes);
    case Type::watch:
      return decode_as<Watch>(bytes);
    case Type::query:
      return decode_as<Query>(bytes);
    case Type::bye:
      return decode_as<Bye>(bytes);
    case Type::refused:
      return decode_as<Refused>(bytes);
    case Type::subscribed:
      return decode_as<Subscribed>(bytes);
    case Type::progress:
      return decode_as<Progress>(bytes);
    case Type::dropped:
      return decode_as<Dropped>(bytes);
    case Type::receipt:
      return decode_as<Receipt>(bytes);
    case Type::outcome:
      return decode_as<Outcome>(bytes);
    case Type::flushed:
      return decode_as<Flushed>(bytes);
    case Type::watched:
      return decode_as<Watched>(bytes);
    case Type::answer:
      return decode_as<Answer>(bytes);
    case Type::farewell:
      return decode_as<Farewell>(bytes);
  }
  return Errc::corrupt;
}

}  // namespace bus::protocol
