// transports/common/chunk.cpp: mapping chunks, and the pool.
#include "transports/common/chunk.hpp"

#include <sys/mman.h>

#include <new>

namespace bus::common {
namespace {

constexpr std::size_t kMostPooled = std::size_t{32} << 20;
constexpr std::size_t kMostWaste = 2;  // a chunk may be so many times as large as was asked for
constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// A stack. Pushing is a compare-and-exchange; popping takes the whole row at once, so no chunk can come back
// between a look at it and its removal (no ABA).
//   [pool]  push release -> take acquire: the row behind the head
constinit std::atomic<Chunk*> pool{nullptr};

}  // namespace

void Chunk::unmap(Chunk* chunk) noexcept {
  const std::size_t bytes = kDataOffset + chunk->capacity_;
  chunk->~Chunk();
  ::munmap(chunk, bytes);
}

void Chunk::give_all(Chunk* row) noexcept {
  if (row == nullptr) return;
  Chunk* last = row;
  while (last->next_ != nullptr) last = last->next_;
  Chunk* head = pool.load(std::memory_order_relaxed);
  do {
    last->next_ = head;
  } while (!pool.compare_exchange_weak(head, row, std::memory_order_release, std::memory_order_relaxed));  // [pool]
}

void Chunk::give(Chunk* chunk) noexcept {
  chunk->recount();
  chunk->next_ = nullptr;
  give_all(chunk);
}

Chunk* Chunk::pick(std::size_t capacity, Chunk** found) noexcept {
  Chunk* row = pool.exchange(nullptr, std::memory_order_acquire);  // [pool]
  std::size_t bytes = 0;
  for (Chunk** link = &row; *link != nullptr;) {
    Chunk* chunk = *link;
    if (found != nullptr && *found == nullptr && chunk->capacity_ >= capacity &&
        chunk->capacity_ / kMostWaste <= capacity) {
      *link = chunk->next_;
      chunk->next_ = nullptr;
      *found = chunk;
    } else if (bytes + chunk->capacity_ > kMostPooled) {
      *link = chunk->next_;
      unmap(chunk);
    } else {
      bytes += chunk->capacity_;
      link = &chunk->next_;
    }
  }
  return row;
}

Chunk* Chunk::take(std::size_t capacity) noexcept {
  if (capacity < kStandard - kDataOffset) capacity = kStandard - kDataOffset;
  Chunk* chunk = nullptr;
  give_all(pick(capacity, &chunk));
  if (chunk != nullptr) return chunk;
  const std::size_t bytes = (kDataOffset + capacity + kPage - 1) / kPage * kPage;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // With huge pages the first byte of an announced message would cost 2 MiB. Failure means that there are none.
  if (bytes >= kHugePage) ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  return ::new (memory) Chunk(bytes - kDataOffset);
}

std::size_t Chunk::pooled() noexcept {
  Chunk* const row = pick(0, nullptr);
  std::size_t bytes = 0;
  for (const Chunk* chunk = row; chunk != nullptr; chunk = chunk->next_) bytes += chunk->capacity_;
  give_all(row);
  return bytes;
}

}  // namespace bus::common
