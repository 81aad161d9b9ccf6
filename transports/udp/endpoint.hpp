// transports/udp/endpoint.hpp: an IP address and port, and what the transport wants to know about it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/address.hpp"

namespace bus::udp {

class Endpoint {
 public:
  Endpoint() noexcept = default;
  Endpoint(const ::sockaddr* address, ::socklen_t size) noexcept;

  [[nodiscard]] const ::sockaddr* get() const noexcept { return reinterpret_cast<const ::sockaddr*>(&storage_); }
  [[nodiscard]] ::sockaddr* get() noexcept { return reinterpret_cast<::sockaddr*>(&storage_); }
  [[nodiscard]] ::socklen_t size() const noexcept { return size_; }
  [[nodiscard]] static constexpr ::socklen_t room() noexcept { return sizeof(::sockaddr_storage); }
  void resize(::socklen_t size) noexcept { size_ = size < room() ? size : room(); }

  [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
  [[nodiscard]] std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  [[nodiscard]] bool is_loopback() const noexcept;
  [[nodiscard]] bool is_any() const noexcept;
  [[nodiscard]] bool is_multicast() const noexcept;
  [[nodiscard]] bool same_host(const Endpoint&) const noexcept;
  [[nodiscard]] friend bool operator==(const Endpoint& a, const Endpoint& b) noexcept {
    return a.same_host(b) && a.port() == b.port();
  }
  /// The address alone, 4 or 16 bytes, as one string of bytes.
  [[nodiscard]] std::string_view host_bytes() const noexcept;

  /// udp://127.0.0.1:5000, udp://[::1]:5000
  [[nodiscard]] std::string text() const;

 private:
  ::sockaddr_storage storage_{};
  ::socklen_t size_ = 0;
};

/// All that the host means, the system's preference first. Throws Error: bad_address for an unknown host.
[[nodiscard]] std::vector<Endpoint> resolve(const Address&, std::string_view operation);

/// Where a socket is bound, and where it is connected to. size() 0: nowhere.
[[nodiscard]] Endpoint bound_to(int fd) noexcept;
[[nodiscard]] Endpoint connected_to(int fd) noexcept;

}  // namespace bus::udp
