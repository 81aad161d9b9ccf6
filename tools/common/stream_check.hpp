// tools/common/stream_check.hpp: what is missing, double, out of order or damaged in a stream of numbered messages.
//
// Exact whatever the order of arrival, as long as at most kMostGaps separate gaps are open at once: beyond that
// the oldest gap is taken to be lost for good, and what still arrives of it counts as duplicated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace bus::tools {

struct StreamCounts {
  std::uint64_t checked = 0;
  std::uint64_t lost = 0;        // numbers that never came
  std::uint64_t duplicated = 0;  // numbers that came again
  std::uint64_t reordered = 0;   // came after a later number
  std::uint64_t damaged = 0;     // no made message, or not as it was made

  [[nodiscard]] bool clean() const noexcept { return lost == 0 && duplicated == 0 && reordered == 0 && damaged == 0; }
  StreamCounts& operator+=(const StreamCounts& other) noexcept;
};

class StreamCheck {
 public:
  /// The next message: its number, or none when it was damaged.
  void take(std::optional<std::uint64_t> sequence);
  /// The stream is over; `sent` is how many there were, if the sender has said so. Call once.
  void end(std::optional<std::uint64_t> sent) noexcept;

  [[nodiscard]] const StreamCounts& counts() const noexcept { return counts_; }

 private:
  static constexpr std::size_t kMostGaps = 65536;

  StreamCounts counts_;
  std::uint64_t next_ = 0;                       // one above the highest number that came
  std::map<std::uint64_t, std::uint64_t> gaps_;  // what did not come yet below next_: [first, second)
};

}  // namespace bus::tools
