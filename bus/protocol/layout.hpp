// bus/protocol/layout.hpp: the numbers of frames as they are on the wire, for decode.cpp and encode.cpp. README.md has
// every layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bus/core/books.hpp"
#include "bus/core/errc.hpp"

namespace bus::protocol {

enum class Type : std::uint8_t {
  hello = 0x01,
  subscribe = 0x02,
  unsubscribe = 0x03,
  publish = 0x04,
  taken = 0x05,
  acknowledge = 0x06,
  flush = 0x07,
  watch = 0x08,
  query = 0x09,
  bye = 0x0a,
  publish_batch = 0x0b,
  welcome = 0x81,
  refused = 0x82,
  subscribed = 0x83,
  deliver = 0x84,
  progress = 0x85,
  dropped = 0x86,
  receipt = 0x87,
  outcome = 0x88,
  flushed = 0x89,
  watched = 0x8a,
  answer = 0x8b,
  farewell = 0x8c,
  deliver_batch = 0x8d,
};

inline constexpr std::size_t kHead = 8;              // bytes that all frames begin with
inline constexpr std::uint32_t kMagic = 0x62637069;  // "ipcb": the id of a hello and of a welcome

// Flags. One bit means one thing in all types that have it.
inline constexpr std::uint8_t kReply = 0x01;
inline constexpr std::uint8_t kHeaders = 0x02;
inline constexpr std::uint8_t kAgain = 0x04;
inline constexpr std::uint8_t kDelivered = 0x08;  // the level of a Publish, `acknowledge` of a Deliver
inline constexpr std::uint8_t kTell = 0x10;       // Publish
inline constexpr std::uint8_t kKept = 0x20;       // Deliver
inline constexpr std::uint8_t kDropped = 0x40;
inline constexpr std::uint8_t kStays = 0x80;  // Bye, Farewell
inline constexpr std::uint8_t kPublishFlags = kReply | kHeaders | kAgain | kDelivered | kTell;
inline constexpr std::uint8_t kDeliverFlags = kReply | kHeaders | kAgain | kDelivered | kKept;

inline constexpr std::size_t kReplySize = 2;    // bytes of the field
inline constexpr std::size_t kHeadersSize = 4;  // bytes of the field

// Both go over the wire as their numbers: one that changes is another version of the protocol.
static_assert(static_cast<int>(Reason::queue_full) == 0 && static_cast<int>(Reason::not_supported) == 11);
static_assert(static_cast<int>(Errc::would_block) == 1 && static_cast<int>(Errc::no_subscriber) == 16);

}  // namespace bus::protocol
