// bus/core/os/barrier.cpp: membarrier(2), or a plain fence where the kernel has none.
#include "bus/core/os/barrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace bus::os {
namespace {

long membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0); }

bool register_process() noexcept {
  const long commands = membarrier(MEMBARRIER_CMD_QUERY);
  constexpr long kNeeded = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
                           MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
  return commands >= 0 && (commands & kNeeded) == kNeeded &&
         membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0 &&
         membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

}  // namespace

namespace detail {
constinit std::atomic<bool> heavy_available{false};
}

bool has_heavy_barrier() noexcept {
  static const bool registered = [] {
    const bool ok = register_process();
    detail::heavy_available.store(ok, std::memory_order_relaxed);
    return ok;
  }();
  return registered;
}

void heavy_barrier_process() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (has_heavy_barrier()) membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void heavy_barrier_global() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

}  // namespace bus::os
