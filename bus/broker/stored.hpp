// bus/broker/stored.hpp: messages as the broker has them: as views, as copies that wait, and the queue of a
// subscription. Internal to bus/broker.
#pragma once

#include <algorithm>
#include <boost/container/deque.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/protocol/frame.hpp"

namespace bus::broker {

using protocol::Bytes;
using protocol::Level;
using protocol::MessageId;

/// A message as views: into the frame that it came in, or into a Stored copy.
struct Parcel {
  MessageId id;
  Level level = Level::accepted;
  std::string_view subject, reply;
  Bytes headers, payload;
  Bytes tail;  // all four as they stand in a frame
};

/// Messages of one publisher that follow each other, on one subject, of level `accepted`, as views: see
/// protocol::PublishBatch.
struct Batch {
  MessageId first;
  std::uint32_t count = 0;
  std::string_view subject;
  Bytes items;
};

/// What of it comes after the first so many.
[[nodiscard]] inline Batch without_first(Batch batch, std::uint64_t count) noexcept {
  for (; count > 0; --count, ++batch.first.sequence, --batch.count) static_cast<void>(protocol::take_item(batch.items));
  return batch;
}

/// The first so many of it, or all.
[[nodiscard]] inline Batch first_so_many(Batch batch, std::uint64_t count) noexcept {
  if (count >= batch.count) return batch;
  batch.items = batch.items.first(batch.items.size() - without_first(batch, count).items.size());
  batch.count = static_cast<std::uint32_t>(count);
  return batch;
}

/// So many bytes more in `held`, as long as it lives: what something costs that has no copy of its own.
template <std::uint64_t kCost>
class Charge {
 public:
  Charge() = default;  // nothing
  explicit Charge(std::uint64_t& held) noexcept : held_(&held) { *held_ += kCost; }
  Charge(Charge&& from) noexcept : held_(std::exchange(from.held_, nullptr)) {}
  Charge& operator=(Charge&& from) noexcept {
    std::swap(held_, from.held_);
    return *this;
  }
  ~Charge() {
    if (held_ != nullptr) *held_ -= kCost;
  }

 private:
  std::uint64_t* held_ = nullptr;
};

/// A copy that waits for somebody, of a message or of a batch. `held` counts what all copies cost.
class Stored {
 public:
  /// What a copy takes beside its bytes: this, and what is known of whose it is. Rounded.
  static constexpr std::uint64_t kOverhead = 256;

  Stored(const Parcel& from, std::uint64_t& held);
  Stored(const Batch& from, std::uint64_t& held);
  ~Stored() { held_ -= cost(); }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }  // 0: not a batch
  [[nodiscard]] const Parcel& parcel() const noexcept { return parcel_; }
  [[nodiscard]] Batch batch() const noexcept { return {parcel_.id, count_, parcel_.subject, parcel_.payload}; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::uint64_t cost() const noexcept { return bytes_.size() + kOverhead; }

 private:
  std::vector<std::byte> bytes_;
  Parcel parcel_;
  std::uint32_t count_ = 0;
  std::uint64_t& held_;
};
using Shared = std::shared_ptr<const Stored>;

/// A message that is being handed out, copied when the first of its receivers has to wait.
class Handout {
 public:
  Handout(const Parcel& parcel, std::uint64_t& held) : parcel_(parcel), held_(&held) {}
  explicit Handout(Shared stored) : parcel_(stored->parcel()), stored_(std::move(stored)) {}
  [[nodiscard]] const Parcel& parcel() const noexcept { return parcel_; }
  [[nodiscard]] const Shared& stored() {
    if (!stored_) stored_ = std::make_shared<const Stored>(parcel_, *held_);
    return stored_;
  }

 private:
  const Parcel& parcel_;
  Shared stored_;
  std::uint64_t* held_ = nullptr;
};

/// What waits in a subscription, in order: messages, and batches, of which some may have gone already.
class Waiting {
 public:
  static constexpr std::uint64_t kEntry = 40;  // bytes in a queue, rounded up
  struct Entry {
    Shared copy;
    Charge<kEntry> place;
    bool again = false, kept = false;
    std::uint32_t gone = 0;  // messages of a batch

    [[nodiscard]] std::uint32_t left() const noexcept { return std::max(copy->count(), 1U) - gone; }
    /// Of the first that is left.
    [[nodiscard]] MessageId id() const noexcept {
      const MessageId first = copy->parcel().id;
      return {first.publisher, first.sequence + gone};
    }
  };

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::uint64_t messages() const noexcept { return messages_; }
  [[nodiscard]] const Entry& front() const noexcept { return entries_.front(); }
  [[nodiscard]] auto begin() const noexcept { return entries_.begin(); }
  [[nodiscard]] auto end() const noexcept { return entries_.end(); }

  /// Throws std::bad_alloc, having done nothing.
  void push(Entry entry) {
    const std::uint32_t more = entry.left();
    entries_.push_back(std::move(entry));
    messages_ += more;
  }
  /// Takes so many messages off the entry in front, which has them. Gives the bytes that wait no longer: those of a
  /// batch when the last of it has gone.
  std::size_t pop(std::uint32_t count) noexcept {
    Entry& first = entries_.front();
    messages_ -= count;
    if (first.left() > count) {
      first.gone += count;
      return 0;
    }
    const std::size_t size = first.copy->size();
    entries_.pop_front();
    return size;
  }
  void clear() noexcept {
    entries_.clear();
    messages_ = 0;
  }

 private:
  boost::container::deque<Entry> entries_;  // unlike std::deque takes no memory while nothing has waited
  std::uint64_t messages_ = 0;
};

}  // namespace bus::broker
