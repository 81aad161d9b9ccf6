// A producer shares work between two consumers: whoever has room gets the next piece.
//
//     producer_consumers produce [ADDRESS] [PIECES]     waits for two consumers, then hands out the work
//     producer_consumers consume [ADDRESS]              adds up what it gets, until the producer closes
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

namespace {

int produce(const std::string& address, std::uint64_t pieces) {
  bus::Listener listener = bus::listen(address);
  std::array<bus::Channel, 2> consumers;
  for (bus::Channel& consumer : consumers) consumer = listener.accept(bus::in(30s)).value();

  for (std::uint64_t piece = 1, turn = 0; piece <= pieces; ++turn) {
    const auto bytes = std::as_bytes(std::span(&piece, 1));
    // One that is busy would block: the other gets it. When both are, wait for the one whose turn it is.
    std::error_code error = consumers[turn % 2].try_send(bytes);
    if (error == bus::Errc::would_block) error = consumers[(turn + 1) % 2].try_send(bytes);
    if (error == bus::Errc::would_block) error = consumers[turn % 2].send(bytes, bus::in(5s));
    if (error) throw std::system_error(error, "send");
    ++piece;
  }
  std::uint64_t received = 0;
  for (bus::Channel& consumer : consumers) {
    if (const std::error_code error = consumer.close(bus::in(5s))) throw std::system_error(error, "close");
    received += consumer.books().peer_received.value_or(0);
  }
  std::cout << pieces << " pieces handed out, " << received << " received\n";
  return received == pieces ? 0 : 1;
}

int consume(const std::string& address) {
  bus::Channel channel = bus::connect(address, bus::in(30s));
  std::uint64_t count = 0, sum = 0;
  for (;;) {
    const bus::Result<bus::Message> message = channel.receive();
    if (!message) {
      std::cout << count << " pieces, sum " << sum << '\n';
      return message.error() == bus::Errc::closed ? 0 : 1;
    }
    std::uint64_t piece = 0;
    if (message->size() != sizeof piece) return 1;
    std::memcpy(&piece, message->data(), sizeof piece);
    ++count;
    sum += piece;
  }
}

}  // namespace

int main(int argc, char* argv[]) try {
  const std::string_view role = argc > 1 ? argv[1] : "";
  const std::string address = argc > 2 ? argv[2] : "shm://work";
  if (role == "produce") return produce(address, argc > 3 ? std::stoull(argv[3]) : 1000);
  if (role == "consume") return consume(address);
  std::cerr << "usage: producer_consumers produce|consume [ADDRESS] [PIECES]\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "producer_consumers: " << error.what() << '\n';
  return 1;
}
