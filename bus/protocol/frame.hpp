// bus/protocol/frame.hpp: what nodes and brokers say to each other. Bytes in, frames out: no channels, no clock.
//
// A frame is one message of a channel, so boundaries and damage are the channel's business. Little-endian. Every frame
// begins with
//   offset  size  field
//        0     1  type
//        1     1  flags         those of its type; any other bit is an error
//        2     2  subject_size  bytes of its first string, 0 where it has none
//        4     4  id            of a subscription, or a token that comes back in the answer
// and goes on as README.md lists for each type, strings at the end in the order of their sizes, then the payload.
//
// Errors: decode() gives version_mismatch for a hello or welcome of another version, and corrupt for everything else
// that is not exactly a frame: a size beyond the end, a subject that is none, bytes left over, an unknown type or flag.
// Cost: no allocation; a decoded frame is a view into the bytes that it was decoded from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/core/books.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/os/bytes.hpp"
#include "bus/core/result.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::protocol {

inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::uint32_t kMostInBatch = 1024;
inline constexpr std::size_t kMaxText = 1024;  // bytes; of a name, a queue, a query, a refusal

/// A subscription's rule for when as many messages wait for it as its depth allows.
enum class Full : std::uint8_t {
  block = 0,       // publishers wait
  drop_new = 1,    // what comes is dropped
  drop_old = 2,    // what has waited longest is dropped
  disconnect = 3,  // the subscription ends
};
[[nodiscard]] std::string_view name(Full) noexcept;

/// What a publisher is promised.
enum class Level : std::uint8_t {
  accepted = 0,   // the broker has it
  delivered = 1,  // a handler of each subscription acknowledged it; it is kept and sent again until then
};
[[nodiscard]] std::string_view name(Level) noexcept;

using Bytes = std::span<const std::byte>;
using Instance = std::array<std::uint8_t, 16>;  // random, of a node or broker for as long as it lives

// ---- node to broker ----

struct Hello {
  std::uint16_t version = kVersion;
  Instance instance{};
  std::uint64_t publisher = 0;   // random; with a sequence it names a message for ever
  std::uint64_t sequence = 0;    // of the last message that it has published so far
  std::string_view name{};       // for people
  bool again = false;            // it has lost a broker: those who subscribed there may be on their way here, too
  std::uint32_t subscribed = 0;  // how many, as the last welcome there said
};

struct Subscribe {
  std::uint32_t subscription = 0;
  std::string_view pattern{};
  std::string_view queue{};  // empty: none
  std::uint32_t depth = 0;
  Full full = Full::block;
  std::uint32_t history = 0;  // how many kept messages of each subject it wants first
  bool again = false;         // it was in force before the connection was lost
};

struct Unsubscribe {
  std::uint32_t subscription = 0;
};

struct Publish {
  std::uint64_t sequence = 0;  // of this publisher, from 1, without gaps
  Level level = Level::accepted;
  bool tell = false;          // an Outcome is wanted, as it is for `delivered` in any case
  bool again = false;         // sent before, and not heard of
  std::uint32_t history = 0;  // keep so many of this subject for those who come late
  std::string_view subject{}, reply{};
  Bytes headers{};  // see headers.hpp
  Bytes payload{};
};

/// Several messages of level `accepted` on one subject, without reply and headers, in the order of their sequences.
struct PublishBatch {
  std::uint64_t sequence = 0;  // of the first
  std::uint32_t count = 0;     // 1 to kMostInBatch
  std::string_view subject{};
  Bytes items{};  // of each message the payload's size, u16, and the payload: see take_item()
};

/// What the application has taken from a subscription, so that more may come.
struct Taken {
  std::uint32_t subscription = 0;
  std::uint64_t index = 0;    // of the last message that was taken, or dropped by the node
  std::uint64_t dropped = 0;  // by the node, in all
};

/// A message's name: who published it, as his how-manieth.
struct MessageId {
  std::uint64_t publisher = 0, sequence = 0;
  friend bool operator==(const MessageId&, const MessageId&) = default;
};

/// A handler is done with this message; or will never have it.
struct Acknowledge {
  std::uint32_t subscription = 0;
  MessageId message;
  bool dropped = false;  // the node had no room for it: drop_old
};

/// Asks for Flushed when all before it has been accepted.
struct Flush {
  std::uint32_t token = 0;
  std::uint64_t sequence = 0;  // of the last message published
};

/// Asks for Watched as soon as so many subscriptions would get a message on this subject.
struct Watch {
  std::uint32_t token = 0;
  std::uint32_t count = 0;
  std::string_view subject{};
};

/// Asks the broker about itself. `what` is "status" or "subscriptions".
struct Query {
  std::uint32_t token = 0;
  std::string_view what{};
};

/// The node leaves in good order. All its publishing is before this.
struct Bye {
  std::uint64_t sequence = 0;  // of the last message published
  bool stays = false;          // in answer to a Farewell that is not the last word: it goes on taking what comes
};

// ---- broker to node ----

struct Welcome {
  std::uint16_t version = kVersion;
  Instance instance{};
  std::uint32_t window_messages = 0;  // that a publisher may have sent and not seen accepted
  std::uint32_t window_bytes = 0;
  std::uint32_t max_payload = 0;  // bytes of subject, reply, headers and payload together
  std::uint32_t subscriptions = 0;
  std::string_view name{};
  // Subscriptions of all nodes but those in the broker's own process, which end with it: what a broker after this one
  // has to wait for. Told to those who publish what is to be `delivered`; 0 to others.
  std::uint32_t subscribed = 0;
};

/// The answer to a hello, a subscription or anything else that is not to be. Ends the connection if `id` is 0.
struct Refused {
  std::uint32_t id = 0;
  Errc why{};
  std::string_view text{};
};

/// The subscription is in force: everything accepted after this comes.
struct Subscribed {
  std::uint32_t subscription = 0;
};

/// One message for one subscription.
struct Deliver {
  std::uint32_t subscription = 0;
  std::uint64_t index = 0;  // of this subscription, from 1, without gaps
  MessageId message;
  bool acknowledge = false;  // the publisher asked for `delivered`
  bool again = false;        // it may have been here before
  bool kept = false;         // from the history
  std::string_view subject{}, reply{};
  Bytes headers{}, payload{};
};

/// Several messages for one subscription, as they stand in a PublishBatch.
struct DeliverBatch {
  std::uint32_t subscription = 0;
  std::uint64_t index = 0;  // of the first
  MessageId message;        // the first
  std::uint32_t count = 0;  // 1 to kMostInBatch
  std::string_view subject{};
  Bytes items{};
};

/// The subscription's messages up to `index` were sent: what of them is not there was lost on the way.
struct Progress {
  std::uint32_t subscription = 0;
  std::uint64_t index = 0;
};

/// Messages were dropped for this subscription before it was sent the next.
struct Dropped {
  std::uint32_t subscription = 0;
  Reason reason{};
  std::uint64_t count = 0;  // for this reason, in all
};

/// The publisher's messages up to `sequence` have been accepted, but for those that never came.
struct Receipt {
  std::uint64_t sequence = 0;
  std::uint64_t accepted = 0;   // on this connection, of level `accepted`: the others have outcomes
  std::uint64_t unreached = 0;  // of these, how many had no subscriber
  std::uint64_t dropped = 0;    // copies that full subscriptions dropped
};

/// What became of one message.
struct Outcome {
  std::uint64_t sequence = 0;
  std::uint32_t reached = 0;  // subscriptions that were sent it; with `delivered`, that acknowledged it
  std::uint32_t failed = 0;   // subscriptions that were not, or did not
  Reason reason{};            // of the last failure, or no_subscriber
};

struct Flushed {
  std::uint32_t token = 0;
};

struct Watched {
  std::uint32_t token = 0;
  std::uint32_t count = 0;
};

struct Answer {
  std::uint32_t token = 0;
  Bytes payload{};  // JSON
};

/// The broker's last word: to a Bye, or of its own accord when it stops.
struct Farewell {
  std::uint64_t accepted = 0;   // messages of this node
  std::uint64_t delivered = 0;  // messages sent to this node
  bool stays = false;           // not the last word: it is about to stop, and waits for a Bye; more may come until then
};

using Frame =
    std::variant<Hello, Subscribe, Unsubscribe, Publish, PublishBatch, Taken, Acknowledge, Flush, Watch, Query, Bye,  //
                 Welcome, Refused, Subscribed, Deliver, DeliverBatch, Progress, Dropped, Receipt, Outcome, Flushed,
                 Watched, Answer, Farewell>;

/// Checks everything; what it gives points into `bytes`.
[[nodiscard]] Result<Frame> decode(Bytes bytes) noexcept;

/// The same in bytes, in place of what was in `to`; for tests and for everything but messages. Its strings are valid
/// and within their limits: otherwise nobody decodes it. Throws std::bad_alloc.
void encode(const Frame& frame, std::vector<std::byte>& to);

// A message on its way through the broker keeps everything behind the fixed fields as it is: sizes, subject, reply,
// headers, payload. That is its tail; the head before it is made anew.

inline constexpr std::size_t kPublishHead = 16;
inline constexpr std::size_t kDeliverHead = 32;
/// What a frame has beside the subject, reply, headers and payload of its message, at most.
inline constexpr std::size_t kMostAround = kDeliverHead + 8;

/// The tail of a frame that decode() took for a Publish.
[[nodiscard]] inline Bytes tail_of_publish(Bytes frame) noexcept { return frame.subspan(kPublishHead); }

/// What the parts of a tail add up to.
[[nodiscard]] std::size_t tail_size(std::string_view subject, std::string_view reply, Bytes headers,
                                    Bytes payload) noexcept;
/// Writes a tail of that size.
void write_tail(std::byte* to, std::string_view subject, std::string_view reply, Bytes headers, Bytes payload) noexcept;
/// The head of a Publish or Deliver whose strings are those given in `frame`.
[[nodiscard]] std::array<std::byte, kPublishHead> publish_head(const Publish& frame) noexcept;
[[nodiscard]] std::array<std::byte, kDeliverHead> deliver_head(const Deliver& frame) noexcept;

// A batch is a front and its items, which go through the broker as they are.

inline constexpr std::size_t kItemSize = 2;  // bytes of an item before its payload
inline constexpr std::size_t kLongestFront = 36 + kMaxSubject;
using Front = std::array<std::byte, kLongestFront>;

/// Takes the first off `items`, which are those of a decoded batch and not none. Gives its payload.
[[nodiscard]] inline Bytes take_item(Bytes& items) noexcept {
  const Bytes payload = items.subspan(kItemSize, os::get_u16(items.data()));
  items = items.subspan(kItemSize + payload.size());
  return payload;
}
/// All of a batch but its items, in `room`.
[[nodiscard]] Bytes front_of(const PublishBatch& frame, Front& room) noexcept;
[[nodiscard]] Bytes front_of(const DeliverBatch& frame, Front& room) noexcept;
/// Of the bytes of a PublishBatch.
inline void set_count(std::span<std::byte> batch, std::uint32_t count) noexcept {
  os::put_u32(batch.data() + 4, count);
}

}  // namespace bus::protocol
