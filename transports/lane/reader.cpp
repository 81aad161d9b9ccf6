// transports/lane/reader.cpp: handing out messages, taking their room back in order.
#include "transports/lane/reader.hpp"

#include <algorithm>
#include <mutex>

#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"

namespace bus::lane {
namespace {

// Guards orphans, and every release() that has to look at a reader after its store. Never taken on the common path.
struct Orphans {
  std::mutex mutex;
  std::vector<Reader*> list;
  std::size_t living = 0;  // readers that may come here: there is room for all
};
Orphans& orphans() {
  static auto* const all = new Orphans;  // outlives every static object: messages may, too
  return *all;
}

}  // namespace

Reader::Handle Reader::make(Ring ring, std::shared_ptr<Page> mine, std::shared_ptr<Page> writer, Bells bells,
                            std::size_t max_message) {
  collect_orphans();
  auto reader = std::unique_ptr<Reader, Deleter>(
      new Reader(std::move(ring), std::move(mine), std::move(writer), bells, max_message));
  return reader;
}

Reader::Reader(Ring ring, std::shared_ptr<Page> mine, std::shared_ptr<Page> writer, Bells bells,
               std::size_t max_message)
    : ring_(std::move(ring)),
      mine_(std::move(mine)),
      writer_(std::move(writer)),
      bells_(bells),
      max_message_(max_message) {
  blocks_.push_back(std::make_unique<Block>());
  Orphans& all = orphans();
  const std::lock_guard lock(all.mutex);
  all.list.reserve(all.living + 1);
  ++all.living;
}

Result<Message> Reader::take() noexcept {
  if (first_ != next_) sweep();
  if (released_ - published_ >= ring_.capacity() / 8) publish_released();
  if (next_ == blocks_.size() * kBlock && !add_slot_room()) return Errc::no_room;

  const Record& record = ring_.at(position_);
  const std::uint32_t size = record.size.load(std::memory_order_relaxed);  // once; behind [commit]
  const std::uint64_t bytes = record_bytes(size);
  if (size > max_message_ || bytes + kRecordAlign > ring_.capacity()) return Errc::corrupt;
  position_ += bytes;
  Slot& held = slot(next_++);
  held.end = position_;
  held.free.store(0, std::memory_order_relaxed);
  return Message({record.payload(), size}, this, &held);
}

/// Frees what is free from the oldest on.
void Reader::sweep() noexcept {
  while (first_ != next_) {
    Slot& oldest = slot(first_);
    if (oldest.free.load(std::memory_order_acquire) == 0) return;  // [free]
    released_ = oldest.end;
    ++first_;
  }
  first_ = next_ = 0;
  std::erase_if(old_rings_, [this](const auto& old) { return old.first <= released_; });
}

/// Makes room behind next_: reuses the blocks before first_, or adds one.
bool Reader::add_slot_room() noexcept {
  const std::size_t unused = first_ / kBlock;
  if (unused > 0) {
    std::rotate(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(unused), blocks_.end());
    first_ -= unused * kBlock;
    next_ -= unused * kBlock;
    return true;
  }
  try {
    blocks_.push_back(std::make_unique<Block>());
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Reader::move_to(Ring next) {
  position_ += kRecordAlign;
  if (first_ == next_) {
    released_ = position_;
  } else {
    old_rings_.emplace_back(position_, std::move(ring_));
  }
  ring_ = std::move(next);
}

void Reader::publish_released() noexcept {
  sweep();
  if (first_ == next_) released_ = position_;  // past a moved record, too
  if (released_ == published_) return;
  published_ = released_;
  BUS_FAULT_POINT();
  mine_->status().released.store(released_, std::memory_order_release);  // [release]
  std::atomic_thread_fence(std::memory_order_seq_cst);                   // [wait]
  const std::uint32_t waiting = writer_->status().waiting.load(std::memory_order_relaxed);
  if (waiting % 2 == 0 || waiting == woken_) return;
  woken_ = waiting;
  os::signal_event(bells_.writer);
}

void Reader::release(void* token) noexcept {
  auto& held = *static_cast<Slot*>(token);
  const std::uint32_t sleep = mine_->status().asleep.load(std::memory_order_relaxed);
  const bool nudge =
      sleep % 2 != 0 && !was_nudged(sleep) && writer_->status().waiting.load(std::memory_order_relaxed) % 2 != 0;
  if (!nudge && !orphaned_.load(std::memory_order_acquire)) {
    held.free.store(1, std::memory_order_release);  // [free] nothing of this object is touched after this
    return;
  }
  const std::lock_guard lock(orphans().mutex);
  held.free.store(1, std::memory_order_release);  // [free]
  if (!orphaned_.load(std::memory_order_relaxed)) {
    nudged_.store(sleep, std::memory_order_relaxed);
    os::signal_event(bells_.receiver);
  } else {
    sweep();
    if (first_ == next_) {
      std::erase(orphans().list, this);
      --orphans().living;
      delete this;
    }
  }
}

void Reader::close() noexcept {
  {
    const std::lock_guard lock(orphans().mutex);
    orphaned_.store(true, std::memory_order_release);
    orphans().list.push_back(this);  // never allocates: the constructor has made room
  }
  collect_orphans();
}

void Reader::collect_orphans() noexcept {
  const std::lock_guard lock(orphans().mutex);
  std::erase_if(orphans().list, [](Reader* reader) {
    reader->sweep();
    if (reader->first_ != reader->next_) return false;
    --orphans().living;
    delete reader;
    return true;
  });
}

}  // namespace bus::lane
