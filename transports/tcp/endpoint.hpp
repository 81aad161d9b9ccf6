// transports/tcp/endpoint.hpp: Internet addresses: looking names up, comparing, printing.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "bus/core/os/fd.hpp"

namespace bus::tcp {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t size = 0;

  [[nodiscard]] int family() const noexcept { return address.ss_family; }
  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&address); }
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// 127.0.0.0/8, ::1, and the former inside IPv6: strangers on the network cannot reach it.
  [[nodiscard]] bool is_loopback() const noexcept;
  /// 127.0.0.1:80, [::1]:80
  [[nodiscard]] std::string text() const;
};

[[nodiscard]] bool operator==(const Endpoint&, const Endpoint&) noexcept;

/// What getaddrinfo said.
struct Lookup {
  std::vector<Endpoint> found;  // in its order
  std::string failure;          // in words, if there are none
  bool temporary = false;       // asking again may help
};

/// Numbers are read at once; a name may wait for its server, as long as the resolver is set up to wait.
[[nodiscard]] Lookup look_up(const std::string& host, std::uint16_t port, bool to_listen);

/// This end and the other end of a socket; a size of 0 if the kernel does not tell.
[[nodiscard]] Endpoint local_endpoint(int socket) noexcept;
[[nodiscard]] Endpoint peer_endpoint(int socket) noexcept;

/// The process that listens on a port of this host, as far as /proc lets us see; 0 if it does not.
[[nodiscard]] ::pid_t listener_on(const Endpoint&) noexcept;

}  // namespace bus::tcp
