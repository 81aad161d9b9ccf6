// transports/udp/socket.cpp: the system calls of the transport.
#include "transports/udp/socket.hpp"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"
#include "transports/udp/packet.hpp"

namespace bus::udp {
namespace {

std::error_code code_of(int error) noexcept {
  if (error == EAGAIN || error == EWOULDBLOCK) return Errc::would_block;
  return {error, std::system_category()};
}

bool set(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// Room for every ancillary item that is asked for anywhere.
union Control {
  ::cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(std::uint32_t)) + CMSG_SPACE(sizeof(::in6_pktinfo))];
};

template <class T>
T data_of(::cmsghdr* item) noexcept {
  T value{};
  std::memcpy(&value, CMSG_DATA(item), sizeof value);
  return value;
}

}  // namespace

Result<os::Fd> make_socket(const Endpoint& family_of) noexcept {
  BUS_FAULT_POINT();
  os::Fd fd(::socket(family_of.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return last_system_error();
  if (family_of.family() == AF_INET6 && !set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1)) return last_system_error();
  return fd;
}

std::error_code bind_to(int fd, const Endpoint& endpoint) noexcept {
  BUS_FAULT_POINT();
  return ::bind(fd, endpoint.get(), endpoint.size()) == 0 ? std::error_code{} : last_system_error();
}

std::error_code connect_to(int fd, const Endpoint& endpoint) noexcept {
  BUS_FAULT_POINT();
  return ::connect(fd, endpoint.get(), endpoint.size()) == 0 ? std::error_code{} : last_system_error();
}

std::size_t set_receive_buffer(int fd, std::size_t bytes) noexcept {
  const int want = static_cast<int>(std::min<std::size_t>(bytes, std::size_t{1} << 30));
  if (!set(fd, SOL_SOCKET, SO_RCVBUFFORCE, want)) static_cast<void>(set(fd, SOL_SOCKET, SO_RCVBUF, want));
  int granted = 0;
  ::socklen_t size = sizeof granted;
  if (::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &size) != 0 || granted < 0) return 0;
  return static_cast<std::size_t>(granted);
}

// The kernels that lack one of these lack an advantage, not a function: nothing else depends on the outcome.
void tell_drops(int fd) noexcept { static_cast<void>(set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1)); }
void join_runs(int fd) noexcept { static_cast<void>(set(fd, IPPROTO_UDP, UDP_GRO, 1)); }

void tell_refusals(int fd, int family, bool on) noexcept {
  // Switching it off also empties the queue of errors, which poll() would report.
  static_cast<void>(family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_RECVERR, on ? 1 : 0)
                                       : set(fd, IPPROTO_IP, IP_RECVERR, on ? 1 : 0));
}

void tell_destination(int fd, int family) noexcept {
  static_cast<void>(family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                                       : set(fd, IPPROTO_IP, IP_PKTINFO, 1));
}

std::size_t path_datagram(int fd, int family) noexcept {
  int mtu = 0;
  ::socklen_t size = sizeof mtu;
  const bool six = family == AF_INET6;
  if (::getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU, &mtu, &size) != 0) return 1200;
  const int headers = six ? 40 + 8 : 20 + 8;
  if (mtu - headers < static_cast<int>(kLeastDatagram)) return kLeastDatagram;
  return std::min(static_cast<std::size_t>(mtu - headers), kMostDatagram);
}

Result<Received> receive(int fd, std::span<std::byte> room) noexcept {
  ::iovec where{room.data(), room.size()};
  Control control;
  ::msghdr message{};
  message.msg_iov = &where;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ::ssize_t bytes;
  do {
    BUS_FAULT_POINT_OF_READ(fd);
    bytes = ::recvmsg(fd, &message, MSG_DONTWAIT);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0) return code_of(errno);
  Received received{.bytes = static_cast<std::size_t>(bytes), .segment = static_cast<std::size_t>(bytes), .drops = {}};
  for (::cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SO_RXQ_OVFL) {
      received.drops = data_of<std::uint32_t>(item);
    } else if (item->cmsg_level == IPPROTO_UDP && item->cmsg_type == UDP_GRO) {
      const int segment = data_of<int>(item);
      if (segment > 0) received.segment = static_cast<std::size_t>(segment);
    }
  }
  return received;
}

Result<ReceivedFrom> receive_from(int fd, std::span<std::byte> room) noexcept {
  ReceivedFrom received;
  ::iovec where{room.data(), room.size()};
  Control control;
  ::msghdr message{};
  message.msg_name = received.from.get();
  message.msg_namelen = Endpoint::room();
  message.msg_iov = &where;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ::ssize_t bytes;
  do {
    BUS_FAULT_POINT_OF_READ(fd);
    bytes = ::recvmsg(fd, &message, MSG_DONTWAIT);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0) return code_of(errno);
  received.bytes = static_cast<std::size_t>(bytes);
  received.from.resize(message.msg_namelen);
  for (::cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SO_RXQ_OVFL) {
      received.drops = data_of<std::uint32_t>(item);
    } else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
      ::sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_addr = data_of<::in_pktinfo>(item).ipi_addr;
      received.to = Endpoint(reinterpret_cast<const ::sockaddr*>(&to), sizeof to);
    } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
      ::sockaddr_in6 to{};
      to.sin6_family = AF_INET6;
      to.sin6_addr = data_of<::in6_pktinfo>(item).ipi6_addr;
      received.to = Endpoint(reinterpret_cast<const ::sockaddr*>(&to), sizeof to);
    }
  }
  return received;
}

std::error_code pending_error(int fd) noexcept {
  int error = 0;
  ::socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return last_system_error();
  return {error, std::system_category()};
}

std::error_code send_one(int fd, std::span<const std::byte> datagram) noexcept {
  ::ssize_t sent;
  do {
    BUS_FAULT_POINT();
    sent = ::send(fd, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? code_of(errno) : std::error_code{};
}

std::error_code send_to(int fd, std::span<const std::byte> datagram, const Endpoint& to,
                        const Endpoint& from) noexcept {
  // sendmsg() takes what it only reads by a pointer to non-const.
  Endpoint name = to;
  ::iovec what{const_cast<std::byte*>(datagram.data()), datagram.size()};
  ::msghdr message{};
  message.msg_name = name.get();
  message.msg_namelen = name.size();
  message.msg_iov = &what;
  message.msg_iovlen = 1;
  alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(::in6_pktinfo))> control{};
  const auto attach = [&](int level, int type, const auto& info) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof info);
    ::cmsghdr* const item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(sizeof info);
    std::memcpy(CMSG_DATA(item), &info, sizeof info);
  };
  if (from.size() > 0 && from.family() == AF_INET) {
    ::in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, from.host_bytes().data(), sizeof info.ipi_spec_dst);
    attach(IPPROTO_IP, IP_PKTINFO, info);
  } else if (from.size() > 0 && from.family() == AF_INET6) {
    ::in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, from.host_bytes().data(), sizeof info.ipi6_addr);
    attach(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  ::ssize_t sent;
  do {
    BUS_FAULT_POINT();
    sent = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? code_of(errno) : std::error_code{};
}

std::string holder_of(const Endpoint& endpoint) try {
  // Source: proc(5), /proc/net/udp: columns are sl, local_address as ADDRESS:PORT in hex, ..., inode as the tenth.
  std::string inode;
  std::ifstream table(endpoint.family() == AF_INET6 ? "/proc/net/udp6" : "/proc/net/udp");
  for (std::string line; inode.empty() && std::getline(table, line);) {
    std::istringstream columns(line);
    const std::vector<std::string> words{std::istream_iterator<std::string>(columns), {}};
    if (words.size() < 10) continue;
    const std::size_t colon = words[1].rfind(':');
    unsigned port = 0;
    if (colon == std::string::npos) continue;
    const char* const digits = words[1].data() + colon + 1;
    if (std::from_chars(digits, words[1].data() + words[1].size(), port, 16).ec != std::errc{}) continue;
    if (port == endpoint.port()) inode = words[9];
  }
  if (inode.empty()) return {};
  const std::string target = "socket:[" + inode + "]";
  std::error_code ignored;  // processes come and go, and those of others may not be looked into
  for (const auto& process : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const auto& fd : std::filesystem::directory_iterator(process.path() / "fd", ignored)) {
      if (std::filesystem::read_symlink(fd.path(), ignored).string() != target) continue;
      std::ifstream comm(process.path() / "comm");
      std::string name;
      std::getline(comm, name);
      return ", held by pid " + pid + " (" + name + ")";
    }
  }
  return {};
} catch (const std::filesystem::filesystem_error&) {
  return {};  // /proc changed while it was read, or is not there: the error goes without this
}

}  // namespace bus::udp
