// tools/measure/ends/stream_end.cpp: read and writev, and poll where a wait that has spun goes to sleep.
#include "tools/measure/ends/stream_end.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "tools/measure/ends/descriptor.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kPiece = std::size_t{256} << 10;
constexpr std::size_t kSize = 8;

void sleep_on(int fd, short events) noexcept {
  pollfd poll{fd, events, 0};
  static_cast<void>(::poll(&poll, 1, -1));
}

}  // namespace

StreamEnd::StreamEnd(int in, int out, std::size_t most, bool gather, WaitMode wait)
    : in_(in),
      out_(out),
      gather_(gather),
      wait_(wait),
      outgoing_(gather ? kPiece : 0),
      incoming_(kPiece + kSize + most) {
  if (wait == WaitMode::block) return;  // what always sleeps does so in read(2) and writev(2) themselves
  for (const int fd : {in, out}) set_nonblocking(fd);
}

std::string StreamEnd::failure() const {
  return error_ == 0 ? "the other end has closed" : std::system_category().message(error_);
}

bool StreamEnd::write_all(iovec* parts, std::size_t count) noexcept {
  Spinner spinner(wait_);
  while (count > 0) {
    ssize_t written = ::writev(out_, parts, static_cast<int>(count));
    if (written < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        error_ = errno;
        return false;
      }
      if (!spinner.turn()) sleep_on(out_, POLLOUT);
      continue;
    }
    for (; count > 0 && static_cast<std::size_t>(written) >= parts->iov_len; ++parts, --count) {
      written -= static_cast<ssize_t>(parts->iov_len);
    }
    if (count > 0)
      *parts = {static_cast<std::byte*>(parts->iov_base) + written, parts->iov_len - static_cast<std::size_t>(written)};
  }
  return true;
}

bool StreamEnd::send(std::span<const std::byte> message) noexcept {
  const std::uint64_t size = message.size();
  if (gather_ && kSize + message.size() <= kPiece) {
    if (gathered_ + kSize + message.size() > kPiece && !flush()) return false;
    std::memcpy(outgoing_.data() + gathered_, &size, kSize);
    std::memcpy(outgoing_.data() + gathered_ + kSize, message.data(), message.size());
    gathered_ += kSize + message.size();
    return true;
  }
  if (gathered_ > 0 && !flush()) return false;
  std::array<iovec, 2> parts{iovec{const_cast<std::uint64_t*>(&size), kSize},
                             iovec{const_cast<std::byte*>(message.data()), message.size()}};  // writev only reads
  return write_all(parts.data(), parts.size());
}

bool StreamEnd::flush() noexcept {
  iovec part{outgoing_.data(), gathered_};
  gathered_ = 0;
  return part.iov_len == 0 || write_all(&part, 1);
}

bool StreamEnd::fill(std::size_t needed) noexcept {
  if (incoming_.size() - begin_ < needed || begin_ == end_) {
    std::memmove(incoming_.data(), incoming_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  Spinner spinner(wait_);
  while (end_ - begin_ < needed) {
    const ssize_t count =
        ::read(in_, incoming_.data() + end_, std::min(incoming_.size() - end_, std::max(kPiece, needed)));
    if (count > 0) {
      end_ += static_cast<std::size_t>(count);
    } else if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (errno == EAGAIN && !spinner.turn()) sleep_on(in_, POLLIN);
    } else {
      error_ = count == 0 ? 0 : errno;
      return false;
    }
  }
  return true;
}

bool StreamEnd::receive(View& view) noexcept {
  if (end_ - begin_ < kSize && !fill(kSize)) return false;
  std::uint64_t size = 0;
  std::memcpy(&size, incoming_.data() + begin_, kSize);
  if (size > incoming_.size() - kSize) {
    error_ = EMSGSIZE;
    return false;
  }
  if (end_ - begin_ < kSize + size && !fill(kSize + size)) return false;
  view.bytes = std::span<const std::byte>(incoming_).subspan(begin_ + kSize, size);
  begin_ += kSize + size;
  return true;
}

}  // namespace bus::tools::measure
