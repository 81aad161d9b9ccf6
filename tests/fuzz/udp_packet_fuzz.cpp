// tests/fuzz/udp_packet_fuzz.cpp: any datagrams in any order: nothing is read that is not there, and the books close.
//
// The input is a row of records {u8 what, u16 size, bytes}. Raw ones go to the decoder as they are; made ones get the
// sound checks that random bytes never have, so that what lies behind the checks is reached, too.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "transports/udp/handshake.hpp"
#include "transports/udp/inbound.hpp"
#include "transports/udp/packet.hpp"

namespace {

using namespace bus::udp;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Takes numbers off the front of the input; zeros behind its end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
  template <class T>
  T number() {
    T value{};
    const auto bytes = take(sizeof value);
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::span<const std::uint8_t> take(std::size_t size) {
    const auto taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

constexpr std::uint32_t kSession = 1;
constexpr std::size_t kMaxDatagram = 600;
constexpr std::size_t kMaxMessage = 8000;

void read_all(std::span<const std::byte> datagram) {
  const Packet packet = decode(datagram);
  require(packet.payload.size() <= datagram.size());
  if (const auto greeting = read_greeting(packet)) {
    const Agreement terms = agree(packet.header.session, *greeting, *greeting);
    require(terms.max_datagram >= kLeastDatagram && terms.max_datagram <= kMostDatagram);
  }
  static_cast<void>(read_cookie(packet));
  static_cast<void>(read_counts(packet));
  static_cast<void>(read_refuse(packet));
  if (const auto other = other_version(datagram)) require(other->version != kVersion);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  bus::Ledger ledger;
  Intake intake;
  Start start;
  start.sequence = input.number<std::uint64_t>();
  start.datagram = input.number<std::uint32_t>();
  Inbound inbound({.session = kSession, .max_message = kMaxMessage, .max_datagram = kMaxDatagram, .window = 16 << 10},
                  ledger, start);
  std::uint64_t delivered = 0;
  bool sound = true;
  while (!input.empty() && sound) {
    const auto what = input.number<std::uint8_t>();
    std::vector<std::byte> datagram;
    if (what % 8 == 0) {
      const auto raw = std::as_bytes(input.take(input.number<std::uint16_t>() % 700));
      datagram.assign(raw.begin(), raw.end());
    } else if (what % 8 == 7) {
      inbound.settle();
      continue;
    } else {
      Header header{.kind = static_cast<Kind>(1 + what / 8 % 10), .session = kSession};
      if (what % 8 < 6) header.kind = Kind::data;
      header.sequence = start.sequence + input.number<std::uint8_t>();
      header.datagram = static_cast<std::uint32_t>(start.datagram) + input.number<std::uint8_t>();
      header.position = input.number<std::uint16_t>();
      header.message_bytes = input.number<std::uint16_t>() % 9000;
      header.offset = input.number<std::uint8_t>() % 16 * static_cast<std::uint32_t>(kMaxDatagram - kHeaderBytes);
      std::size_t payload = header.message_bytes > header.offset ? header.message_bytes - header.offset : 0;
      payload = std::min(payload, kMaxDatagram - kHeaderBytes);
      if (what % 8 == 5) payload = input.number<std::uint8_t>();
      if (header.kind == Kind::end || header.kind == Kind::settled) payload = kCountsBytes;
      datagram.resize(kHeaderBytes + payload);
      encode(header, std::span(datagram).subspan(kHeaderBytes), std::span(datagram).first<kHeaderBytes>());
      if (what % 8 == 4) datagram[input.number<std::uint16_t>() % datagram.size()] ^= std::byte{1};
    }
    read_all(datagram);
    const auto room = intake.room();
    std::copy(datagram.begin(), datagram.end(), room.begin());
    const auto taken = inbound.take(std::span<const std::byte>(room).first(datagram.size()), intake);
    intake.received(datagram.size());
    if (taken == Inbound::Taken::corrupt) sound = false;
    if (taken == Inbound::Taken::control) {
      const Header& header = inbound.control().header;
      if (header.kind == Kind::probe) sound = inbound.announce(header);
      if (header.kind == Kind::end) sound = inbound.end(header);
    }
    while (!inbound.empty()) {
      const Inbound::Item item = inbound.pop();
      require(item.size <= kMaxMessage);
      // Every byte is there: a sanitizer says if not.
      unsigned sum = 0;
      for (std::size_t i = 0; i < item.size; ++i) sum += std::to_integer<unsigned>(item.data[i]);
      require(sum <= 255 * item.size);
      item.chunk->release(nullptr);
      ++delivered;
    }
  }
  if (!sound) return 0;
  // The end: everything that the sender says that it sent was delivered or dropped.
  inbound.settle();
  while (!inbound.empty()) {
    inbound.pop().chunk->release(nullptr);
    ++delivered;
  }
  if (inbound.complete()) require(inbound.accepted() == delivered + ledger.dropped_total());
  return 0;
}
