// tests/system/raw_line_test.cpp: the program with peers that know nothing of ipcbus: plain sockets.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "bus/core/address.hpp"
#include "bus/core/os/fd.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using Catch::Matchers::Contains;
using os::Fd;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Fd connect_plain(const std::string& address) {
  const sockaddr_in to = loopback(*Address::parse(address).port());
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(socket);
  REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  return socket;
}

std::pair<Fd, std::uint16_t> listen_plain() {
  sockaddr_in at = loopback(0);
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(::listen(socket.get(), 1) == 0);
  socklen_t size = sizeof at;
  REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
  return {std::move(socket), ntohs(at.sin_port)};
}

void write_all(const Fd& socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    REQUIRE(written > 0);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// What comes, until there are `bytes` of it or the peer ends.
std::string read_plain(const Fd& socket, std::size_t bytes) {
  std::string text;
  const Deadline deadline = soon();
  while (text.size() < bytes) {
    pollfd ready{socket.get(), POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 20'000) == 1);
    REQUIRE(Clock::now() < deadline);
    char buffer[65536];
    const ssize_t got = ::recv(socket.get(), buffer, std::min(sizeof buffer, bytes - text.size()), 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

constexpr std::size_t kToTheEnd = ~std::size_t{0};

}  // namespace

TEST_CASE("a plain socket gets its bytes back from echo with framing=raw", "[system]") {
  Process echo = start_bus({"echo", "tcp://127.0.0.1:0?framing=raw"});
  const std::string address = listening(echo);
  const Fd one = connect_plain(address), two = connect_plain(address);
  write_all(one, std::string("\0\n\xff", 3));
  REQUIRE(read_plain(one, 3) == std::string("\0\n\xff", 3));
  write_all(two, "second");
  REQUIRE(read_plain(two, 6) == "second");

  // Much, while nobody reads; then the end of our side, after which the rest still comes.
  std::string much(3'000'000, 'x');
  for (std::size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 2654435761u >> 13);
  // Catch's assertions belong to one thread: this one reads, and the other only writes.
  std::thread writer([&much, fd = one.get()] {
    for (std::size_t sent = 0; sent < much.size();) {
      const ssize_t count = ::send(fd, much.data() + sent, much.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) break;
      sent += static_cast<std::size_t>(count);
    }
    ::shutdown(fd, SHUT_WR);
  });
  const std::string back = read_plain(one, kToTheEnd);
  writer.join();
  REQUIRE(back == much);
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("a text protocol works by hand with framing=line", "[system]") {
  Process echo = start_bus({"echo", "tcp://127.0.0.1:0?framing=line"});
  const std::string address = listening(echo);
  const Fd client = connect_plain(address);
  write_all(client, "hel");
  write_all(client, "lo\n\nwor");
  REQUIRE(read_plain(client, 7) == "hello\n\n");
  write_all(client, "ld\n");
  REQUIRE(read_plain(client, 6) == "world\n");
  REQUIRE(run_bus({"ping", address, "-c", "3", "-i", "0"}).status == exited(0));
  REQUIRE(run_bus({"send", address, "a b", "", "c", "--reply"}).out == "a b\n\nc\n");
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("recv with framing=line prints the lines of a plain socket", "[system]") {
  Process recv = start_bus({"recv", "tcp://127.0.0.1:0?framing=line", "--once"});
  {
    const Fd client = connect_plain(listening(recv));
    write_all(client, "one\ntwo\nthree");
  }
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "one\ntwo\nthree\n");
}

TEST_CASE("send --reply talks to a plain echo server with framing=raw", "[system]") {
  auto [listener, port] = listen_plain();
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port) + "?framing=raw";
  std::thread server([fd = listener.get()] {
    const Fd client(::accept(fd, nullptr, nullptr));
    char buffer[3];  // small, so that the answer comes in pieces
    for (ssize_t got = 0; (got = ::recv(client.get(), buffer, sizeof buffer, 0)) > 0;) {
      ::send(client.get(), buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL);
    }
  });
  const Finished send = run_bus({"send", address, "hello there", "x", "--reply"});
  server.join();
  INFO(send.err);
  REQUIRE(send.status == exited(0));
  REQUIRE(send.out == "hello there\nx\n");
}

TEST_CASE("send --reply prints an answer that ends with the connection", "[system]") {
  auto [listener, port] = listen_plain();
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port) + "?framing=raw";
  std::string request;
  std::thread server([&request, fd = listener.get()] {
    const Fd client(::accept(fd, nullptr, nullptr));
    char buffer[256];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(client.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return;
      request.append(buffer, static_cast<std::size_t>(got));
    }
    const std::string_view answer = "HTTP/1.0 200 OK\r\n\r\nthe body, longer than the request was";
    ::send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  });
  const Finished send = run_bus({"send", address, "--whole", "--reply", "--format", "raw"}, "GET / HTTP/1.0\r\n\r\n");
  server.join();
  REQUIRE(send.status == exited(0));
  REQUIRE(request == "GET / HTTP/1.0\r\n\r\n");
  REQUIRE(send.out == "HTTP/1.0 200 OK\r\n\r\nthe body, longer than the request was");
}

TEST_CASE("made messages have the documented bytes", "[system]") {
  auto [listener, port] = listen_plain();
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port) + "?framing=raw";
  Process send = start_bus({"send", address, "--size", "20", "--count", "2"});
  const Fd client(::accept(listener.get(), nullptr, nullptr));
  const std::string bytes = read_plain(client, kToTheEnd);
  REQUIRE(send.wait() == exited(0));
  REQUIRE(bytes.size() == 40);
  REQUIRE(bytes.substr(20) ==
          std::string("\x01\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x16\xbd\x7e\xbb\x2a\xf8\x94\xfe", 20));
}

TEST_CASE("recv --verify refuses a framing without boundaries", "[system]") {
  Process recv = start_bus({"recv", "tcp://127.0.0.1:0?framing=raw", "--verify"});
  const Fd client = connect_plain(listening(recv));
  REQUIRE(recv.wait() == exited(2));
  REQUIRE_THAT(recv.err(), Contains("--verify needs messages"));
}

TEST_CASE("recv takes plain datagrams with framing=raw", "[system]") {
  Process recv = start_bus({"recv", "udp://127.0.0.1:0?framing=raw", "--count", "2"});
  const sockaddr_in to = loopback(*Address::parse(listening(recv)).port());
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const std::string_view text : {"one", "two"}) {
    REQUIRE(::sendto(socket.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
            3);
  }
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "one\ntwo\n");
}

}  // namespace bus::test
