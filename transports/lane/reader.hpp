// transports/lane/reader.hpp: the receiving end of a lane. One thread; messages are destroyed on any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "bus/core/message.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/result.hpp"
#include "transports/lane/layout.hpp"
#include "transports/lane/memory.hpp"

namespace bus::lane {

/// Hands out messages in place and keeps account of which are still held.
///
/// Room goes back to the writer in the order of the ring, whatever the order in which messages are destroyed, an
/// eighth of the ring at a time, by the receiver's next call. If the writer waits for room and the receiver
/// sleeps, destroying a message rings the receiver's bell, so that there is a next call.
///
/// Messages outlive the reader: close() turns it into an orphan that lives until the last one is gone. Destroying a
/// message is one store (no lock, no counter): everything that it has to know it reads before that store, so
/// that the memory may be freed right after it. In the rare race of close() against that store an orphan stays
/// until the next lane is made or closed.
class Reader final : public Message::Owner {
 public:
  struct Deleter {
    void operator()(Reader* reader) const noexcept { reader->close(); }
  };
  using Handle = std::unique_ptr<Reader, Deleter>;

  struct Bells {
    int receiver;  // eventfd that wakes this end's receiver
    int writer;    // eventfd that wakes the peer's sender
  };
  /// `mine` is this end's status page, `writer` the peer's. Messages above `max_message` are corrupt.
  /// Throws std::bad_alloc.
  [[nodiscard]] static Handle make(Ring ring, std::shared_ptr<Page> mine, std::shared_ptr<Page> writer, Bells bells,
                                   std::size_t max_message);

  enum class State : unsigned char { empty, message, moved, corrupt };

  /// What stands at the front. Costs one load of a line that the writer is about to touch.
  [[nodiscard]] State peek() const noexcept {
    switch (ring_.at(position_).commit.load(std::memory_order_acquire)) {  // [commit]
      case kEmpty:
        return State::empty;
      case kMessage:
        return State::message;
      case kMoved:
        return State::moved;
      default:
        return State::corrupt;
    }
  }
  /// The message at the front, which peek() has seen. Error: corrupt.
  [[nodiscard]] Result<Message> take() noexcept;
  /// Goes on in `next`, after peek() has seen moved.
  void move_to(Ring next);

  /// Gives room back to the writer now, if there is any to give, and wakes it if it waits for that.
  void publish_released() noexcept;

  /// The receiver's sleep of this number was ended by a destroyed message.
  [[nodiscard]] bool was_nudged(std::uint32_t sleep) const noexcept {
    return nudged_.load(std::memory_order_relaxed) == sleep;
  }

  void release(void* slot) noexcept override;

 private:
  struct Slot {
    std::atomic<std::uint32_t> free{0};
    std::uint64_t end = 0;  // position behind the record
  };
  static constexpr std::size_t kBlock = 64;
  using Block = std::array<Slot, kBlock>;

  Reader(Ring ring, std::shared_ptr<Page> mine, std::shared_ptr<Page> writer, Bells bells, std::size_t max_message);
  ~Reader() = default;
  void close() noexcept;
  static void collect_orphans() noexcept;

  [[nodiscard]] Slot& slot(std::size_t index) noexcept { return (*blocks_[index / kBlock])[index % kBlock]; }
  [[nodiscard]] bool add_slot_room() noexcept;
  void sweep() noexcept;

  Ring ring_;
  std::vector<std::pair<std::uint64_t, Ring>> old_rings_;  // with the position behind their last record
  const std::shared_ptr<Page> mine_, writer_;
  const Bells bells_;
  const std::size_t max_message_;

  std::uint64_t position_ = 0;   // of the next record
  std::uint64_t released_ = 0;   // everything before this is free
  std::uint64_t published_ = 0;  // as the writer was told
  std::uint32_t woken_ = 0;      // the writer's wait that was ended by us, so that one wait is ended once

  // Slots of messages that are out, oldest first: [first_, next_) in blocks of which the first are reused.
  std::vector<std::unique_ptr<Block>> blocks_;
  std::size_t first_ = 0, next_ = 0;

  std::atomic<std::uint32_t> nudged_{0};  // the receiver's last sleep that release() ended
  std::atomic<bool> orphaned_{false};
};

}  // namespace bus::lane
