// transports/lane/writer.hpp: the sending end of a lane. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "transports/lane/layout.hpp"
#include "transports/lane/memory.hpp"

namespace bus::lane {

class Writer {
 public:
  /// `reader` is the peer's status page; it outlives this.
  Writer(Ring ring, const StatusPage& reader) noexcept : ring_(std::move(ring)), reader_(reader) {}

  /// Memory for a message in the ring, or null: no room, or `corrupt()`. Nothing is visible before commit().
  [[nodiscard]] std::byte* reserve(std::size_t size) noexcept {
    return has_room(record_bytes(size)) ? ring_.at(position_).payload() : nullptr;
  }
  /// Publishes the first `size` bytes of what reserve() gave.
  void commit(std::size_t size) noexcept { publish(kMessage, size); }

  /// A message so large that the ring should grow first: less than two of it would fit.
  [[nodiscard]] bool wants_growth(std::size_t size) const noexcept {
    return 2 * record_bytes(size) + kRecordAlign > ring_.capacity();
  }
  /// The capacity that such a message wants.
  [[nodiscard]] static std::size_t grown_capacity(std::size_t size) noexcept {
    return ring_capacity(2 * record_bytes(size) + kRecordAlign);
  }
  /// Room for the record that ends a ring: move_to() needs it.
  [[nodiscard]] bool can_move() noexcept { return has_room(kRecordAlign); }
  /// Goes on in `next`, which the reader must be able to get already.
  void move_to(Ring next) noexcept {
    publish(kMoved, 0);
    ring_ = std::move(next);
    ring_start_ = position_;
  }

  [[nodiscard]] bool has_room(std::uint64_t bytes) noexcept {
    // The commit word behind the record must be free, too: the reader stops there.
    const std::uint64_t end = position_ + bytes + kRecordAlign;
    if (end - released_ <= ring_.capacity()) return true;
    const std::uint64_t released = reader_.released.load(std::memory_order_acquire);  // [release]
    if (released > position_) {
      corrupt_ = true;
      return false;
    }
    // A ring starts empty: what was released before it does not count, and a peer cannot take back.
    released_ = std::max({released, released_, ring_start_});
    return end - released_ <= ring_.capacity();
  }

  [[nodiscard]] bool corrupt() const noexcept { return corrupt_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return ring_.capacity(); }

 private:
  void publish(std::uint32_t kind, std::size_t size) noexcept;

  Ring ring_;
  const StatusPage& reader_;
  std::uint64_t position_ = 0;    // where the next record begins
  std::uint64_t released_ = 0;    // the reader's, as last seen
  std::uint64_t ring_start_ = 0;  // position at which this ring began
  bool corrupt_ = false;
};

}  // namespace bus::lane
