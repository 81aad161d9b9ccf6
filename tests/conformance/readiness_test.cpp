// tests/conformance/readiness_test.cpp: readable descriptors, and waiting for many things of one transport at once.
#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "bus/core/os/fd.hpp"
#include "bus/core/poller.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// An epoll instance with one descriptor in it.
class Watch {
 public:
  explicit Watch(int fd) : epoll_(bus::os::make_epoll()) { REQUIRE(bus::os::epoll_set(epoll_.get(), fd, EPOLLIN, 1)); }

  [[nodiscard]] bool readable_now() const { return look(0); }
  [[nodiscard]] bool becomes_readable() const {
    return eventually([this] { return look(100); });
  }

 private:
  [[nodiscard]] bool look(int milliseconds) const {
    epoll_event event{};
    return ::epoll_wait(epoll_.get(), &event, 1, milliseconds) == 1;
  }
  bus::os::Fd epoll_;
};

/// Level-triggered: not readable any more once everything was taken. A descriptor may be readable for nothing; one more
/// try_receive() ends that.
bool becomes_silent(bus::Channel& channel, const Watch& watch) {
  return eventually([&] { return channel.try_receive().error() == bus::Errc::would_block && !watch.readable_now(); });
}

}  // namespace

TEST_CASE("the readable descriptor is level-triggered", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=4KiB");
  const int fd = pair.server.readable_fd();
  REQUIRE(fd >= 0);
  REQUIRE(pair.server.readable_fd() == fd);
  const Watch watch(fd);
  REQUIRE(becomes_silent(pair.server, watch));
  for (int round = 0; round < 20; ++round) {
    constexpr int kCount = 5;
    for (int n = 0; n < kCount; ++n) REQUIRE_FALSE(pair.client.send(bus::bytes_of(std::to_string(n)), soon()));
    REQUIRE_FALSE(pair.client.flush(soon()));
    for (int n = 0; n < kCount; ++n) {
      // As long as one waits, also when all of them came in with the first.
      REQUIRE(watch.becomes_readable());
      REQUIRE(watch.readable_now());
      REQUIRE(watch.readable_now());
      auto message = pair.server.try_receive();
      if (!message) {  // readable for nothing
        REQUIRE(message.error() == bus::Errc::would_block);
        message = pair.server.receive(soon());
      }
      REQUIRE(message);
      REQUIRE(message->text() == std::to_string(n));
    }
    REQUIRE(becomes_silent(pair.server, watch));
  }
  close_books(pair);
}

TEST_CASE("the readable descriptor tells of messages that came before it was asked for", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  for (int n = 0; n < 3; ++n) REQUIRE_FALSE(pair.client.send(bus::bytes_of("early"), soon()));
  REQUIRE_FALSE(pair.client.flush(soon()));
  REQUIRE(pair.server.receive(soon()));  // the other two may be in the buffer already
  const Watch watch(pair.server.readable_fd());
  REQUIRE(watch.becomes_readable());
  REQUIRE(pair.server.receive(soon()));
  REQUIRE(watch.becomes_readable());
  REQUIRE(pair.server.receive(soon()));
  REQUIRE(becomes_silent(pair.server, watch));
  close_books(pair);
}

TEST_CASE("the readable descriptor tells of the peer's close, and blocking calls work beside it", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  const Watch watch(pair.server.readable_fd());
  for (int n = 0; n < 20; ++n) {
    InThread receiving([&] { return static_cast<bool>(pair.server.receive(soon())); });
    receiving.wait_until_blocked();
    REQUIRE_FALSE(pair.client.send(bus::bytes_of("blocked"), soon()));
    REQUIRE(receiving.get());
  }
  REQUIRE(becomes_silent(pair.server, watch));
  pair.client.close();
  REQUIRE(watch.becomes_readable());
  REQUIRE(pair.server.receive(soon()).error() == bus::Errc::closed);
  REQUIRE(watch.readable_now());  // there is still something to be told
  close_books(pair);
}

TEST_CASE("a stream is received by the descriptor alone", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::uint64_t kCount = 3'000;
  Pair pair = open_pair(scheme, "capacity=16KiB&max_message=64KiB");
  const Payloads payloads;
  InThread sending([&] {
    Stream sent = send_stream(pair.client, payloads, 0, kCount, [](std::uint64_t n) { return mixed_size(n, true); });
    pair.client.close();
    return sent;
  });
  const Watch watch(pair.server.readable_fd());
  std::uint64_t count = 0, damaged = 0;
  std::error_code end;
  while (!end) {
    REQUIRE(watch.becomes_readable());
    for (;;) {
      const auto message = pair.server.try_receive();
      if (!message) {
        if (message.error() != bus::Errc::would_block) end = message.error();
        break;
      }
      const auto sequence = Payloads::sequence_of(message->bytes());
      damaged += sequence && payloads.matches(message->bytes(), *sequence) ? 0 : 1;
      ++count;
    }
  }
  REQUIRE(end == bus::Errc::closed);
  REQUIRE(damaged == 0);
  REQUIRE(sending.get().count == kCount);
  if (pair.server.traits().reliable) REQUIRE(count == kCount);
  close_books(pair);
}

TEST_CASE("no wake-up is lost between bursts", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("hybrid", "block", "spin");
  CAPTURE(scheme, wait);
  constexpr unsigned kBursts = 1'500;
  Pair pair = open_pair(scheme, "max_message=4KiB&wait=" + wait);
  if (!pair.server.traits().reliable) return close_books(pair);
  std::atomic<std::uint64_t> received{0};
  std::atomic<bool> hung{false};
  InThread sending([&] {
    std::uint64_t sent = 0;
    std::minstd_rand random(11);
    for (unsigned burst = 0; burst < kBursts && !hung; ++burst) {
      for (auto size = 1 + random() % 8; size > 0; --size) {
        if (pair.client.send(bus::bytes_of("burst"), soon())) return sent;
        ++sent;
      }
      if (pair.client.flush(soon())) return sent;
      // The next burst comes at some moment around that at which the receiver goes to sleep.
      while (received < sent && !hung) std::this_thread::yield();
      for (const auto until = bus::Clock::now() + std::chrono::nanoseconds(random() % 40'000);
           bus::Clock::now() < until;) {
      }
    }
    pair.client.close();
    return sent;
  });
  const Watch watch(pair.server.readable_fd());
  std::error_code end;
  while (!end) {
    if (!watch.becomes_readable()) {
      hung = true;
      break;
    }
    for (;;) {
      const auto message = pair.server.try_receive();
      if (message) {
        ++received;
        continue;
      }
      if (message.error() != bus::Errc::would_block) end = message.error();
      break;
    }
  }
  const std::uint64_t sent = sending.get();
  REQUIRE_FALSE(hung);
  REQUIRE(end == bus::Errc::closed);
  REQUIRE(received == sent);
  close_books(pair);
}

TEST_CASE("a listener's descriptor is readable while somebody waits to be accepted", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  bus::Listener listener = bus::listen(fresh_address(scheme));
  const Watch watch(listener.readable_fd());
  REQUIRE(eventually([&] { return listener.try_accept().error() == bus::Errc::would_block && !watch.readable_now(); }));
  InThread connecting([&] { return bus::connect(listener.address(), soon()); });
  bus::Channel server;
  // A handshake may take several turns.
  REQUIRE(eventually([&] {
    if (!watch.becomes_readable()) return false;
    auto accepted = listener.try_accept();
    if (!accepted) return false;
    server = std::move(*accepted);
    return true;
  }));
  bus::Channel client = connecting.get();
  close_books(client, server);
}

TEST_CASE("a poller waits for channels and their listener", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::size_t kChannels = 4;
  constexpr bus::Poller::Key kListener = 100;
  bus::Listener listener = bus::listen(fresh_address(scheme, "max_message=4KiB&capacity=8KiB"));
  std::array<bus::Channel, kChannels> clients, servers;
  for (std::size_t n = 0; n < kChannels; ++n) open_more(listener, clients[n], servers[n]);

  bus::Poller poller;
  poller.add(listener, kListener);
  for (std::size_t n = 0; n < kChannels; ++n) poller.add(servers[n], n);
  std::array<bus::Poller::Key, 16> ready{};

  // Each by itself, then all.
  for (std::size_t n = 0; n < kChannels; ++n) {
    REQUIRE_FALSE(clients[n].send(bus::bytes_of("one"), soon()));
    REQUIRE_FALSE(clients[n].flush(soon()));
    REQUIRE(eventually([&] {
      const std::size_t count = poller.wait(ready, soon());
      for (std::size_t i = 0; i < count; ++i) {
        if (ready[i] == kListener) {
          static_cast<void>(listener.try_accept().error());  // readable for nothing
          continue;
        }
        const auto message = servers.at(ready[i]).try_receive();
        if (message) return ready[i] == n;
      }
      return false;
    }));
  }
  for (bus::Channel& client : clients) {
    REQUIRE_FALSE(client.send(bus::bytes_of("all"), soon()));
    REQUIRE_FALSE(client.flush(soon()));
  }
  std::set<bus::Poller::Key> seen;
  REQUIRE(eventually([&] {
    const std::size_t count = poller.wait(ready, soon());
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] != kListener && servers.at(ready[i]).try_receive()) seen.insert(ready[i]);
    }
    return seen.size() == kChannels;
  }));

  // One that was removed is not reported any more.
  poller.remove(servers[0]);
  REQUIRE_FALSE(clients[0].send(bus::bytes_of("unseen"), soon()));
  REQUIRE_FALSE(clients[0].flush(soon()));
  REQUIRE_FALSE(clients[1].send(bus::bytes_of("seen"), soon()));
  REQUIRE_FALSE(clients[1].flush(soon()));
  bool reported_removed = false;
  REQUIRE(eventually([&] {
    const std::size_t count = poller.wait(ready, soon());
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] == kListener) continue;
      if (ready[i] == 0) reported_removed = true;
      if (servers.at(ready[i]).try_receive()) return ready[i] == 1;
    }
    return false;
  }));
  REQUIRE_FALSE(reported_removed);
  REQUIRE(servers[0].receive(soon())->text() == "unseen");

  // The listener, when somebody comes.
  InThread connecting([&] { return bus::connect(listener.address(), soon()); });
  bus::Channel newcomer;
  REQUIRE(eventually([&] {
    const std::size_t count = poller.wait(ready, soon());
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] == kListener) {
        if (auto accepted = listener.try_accept()) newcomer = std::move(*accepted);
      } else {
        static_cast<void>(servers.at(ready[i]).try_receive().error());
      }
    }
    return newcomer.traits().max_message != 0;
  }));
  bus::Channel client = connecting.get();
  close_books(client, newcomer);
  for (std::size_t n = 1; n < kChannels; ++n) poller.remove(servers[n]);
  poller.remove(listener);
  for (std::size_t n = 0; n < kChannels; ++n) close_books(clients[n], servers[n]);
}
