// tests/transports/stream/acceptor_test.cpp: strangers, slow peers and a shortage of descriptors.
#include "transports/stream/acceptor.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <random>
#include <thread>

#include "tests/support/sandbox.hpp"
#include "tests/transports/stream/sockets.hpp"
#include "transports/stream/introduction.hpp"

using namespace bus;
using namespace bus::stream;
using namespace std::chrono_literals;

namespace {

/// A listener on a free TCP port, with the handshake of its framing.
struct Listening {
  explicit Listening(Framing framing = Framing::bus)
      : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    test::require(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), size) == 0, "bind");
    test::require(::listen(socket.get(), 1000) == 0, "listen");
    test::require(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0, "getsockname");
    address = name;
    acceptor = std::make_unique<Acceptor>(socket.get(), [framing](os::Fd fd) {
      StreamChannel::Terms terms;
      terms.framing = framing;
      return greet(std::move(fd), std::move(terms));
    });
  }

  [[nodiscard]] os::Fd connect() const {
    os::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    test::require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
    return fd;
  }

  /// Accepts until there is a channel; counts the errors on the way.
  std::unique_ptr<ChannelImpl> accept(Deadline deadline = test::soon()) {
    std::unique_ptr<ChannelImpl> channel;
    static_cast<void>(test::eventually(
        [&] {
          auto outcome = acceptor->try_accept();
          if (outcome) channel = std::move(*outcome);
          if (!outcome && outcome.error() != Errc::would_block) errors.push_back(outcome.error());
          return channel != nullptr;
        },
        deadline));
    return channel;
  }

  os::Fd socket;
  sockaddr_in address{};
  std::unique_ptr<Acceptor> acceptor;
  std::vector<std::error_code> errors;
};

void say_hello(int fd) { test::write_all(fd, encode_hello(make_hello(1000))); }

bool was_closed(int fd) {
  return test::wait_readable(fd) && ::recv(fd, std::vector<std::byte>(1).data(), 1, MSG_DONTWAIT) <= 0;
}

/// All descriptors that this process may still open.
std::vector<os::Fd> exhaust() {
  std::vector<os::Fd> all;
  for (;;) {
    os::Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!fd) return all;
    all.push_back(std::move(fd));
  }
}

struct FewDescriptors {
  FewDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{test::open_descriptors() + 40, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before); }
  rlimit before{};
};

}  // namespace

TEST_CASE("whoever finishes the handshake becomes a channel, in any order", "[stream]") {
  Listening listening;
  const os::Fd silent = listening.connect();
  const os::Fd one = listening.connect();
  REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
  say_hello(one.get());
  REQUIRE(listening.accept() != nullptr);
  say_hello(silent.get());
  REQUIRE(listening.accept() != nullptr);
  REQUIRE(listening.errors.empty());
}

TEST_CASE("a client that gave up while its hello waited is no channel", "[stream]") {
  Listening listening;
  const bool reset = GENERATE(false, true);
  CAPTURE(reset);
  std::vector<os::Fd> clients;
  SECTION("and was never seen") {
    for (int i = 0; i < 3; ++i) {
      os::Fd client = listening.connect();
      say_hello(client.get());
      reset ? test::reset_connection(client) : client.reset();
    }
  }
  SECTION("and was seen before it had finished its hello") {
    for (int i = 0; i < 3; ++i) {
      os::Fd client = listening.connect();
      const auto hello = encode_hello(make_hello(1000));
      test::write_all(client.get(), std::span(hello).first(20));
      REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
      test::write_all(client.get(), std::span(hello).subspan(20));
      reset ? test::reset_connection(client) : client.reset();
    }
  }
  // Behind them, one who stays: the only channel.
  const os::Fd patient = listening.connect();
  say_hello(patient.get());
  const auto channel = listening.accept();
  REQUIRE(channel != nullptr);
  test::write_all(patient.get(), test::framed(bytes_of("still here")));
  REQUIRE(test::receive(*channel)->text() == "still here");
  REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
  REQUIRE(listening.errors.empty());
}

TEST_CASE("without a handshake a connection that was reset before its first byte is no channel", "[stream]") {
  const Framing framing = GENERATE(Framing::raw, Framing::line);
  Listening listening(framing);
  for (int i = 0; i < 3; ++i) {
    os::Fd client = listening.connect();
    test::reset_connection(client);
  }
  listening.connect().reset();  // ended in good order: a channel without a message
  const auto empty = listening.accept();
  REQUIRE(empty != nullptr);
  REQUIRE(test::receive(*empty).error() == Errc::closed);
  const os::Fd patient = listening.connect();
  test::write_all(patient.get(), bytes_of("here\n"));
  const auto channel = listening.accept();
  REQUIRE(channel != nullptr);
  REQUIRE(test::receive(*channel)->text().substr(0, 4) == "here");
  REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
}

TEST_CASE("the acceptor's descriptor is readable while it is worth trying", "[stream]") {
  Listening listening;
  pollfd ready{listening.acceptor->readable_fd(), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, 0) == 0);
  const os::Fd one = listening.connect();
  REQUIRE(test::wait_readable(ready.fd));
  REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);  // it is pending now
  REQUIRE(::poll(&ready, 1, 0) == 0);
  say_hello(one.get());
  REQUIRE(test::wait_readable(ready.fd));
  REQUIRE(listening.accept() != nullptr);
  REQUIRE(::poll(&ready, 1, 0) == 0);
}

TEST_CASE("a peer that breaks its handshake is dropped without a word", "[stream]") {
  Listening listening;
  const os::Fd stranger = listening.connect();
  test::write_all(stranger.get(), bytes_of("GET / HTTP/1.1\r\n\r\n"));
  REQUIRE(test::wait_readable(listening.acceptor->readable_fd()));
  REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
  REQUIRE(was_closed(stranger.get()));
  REQUIRE(listening.errors.empty());
}

TEST_CASE("a peer that says nothing is dropped when its time is over", "[stream]") {
  Listening listening;
  const os::Fd silent = listening.connect();
  const auto start = Clock::now();
  REQUIRE(test::eventually([&] {
    // Only when the descriptor asks for it: the end of its time is an event of its own.
    if (test::wait_readable(listening.acceptor->readable_fd(), in(10ms))) {
      REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
    }
    pollfd ready{silent.get(), POLLIN, 0};
    return ::poll(&ready, 1, 0) > 0;
  }));
  REQUIRE(was_closed(silent.get()));
  REQUIRE(Clock::now() - start >= 1900ms);
  pollfd ready{listening.acceptor->readable_fd(), POLLIN, 0};
  static_cast<void>(listening.acceptor->try_accept());
  REQUIRE(::poll(&ready, 1, 0) == 0);
}

TEST_CASE("of more than 64 silent peers the oldest goes, and honest ones come in", "[stream]") {
  Listening listening;
  std::vector<os::Fd> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(listening.connect());
    if (i % 50 != 49) continue;
    const os::Fd honest = listening.connect();
    say_hello(honest.get());
    REQUIRE(listening.accept() != nullptr);
  }
  REQUIRE(test::eventually([&] {
    static_cast<void>(listening.acceptor->try_accept());
    pollfd ready{silent[135].get(), POLLIN, 0};
    return ::poll(&ready, 1, 0) > 0;
  }));
  REQUIRE(was_closed(silent.front().get()));
  REQUIRE(was_closed(silent[135].get()));
  pollfd ready{silent.back().get(), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, 0) == 0);
}

TEST_CASE("without descriptors peers are turned away, and the listener recovers by itself", "[stream]") {
  Listening listening;
  std::vector<os::Fd> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(listening.connect());
  {
    const FewDescriptors few;
    const auto hogs = exhaust();
    REQUIRE(listening.acceptor->try_accept().error() == Errc::no_room);
    for (const os::Fd& client : clients) REQUIRE(was_closed(client.get()));
    // Once, and then it sleeps: nothing is waiting any more.
    REQUIRE(listening.acceptor->try_accept().error() == Errc::would_block);
    pollfd ready{listening.acceptor->readable_fd(), POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 0) == 0);
  }
  const os::Fd client = listening.connect();
  say_hello(client.get());
  REQUIRE(listening.accept() != nullptr);
}

TEST_CASE("without even the reserve, accepting pauses instead of spinning", "[stream]") {
  Listening listening;
  const os::Fd first = listening.connect();
  os::Fd second(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  {
    const FewDescriptors few;
    std::vector<os::Fd> hogs;
    // Another thread takes each descriptor the instant it is free: as if the reserve had been stolen.
    std::atomic<bool> begin{false}, stop{false};
    std::jthread thief([&] {
      while (!begin) std::this_thread::yield();
      while (!stop) {
        os::Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (fd) hogs.push_back(std::move(fd));
      }
    });
    hogs = exhaust();
    begin = true;
    // Sooner or later it is quick enough. Each round brings one more connection, which needs a descriptor here.
    int rounds = 0;
    const auto paused = [&] {
      REQUIRE(listening.acceptor->try_accept().error() != Errc::corrupt);
      pollfd ready{listening.acceptor->readable_fd(), POLLIN, 0};
      return ::poll(&ready, 1, 0) == 0;
    };
    while (!paused() && rounds < 1000) ++rounds;
    REQUIRE(rounds < 1000);
    stop = true;
  }
  REQUIRE(::connect(second.get(), reinterpret_cast<const sockaddr*>(&listening.address), sizeof listening.address) ==
          0);
  say_hello(second.get());
  REQUIRE(listening.accept() != nullptr);
}

TEST_CASE("random strangers leave no descriptor behind", "[stream]") {
  Listening listening;
  std::mt19937 random(17);
  static_cast<void>(listening.acceptor->try_accept());
  const std::size_t before = test::open_descriptors();
  for (int i = 0; i < 2000; ++i) {
    os::Fd stranger = listening.connect();
    std::vector<std::byte> bytes(random() % 100);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    test::write_all(stranger.get(), bytes);
    if (random() % 2 == 0) test::reset_connection(stranger);
    const auto outcome = listening.acceptor->try_accept();
    REQUIRE(outcome.error() == Errc::would_block);
  }
  REQUIRE(test::eventually([&] {
    static_cast<void>(listening.acceptor->try_accept());
    return test::open_descriptors() == before;
  }));
}
