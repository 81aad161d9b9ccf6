// transports/udp/chunk.hpp: the memory that datagrams are received into and that Messages point to.
//
// A chunk is filled from its beginning and shared by the messages within it; when the pool has put it aside and the
// last message is released, it goes back to its pool. A pool lives until its channel and all its chunks have let go
// of it: messages may be released on any thread, in any order, and after the channel is gone.
//
// Threads: Pool's calls and Chunk::issue() belong to whoever holds the channel's receive lock; release() is for any
// thread and takes no lock. Counting: a chunk in use holds kBias; issuing a message adds to a plain count, and
// retire() takes the bias less that count away, so handing a message out costs no atomic instruction.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bus/core/message.hpp"

namespace bus::udp {

class Pool;

class Chunk final : public Message::Owner {
 public:
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  [[nodiscard]] std::byte* data() noexcept { return memory_.get(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// One more message points into this chunk.
  void issue() noexcept { ++issued_; }
  [[nodiscard]] std::uint32_t issued() const noexcept { return issued_; }
  /// No more messages will be issued: whoever releases the last one gives the chunk back.
  void retire() noexcept { drop(kBias - issued_); }
  /// A message is no more.
  void release(void*) noexcept override { drop(1); }

 private:
  friend class Pool;
  static constexpr std::uint32_t kBias = std::uint32_t{1} << 30;

  Chunk(Pool& pool, std::size_t capacity);
  ~Chunk() = default;
  void drop(std::uint32_t count) noexcept;

  Pool& pool_;
  const std::size_t capacity_;
  const std::unique_ptr<std::byte[]> memory_;
  std::uint32_t issued_ = 0;
  std::atomic<std::uint32_t> references_{kBias};
  Chunk* next_ = nullptr;  // while free
};

class Pool {
 public:
  /// Chunks of at least `usual` bytes are what take() makes when asked for less.
  [[nodiscard]] static Pool* make(std::size_t usual) { return new Pool(usual); }
  /// The channel lets go. Chunks that are out keep the pool alive.
  void abandon() noexcept { unref(); }

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// A chunk of at least `bytes`, from those that came back if one fits. Null: no memory.
  [[nodiscard]] Chunk* take(std::size_t bytes) noexcept;

 private:
  friend class Chunk;
  static constexpr std::size_t kKeptBytes = std::size_t{8} << 20;  // free memory beyond this goes back to the system

  explicit Pool(std::size_t usual) noexcept : usual_(usual) {}
  ~Pool();
  void collect() noexcept;
  void give_back(Chunk* chunk) noexcept;
  void unref() noexcept;

  const std::size_t usual_;
  Chunk* free_ = nullptr;       // owner's list
  std::size_t free_bytes_ = 0;  // in it
  std::atomic<Chunk*> returned_{nullptr};
  std::atomic<std::uint32_t> references_{1};  // the channel, and every chunk that is out
};

struct PoolCloser {
  void operator()(Pool* pool) const noexcept { pool->abandon(); }
};
using PoolPtr = std::unique_ptr<Pool, PoolCloser>;

/// Where a socket receives into: one chunk after the other, each from its front. Under the owner's lock.
class Intake {
 public:
  static constexpr std::size_t kChunk = std::size_t{256} << 10;  // four of the largest datagrams
  static constexpr std::size_t kRoom = std::size_t{64} << 10;    // a datagram, or a run of them, is never larger

  Intake() : pool_(Pool::make(kChunk)) {}
  ~Intake() {
    if (chunk_ != nullptr) chunk_->retire();
  }
  Intake(const Intake&) = delete;
  Intake& operator=(const Intake&) = delete;

  /// kRoom bytes to receive into, within chunk(). Empty: no memory.
  [[nodiscard]] std::span<std::byte> room() noexcept {
    if (chunk_ != nullptr && kChunk - fill_ < kRoom) {
      chunk_->retire();
      chunk_ = nullptr;
    }
    if (chunk_ == nullptr) {
      chunk_ = pool_->take(kChunk);
      fill_ = 0;
      if (chunk_ == nullptr) return {};
    }
    issued_ = chunk_->issued();
    return {chunk_->data() + fill_, kRoom};
  }
  /// `bytes` were received. Unless a message points to them, they are received over.
  void received(std::size_t bytes) noexcept {
    if (chunk_->issued() != issued_) fill_ = (fill_ + bytes + kAlign - 1) / kAlign * kAlign;
  }
  [[nodiscard]] Chunk& chunk() noexcept { return *chunk_; }
  [[nodiscard]] Pool& pool() noexcept { return *pool_; }

 private:
  static constexpr std::size_t kAlign = 64;  // payloads of different receives share no cache line

  const PoolPtr pool_;
  Chunk* chunk_ = nullptr;
  std::size_t fill_ = 0;
  std::uint32_t issued_ = 0;  // messages of the chunk when room() was asked for
};

}  // namespace bus::udp
