// bus/core/fault_point.cpp: dying or stopping on command, in test builds only.
#include "bus/core/fault_point.hpp"

#ifdef BUS_FAULT_POINTS

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace bus {
namespace {

unsigned long from_environment(const char* name) noexcept {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::strtoul(text, nullptr, 10);
}

}  // namespace

void fault_point() noexcept {
  static const unsigned long crash_at = from_environment("CRASH_AT");
  static const unsigned long stop_at = from_environment("STOP_AT");
  if (crash_at == 0 && stop_at == 0) return;
  static std::atomic<unsigned long> passed{0};
  const unsigned long k = passed.fetch_add(1) + 1;
  if (k == crash_at) std::raise(SIGKILL);
  if (k == stop_at) std::raise(SIGSTOP);
}

}  // namespace bus

#endif
