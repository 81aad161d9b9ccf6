// Waits on channels of three transports in one call.
//
//     three_transports [NAME]     listens on shm://NAME, unix://NAME and a free tcp port, and talks to itself on each
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>
#include <bus/core/poller.hpp>

#include <array>
#include <chrono>
#include <exception>
#include <iostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main(int argc, char* argv[]) try {
  const std::string name = argc > 1 ? argv[1] : "three";
  std::vector<bus::Listener> listeners;
  listeners.push_back(bus::listen("shm://" + name));
  listeners.push_back(bus::listen("unix://" + name));
  listeners.push_back(bus::listen("tcp://127.0.0.1:0"));

  // Somebody on each of them, in threads so that one program shows it.
  std::vector<std::jthread> others;
  for (const bus::Listener& listener : listeners) {
    others.emplace_back([address = std::string(listener.address())] {
      try {
        bus::Channel channel = bus::connect(address);
        if (const std::error_code error = channel.send(bus::bytes_of("from " + address.substr(0, address.find(':'))))) {
          std::cerr << bus::describe("send", address, error) << '\n';
        }
      } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
      }
    });
  }

  bus::Poller poller;
  for (std::size_t i = 0; i < listeners.size(); ++i) poller.add(listeners[i], i);
  std::vector<bus::Channel> channels;
  channels.reserve(listeners.size());
  std::set<std::string> heard;
  std::size_t closed = 0;
  while (closed < listeners.size()) {
    std::array<bus::Poller::Key, 8> ready{};
    const std::size_t count = poller.wait(ready, bus::in(10s));
    if (count == 0) throw std::runtime_error("nothing happened for 10 s");
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] < listeners.size()) {
        if (bus::Result<bus::Channel> channel = listeners[ready[i]].try_accept()) {
          channels.push_back(std::move(*channel));
          poller.add(channels.back(), listeners.size() + channels.size() - 1);
        }
        continue;
      }
      bus::Channel& channel = channels[ready[i] - listeners.size()];
      const bus::Result<bus::Message> message = channel.try_receive();
      if (message) {
        heard.insert(std::string(message->text()));
      } else if (message.error() != bus::Errc::would_block) {
        poller.remove(channel);
        ++closed;
      }
    }
  }
  for (const std::string& text : heard) std::cout << text << '\n';
  return heard.size() == listeners.size() ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "three_transports: " << error.what() << '\n';
  return 1;
}
