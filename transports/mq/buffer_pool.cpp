// transports/mq/buffer_pool.cpp: lists of blocks.
#include "transports/mq/buffer_pool.hpp"

#include <algorithm>
#include <new>

namespace bus::mq {
namespace {

// A block's memory begins with its Block; the payload follows on a cache line of its own.
constexpr std::size_t kHeader = 64;
constexpr std::align_val_t kAlignment{64};
static_assert(sizeof(BufferPool::Block) <= kHeader);

}  // namespace

BufferPool::Handle BufferPool::make(std::size_t bytes) {
  return Handle(new BufferPool(std::max<std::size_t>(bytes, 1)));
}

BufferPool::~BufferPool() {
  free_all(free_);
  free_all(returned_.load(std::memory_order_acquire));
}

void BufferPool::free_all(Block* block) noexcept {
  while (block != nullptr) {
    Block* const next = block->next;
    ::operator delete(static_cast<void*>(block), kAlignment);
    block = next;
  }
}

BufferPool::Block* BufferPool::take() noexcept {
  // [return] acquire: whoever released a block is done with its bytes
  if (free_ == nullptr) free_ = returned_.exchange(nullptr, std::memory_order_acquire);
  if (free_ != nullptr) {
    Block* const block = free_;
    free_ = block->next;
    return block;
  }
  void* const memory = ::operator new(kHeader + bytes_, kAlignment, std::nothrow);
  if (memory == nullptr) return nullptr;
  return new (memory) Block{nullptr, static_cast<std::byte*>(memory) + kHeader};
}

void BufferPool::put_back(Block* block) noexcept {
  block->next = free_;
  free_ = block;
}

Message BufferPool::lend(Block* block, std::size_t size) noexcept {
  references_.fetch_add(1, std::memory_order_relaxed);  // we hold one ourselves: it cannot reach zero meanwhile
  return {std::span<const std::byte>(block->data, size), this, block};
}

void BufferPool::release(void* token) noexcept {
  auto* const block = static_cast<Block*>(token);
  block->next = returned_.load(std::memory_order_relaxed);
  // [return] release. The receiver takes the whole list, so a block cannot come back between load and exchange (ABA).
  while (!returned_.compare_exchange_weak(block->next, block, std::memory_order_release, std::memory_order_relaxed)) {
  }
  unref();
}

void BufferPool::unref() noexcept {
  // acq_rel: what others did with the pool happened before it is deleted
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace bus::mq
