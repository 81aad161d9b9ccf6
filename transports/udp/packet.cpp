// transports/udp/packet.cpp: the datagrams' bytes, written and read field by field.
#include "transports/udp/packet.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>

#include "bus/core/crc32c.hpp"

namespace bus::udp {
namespace {

constexpr std::array<std::byte, 8> kMagic = {std::byte{'i'}, std::byte{'p'}, std::byte{'c'}, std::byte{'b'},
                                             std::byte{'u'}, std::byte{'s'}, std::byte{0},   std::byte{0}};

template <std::unsigned_integral T>
void put(std::byte* to, T value) noexcept {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(to, &value, sizeof value);
  } else {
    for (std::size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
  }
}

template <std::unsigned_integral T>
T get(const std::byte* from) noexcept {
  T value{};
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&value, from, sizeof value);
  } else {
    for (std::size_t i = 0; i < sizeof value; ++i) {
      value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(from[i]) << (8 * i)));
    }
  }
  return value;
}

bool has_magic(std::span<const std::byte> payload) noexcept {
  return payload.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), payload.begin());
}

// Completes a datagram whose payload already stands in `room`.
std::span<const std::byte> finish(const Header& header, std::size_t payload_bytes, Datagram& room) noexcept {
  const std::span<std::byte> whole(room);
  encode(header, whole.subspan(kHeaderBytes, payload_bytes), whole.first<kHeaderBytes>());
  return whole.first(kHeaderBytes + payload_bytes);
}

std::span<const std::byte> make_greeting(Kind kind, std::uint32_t session, const Greeting& greeting, std::size_t bytes,
                                         Datagram& room) noexcept {
  room.fill(std::byte{0});
  std::byte* at = room.data() + kHeaderBytes;
  std::memcpy(at, kMagic.data(), kMagic.size());
  put(at + 8, greeting.cookie);
  std::memcpy(at + 16, greeting.instance.data(), greeting.instance.size());
  put(at + 32, greeting.max_message);
  put(at + 36, greeting.max_datagram);
  put(at + 40, greeting.window);
  put(at + 44, greeting.port);
  return finish({.kind = kind, .session = session}, bytes, room);
}

}  // namespace

void encode(const Header& header, std::span<const std::byte> payload, std::span<std::byte, kHeaderBytes> to) noexcept {
  std::byte* at = to.data();
  put(at + 8, kVersion);
  put(at + 9, static_cast<std::uint8_t>(header.kind));
  put(at + 10, std::uint16_t{0});
  put(at + 12, header.session);
  put(at + 16, header.sequence);
  put(at + 24, header.datagram);
  put(at + 28, header.position);
  put(at + 32, header.message_bytes);
  put(at + 36, header.offset);
  const std::uint32_t header_check = crc32c(to.subspan<8>());
  put(at, header_check);
  put(at + 4, payload.empty() ? header_check : crc32c(payload, header_check));
}

Packet decode(std::span<const std::byte> datagram) noexcept {
  Packet packet;
  if (datagram.size() < kHeaderBytes) return packet;
  const std::byte* at = datagram.data();
  const auto header_check = get<std::uint32_t>(at);
  if (crc32c(datagram.subspan(8, kHeaderBytes - 8)) != header_check) return packet;
  packet.version = get<std::uint8_t>(at + 8);
  const auto kind = get<std::uint8_t>(at + 9);
  packet.header = {.kind = static_cast<Kind>(kind),
                   .session = get<std::uint32_t>(at + 12),
                   .sequence = get<std::uint64_t>(at + 16),
                   .datagram = get<std::uint32_t>(at + 24),
                   .position = get<std::uint32_t>(at + 28),
                   .message_bytes = get<std::uint32_t>(at + 32),
                   .offset = get<std::uint32_t>(at + 36)};
  packet.payload = datagram.subspan(kHeaderBytes);
  if (packet.version != kVersion || kind < static_cast<std::uint8_t>(Kind::hello) ||
      kind > static_cast<std::uint8_t>(Kind::settled) || get<std::uint16_t>(at + 10) != 0) {
    packet.soundness = Soundness::foreign;
    return packet;
  }
  const std::uint32_t check = packet.payload.empty() ? header_check : crc32c(packet.payload, header_check);
  packet.soundness = check == get<std::uint32_t>(at + 4) ? Soundness::sound : Soundness::bad_payload;
  return packet;
}

std::span<const std::byte> make_hello(std::uint32_t session, const Greeting& greeting, Datagram& room) noexcept {
  return make_greeting(Kind::hello, session, greeting, kHelloBytes - kHeaderBytes, room);
}

std::span<const std::byte> make_welcome(std::uint32_t session, const Greeting& greeting, Datagram& room) noexcept {
  return make_greeting(Kind::welcome, session, greeting, kGreetingBytes, room);
}

std::span<const std::byte> make_cookie(std::uint32_t session, std::uint64_t cookie, Datagram& room) noexcept {
  std::memcpy(room.data() + kHeaderBytes, kMagic.data(), kMagic.size());
  put(room.data() + kHeaderBytes + 8, cookie);
  return finish({.kind = Kind::cookie, .session = session}, 16, room);
}

std::span<const std::byte> make_refuse(std::uint32_t session, Refusal why, Datagram& room) noexcept {
  std::memcpy(room.data() + kHeaderBytes, kMagic.data(), kMagic.size());
  put(room.data() + kHeaderBytes + 8, static_cast<std::uint32_t>(why));
  put(room.data() + kHeaderBytes + 12, std::uint32_t{kVersion});
  return finish({.kind = Kind::refuse, .session = session}, 16, room);
}

std::span<const std::byte> make_control(const Header& header, Datagram& room) noexcept {
  return finish(header, 0, room);
}

std::span<const std::byte> make_counts(const Header& header, const Counts& counts, Datagram& room) noexcept {
  put(room.data() + kHeaderBytes, counts.received);
  put(room.data() + kHeaderBytes + 8, counts.dropped);
  return finish(header, kCountsBytes, room);
}

std::optional<Greeting> read_greeting(const Packet& packet) noexcept {
  const bool hello = packet.header.kind == Kind::hello;
  if (packet.soundness != Soundness::sound || (!hello && packet.header.kind != Kind::welcome)) return {};
  if (packet.payload.size() != (hello ? kHelloBytes - kHeaderBytes : kGreetingBytes)) return {};
  if (!has_magic(packet.payload)) return {};
  const std::byte* at = packet.payload.data();
  if (get<std::uint16_t>(at + 46) != 0) return {};
  Greeting greeting;
  greeting.cookie = get<std::uint64_t>(at + 8);
  std::memcpy(greeting.instance.data(), at + 16, greeting.instance.size());
  greeting.max_message = get<std::uint32_t>(at + 32);
  greeting.max_datagram = get<std::uint32_t>(at + 36);
  greeting.window = get<std::uint32_t>(at + 40);
  greeting.port = get<std::uint16_t>(at + 44);
  if (greeting.max_datagram < kLeastDatagram || greeting.max_message == 0) return {};
  if ((greeting.port == 0) != hello) return {};
  return greeting;
}

std::optional<std::uint64_t> read_cookie(const Packet& packet) noexcept {
  if (packet.soundness != Soundness::sound || packet.header.kind != Kind::cookie) return {};
  if (packet.payload.size() != 16 || !has_magic(packet.payload)) return {};
  return get<std::uint64_t>(packet.payload.data() + 8);
}

std::optional<Counts> read_counts(const Packet& packet) noexcept {
  if (packet.soundness != Soundness::sound || packet.payload.size() != kCountsBytes) return {};
  return Counts{.received = get<std::uint64_t>(packet.payload.data()),
                .dropped = get<std::uint64_t>(packet.payload.data() + 8)};
}

std::optional<Refused> read_refuse(const Packet& packet) noexcept {
  if (packet.header.kind != Kind::refuse || packet.payload.size() != 16 || !has_magic(packet.payload)) return {};
  const auto why = get<std::uint32_t>(packet.payload.data() + 8);
  if (why != static_cast<std::uint32_t>(Refusal::version) && why != static_cast<std::uint32_t>(Refusal::no_room)) {
    return {};
  }
  return Refused{.why = static_cast<Refusal>(why), .version = get<std::uint32_t>(packet.payload.data() + 12)};
}

std::optional<OtherVersion> other_version(std::span<const std::byte> datagram) noexcept {
  if (datagram.size() < kRefuseBytes || !has_magic(datagram.subspan(kHeaderBytes))) return {};
  const OtherVersion other{.kind = static_cast<Kind>(get<std::uint8_t>(datagram.data() + 9)),
                           .version = get<std::uint8_t>(datagram.data() + 8),
                           .session = get<std::uint32_t>(datagram.data() + 12)};
  if (other.version == kVersion) return {};
  if (other.kind == Kind::refuse) return other;
  // A shorter hello would make our answer the longer of the two.
  if (other.kind == Kind::hello && datagram.size() >= kHelloBytes) return other;
  return {};
}

}  // namespace bus::udp
