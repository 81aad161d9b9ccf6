// bus/core/adopt.cpp: listening sockets that somebody else has made: systemd's, inetd's, a parent's.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <string>

#include "bus/core/listener.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"

namespace bus {
namespace {

int option_of(int socket, int name) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0 ? value : 0;
}

/// What a descriptor is that no transport can listen on.
std::string kind_of(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno == EBADF ? "is not open" : "cannot be looked at";
  if (S_ISREG(info.st_mode)) return "is a file";
  if (S_ISDIR(info.st_mode)) return "is a folder";
  if (S_ISFIFO(info.st_mode)) return "is a pipe";
  if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) return "is a device";
  if (!S_ISSOCK(info.st_mode)) return "is no socket";
  const int type = option_of(fd, SO_TYPE);
  if (type == SOCK_DGRAM) return "is a datagram socket";
  if (type == SOCK_SEQPACKET) return "is a socket of packets (SOCK_SEQPACKET)";
  if (type != SOCK_STREAM) return "is a socket of another type (" + std::to_string(type) + ")";
  if (option_of(fd, SO_ACCEPTCONN) == 0) return "is a stream socket that does not listen";
  const int family = option_of(fd, SO_DOMAIN);
  if (family == AF_UNIX) return "is a Unix socket without an absolute path";
  return "is a stream socket of another family or protocol (" + std::to_string(family) + ", " +
         std::to_string(option_of(fd, SO_PROTOCOL)) + ")";
}

/// The transport whose it is, with its address in `address`.
const Transport& transport_of(int socket, std::string& address) {
  if (option_of(socket, SO_TYPE) == SOCK_STREAM && option_of(socket, SO_ACCEPTCONN) != 0) {
    for (const Transport* const transport : transports()) {
      address = transport->address_of(socket);
      if (!address.empty()) return *transport;
    }
  }
  throw Error(Errc::not_supported, "descriptor " + std::to_string(socket) + " " + kind_of(socket) +
                                       "; what can be listened on is a stream socket that listens: a Unix socket with "
                                       "a path, or TCP");
}

}  // namespace

std::unique_ptr<ListenerImpl> Transport::adopt(int socket, const Address& address, const Options&) const {
  const os::Fd owned(socket);
  throw Error(Errc::not_supported, describe("listen", address.text(), Errc::not_supported));
}

std::string address_of_socket(int socket) {
  std::string address;
  static_cast<void>(transport_of(socket, address));
  return address;
}

Listener listen_on(int socket, std::string_view options, std::size_t max_message) {
  os::Fd owned(socket);
  std::string text;
  const Transport& transport = transport_of(socket, text);
  if (!options.empty()) text.append("?").append(options);
  const Address address = Address::parse(text);
  const Options read = read_options(transport, address, max_message);
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(socket, F_SETFD, FD_CLOEXEC) != 0) {
    const std::error_code error = last_system_error();
    throw Error(error, describe("listen", text, error));
  }
  return Listener(transport.adopt(owned.release(), address, read), read.wait);
}

}  // namespace bus
