// tests/fuzz/lane_fuzz.cpp: the input is what a hostile peer writes into its memory between the calls of its victim.
#include <sys/socket.h>
#include <cstdlib>
#include <cstring>

#include "transports/lane/lane_channel.hpp"

using namespace bus;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kCapacity = 4096;
  constexpr std::size_t kMaxMessage = 2048;
  constexpr std::size_t kStep = 7;  // bytes of input for each step: action, place, value
  lane::Offer peer = lane::Offer::make(kCapacity);
  lane::Offer mine = lane::Offer::make(kCapacity);
  std::array<int, 2> sockets{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets.data()) != 0) std::abort();
  const os::Fd far(sockets[1]);
  lane::Link link;
  link.socket = os::Fd(sockets[0]);
  link.max_send = link.max_receive = kMaxMessage;
  lane::LaneChannel victim(std::move(mine), view_of(peer), std::move(link));

  std::vector<Message> held;
  std::array<std::byte, 200> payload{};
  for (; size >= kStep; data += kStep, size -= kStep) {
    std::uint16_t place = 0;
    std::uint32_t value = 0;
    std::memcpy(&place, data + 1, sizeof place);
    std::memcpy(&value, data + 3, sizeof value);
    switch (data[0] % 6) {
      case 0: {
        lane::Record& record = peer.ring.at(place % (kCapacity / lane::kRecordAlign) * lane::kRecordAlign);
        record.size.store(value);
        record.commit.store(lane::kMessage);
        break;
      }
      case 1:
        reinterpret_cast<std::atomic<std::uint32_t>*>(&peer.page->status())[4 + place % 90].store(value);
        break;
      case 2:
        peer.ring.at(place % (kCapacity / lane::kRecordAlign) * lane::kRecordAlign).commit.store(value);
        break;
      case 3: {
        Result<Message> message = victim.try_receive();
        if (!message) break;
        if (message->size() > kMaxMessage) std::abort();
        unsigned sum = 0;
        for (const std::byte b : message->bytes()) sum += std::to_integer<unsigned>(b);
        if (sum % 3 != 0 && held.size() < 64) held.push_back(std::move(*message));
        break;
      }
      case 4:
        static_cast<void>(victim.try_send(std::span(payload).first(value % payload.size())));
        break;
      default:
        if (!held.empty()) held.erase(held.begin() + static_cast<std::ptrdiff_t>(place % held.size()));
        break;
    }
  }
  static_cast<void>(victim.try_close(true));
  return 0;
}
