// transports/common/chunk.hpp: the memory of incoming and gathered bytes: large pieces, counted and reused.
//
// A chunk is a mapping of its own. Its pages cost memory when they are first written and not before: one that is
// made for an announced message of 64 MiB holds no more than what has arrived of it.
// Counting: the reader counts the messages that it hands out in a plain integer; each release is one atomic
// subtraction, on any thread. Who brings the balance to zero gives the chunk to the pool:
//   [balance]  release: balance -= 1   retire: balance += handed out   each acq_rel, so that whoever reuses the
//              bytes comes after everybody that read them. Below zero until the reader retires the chunk.
// The pool belongs to the process. Giving takes no lock and no system call; taking trims it to 32 MiB.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "bus/core/message.hpp"

namespace bus::common {

class Chunk final : public Message::Owner {
 public:
  static constexpr std::size_t kStandard = std::size_t{256} << 10;  // the best size of a read: see stream/README.md

  /// One with room for at least `capacity` bytes, from the pool if it has one. Null: out of memory.
  [[nodiscard]] static Chunk* take(std::size_t capacity) noexcept;
  /// Gives a chunk back of which nothing is handed out. Any thread.
  static void give(Chunk*) noexcept;
  /// Frees what the pool has in excess.
  static void trim() noexcept { give_all(pick(0, nullptr)); }
  /// Bytes that the pool holds now, for tests.
  [[nodiscard]] static std::size_t pooled() noexcept;

  [[nodiscard]] std::byte* data() noexcept { return reinterpret_cast<std::byte*>(this) + kDataOffset; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// How far from the front the pages have been written: kept by the present user.
  void touched(std::size_t end) noexcept {
    if (end > touched_) touched_ = end;
  }
  [[nodiscard]] std::size_t touched() const noexcept { return touched_; }

  /// A message of this chunk is over. Any thread.
  void release(void*) noexcept override {
    if (balance_.fetch_sub(1, std::memory_order_acq_rel) == 1) give(this);  // [balance]
  }
  /// Whether all `handed_out` messages are over: the bytes may be written again.
  [[nodiscard]] bool all_released(std::int64_t handed_out) const noexcept {
    return balance_.load(std::memory_order_acquire) == -handed_out;  // [balance]
  }
  /// Begins to count anew. Only when all are released.
  void recount() noexcept { balance_.store(0, std::memory_order_relaxed); }
  /// The reader is done with it; the last message that is still out gives it back.
  void retire(std::int64_t handed_out) noexcept {
    if (balance_.fetch_add(handed_out, std::memory_order_acq_rel) == -handed_out) give(this);  // [balance]
  }

  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

 private:
  static constexpr std::size_t kDataOffset = 64;  // payloads begin on a cache line of their own

  explicit Chunk(std::size_t capacity) noexcept : capacity_(capacity) {}
  ~Chunk() = default;
  /// Empties the pool into a row, takes one with at least `capacity` out of it, frees what is in excess.
  static Chunk* pick(std::size_t capacity, Chunk** found) noexcept;
  static void give_all(Chunk* row) noexcept;
  static void unmap(Chunk*) noexcept;

  std::atomic<std::int64_t> balance_{0};
  Chunk* next_ = nullptr;  // in the pool
  const std::size_t capacity_;
  std::size_t touched_ = 0;
};

/// For chunks of which no messages are handed out: the gather buffer, loans.
struct GiveBack {
  void operator()(Chunk* chunk) const noexcept { Chunk::give(chunk); }
};
using OwnedChunk = std::unique_ptr<Chunk, GiveBack>;

}  // namespace bus::common
