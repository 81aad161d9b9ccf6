// An HTTP GET by hand, on a tcp channel that carries bytes as they come.
//
//     http_get HOST:PORT [PATH]
#include <bus/core/channel.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

int main(int argc, char* argv[]) try {
  if (argc < 2) {
    std::cerr << "usage: http_get HOST:PORT [PATH]\n";
    return 2;
  }
  const std::string host = argv[1];
  const std::string path = argc > 2 ? argv[2] : "/";
  bus::Channel channel = bus::connect("tcp://" + host + "?framing=raw", bus::in(5s));

  // Source: RFC 9112. Without keep-alive the end of the answer is the end of the connection.
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
  if (const std::error_code error = channel.send(bus::bytes_of(request), bus::in(5s))) {
    throw std::system_error(error, "send");
  }

  std::string answer;
  for (;;) {
    const bus::Result<bus::Message> piece = channel.receive(bus::in(10s));
    if (!piece && piece.error() == bus::Errc::closed) break;
    answer.append(piece.value().text());
  }
  const std::size_t status_end = answer.find("\r\n");
  const std::size_t head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos) throw std::runtime_error("the answer has no end of headers");
  std::cout << "status:  " << answer.substr(0, status_end) << '\n';
  for (std::size_t at = status_end + 2; at < head_end + 2;) {
    const std::size_t end = answer.find("\r\n", at);
    std::cout << "header:  " << answer.substr(at, end - at) << '\n';
    at = end + 2;
  }
  std::cout << answer.substr(head_end + 4);
  return answer.starts_with("HTTP/1.") ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "http_get: " << error.what() << '\n';
  return 1;
}
