// bus/client/feed.cpp: one thread puts in, another takes out.
#include "bus/client/feed.hpp"

#include <algorithm>

namespace bus::client {

namespace {
constexpr std::size_t kFirstCapacity = 16;
}

Delivery Arrival::take_one() noexcept {
  Delivery taken;
  taken.memory_ = next.memory_;
  taken.payload_ = next.payload_;
  taken.subject_ = next.subject_;
  taken.id_ = next.id_;
  taken.index_ = next.index_;
  next.payload_ = {next.payload_.data() + aligned(next.payload_.size()), *sizes++};
  ++next.id_.sequence;
  ++next.index_;
  --more;
  return taken;
}

/// Where that is the rule, nothing that waits has more.
std::optional<Delivery> Feed::make_room() {
  const std::lock_guard lock(mutex);
  if (waiting.size() < options.depth) return {};
  std::optional<Delivery> oldest(std::move(waiting.front().next));
  waiting.pop_front();
  count.store(waiting.size(), std::memory_order_release);
  return oldest;
}

void Feed::put(Arrival&& arrival) {
  {
    const std::lock_guard lock(mutex);
    const std::size_t before = count.load(std::memory_order_relaxed);
    const std::size_t with_it = before + 1 + arrival.more;
    try {
      if (waiting.full()) waiting.set_capacity(std::max(kFirstCapacity, 2 * waiting.capacity()));
    } catch (...) {
      arrival.next.reject();
      throw;
    }
    waiting.push_back(std::move(arrival));
    count.store(with_it, std::memory_order_release);
    if (readable && before == 0) os::signal_event(readable.get());
  }
  changed.notify_one();
}

Result<Delivery> Feed::take() {
  const std::lock_guard lock(mutex);
  if (waiting.empty()) return over ? why : Errc::would_block;
  Arrival& oldest = waiting.front();
  const bool more = oldest.more > 0;
  Result<Delivery> first(more ? oldest.take_one() : std::move(oldest.next));
  if (!more) waiting.pop_front();
  count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_release);
  if (readable && waiting.empty() && !over) os::clear_event(readable.get());
  return first;
}

int Feed::readable_fd() {
  const std::lock_guard lock(mutex);
  if (!readable) {
    readable = os::make_event();
    if (!waiting.empty() || over) os::signal_event(readable.get());
  }
  return readable.get();
}

void Feed::end(Errc reason, std::string its_text) {
  {
    const std::lock_guard lock(mutex);
    if (over) return;
    over = true;
    why = reason;
    text = std::move(its_text);
    if (readable) os::signal_event(readable.get());
  }
  changed.notify_all();
}

std::size_t Feed::clear() noexcept {
  boost::circular_buffer<Arrival> gone;  // destroyed without the lock: each holds on to this feed
  std::size_t messages = 0;
  {
    const std::lock_guard lock(mutex);
    gone.swap(waiting);
    messages = count.exchange(0, std::memory_order_release);
  }
  for (Arrival& arrival : gone) arrival.next.reject();
  return messages;
}

}  // namespace bus::client
