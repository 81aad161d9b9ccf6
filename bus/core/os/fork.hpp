// bus/core/os/fork.hpp: what a forked child may do with its parent's channels: nothing.
//
// A child that uses or destroys such a channel must neither speak on the parent's connection nor write to its shared
// memory nor touch a lock that another thread held at the moment of the fork. And a child that lives on must not keep
// a connection open that the parent's death should end. (exec closes everything by itself.)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace bus::os {

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

/// The process in which something was made.
class Origin {
 public:
  Origin() noexcept : forks_(watch_forks()) {}
  /// This is a forked child of it. Cost: one load.
  [[nodiscard]] bool inherited() const noexcept { return forks_ != forks_so_far(); }

 private:
  std::uint32_t forks_;
};

/// For what a child can neither use nor destroy (a thread that is not here, a condition that one of them waits for): it
/// stays as it is for as long as the child lives. Any thread.
void keep_inherited(std::shared_ptr<void> object) noexcept;

/// A connection whose other end watches for our death: in a forked child its descriptor is replaced by one that
/// leads nowhere, so that the kernel reports the parent's death in time. One object for as long as the descriptor
/// is open. Any thread.
class Lifeline {
 public:
  explicit Lifeline(int fd);  // throws std::bad_alloc
  ~Lifeline();
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

 private:
  const int fd_;
};

}  // namespace bus::os
