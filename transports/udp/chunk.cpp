// transports/udp/chunk.cpp: taking chunks, and their way back.
#include "transports/udp/chunk.hpp"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace bus::udp {

Chunk::Chunk(Pool& pool, std::size_t capacity)
    // Not value-initialised: pages that are never received into are never touched.
    : pool_(pool), capacity_(capacity), memory_(new std::byte[capacity]) {}

void Chunk::drop(std::uint32_t count) noexcept {
  // acq_rel: what each holder read from the chunk happens before the next datagram is received into it
  if (references_.fetch_sub(count, std::memory_order_acq_rel) == count) pool_.give_back(this);
}

Pool::~Pool() {
  collect();
  while (free_ != nullptr) delete std::exchange(free_, free_->next_);
}

Chunk* Pool::take(std::size_t bytes) noexcept {
  collect();
  Chunk* found = nullptr;
  for (Chunk** at = &free_; *at != nullptr; at = &(*at)->next_) {
    // Not a giant for a small one: a message that is kept would pin it.
    if ((*at)->capacity_ < bytes || (*at)->capacity_ > 4 * std::max(bytes, usual_)) continue;
    found = *at;
    *at = found->next_;
    free_bytes_ -= found->capacity_;
    break;
  }
  if (found == nullptr) {
    const std::size_t capacity = bytes <= usual_ ? usual_ : std::bit_ceil(bytes);
    try {
      found = new Chunk(*this, capacity);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  found->issued_ = 0;
  found->references_.store(Chunk::kBias, std::memory_order_relaxed);  // nobody else knows it
  references_.fetch_add(1, std::memory_order_relaxed);                // the channel's own keeps it above zero
  return found;
}

void Pool::collect() noexcept {
  // acquire: pairs with give_back(). Taking all at once: no element is looked at while another thread may take it.
  Chunk* chunk = returned_.exchange(nullptr, std::memory_order_acquire);
  while (chunk != nullptr) {
    Chunk* const next = chunk->next_;
    if (free_bytes_ + chunk->capacity_ > kKeptBytes && free_ != nullptr) {
      delete chunk;
    } else {
      chunk->next_ = free_;
      free_ = chunk;
      free_bytes_ += chunk->capacity_;
    }
    chunk = next;
  }
}

void Pool::give_back(Chunk* chunk) noexcept {
  Chunk* head = returned_.load(std::memory_order_relaxed);
  do {
    chunk->next_ = head;
    // release: pairs with collect()
  } while (!returned_.compare_exchange_weak(head, chunk, std::memory_order_release, std::memory_order_relaxed));
  unref();
}

void Pool::unref() noexcept {
  // acq_rel: the last one sees everything that the others put into the list
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace bus::udp
