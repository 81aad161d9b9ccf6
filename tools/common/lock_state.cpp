// tools/common/lock_state.cpp: see lock_state.hpp.
#include "tools/common/lock_state.hpp"

#include <fcntl.h>

#include <chrono>
#include <thread>

#include "bus/core/os/fd.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

std::optional<bool> is_held(const std::string& lock) {
  const os::Fd fd(::open(lock.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return {};
  struct flock asked {};
  asked.l_type = F_WRLCK;
  asked.l_whence = SEEK_SET;
  if (::fcntl(fd.get(), F_OFD_GETLK, &asked) != 0) return {};
  return asked.l_type != F_UNLCK;
}

std::optional<bool> stays_held(const std::string& lock) {
  constexpr auto kStart = 5ms;
  auto held = is_held(lock);
  if (held == false) {
    std::this_thread::sleep_for(kStart);
    held = is_held(lock);
  }
  return held;
}

}  // namespace bus::tools
