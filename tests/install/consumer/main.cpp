// tests/install/consumer/main.cpp: a program outside of the source tree: one echo over each of two transports.
#include <bus/core/address.hpp>
#include <bus/core/books.hpp>
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>
#include <bus/core/version.hpp>

#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

namespace {

/// Receives one message, returns it, and waits for the other end to close.
void echo_once(bus::Listener& listener) {
  bus::Channel channel = listener.accept(bus::in(10s)).value();
  const bus::Message message = channel.receive(bus::in(10s)).value();
  if (const auto error = channel.send(message.bytes(), bus::in(10s))) throw std::system_error(error, "echo");
  if (channel.receive(bus::in(10s)).error() != bus::Errc::closed) throw std::runtime_error("no orderly end");
}

/// One message there and back, and the books of both directions closed.
void round_trip(const std::string& address, std::string_view text) {
  bus::Listener listener = bus::listen(address);
  auto server = std::async(std::launch::async, [&listener] { echo_once(listener); });
  bus::Channel channel = bus::connect(listener.address(), bus::in(10s));
  if (const auto error = channel.send(bus::bytes_of(text), bus::in(10s))) throw std::system_error(error, "send");
  const std::string back(channel.receive(bus::in(10s)).value().text());
  if (const auto error = channel.close(bus::in(10s))) throw std::system_error(error, "close");
  server.get();
  if (back != text) throw std::runtime_error("another text came back: " + back);
  if (!channel.books().closed()) throw std::runtime_error("the books do not close");
  std::cout << address << ": " << back << '\n';
}

}  // namespace

int main() try {
  std::cout << "ipcbus " << bus::version() << ", " << bus::build() << '\n';
  round_trip("inproc://consumer", "hello, thread");
  round_trip("unix://consumer", "hello, socket");
} catch (const std::exception& error) {
  std::cerr << "consumer: " << error.what() << '\n';
  return 1;
}
