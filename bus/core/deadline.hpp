// bus/core/deadline.hpp: a call that waits takes the instant at which it gives up.
//
// The clock is steady: setting the time of day never wakes or delays anyone.
#pragma once

#include <chrono>

namespace bus {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

inline constexpr Deadline forever = Deadline::max();

/// The instant `duration` from now; one that lies beyond the clock's range is `forever`.
template <class Rep, class Period>
[[nodiscard]] Deadline in(std::chrono::duration<Rep, Period> duration) {
  const Deadline now = Clock::now();
  if (std::chrono::duration<double>(duration) >= std::chrono::duration<double>(forever - now)) return forever;
  return now + std::chrono::duration_cast<Clock::duration>(duration);
}

}  // namespace bus
