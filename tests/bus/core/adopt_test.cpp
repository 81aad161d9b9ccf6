// tests/bus/core/adopt_test.cpp: listening on sockets that somebody else has made.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <future>

#include "bus/core/listener.hpp"
#include "bus/core/os/fd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"

namespace {

using namespace bus;
using namespace bus::test;
using bus::os::Fd;

/// As a service manager makes it: blocking, and no close-on-exec. The name is a path, or empty for an abstract one.
Fd unix_socket(const std::string& path, int type = SOCK_STREAM, bool listens = true) {
  Fd fd(::socket(AF_UNIX, type, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), std::min(path.size(), sizeof name.sun_path - 1));
  const socklen_t size = path.empty() ? sizeof(sa_family_t) : sizeof name;  // unix(7): autobind
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), size) == 0);
  if (listens) REQUIRE(::listen(fd.get(), 16) == 0);
  return fd;
}

Fd tcp_socket(std::uint32_t address, int protocol = 0) {
  Fd fd(::socket(AF_INET, SOCK_STREAM, protocol));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(address);
  if (!fd) return fd;
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(::listen(fd.get(), 16) == 0);
  return fd;
}

std::string kind_of(int fd) {
  try {
    return address_of_socket(fd);
  } catch (const Error& error) {
    REQUIRE(error.code() == Errc::not_supported);
    std::string text = error.what();
    const std::string before = "descriptor " + std::to_string(fd) + " ";
    const std::string behind =
        "; what can be listened on is a stream socket that listens: a Unix socket with a path, or TCP";
    REQUIRE(text.starts_with(before));
    REQUIRE(text.ends_with(behind));
    return text.substr(before.size(), text.size() - before.size() - behind.size());
  }
}

}  // namespace

TEST_CASE("a socket that somebody else made is listened on, and who connected before is let in", "[adopt]") {
  const std::string path = temporary_folder() + "/it is%here";
  const bool is_unix = GENERATE(true, false);
  Fd socket = is_unix ? unix_socket(path) : tcp_socket(INADDR_LOOPBACK);
  const std::string address = address_of_socket(socket.get());
  if (is_unix) {
    REQUIRE(address.ends_with("/it%20is%25here"));
  } else {
    REQUIRE(address.starts_with("tcp://127.0.0.1:"));
  }
  auto connecting = std::async(std::launch::async, [&] { return connect(address, soon()); });
  // A connection waits in the socket before anybody accepts.
  REQUIRE(eventually([&] {
    pollfd waiting{socket.get(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 1;
  }));
  Listener listener = listen_on(socket.release(), "wait=block&max_message=100");
  CHECK(listener.address() == address + "?wait=block&max_message=100");
  Pair pair;
  pair.server = listener.accept(soon()).value();
  pair.client = connecting.get();
  CHECK(pair.client.traits().max_message == 100);
  CHECK(pair.client.try_send(std::vector<std::byte>(101)) == Errc::message_too_large);
  REQUIRE_FALSE(pair.client.send(bytes_of("hello"), soon()));
  CHECK(pair.server.receive(soon()).value().text() == "hello");
  close_books(pair);
  listener.close();
  CHECK(std::filesystem::exists(path) == is_unix);  // it belongs to whoever made it
}

TEST_CASE("what cannot be listened on is said in words", "[adopt]") {
  const std::string folder = temporary_folder();
  CHECK(kind_of(99999) == "is not open");
  CHECK(kind_of(Fd(::open((folder + "/f").c_str(), O_CREAT | O_RDWR, 0600)).get()) == "is a file");
  CHECK(kind_of(Fd(::open(folder.c_str(), O_RDONLY)).get()) == "is a folder");
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const Fd in(ends[0]), out(ends[1]);
  CHECK(kind_of(in.get()) == "is a pipe");
  CHECK(kind_of(Fd(::open("/dev/null", O_RDONLY)).get()) == "is a device");
  CHECK(kind_of(Fd(::eventfd(0, 0)).get()) == "is no socket");
  CHECK(kind_of(unix_socket(folder + "/d", SOCK_DGRAM, false).get()) == "is a datagram socket");
  CHECK(kind_of(unix_socket(folder + "/p", SOCK_SEQPACKET).get()) == "is a socket of packets (SOCK_SEQPACKET)");
  CHECK(kind_of(unix_socket(folder + "/n", SOCK_STREAM, false).get()) == "is a stream socket that does not listen");
  CHECK(kind_of(unix_socket("").get()) == "is a Unix socket without an absolute path");
  constexpr int kMultipath = 262;  // IPPROTO_MPTCP
  if (const Fd other = tcp_socket(INADDR_LOOPBACK, kMultipath)) {
    CHECK(kind_of(other.get()) == "is a stream socket of another family or protocol (2, 262)");
  }
}

TEST_CASE("a handed over socket that other hosts reach asks for insecure=1", "[adopt]") {
  const auto code_of = [](int socket, std::string_view options) {
    try {
      static_cast<void>(listen_on(socket, options));
      return std::string("none");
    } catch (const Error& error) {
      return error.code().message() + " " + error.what();
    }
  };
  CHECK_THAT(code_of(tcp_socket(INADDR_ANY).release(), ""),
             Catch::Matchers::StartsWith("permission denied listen tcp://0.0.0.0:") &&
                 Catch::Matchers::Contains("add the option insecure=1"));
  CHECK(code_of(tcp_socket(INADDR_ANY).release(), "insecure=1") == "none");
  CHECK_THAT(code_of(tcp_socket(INADDR_LOOPBACK).release(), "insecur=1"),
             Catch::Matchers::Contains("did you mean insecure?"));
  // Whatever comes of it, the descriptor was taken.
  const std::size_t before = open_descriptors();
  CHECK(code_of(::eventfd(0, 0), "") != "none");
  CHECK(open_descriptors() == before);
}
