// tests/transports/lane/ends.hpp: the two ends of a lane channel, made by hand, so that a test may hold either's
// memory.
#pragma once

#include <sys/socket.h>
#include <array>
#include <catch2/catch.hpp>
#include <utility>

#include "bus/core/channel.hpp"
#include "bus/core/os/barrier.hpp"
#include "transports/lane/lane_channel.hpp"

namespace bus::test {

inline std::pair<os::Fd, os::Fd> socket_pair() {
  std::array<int, 2> pair{-1, -1};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) == 0);
  return {os::Fd(pair[0]), os::Fd(pair[1])};
}

inline lane::Link make_link(os::Fd socket, std::size_t max_message) {
  lane::Link link;
  link.socket = std::move(socket);
  link.max_send = link.max_receive = max_message;
  link.fenced = !os::has_heavy_barrier();
  return link;
}

}  // namespace bus::test
