// Three ways to receive, side by side: without waiting, for a limited time, and until something comes.
//
//     waiting [ADDRESS]
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>

#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

int main(int argc, char* argv[]) try {
  bus::Listener listener = bus::listen(argc > 1 ? argv[1] : "inproc://waiting");
  const std::string address(listener.address());
  auto connecting = std::async(std::launch::async, [&] { return bus::connect(address); });
  bus::Channel receiver = listener.accept(bus::in(5s)).value();
  bus::Channel sender = connecting.get();

  bus::Result<bus::Message> message = receiver.try_receive();
  std::cout << "try_receive: " << message.error().message() << '\n';

  message = receiver.receive(bus::in(20ms));
  std::cout << "receive(in(20ms)): " << message.error().message() << '\n';

  std::error_code sent;
  const std::jthread later([&] { sent = sender.send(bus::bytes_of("hello")); });
  message = receiver.receive();
  std::cout << "receive(): " << message.value().text() << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << "waiting: " << error.what() << '\n';
  return 1;
}
