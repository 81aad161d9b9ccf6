// transports/mq/buffer_pool.hpp: the memory that received messages live in.
//
// A queue copies a message out into memory that must have room for the largest one; that memory is a block of this
// pool, and the Message is a view of it. Blocks come back from any thread, in any order, also after the channel is
// gone: the pool lives until its channel and the last Message have let go of it.
// Cost: a block that came back is used again, so a receiver that holds at most N messages at a time allocates N blocks
// in all. Pages of a block that no message has reached yet are not resident.
// Threads: take(), put_back() and lend() are the receiver's; release() is anybody's and takes no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

#include "bus/core/message.hpp"

namespace bus::mq {

class BufferPool final : public Message::Owner {
 public:
  struct Block {
    Block* next;
    std::byte* data;
  };
  struct Unref {
    void operator()(BufferPool* pool) const noexcept { pool->unref(); }
  };
  using Handle = std::unique_ptr<BufferPool, Unref>;

  /// Blocks will have `bytes`, at least one. Throws std::bad_alloc.
  [[nodiscard]] static Handle make(std::size_t bytes);

  /// A free block, or null when there is no memory.
  [[nodiscard]] Block* take() noexcept;
  void put_back(Block*) noexcept;
  [[nodiscard]] std::span<std::byte> room(Block* block) const noexcept { return {block->data, bytes_}; }
  /// The block's first `size` bytes as a message that gives the block back.
  [[nodiscard]] Message lend(Block*, std::size_t size) noexcept;

  void release(void* token) noexcept override;

 private:
  explicit BufferPool(std::size_t bytes) noexcept : bytes_(bytes) {}
  ~BufferPool();
  void unref() noexcept;
  static void free_all(Block*) noexcept;

  const std::size_t bytes_;
  Block* free_ = nullptr;                   // the receiver's
  std::atomic<Block*> returned_{nullptr};   // pushed by anybody, taken as a whole by the receiver
  std::atomic<std::size_t> references_{1};  // the channel's, and one for each message out there
};

}  // namespace bus::mq
