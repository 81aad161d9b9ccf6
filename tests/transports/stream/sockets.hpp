// tests/transports/stream/sockets.hpp: connected sockets, and a peer that writes bytes of its own choice.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/message.hpp"
#include "bus/core/os/fd.hpp"
#include "tests/support/eventually.hpp"
#include "transports/stream/stream_channel.hpp"

namespace bus::test {

struct Sockets {
  os::Fd one, other;  // non-blocking
};

inline void require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string(what) + ": " + last_system_error().message());
}

/// `buffer_bytes` makes the kernel's queues small; 0 leaves them as they are.
[[nodiscard]] inline Sockets unix_sockets(int buffer_bytes = 0) {
  std::array<int, 2> fds{};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()) == 0, "socketpair");
  for (const int fd : fds) {
    if (buffer_bytes != 0) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  return {os::Fd(fds[0]), os::Fd(fds[1])};
}

[[nodiscard]] inline Sockets tcp_sockets() {
  const os::Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  require(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
  require(::listen(listening.get(), 1) == 0, "listen");
  require(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  os::Fd one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  require(::connect(one.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "connect");
  os::Fd other(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  require(static_cast<bool>(other), "accept");
  int on = 1;
  require(::ioctl(one.get(), FIONBIO, &on) == 0, "FIONBIO");
  return {std::move(one), std::move(other)};
}

/// Closes a TCP socket so that the peer gets a reset.
inline void reset_connection(os::Fd& socket) {
  const linger now{1, 0};
  require(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "SO_LINGER");
  socket.reset();
}

inline bool wait_readable(int fd, Deadline deadline = soon()) {
  return eventually(
      [fd] {
        pollfd ready{fd, POLLIN, 0};
        return ::poll(&ready, 1, 0) > 0;
      },
      deadline);
}

/// All of it, waiting for the peer to take it.
inline void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, 100);
    }
  }
}

/// As many bytes as asked for; fewer when the stream ended or nothing came for long.
[[nodiscard]] inline std::vector<std::byte> read_exactly(int fd, std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::size_t have = 0;
  while (have < count) {
    const ssize_t n = ::recv(fd, bytes.data() + have, count - have, MSG_DONTWAIT);
    if (n > 0) {
      have += static_cast<std::size_t>(n);
    } else if (n == 0 || !wait_readable(fd)) {
      break;
    }
  }
  bytes.resize(have);
  return bytes;
}

[[nodiscard]] inline std::vector<std::byte> bytes_from(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
[[nodiscard]] inline std::vector<std::byte> vector_of(std::string_view text) {
  const auto bytes = bytes_of(text);
  return {bytes.begin(), bytes.end()};
}
inline void append(std::vector<std::byte>& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

/// A message as a frame.
[[nodiscard]] inline std::vector<std::byte> framed(std::span<const std::byte> payload) {
  const auto header = stream::encode_header(static_cast<std::uint32_t>(payload.size()), stream::Kind::message);
  std::vector<std::byte> bytes(header.begin(), header.end());
  append(bytes, payload);
  return bytes;
}
[[nodiscard]] inline std::vector<std::byte> framed(stream::Kind kind, const stream::Counts& counts) {
  const auto bytes = stream::encode_counts(kind, counts);
  return {bytes.begin(), bytes.end()};
}

/// try_receive() until it says something else than would_block.
[[nodiscard]] inline Result<Message> receive(ChannelImpl& channel) {
  Result<Message> message = Errc::would_block;
  static_cast<void>(eventually([&] {
    message = channel.try_receive();
    return message || message.error() != Errc::would_block;
  }));
  return message;
}

}  // namespace bus::test
