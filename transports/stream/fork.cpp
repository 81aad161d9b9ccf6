// transports/stream/fork.cpp: one handler that counts forks.
#include "transports/stream/fork.hpp"

#include <pthread.h>

namespace bus::stream {

namespace detail {
constinit std::atomic<std::uint32_t> forks{0};
}

std::uint32_t watch_forks() noexcept {
  // Fails only without memory for a few words; a child is then not told, as with most libraries.
  [[maybe_unused]] static const int once =
      ::pthread_atfork(nullptr, nullptr, [] { detail::forks.fetch_add(1, std::memory_order_relaxed); });
  return forks_so_far();
}

}  // namespace bus::stream
