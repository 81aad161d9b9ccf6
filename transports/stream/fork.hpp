// transports/stream/fork.hpp: tells a forked child that the channels it has inherited are its parent's.
//
// A child that uses or destroys such a channel must neither speak on the parent's connection nor touch a lock that
// another thread held at the moment of the fork.
#pragma once

#include <atomic>
#include <cstdint>

namespace bus::stream {

namespace detail {
extern std::atomic<std::uint32_t> forks;  // between this process and the first one that asked
}

/// Changes in the child at each fork. Begins to watch for forks at the first call, which is why each channel asks
/// once when it is made.
[[nodiscard]] std::uint32_t watch_forks() noexcept;

/// Cost: one load.
[[nodiscard]] inline std::uint32_t forks_so_far() noexcept {
  // relaxed: written only in a child that has one thread yet
  return detail::forks.load(std::memory_order_relaxed);
}

}  // namespace bus::stream
