// bus/client/feed.hpp: what came for one subscription and was not received yet. Internal to bus/client.
//
// Who drives the node puts in, any thread of the program takes out. Locks: the node's before a feed's.
#pragma once

#include <atomic>
#include <boost/circular_buffer.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "bus/client/node.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"

namespace bus::client {

/// A message, and those that came with it and were not taken yet: they are as it is, but for their payloads, which
/// stand behind its own, and their ids and indices, which count on.
struct Arrival {
  Delivery next;
  std::uint32_t more = 0;
  const std::uint16_t* sizes = nullptr;  // of so many payloads

  static constexpr std::size_t kAlignment = 16;  // of each payload
  [[nodiscard]] static constexpr std::size_t aligned(std::size_t size) noexcept {
    return (size + kAlignment - 1) / kAlignment * kAlignment;
  }
  /// While there are more.
  [[nodiscard]] Delivery take_one() noexcept;
};

struct Feed : std::enable_shared_from_this<Feed> {
  Feed(std::weak_ptr<NodeState> its_node, std::string its_pattern, const SubscribeOptions& its_options)
      : node(std::move(its_node)), pattern(std::move(its_pattern)), options(its_options) {}

  const os::Origin origin;
  const std::weak_ptr<NodeState> node;
  const std::string pattern;
  const SubscribeOptions options;
  std::uint32_t number = 0;  // of the session's subscription; set before anything comes

  mutable std::mutex mutex;
  std::condition_variable changed;  // with the node's mutex
  boost::circular_buffer<Arrival> waiting;
  bool in_force = false;
  bool over = false;
  Errc why = Errc::closed;
  std::string text;
  SubscriptionBooks last_books;        // once it is over
  os::Fd readable;                     // made at the first readable_fd()
  std::atomic<std::size_t> count{0};   // of messages in `waiting`; changed with the mutex held
  std::atomic<std::uint64_t> told{0};  // index that the session was told of

  /// Drops the oldest if as many wait as may, and gives it back. put() follows.
  [[nodiscard]] std::optional<Delivery> make_room();
  /// Throws std::bad_alloc: then it was not received, and is not acknowledged.
  void put(Arrival&&);
  /// Whether a look is worth it: something waits, or it is over.
  [[nodiscard]] bool has_news() const {
    if (count.load(std::memory_order_acquire) > 0) return true;
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
