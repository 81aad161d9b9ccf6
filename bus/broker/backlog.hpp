// bus/broker/backlog.hpp: frames of one publisher that wait for their turn, as they came, in order. Internal to
// bus/broker.
//
// Most of what a publisher sends that is faster than a subscription which blocks comes through here: a frame costs a
// copy into a block that it shares with others, and no allocation of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>

#include "bus/protocol/frame.hpp"

namespace bus::broker {

class Backlog {
 public:
  enum class Kind : std::uint8_t { message, batch, flush, bye, silence };
  struct Item {
    Kind kind = Kind::message;
    protocol::Level level{};   // of a message
    bool again = false;        // a message that was sent before
    std::uint64_t number = 0;  // the sequence of a message, or of the first of a batch; a flush's token
    std::uint64_t cost = 0;    // as memory is counted
  };

  /// Throws std::bad_alloc, having done nothing.
  void push(const Item& item, protocol::Bytes frame) {
    const bool begins = blocks_.empty() || blocks_.back().size - end_ < frame.size();
    if (begins) {
      const std::size_t size = std::max(frame.size(), kBlock);
      blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(size), size});
    }
    try {
      entries_.push_back({item, frame.size(), begins});
    } catch (const std::bad_alloc&) {
      if (begins) blocks_.pop_back();
      throw;
    }
    if (begins) end_ = 0;
    std::copy(frame.begin(), frame.end(), blocks_.back().bytes.get() + end_);
    end_ += frame.size();
    bytes_ += frame.size();
    cost_ += item.cost;
  }

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t cost() const noexcept { return cost_; }
  [[nodiscard]] const Item& operator[](std::size_t i) const noexcept { return entries_[i].item; }
  [[nodiscard]] bool has(Kind kind, std::uint64_t number) const noexcept {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return entry.item.kind == kind && entry.item.number == number; });
  }

  [[nodiscard]] const Item& front() const noexcept { return entries_.front().item; }
  /// Its bytes; they stay where they are until pop().
  [[nodiscard]] protocol::Bytes frame() const noexcept {
    return {blocks_.front().bytes.get() + begin_, entries_.front().size};
  }
  /// So many messages of the batch in front are done.
  void advance(std::uint64_t count) noexcept { entries_.front().item.number += count; }
  void pop() noexcept {
    const Entry& gone = entries_.front();
    begin_ += gone.size;
    bytes_ -= gone.size;
    cost_ -= gone.item.cost;
    entries_.pop_front();
    if (entries_.empty()) {
      blocks_.clear();
    } else if (!entries_.front().begins) {
      return;
    } else {
      blocks_.pop_front();
    }
    begin_ = 0;
  }

 private:
  static constexpr std::size_t kBlock = std::size_t{16} << 10;  // some hundred frames of 64 B
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size;
  };
  struct Entry {
    Item item;
    std::size_t size;
    bool begins;  // a block
  };
  std::deque<Entry> entries_;
  std::list<Block> blocks_;
  std::size_t begin_ = 0, end_ = 0;  // of the frames: in the first block, in the last
  std::size_t bytes_ = 0;
  std::uint64_t cost_ = 0;
};

}  // namespace bus::broker
