// tests/conformance/strangers_test.cpp: peers that connect and say nothing, and a loop that accepts only when told to.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/poller.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// A bare connection to a listener's socket. None where the listener has no socket that takes connections.
bus::os::Fd stranger(const bus::Address& address) {
  if (address.port()) {
    bus::os::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(*address.port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fd.reset();
    return fd;
  }
  for (const auto& entry : std::filesystem::directory_iterator(bus::os::runtime_directory())) {
    if (!entry.is_socket() || !entry.path().filename().string().starts_with(address.host() + ".")) continue;
    bus::os::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    entry.path().string().copy(to.sun_path, sizeof to.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fd.reset();
    return fd;
  }
  return {};
}

bool was_dropped(const bus::os::Fd& fd) {
  pollfd ready{fd.get(), POLLRDHUP, 0};
  return ::poll(&ready, 1, 0) > 0;
}

}  // namespace

TEST_CASE("silent strangers are few and go in time, and a loop that waits in a poller sees to it", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::size_t kStrangers = 70, kMost = 64;
  bus::Listener listener = bus::listen(fresh_address(scheme, "capacity=8KiB"));
  const bus::Address address = bus::Address::parse(listener.address());
  bus::os::Fd first = stranger(address);
  if (!first) return;
  std::vector<bus::os::Fd> strangers;
  strangers.push_back(std::move(first));

  bus::Poller poller;
  poller.add(listener, 1);
  std::array<bus::Poller::Key, 4> ready{};
  std::vector<bus::Channel> accepted;
  const auto turn = [&](bus::Deadline deadline) {
    if (poller.wait(ready, deadline) == 0) return;
    auto channel = listener.try_accept();
    if (channel) accepted.push_back(std::move(*channel));
  };
  const auto start = bus::Clock::now();
  while (strangers.size() < kStrangers) {
    strangers.push_back(stranger(address));
    REQUIRE(strangers.back());
    turn(bus::Clock::now());
  }
  // The oldest make room, and whoever speaks comes in.
  InThread connecting([&] { return bus::connect(listener.address(), soon()); });
  REQUIRE(eventually([&] {
    turn(bus::in(10ms));
    return accepted.size() == 1 && connecting.done() && was_dropped(strangers[kStrangers - kMost - 1]);
  }));
  bus::Channel client = connecting.get();
  // All of them have gone when their time is over: that is an event of its own, nobody else connects.
  REQUIRE(eventually([&] {
    turn(bus::in(100ms));
    return std::all_of(strangers.begin(), strangers.end(), was_dropped);
  }));
  REQUIRE(bus::Clock::now() - start >= 1900ms);
  turn(bus::Clock::now());
  REQUIRE(poller.wait(ready, bus::Clock::now()) == 0);
  close_books(client, accepted.front());
}
