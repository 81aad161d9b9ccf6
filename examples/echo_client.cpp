// Sends each line of its input to an echo and prints what comes back.
//
//     echo_client [ADDRESS] < lines
#include <bus/core/channel.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

int main(int argc, char* argv[]) try {
  bus::Channel channel = bus::connect(argc > 1 ? argv[1] : "shm://echo", bus::in(5s));  // waits for the server
  for (std::string line; std::getline(std::cin, line);) {
    if (const std::error_code error = channel.send(bus::bytes_of(line), bus::in(1s))) {
      throw std::system_error(error, "send");
    }
    const bus::Result<bus::Message> answer = channel.receive(bus::in(1s));
    std::cout << answer.value().text() << '\n';  // value() throws what went wrong
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "echo_client: " << error.what() << '\n';
  return 1;
}
