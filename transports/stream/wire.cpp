// transports/stream/wire.cpp: recv, sendmsg and what belongs to them.
#include "transports/stream/wire.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>

#include "bus/core/fault_point.hpp"

namespace bus::stream {
namespace {

Transfer outcome(ssize_t count) noexcept {
  if (count > 0) return {Transfer::State::moved, static_cast<std::size_t>(count), 0};
  if (count == 0) return {Transfer::State::over, 0, 0};
  const int error = errno;
  // ENOBUFS, ENOMEM: the kernel is short of memory for the moment
  if (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM) {
    return {Transfer::State::again, 0, 0};
  }
  return {Transfer::State::broken, 0, error};
}

}  // namespace

Transfer Wire::read(std::span<std::byte> room) noexcept {
  ssize_t count = 0;
  do {
    reads_.add();
    BUS_FAULT_POINT_OF_READ(fd_.get());
    count = ::recv(fd_.get(), room.data(), room.size(), 0);
  } while (count < 0 && errno == EINTR);
  return outcome(count);
}

Transfer Wire::write(std::span<const iovec> parts) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());  // sendmsg does not write to it
  message.msg_iovlen = parts.size();
  ssize_t count = 0;
  do {
    writes_.add();
    BUS_FAULT_POINT();
    count = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  return outcome(count);
}

// Both may find the connection gone (ENOTCONN): there is nothing left to end then.
void Wire::end_writing() noexcept { ::shutdown(fd_.get(), SHUT_WR); }
void Wire::end_both() noexcept { ::shutdown(fd_.get(), SHUT_RDWR); }

bool Wire::peer_ended_writing() const noexcept {
  pollfd state{fd_.get(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP)) != 0;
}

Wire::Acknowledged Wire::acknowledged() const noexcept {
  int bytes = 0;
  if (::ioctl(fd_.get(), SIOCOUTQ, &bytes) != 0 || bytes <= 0) return Acknowledged::all;
  // After a reset the count stays as it was.
  std::uint8_t state = 0;  // tcp_info's first field
  socklen_t size = sizeof state;
  const bool gone = ::getsockopt(fd_.get(), IPPROTO_TCP, TCP_INFO, &state, &size) == 0 && state == TCP_CLOSE;
  return gone ? Acknowledged::never : Acknowledged::not_yet;
}

bool Wire::peek_tail(std::span<std::byte> tail) const noexcept {
  int waiting = 0;
  if (::ioctl(fd_.get(), FIONREAD, &waiting) != 0 || waiting < 0) return false;
  const auto all = static_cast<std::size_t>(waiting);
  if (all < tail.size()) return false;
  // What stands before the tail goes to one scratch buffer, again and again; to a larger one if there is more of it
  // than the parts of one call hold, 16 MiB.
  std::array<std::byte, 16384> small;
  std::array<iovec, 1024> parts;  // UIO_MAXIOV
  const std::size_t before = all - tail.size();
  const std::size_t most = std::max(small.size(), before / (parts.size() - 1) + 1);
  std::unique_ptr<std::byte[]> large;
  if (most > small.size()) large.reset(new (std::nothrow) std::byte[most]);
  if (most > small.size() && !large) return false;
  std::byte* const scratch = large ? large.get() : small.data();
  std::size_t count = 0;
  for (std::size_t rest = before; rest > 0;) {
    const std::size_t piece = std::min(rest, most);
    parts[count++] = {scratch, piece};
    rest -= piece;
  }
  parts[count++] = {tail.data(), tail.size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  return ::recvmsg(fd_.get(), &message, MSG_PEEK | MSG_DONTWAIT) == static_cast<ssize_t>(all);
}

}  // namespace bus::stream
