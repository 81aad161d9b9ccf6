// tools/measure/control.cpp: length and text, over a stream socket.
#include "tools/measure/control.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::uint64_t kMost = std::uint64_t{1} << 30;

[[noreturn]] void gone() { throw Error(Errc::peer_died, "a process of the measurement has ended before its time"); }

void write_all(int fd, const char* at, std::size_t left) {
  while (left > 0) {
    const ssize_t count = ::send(fd, at, left, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) gone();
    at += count;
    left -= static_cast<std::size_t>(count);
  }
}

}  // namespace

void Control::say(std::string_view text) {
  const std::uint64_t size = text.size();
  write_all(socket_.get(), reinterpret_cast<const char*>(&size), sizeof size);
  write_all(socket_.get(), text.data(), text.size());
}

bool Control::read(void* to, std::size_t size, Deadline deadline) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    if (deadline != forever) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd poll{socket_.get(), POLLIN, 0};
      const int ready = ::poll(&poll, 1, static_cast<int>(std::clamp<long long>(left, 0, 1 << 30)));
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0) return false;
    }
    const ssize_t count = ::recv(socket_.get(), at, size, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) gone();
    at += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<std::string> Control::hear(Deadline deadline) {
  std::uint64_t size = 0;
  if (!read(&size, sizeof size, deadline)) return {};
  if (size > kMost) throw Error(Errc::corrupt, "a process of the measurement said something that is too long");
  std::string text(size, '\0');
  if (!read(text.data(), text.size(), deadline)) return {};
  return text;
}

}  // namespace bus::tools::measure
