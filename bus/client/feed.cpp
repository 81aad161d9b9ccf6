// bus/client/feed.cpp: one thread puts in, another takes out.
#include "bus/client/feed.hpp"

#include <algorithm>

namespace bus::client {

namespace {
constexpr std::size_t kFirstCapacity = 16;
}

std::optional<Delivery> Feed::make_room() {
  const std::lock_guard lock(mutex);
  if (waiting.size() < options.depth) return {};
  std::optional<Delivery> oldest(std::move(waiting.front()));
  waiting.pop_front();
  return oldest;
}

void Feed::put(Delivery&& delivery) {
  {
    const std::lock_guard lock(mutex);
    if (waiting.full()) waiting.set_capacity(std::max(kFirstCapacity, 2 * waiting.capacity()));
    waiting.push_back(std::move(delivery));
    count.store(waiting.size(), std::memory_order_release);
    if (readable && waiting.size() == 1) os::signal_event(readable.get());
  }
  changed.notify_one();
}

Result<Delivery> Feed::take() {
  std::unique_lock lock(mutex, std::defer_lock);
  if (mine.empty()) {
    lock.lock();
    if (waiting.empty()) return over ? why : Errc::would_block;
    // Those that drop the oldest want to see what waits, and so do the books of an inbox, whose questions have no
    // number; who waits for a descriptor wants to see when nothing does.
    if (number != 0 && options.full != Full::drop_old && !readable) {
      mine.swap(waiting);
      count.store(0, std::memory_order_release);
      lock.unlock();
    }
  }
  auto& from = mine.empty() ? waiting : mine;
  Result<Delivery> first(std::move(from.front()));
  from.pop_front();
  if (lock) count.store(waiting.size(), std::memory_order_release);
  if (readable && from.empty()) {
    if (!lock) lock.lock();
    if (waiting.empty() && !over) os::clear_event(readable.get());
  }
  return first;
}

int Feed::readable_fd() {
  const std::lock_guard lock(mutex);
  if (!readable) {
    readable = os::make_event();
    if (!mine.empty() || !waiting.empty() || over) os::signal_event(readable.get());
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
  boost::circular_buffer<Delivery> gone, gone_too;  // destroyed without the lock: each holds on to this feed
  gone.swap(mine);
  {
    const std::lock_guard lock(mutex);
    gone_too.swap(waiting);
    count.store(0, std::memory_order_release);
  }
  for (Delivery& delivery : gone) delivery.reject();
  for (Delivery& delivery : gone_too) delivery.reject();
  return gone.size() + gone_too.size();
}

}  // namespace bus::client
