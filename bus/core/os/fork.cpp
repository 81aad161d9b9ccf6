// bus/core/os/fork.cpp: what happens in a child right after fork(). Source: pthread_atfork(3).
#include "bus/core/os/fork.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace bus::os {

namespace detail {
constinit std::atomic<std::uint32_t> forks{0};
}

namespace {

struct Lifelines {
  std::mutex mutex;  // held across fork(), so that the child finds the lists whole
  std::vector<int> fds;
  std::vector<std::shared_ptr<void>> kept;  // reachable, so that no leak checker complains of it
};
Lifelines& lifelines() {
  static auto* const all = new Lifelines;  // outlives static channels
  return *all;
}

void before_fork() { lifelines().mutex.lock(); }
void after_fork_in_parent() { lifelines().mutex.unlock(); }

/// Calls only what is safe here: the child of a process with threads. The numbers stay taken, so that the owner's
/// close() does not hit a stranger.
void after_fork_in_child() {
  detail::forks.fetch_add(1, std::memory_order_relaxed);
  Lifelines& all = lifelines();
  if (!all.fds.empty()) {
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : all.fds) {
      if (nowhere < 0 || dup3(nowhere, fd, O_CLOEXEC) < 0) close(fd);
    }
    if (nowhere >= 0) close(nowhere);
  }
  all.mutex.unlock();
}

}  // namespace

std::uint32_t watch_forks() noexcept {
  // Fails only without memory for a few words; a child is then not told, as with most libraries.
  [[maybe_unused]] static const int once = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  return forks_so_far();
}

void keep_inherited(std::shared_ptr<void> object) noexcept {
  Lifelines& all = lifelines();
  const std::lock_guard lock(all.mutex);
  try {
    all.kept.push_back(object);
  } catch (const std::bad_alloc&) {
    using Object = std::shared_ptr<void>;
    alignas(Object) std::array<std::byte, sizeof(Object)> never_destroyed;
    static_cast<void>(new (never_destroyed.data()) Object(std::move(object)));
  }
}

Lifeline::Lifeline(int fd) : fd_(fd) {
  static_cast<void>(watch_forks());
  Lifelines& all = lifelines();
  const std::lock_guard lock(all.mutex);
  all.fds.push_back(fd);
}

Lifeline::~Lifeline() {
  Lifelines& all = lifelines();
  const std::lock_guard lock(all.mutex);
  const auto it = std::find(all.fds.begin(), all.fds.end(), fd_);
  if (it != all.fds.end()) all.fds.erase(it);
}

}  // namespace bus::os
