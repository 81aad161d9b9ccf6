// tools/common/input.cpp: see input.hpp.
#include "tools/common/input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "bus/core/errc.hpp"
#include "bus/core/units.hpp"

namespace bus::tools {
namespace {

constexpr std::size_t kReadBytes = 256 << 10;

[[noreturn]] void fail(const std::string& name) {
  const std::error_code code = last_system_error();
  throw Error(code, "cannot read " + name + ": " + code.message());
}

}  // namespace

Input::Input(Signals& signals, const std::string& path) : signals_(signals), fd_(STDIN_FILENO), name_("stdin") {
  if (path != "-") {
    name_ = path;
    owned_ = os::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!owned_) fail(name_);
    fd_ = owned_.get();
  }
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail(name_);
  if (S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    fail(name_);
  }
  if (S_ISREG(status.st_mode)) size_ = static_cast<std::uint64_t>(status.st_size);
}

bool Input::read_more() {
  if (over_ || stopped_) return false;
  if (taken_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + taken_, held());
    filled_ -= taken_;
    taken_ = 0;
  }
  if (buffer_.size() < filled_ + kReadBytes) buffer_.resize(std::max(filled_ + kReadBytes, 2 * filled_));
  for (;;) {
    std::array<pollfd, 3> fds{pollfd{fd_, POLLIN, 0}, pollfd{signals_.fd(), POLLIN, 0}, pollfd{other_fd_, POLLIN, 0}};
    int ready = ::poll(fds.data(), fds.size(), 0);
    if (ready == 0) {
      if (before_waiting_) before_waiting_();
      ready = ::poll(fds.data(), fds.size(), -1);
    }
    if (ready < 0) {
      if (errno == EINTR) continue;
      fail("poll");
    }
    if (fds[1].revents != 0 || fds[2].revents != 0) {
      stopped_ = true;
      return false;
    }
    const ssize_t got = ::read(fd_, buffer_.data() + filled_, buffer_.size() - filled_);
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      fail(name_);
    }
    if (got == 0) over_ = true;
    filled_ += static_cast<std::size_t>(got);
    return got > 0;
  }
}

std::optional<std::span<const std::byte>> Input::line() {
  std::size_t searched = 0;
  for (;;) {
    const std::span<const std::byte> now = rest();
    if (searched < now.size()) {
      if (const void* const end = std::memchr(now.data() + searched, '\n', now.size() - searched); end != nullptr) {
        const auto length = static_cast<std::size_t>(static_cast<const std::byte*>(end) - now.data());
        taken_ += length + 1;
        return now.first(length);
      }
    }
    searched = now.size();
    if (read_more()) continue;
    if (stopped_ || held() == 0) return {};
    const std::span<const std::byte> last = rest();
    taken_ = filled_;
    return last;
  }
}

std::optional<std::span<const std::byte>> Input::lines(std::size_t most) {
  std::size_t searched = 0;
  for (;;) {
    const std::span<const std::byte> now = rest();
    if (searched < now.size()) {
      if (const void* const end = ::memrchr(now.data() + searched, '\n', now.size() - searched); end != nullptr) {
        const auto length = static_cast<std::size_t>(static_cast<const std::byte*>(end) - now.data()) + 1;
        taken_ += length;
        return now.first(length);
      }
    }
    if (now.size() > most) throw Error(Errc::corrupt, name_ + " has a line of more than " + format_size(most));
    searched = now.size();
    if (read_more()) continue;
    if (stopped_ || held() == 0) return {};
    const std::span<const std::byte> last = rest();
    taken_ = filled_;
    return last;
  }
}

std::optional<std::span<const std::byte>> Input::piece(std::size_t bytes) {
  while (held() < bytes && read_more()) {
  }
  if (stopped_ || held() == 0) return {};
  const std::span<const std::byte> now = rest().first(std::min(bytes, held()));
  taken_ += now.size();
  return now;
}

std::optional<std::span<const std::byte>> Input::whole(std::size_t most, std::string_view advice) {
  while (held() <= most && read_more()) {
  }
  if (stopped_) return {};
  if (held() > most) {
    throw Error(Errc::message_too_large, (name_ + " is larger than " + format_size(most)).append(": ").append(advice));
  }
  const std::span<const std::byte> all = rest();
  taken_ = filled_;
  return all;
}

}  // namespace bus::tools
