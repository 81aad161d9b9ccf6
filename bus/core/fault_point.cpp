// bus/core/fault_point.cpp: dying or stopping on command, in test builds only.
#include "bus/core/fault_point.hpp"

#ifdef BUS_FAULT_POINTS

#include <poll.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace bus {
namespace {

unsigned long from_environment(const char* name) noexcept {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
}

unsigned long crash_at() noexcept {
  static const unsigned long point = from_environment("CRASH_AT");
  return point;
}

unsigned long stop_at() noexcept {
  static const unsigned long point = from_environment("STOP_AT");
  return point;
}

}  // namespace

void fault_point() noexcept {
  if (crash_at() == 0 && stop_at() == 0) return;
  static std::atomic<unsigned long> passed{0};
  const unsigned long k = passed.fetch_add(1) + 1;
  if (k == crash_at()) std::raise(SIGKILL);
  if (k == stop_at()) std::raise(SIGSTOP);
}

void fault_point_of_read(int socket) noexcept {
  if (crash_at() == 0 && stop_at() == 0) return;
  const int before = errno;
  pollfd wanted{socket, POLLIN, 0};
  if (::poll(&wanted, 1, 0) > 0) fault_point();
  errno = before;
}

}  // namespace bus

#endif
