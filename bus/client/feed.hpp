// bus/client/feed.hpp: what came for one subscription and was not received yet. Internal to bus/client.
//
// Who drives the node puts in; one thread of the program takes out, all at once where it may: what it has taken out it
// hands on without a lock. Locks: the node's before a feed's.
#pragma once

#include <atomic>
#include <boost/circular_buffer.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "bus/client/node.hpp"
#include "bus/core/os/fd.hpp"

namespace bus::client {

struct Feed : std::enable_shared_from_this<Feed> {
  Feed(std::weak_ptr<NodeState> its_node, std::string its_pattern, const SubscribeOptions& its_options)
      : node(std::move(its_node)), pattern(std::move(its_pattern)), options(its_options) {}

  const std::weak_ptr<NodeState> node;
  const std::string pattern;
  const SubscribeOptions options;
  std::uint32_t number = 0;  // of the session's subscription; set before anything comes

  mutable std::mutex mutex;
  std::condition_variable changed;  // with the node's mutex
  boost::circular_buffer<Delivery> waiting;
  boost::circular_buffer<Delivery> mine;  // older; of the receiving thread
  bool in_force = false;
  bool over = false;
  Errc why = Errc::closed;
  std::string text;
  SubscriptionBooks last_books;       // once it is over
  os::Fd readable;                    // made at the first readable_fd()
  std::atomic<std::size_t> count{0};  // of `waiting`, for a look without the lock
  std::uint64_t told = 0;             // index that the session was told of; receiver's thread

  /// Drops the oldest if as many wait as may, and gives it back. put() follows.
  [[nodiscard]] std::optional<Delivery> make_room();
  void put(Delivery&&);
  /// Whether a look is worth it: something waits, or it is over.
  [[nodiscard]] bool has_news() const {
    if (!mine.empty() || count.load(std::memory_order_acquire) > 0) return true;
    const std::lock_guard lock(mutex);
    return over;
  }
  /// The oldest. Errors: would_block, or why it is over.
  [[nodiscard]] Result<Delivery> take();
  /// Readable while something waits or it is over.
  [[nodiscard]] int readable_fd();
  void end(Errc why, std::string text);
  /// Lets go of what waits, unacknowledged. Gives its count.
  std::size_t clear() noexcept;
};

}  // namespace bus::client
