// transports/udp/endpoint.cpp: addresses of the internet families.
#include "transports/udp/endpoint.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "bus/core/errc.hpp"

namespace bus::udp {
namespace {

// The storage is reached through its members' own types by copying: that is what the aliasing rules allow.
template <class T>
T as(const ::sockaddr* address) noexcept {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

constexpr std::size_t kAddress4 = offsetof(::sockaddr_in, sin_addr);
constexpr std::size_t kAddress6 = offsetof(::sockaddr_in6, sin6_addr);

}  // namespace

Endpoint::Endpoint(const ::sockaddr* address, ::socklen_t size) noexcept : size_(std::min(size, room())) {
  std::memcpy(&storage_, address, size_);
}

std::uint16_t Endpoint::port() const noexcept {
  // Both families have the port at the same place.
  static_assert(offsetof(::sockaddr_in, sin_port) == offsetof(::sockaddr_in6, sin6_port));
  return ntohs(as<::sockaddr_in>(get()).sin_port);
}

void Endpoint::set_port(std::uint16_t port) noexcept {
  const std::uint16_t wire = htons(port);
  std::memcpy(reinterpret_cast<std::byte*>(&storage_) + offsetof(::sockaddr_in, sin_port), &wire, sizeof wire);
}

std::string_view Endpoint::host_bytes() const noexcept {
  const char* const bytes = reinterpret_cast<const char*>(&storage_);
  if (family() == AF_INET) return {bytes + kAddress4, 4};
  if (family() == AF_INET6) return {bytes + kAddress6, 16};
  return {};
}

bool Endpoint::is_loopback() const noexcept {
  if (family() == AF_INET) return host_bytes()[0] == 127;
  if (family() != AF_INET6) return false;
  const auto address = as<::sockaddr_in6>(get()).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&address) != 0 || (IN6_IS_ADDR_V4MAPPED(&address) != 0 && address.s6_addr[12] == 127);
}

bool Endpoint::is_any() const noexcept {
  const std::string_view bytes = host_bytes();
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

bool Endpoint::is_multicast() const noexcept {
  if (family() == AF_INET) return (static_cast<unsigned char>(host_bytes()[0]) & 0xF0U) == 0xE0;
  if (family() == AF_INET6) return static_cast<unsigned char>(host_bytes()[0]) == 0xFF;
  return false;
}

bool Endpoint::same_host(const Endpoint& other) const noexcept {
  return family() == other.family() && host_bytes() == other.host_bytes();
}

std::string Endpoint::text() const {
  char host[INET6_ADDRSTRLEN] = "?";
  const std::string_view bytes = host_bytes();
  if (!bytes.empty()) static_cast<void>(::inet_ntop(family(), bytes.data(), host, sizeof host));
  std::string text = "udp://";
  text += family() == AF_INET6 ? "[" + std::string(host) + "]" : std::string(host);
  return text + ":" + std::to_string(port());
}

std::vector<Endpoint> resolve(const Address& address, std::string_view operation) {
  ::addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = AI_NUMERICSERV;
  ::addrinfo* list = nullptr;
  const std::string port = std::to_string(address.port().value_or(0));
  const int failure = ::getaddrinfo(address.host().c_str(), port.c_str(), &hints, &list);
  if (failure != 0) {
    const int error = errno;
    std::string cause = failure == EAI_SYSTEM ? std::system_category().message(error) : ::gai_strerror(failure);
    throw Error(Errc::bad_address, std::string(operation) + " " + address.text() + ": cannot find the host \"" +
                                       address.host() + "\": " + cause +
                                       "; write an address such as 127.0.0.1 or [::1]");
  }
  const std::unique_ptr<::addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const ::addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (at->ai_family == AF_INET || at->ai_family == AF_INET6) endpoints.emplace_back(at->ai_addr, at->ai_addrlen);
  }
  if (endpoints.empty()) {
    throw Error(Errc::bad_address, std::string(operation) + " " + address.text() + ": the host \"" + address.host() +
                                       "\" has no internet address");
  }
  return endpoints;
}

Endpoint bound_to(int fd) noexcept {
  Endpoint endpoint;
  ::socklen_t size = Endpoint::room();
  if (::getsockname(fd, endpoint.get(), &size) == 0) endpoint.resize(size);
  return endpoint;
}

Endpoint connected_to(int fd) noexcept {
  Endpoint endpoint;
  ::socklen_t size = Endpoint::room();
  if (::getpeername(fd, endpoint.get(), &size) == 0) endpoint.resize(size);
  return endpoint;
}

}  // namespace bus::udp
