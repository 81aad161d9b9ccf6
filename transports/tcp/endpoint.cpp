// transports/tcp/endpoint.cpp: getaddrinfo and sockaddr.
#include "transports/tcp/endpoint.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "bus/core/errc.hpp"

namespace bus::tcp {
namespace {

const sockaddr_in& as_v4(const Endpoint& e) noexcept { return *reinterpret_cast<const sockaddr_in*>(&e.address); }
const sockaddr_in6& as_v6(const Endpoint& e) noexcept { return *reinterpret_cast<const sockaddr_in6*>(&e.address); }

bool is_v4_loopback(const std::uint8_t* bytes) noexcept { return bytes[0] == 127; }

}  // namespace

std::uint16_t Endpoint::port() const noexcept {
  return ntohs(family() == AF_INET6 ? as_v6(*this).sin6_port : as_v4(*this).sin_port);
}

bool Endpoint::is_loopback() const noexcept {
  if (family() == AF_INET) return is_v4_loopback(reinterpret_cast<const std::uint8_t*>(&as_v4(*this).sin_addr));
  if (family() != AF_INET6) return false;
  const in6_addr& a = as_v6(*this).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&a) || (IN6_IS_ADDR_V4MAPPED(&a) && is_v4_loopback(a.s6_addr + 12));
}

std::string Endpoint::text() const {
  std::array<char, NI_MAXHOST> host{};
  if (size == 0 || getnameinfo(get(), size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0)
    return "unknown";
  const std::string number(host.data());
  return (family() == AF_INET6 ? "[" + number + "]" : number) + ":" + std::to_string(port());
}

bool operator==(const Endpoint& a, const Endpoint& b) noexcept {
  if (a.family() != b.family() || a.port() != b.port() || a.size == 0 || b.size == 0) return false;
  if (a.family() == AF_INET6) return std::memcmp(&as_v6(a).sin6_addr, &as_v6(b).sin6_addr, sizeof(in6_addr)) == 0;
  return as_v4(a).sin_addr.s_addr == as_v4(b).sin_addr.s_addr;
}

Lookup look_up(const std::string& host, std::uint16_t port, bool to_listen) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  const std::error_code system = last_system_error();
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, &freeaddrinfo);
  Lookup lookup;
  if (code != 0) {
    lookup.failure = "host " + host + ": " + (code == EAI_SYSTEM ? system.message() : gai_strerror(code));
    lookup.temporary = code == EAI_AGAIN || code == EAI_SYSTEM || code == EAI_MEMORY;
    return lookup;
  }
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    if (entry->ai_addrlen > sizeof endpoint.address) continue;
    std::memcpy(&endpoint.address, entry->ai_addr, entry->ai_addrlen);
    endpoint.size = entry->ai_addrlen;
    lookup.found.push_back(endpoint);
  }
  if (lookup.found.empty()) lookup.failure = "host " + host + " has no Internet address";
  return lookup;
}

Endpoint local_endpoint(int socket) noexcept {
  Endpoint endpoint;
  endpoint.size = sizeof endpoint.address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&endpoint.address), &endpoint.size) != 0) endpoint.size = 0;
  return endpoint;
}

Endpoint peer_endpoint(int socket) noexcept {
  Endpoint endpoint;
  endpoint.size = sizeof endpoint.address;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&endpoint.address), &endpoint.size) != 0) endpoint.size = 0;
  return endpoint;
}

}  // namespace bus::tcp
