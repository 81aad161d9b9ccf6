// tests/transports/udp/udp_datagrams.hpp: datagrams for tests, made and taken apart without a socket.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/message.hpp"
#include "transports/udp/inbound.hpp"

namespace bus::test {

using Bytes = std::vector<std::byte>;

[[nodiscard]] inline Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 3) {
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

[[nodiscard]] inline Bytes to_vector(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

inline constexpr std::uint32_t kSession = 0x04030201;
inline constexpr std::size_t kMaxDatagram = 600;
inline constexpr std::size_t kMostPayload = kMaxDatagram - udp::kHeaderBytes;

/// What a sender would send, one direction of a channel.
class Sender {
 public:
  explicit Sender(const udp::Start& start = {}) : first_(start.sequence), at_(start) {}

  /// The datagrams of the next message.
  [[nodiscard]] std::vector<Bytes> message(std::span<const std::byte> payload) {
    std::vector<Bytes> datagrams;
    std::size_t offset = 0;
    do {
      const auto part = payload.subspan(offset, std::min(kMostPayload, payload.size() - offset));
      at_.position += udp::window_cost(udp::kHeaderBytes + part.size());
      const udp::Header header{.kind = udp::Kind::data,
                               .session = kSession,
                               .sequence = at_.sequence,
                               .datagram = static_cast<std::uint32_t>(at_.datagram++),
                               .position = static_cast<std::uint32_t>(at_.position),
                               .message_bytes = static_cast<std::uint32_t>(payload.size()),
                               .offset = static_cast<std::uint32_t>(offset)};
      datagrams.push_back(make(header, part));
      offset += part.size();
    } while (offset < payload.size());
    ++at_.sequence;
    return datagrams;
  }
  [[nodiscard]] Bytes single(std::string_view text) { return message(bytes_of(text)).front(); }

  [[nodiscard]] udp::Header mark(udp::Kind kind) const {
    return {.kind = kind,
            .session = kSession,
            .sequence = at_.sequence,
            .datagram = static_cast<std::uint32_t>(at_.datagram),
            .position = static_cast<std::uint32_t>(at_.position)};
  }
  [[nodiscard]] std::uint64_t accepted() const { return at_.sequence - first_; }
  [[nodiscard]] std::uint64_t position() const { return at_.position; }

  [[nodiscard]] static Bytes make(const udp::Header& header, std::span<const std::byte> payload) {
    Bytes bytes(udp::kHeaderBytes + payload.size());
    std::copy(payload.begin(), payload.end(), bytes.begin() + udp::kHeaderBytes);
    udp::encode(header, payload, std::span<std::byte>(bytes).first<udp::kHeaderBytes>());
    return bytes;
  }

 private:
  const std::uint64_t first_;
  udp::Start at_;
};

/// An Inbound with its memory and ledger, fed with datagrams; keeps the texts of what was delivered.
class Receiver {
 public:
  explicit Receiver(const udp::Start& start = {}, std::size_t max_message = 64 << 10)
      : inbound({.session = kSession, .max_message = max_message, .max_datagram = kMaxDatagram, .window = 1 << 20},
                ledger, start) {}

  udp::Inbound::Taken take(std::span<const std::byte> datagram) {
    const auto room = intake_.room();
    std::memcpy(room.data(), datagram.data(), datagram.size());
    const auto taken = inbound.take(std::span<const std::byte>(room).first(datagram.size()), intake_);
    intake_.received(datagram.size());
    collect();
    return taken;
  }
  void settle() {
    inbound.settle();
    collect();
  }
  [[nodiscard]] bool end(const Sender& sender) {
    const bool sound = inbound.end(sender.mark(udp::Kind::end));
    settle();
    return sound;
  }

  [[nodiscard]] std::uint64_t dropped(Reason reason) const {
    return ledger.dropped[static_cast<std::size_t>(reason)].get();
  }
  [[nodiscard]] std::uint64_t accounted() const { return delivered.size() + ledger.dropped_total(); }

  Ledger ledger;

 private:
  udp::Intake intake_;

 public:
  udp::Inbound inbound;
  std::vector<std::string> delivered;

 private:
  void collect() {
    while (!inbound.empty()) {
      const auto item = inbound.pop();
      delivered.emplace_back(reinterpret_cast<const char*>(item.data), item.size);
      item.chunk->release(nullptr);
    }
  }
};

}  // namespace bus::test
