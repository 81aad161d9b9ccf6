// tools/common/stream_check.cpp: see stream_check.hpp.
#include "tools/common/stream_check.hpp"

#include <algorithm>
#include <iterator>

namespace bus::tools {

StreamCounts& StreamCounts::operator+=(const StreamCounts& other) noexcept {
  checked += other.checked;
  lost += other.lost;
  duplicated += other.duplicated;
  reordered += other.reordered;
  damaged += other.damaged;
  return *this;
}

void StreamCheck::take(std::optional<std::uint64_t> sequence) {
  ++counts_.checked;
  if (!sequence) {
    ++counts_.damaged;
    return;
  }
  const std::uint64_t n = *sequence;
  if (n == next_) {
    ++next_;
    return;
  }
  if (n > next_) {
    counts_.lost += n - next_;
    gaps_.emplace(next_, n);
    if (gaps_.size() > kMostGaps) gaps_.erase(gaps_.begin());
    next_ = n + 1;
    return;
  }
  const auto after = gaps_.upper_bound(n);
  const auto gap = after == gaps_.begin() ? gaps_.end() : std::prev(after);
  if (gap == gaps_.end() || n >= gap->second) {
    ++counts_.duplicated;
    return;
  }
  ++counts_.reordered;
  --counts_.lost;
  const auto [first, end] = *gap;
  gaps_.erase(gap);
  if (first < n) gaps_.emplace(first, n);
  if (n + 1 < end) gaps_.emplace(n + 1, end);
}

void StreamCheck::end(std::optional<std::uint64_t> sent) noexcept {
  if (sent && *sent > next_) counts_.lost += *sent - next_;
  // The number of a damaged message is unknown, so it has left a gap as well: it counts once, as damaged.
  counts_.lost -= std::min(counts_.lost, counts_.damaged);
}

}  // namespace bus::tools
