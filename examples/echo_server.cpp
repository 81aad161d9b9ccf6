// Returns each message to its sender; any number of clients, one thread, one Poller.
//
//     echo_server [ADDRESS] [CLIENTS]     ends when CLIENTS have come and gone (default 1; 0: never)
#include <bus/core/channel.hpp>
#include <bus/core/listener.hpp>
#include <bus/core/poller.hpp>

#include <array>
#include <exception>
#include <iostream>
#include <map>
#include <string>

int main(int argc, char* argv[]) try {
  const std::string address = argc > 1 ? argv[1] : "shm://echo";
  const unsigned long wanted = argc > 2 ? std::stoul(argv[2]) : 1;

  bus::Listener listener = bus::listen(address);
  std::cerr << "listening on " << listener.address() << '\n';
  constexpr bus::Poller::Key kListener = 0;
  bus::Poller poller;
  poller.add(listener, kListener);
  std::map<bus::Poller::Key, bus::Channel> clients;
  bus::Poller::Key next_key = 1;

  for (unsigned long gone = 0; wanted == 0 || gone < wanted;) {
    std::array<bus::Poller::Key, 16> ready{};
    const std::size_t count = poller.wait(ready);
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] == kListener) {
        if (bus::Result<bus::Channel> channel = listener.try_accept()) {
          bus::Channel& client = clients.emplace(next_key, std::move(*channel)).first->second;
          poller.add(client, next_key++);
        }
        continue;
      }
      const auto it = clients.find(ready[i]);
      if (it == clients.end()) continue;
      bus::Channel& client = it->second;
      // A real server would not wait for one client while others have work; here every answer is small.
      bus::Result<bus::Message> message = client.try_receive();
      while (message && !client.send(message->bytes())) message = client.try_receive();
      if (message || message.error() != bus::Errc::would_block) {
        poller.remove(client);
        clients.erase(it);
        ++gone;
      }
    }
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "echo_server: " << error.what() << '\n';
  return 1;
}
