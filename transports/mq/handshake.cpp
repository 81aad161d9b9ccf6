// transports/mq/handshake.cpp: fields to bytes and back.
#include "transports/mq/handshake.hpp"

#include <cstring>

#include "bus/core/errc.hpp"
#include "bus/core/os/bytes.hpp"
#include "bus/core/transport.hpp"

namespace bus::mq {
namespace {

constexpr std::array<std::uint8_t, 8> kMagic{'i', 'p', 'c', 'b', 'u', 's', 'M', 'Q'};

using os::get_u32;
using os::get_u64;
using os::put_u32;
using os::put_u64;

template <std::size_t N>
void put_bytes(std::byte* to, const std::array<std::uint8_t, N>& bytes) noexcept {
  std::memcpy(to, bytes.data(), N);
}

Id get_id(const std::byte* from) noexcept {
  Id id{};
  std::memcpy(id.data(), from, id.size());
  return id;
}

/// The beginning of HELLO and WELCOME.
std::error_code check_beginning(const std::byte* bytes) noexcept {
  if (std::memcmp(bytes, kMagic.data(), kMagic.size()) != 0) return Errc::corrupt;
  return get_u32(bytes + 8) == kVersion ? std::error_code{} : make_error_code(Errc::version_mismatch);
}

bool is_depth(std::uint32_t depth) noexcept { return depth >= 1 && depth <= kMostDepth; }

}  // namespace

std::array<std::byte, Hello::kBytes> encode(const Hello& hello) noexcept {
  std::array<std::byte, Hello::kBytes> out{};
  put_bytes(&out[0], kMagic);
  put_u32(&out[8], kVersion);
  put_u32(&out[12], hello.depth);
  put_bytes(&out[16], hello.instance);
  put_u64(&out[32], hello.max_message);
  put_u64(&out[40], hello.capacity);
  return out;
}

std::array<std::byte, Welcome::kBytes> encode(const Welcome& welcome) noexcept {
  std::array<std::byte, Welcome::kBytes> out{};
  put_bytes(&out[0], kMagic);
  put_u32(&out[8], kVersion);
  put_u32(&out[12], static_cast<std::uint32_t>(welcome.status));
  put_bytes(&out[16], welcome.instance);
  put_u64(&out[32], welcome.max_message);
  put_u32(&out[40], welcome.up_depth);
  put_u32(&out[44], welcome.down_depth);
  put_bytes(&out[48], welcome.token);
  return out;
}

std::array<std::byte, Counts::kBytes> encode(const Counts& counts) noexcept {
  std::array<std::byte, Counts::kBytes> out{};
  put_u32(&out[0], static_cast<std::uint32_t>(counts.kind));
  put_u32(&out[4], counts.more ? 1 : 0);
  put_u64(&out[8], counts.accepted);
  put_u64(&out[16], counts.received);
  put_u64(&out[24], counts.dropped);
  return out;
}

Result<Hello> decode_hello(std::span<const std::byte, Hello::kBytes> bytes) noexcept {
  if (const std::error_code error = check_beginning(bytes.data())) return error;
  Hello hello;
  hello.depth = get_u32(&bytes[12]);
  hello.instance = get_id(&bytes[16]);
  hello.max_message = get_u64(&bytes[32]);
  hello.capacity = get_u64(&bytes[40]);
  if (hello.depth > kMostDepth || hello.max_message > Options::kMostMaxMessage ||
      hello.capacity > Options::kMostCapacity) {
    return Errc::corrupt;
  }
  return hello;
}

Result<Welcome> decode_welcome(std::span<const std::byte, Welcome::kBytes> bytes) noexcept {
  if (const std::error_code error = check_beginning(bytes.data())) return error;
  const std::uint32_t status = get_u32(&bytes[12]);
  if (status > static_cast<std::uint32_t>(Status::no_room)) return Errc::corrupt;
  Welcome welcome;
  welcome.status = static_cast<Status>(status);
  welcome.instance = get_id(&bytes[16]);
  welcome.max_message = get_u64(&bytes[32]);
  welcome.up_depth = get_u32(&bytes[40]);
  welcome.down_depth = get_u32(&bytes[44]);
  welcome.token = get_id(&bytes[48]);
  if (welcome.status != Status::welcome) return welcome;  // the rest is of no use then
  if (!is_depth(welcome.up_depth) || !is_depth(welcome.down_depth) || welcome.max_message > Options::kMostMaxMessage) {
    return Errc::corrupt;
  }
  return welcome;
}

Result<Counts> decode_counts(std::span<const std::byte, Counts::kBytes> bytes) noexcept {
  const std::uint32_t kind = get_u32(&bytes[0]);
  const bool end = kind == static_cast<std::uint32_t>(Kind::end);
  const std::uint32_t more = get_u32(&bytes[4]);
  if ((!end && kind != static_cast<std::uint32_t>(Kind::ack)) || more > (end ? 1U : 0U)) return Errc::corrupt;
  Counts counts;
  counts.more = more == 1;
  counts.kind = static_cast<Kind>(kind);
  counts.accepted = get_u64(&bytes[8]);
  counts.received = get_u64(&bytes[16]);
  counts.dropped = get_u64(&bytes[24]);
  return counts;
}

}  // namespace bus::mq
