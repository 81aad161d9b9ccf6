// bus/client/feed.cpp: one thread puts in, another takes out.
#include "bus/client/feed.hpp"

namespace bus::client {

std::optional<Delivery> Feed::put(Delivery delivery) {
  std::optional<Delivery> oldest;
  {
    const std::lock_guard lock(mutex);
    if (options.full == Full::drop_old && waiting.size() >= options.depth) {
      oldest = std::move(waiting.front());
      waiting.pop_front();
    }
    waiting.push_back(std::move(delivery));
    count.store(waiting.size(), std::memory_order_release);
    if (readable && waiting.size() == 1) os::signal_event(readable.get());
  }
  changed.notify_one();
  return oldest;
}

std::optional<Delivery> Feed::take() {
  const std::lock_guard lock(mutex);
  if (waiting.empty()) return std::nullopt;
  std::optional<Delivery> first(std::move(waiting.front()));
  waiting.pop_front();
  count.store(waiting.size(), std::memory_order_release);
  if (readable && waiting.empty() && !over) os::clear_event(readable.get());
  return first;
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
  std::deque<Delivery> gone;  // destroyed without the lock: each holds on to this feed
  {
    const std::lock_guard lock(mutex);
    gone.swap(waiting);
    count.store(0, std::memory_order_release);
  }
  for (Delivery& delivery : gone) delivery.reject();
  return gone.size();
}

}  // namespace bus::client
