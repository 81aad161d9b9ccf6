// bus/core/os/pass_fd.cpp: SCM_RIGHTS. Source: unix(7), cmsg(3).
#include "bus/core/os/pass_fd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "bus/core/errc.hpp"

namespace bus::os {
namespace {

constexpr std::size_t kMostFds = 8;

union Control {
  cmsghdr header;  // aligns the bytes
  std::array<char, CMSG_SPACE(sizeof(int) * kMostFds)> bytes;
};

}  // namespace

std::error_code send_with_fds(int socket, std::span<const std::byte> bytes, std::span<const int> fds) noexcept {
  Control control{};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    // A stream socket's buffer takes a message of this size whole or not at all.
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    if (sent >= 0) return Errc::corrupt;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETOOMANYREFS) return Errc::would_block;
    if (errno == EPIPE || errno == ECONNRESET) return Errc::peer_died;
    return last_system_error();
  }
}

Result<Received> receive_with_fds(int socket, std::span<std::byte> bytes, std::size_t most) noexcept {
  Control control{};
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t size = 0;
  do {
    size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Errc::would_block;
    if (errno == ECONNRESET) return Errc::peer_died;
    return last_system_error();
  }
  Received received;
  received.size = static_cast<std::size_t>(size);
  bool well_formed = (message.msg_flags & MSG_CTRUNC) == 0;
  try {
    received.fds.reserve(kMostFds);
  } catch (const std::bad_alloc&) {
    well_formed = false;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      well_formed = false;
      continue;
    }
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      Fd owned(fd);
      if (well_formed && received.fds.size() < most) {
        received.fds.push_back(std::move(owned));
      } else {
        well_formed = false;
      }
    }
  }
  if (!well_formed) return Errc::corrupt;
  return received;
}

bool is_eventfd(int fd) noexcept {
  // The kernel names anonymous descriptors in /proc. Source: proc(5).
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = readlink(link.c_str(), target.data(), target.size() - 1);
  constexpr std::string_view kName = "anon_inode:[eventfd]";
  if (size < 0 || std::string_view(target.data(), static_cast<std::size_t>(size)) != kName) return false;
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

}  // namespace bus::os
