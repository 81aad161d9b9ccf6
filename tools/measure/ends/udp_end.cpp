// tools/measure/ends/udp_end.cpp: runs of datagrams and the word that goes back. Source: udp(7), UDP_SEGMENT, UDP_GRO.
#include "tools/measure/ends/udp_end.hpp"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "tools/measure/ends/descriptor.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kMostRun = 64;                       // UDP_MAX_SEGMENTS before Linux 6.9
constexpr std::uint64_t kWindow = std::uint64_t{1} << 20;  // in flight: far below the buffer
constexpr std::uint64_t kTell = std::uint64_t{256} << 10;
constexpr int kBuffer = 8 << 20;

/// What a datagram takes from the receiver's buffer at most: the kernel rounds small ones up.
std::uint64_t cost(std::size_t bytes) noexcept { return 2 * bytes + 1280; }

}  // namespace

UdpEnd::UdpEnd(int fd, std::size_t size, bool gather, bool sends, WaitMode wait)
    : fd_(fd),
      gather_(gather),
      sends_(sends),
      wait_(wait),
      run_(std::clamp<std::size_t>(kMost / std::max<std::size_t>(size, 1), 1, kMostRun)),
      outgoing_(run_ * size),
      incoming_(std::size_t{64} << 10),
      size_(size) {
  if (wait != WaitMode::block || gather) set_nonblocking(fd);  // what always sleeps does so in recv(2) itself
  // Beyond the system's limit where that is allowed, else as much as it gives.
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kBuffer, sizeof kBuffer) != 0) {
    set_option(fd, SOL_SOCKET, SO_RCVBUF, kBuffer);
  }
  if (gather) set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
}

std::string UdpEnd::failure() const { return std::system_category().message(error_); }

/// After a call that failed: true to try it again.
bool UdpEnd::again(Spinner& spinner, short events) noexcept {
  if (errno == EINTR || errno == ENOBUFS) return true;
  if (errno != EAGAIN) {
    error_ = errno;
    return false;
  }
  if (!spinner.turn()) {
    pollfd poll{fd_, events, 0};
    static_cast<void>(::poll(&poll, 1, -1));
  }
  return true;
}

bool UdpEnd::wait_for_window() noexcept {
  Spinner spinner(wait_);
  while (sent_ - acked_ > kWindow) {
    std::uint64_t word = 0;
    if (::recv(fd_, &word, sizeof word, 0) == sizeof word) {
      acked_ = std::max(acked_, word);
    } else if (!again(spinner, POLLIN)) {
      return false;
    }
  }
  return true;
}

bool UdpEnd::send(std::span<const std::byte> message) noexcept {
  if (gather_) {
    if (message.size() != size_ && !flush()) return false;
    std::memcpy(outgoing_.data() + gathered_, message.data(), message.size());
    gathered_ += message.size();
    return gathered_ < run_ * size_ && message.size() == size_ ? true : flush();
  }
  Spinner spinner(wait_);
  while (::send(fd_, message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    if (!again(spinner, POLLOUT)) return false;
  }
  return true;
}

bool UdpEnd::flush() noexcept {
  if (gathered_ == 0) return true;
  const std::size_t datagrams = (gathered_ + size_ - 1) / size_;
  sent_ += datagrams * cost(size_);
  if (!wait_for_window()) return false;
  iovec part{outgoing_.data(), gathered_};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (datagrams > 1) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto segment = static_cast<std::uint16_t>(size_);
    std::memcpy(CMSG_DATA(header), &segment, sizeof segment);
  }
  gathered_ = 0;
  Spinner spinner(wait_);
  while (::sendmsg(fd_, &message, MSG_NOSIGNAL) < 0) {
    if (!again(spinner, POLLOUT)) return false;
  }
  return true;
}

bool UdpEnd::take_one() noexcept {
  Spinner spinner(wait_);
  for (;;) {
    const ssize_t count = ::recv(fd_, incoming_.data(), incoming_.size(), 0);
    if (count >= 0) {
      at_ = 0;
      end_ = segment_ = static_cast<std::size_t>(count);
      return true;
    }
    if (!again(spinner, POLLIN)) return false;
  }
}

bool UdpEnd::take_run() noexcept {
  if (!sends_ && taken_ - told_ >= kTell) {
    told_ = taken_;
    static_cast<void>(::send(fd_, &told_, sizeof told_, MSG_NOSIGNAL));
  }
  iovec part{incoming_.data(), incoming_.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  Spinner spinner(wait_);
  for (;;) {
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(fd_, &message, 0);
    if (count < 0) {
      if (!again(spinner, POLLIN)) return false;
      continue;
    }
    at_ = 0;
    end_ = segment_ = static_cast<std::size_t>(count);
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != IPPROTO_UDP || header->cmsg_type != UDP_GRO) continue;
      int segment = 0;
      std::memcpy(&segment, CMSG_DATA(header), sizeof segment);
      segment_ = static_cast<std::size_t>(segment);
    }
    return true;
  }
}

bool UdpEnd::receive(View& view) noexcept {
  if (at_ == end_ && !(gather_ ? take_run() : take_one())) return false;
  const std::size_t size = std::min(segment_, end_ - at_);
  view.bytes = std::span<const std::byte>(incoming_).subspan(at_, size);
  at_ += size;
  taken_ += cost(size_);
  return true;
}

}  // namespace bus::tools::measure
