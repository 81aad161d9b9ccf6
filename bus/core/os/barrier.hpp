// bus/core/os/barrier.hpp: a store-load barrier whose whole cost falls on the rare side.
//
// Two threads that each store one word and then load the other's need a full fence on both sides, or a heavy
// barrier on one and nothing but program order on the other. Source: membarrier(2).
#pragma once

#include <atomic>

namespace bus::os {

/// True when this process can pay for both sides, towards every process that called this too. Registers the
/// process at the first call. Must have been called before any of the barriers below; channels and lanes do.
bool has_heavy_barrier() noexcept;

/// The rare side, within this process: a full fence in every thread of it.
void heavy_barrier_process() noexcept;
/// The rare side, towards all processes. Needs has_heavy_barrier() here and at the peer.
void heavy_barrier_global() noexcept;

namespace detail {
extern std::atomic<bool> heavy_available;  // false until has_heavy_barrier() says otherwise
}

/// The frequent side when the rare one uses a heavy barrier: keeps the compiler's hands off. Where the kernel has
/// no membarrier it is a full fence, and the heavy one too.
inline void light_barrier() noexcept {
  if (detail::heavy_available.load(std::memory_order_relaxed)) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

}  // namespace bus::os
