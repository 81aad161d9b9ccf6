// Request and answer in both directions between equals: each end asks, and each end answers, on one channel.
//
//     equal_peers [ADDRESS]     start it twice: whoever comes first listens, the other connects
//
// The protocol is the program's own: the first byte says what a message is ('?' a question, '=' an answer). Each peer
// asks for three squares and answers those of the other, in whatever order they arrive.
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

namespace {

bus::Channel meet(const std::string& address, bool& first) {
  try {
    bus::Listener listener = bus::listen(address);
    first = true;
    return listener.accept(bus::in(30s)).value();
  } catch (const bus::Error& error) {
    if (error.code() != bus::Errc::address_in_use) throw;
    first = false;
    return bus::connect(address, bus::in(30s));
  }
}

void send(bus::Channel& channel, const std::string& text) {
  if (const std::error_code error = channel.send(bus::bytes_of(text), bus::in(5s))) {
    throw std::system_error(error, "send");
  }
}

}  // namespace

int main(int argc, char* argv[]) try {
  bool first = false;
  bus::Channel channel = meet(argc > 1 ? argv[1] : "unix://equals", first);
  for (int i = 1; i <= 3; ++i) send(channel, "?" + std::to_string(first ? i : 10 * i));
  for (int answers = 0, questions = 0; answers < 3 || questions < 3;) {
    const bus::Result<bus::Message> message = channel.receive(bus::in(5s));
    const std::string text(message.value().text());
    if (text.starts_with('?')) {
      const int number = std::stoi(text.substr(1));
      send(channel, "=" + std::to_string(number) + " squared is " + std::to_string(number * number));
      ++questions;
    } else {
      std::cout << text.substr(1) << '\n';
      ++answers;
    }
  }
  // Each waits until the other has received everything.
  if (const std::error_code error = channel.close(bus::in(5s))) throw std::system_error(error, "close");
  return 0;
} catch (const std::exception& error) {
  std::cerr << "equal_peers: " << error.what() << '\n';
  return 1;
}
