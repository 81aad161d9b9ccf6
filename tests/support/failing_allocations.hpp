// tests/support/failing_allocations.hpp: memory that runs out at a chosen moment, and how much of it is used.
//
// A program that calls any of this has its operator new and delete replaced. Counts are of the calling thread.
#pragma once

#include <cstddef>

namespace bus::test {

/// Of this thread's allocations while it lives, the `nth` (from 1) throws std::bad_alloc. One at a time.
class FailingAllocation {
 public:
  explicit FailingAllocation(std::size_t nth) noexcept;
  FailingAllocation(const FailingAllocation&) = delete;
  FailingAllocation& operator=(const FailingAllocation&) = delete;
  ~FailingAllocation();
  /// Whether it came to that.
  [[nodiscard]] static bool happened() noexcept;
};

/// Bytes that this thread has allocated less those that it has freed, as malloc rounds them.
[[nodiscard]] std::ptrdiff_t allocated_bytes() noexcept;

}  // namespace bus::test
