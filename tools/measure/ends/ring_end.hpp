// tools/measure/ends/ring_end.hpp: the floor of shared memory: rings written by hand, with nothing that a message
// interface needs besides.
//
// One ring for each direction in one memory that both processes have mapped writable. A slot is a commit word, a size
// and the payload, on cache lines of its own; commit holds the lap, so the reader writes nothing into slots; the
// reader's position goes back every eighth of the ring. No checks, no growth, no death, no books. `spin` spins, `block`
// sleeps in futex(2) and wakes the other after each message.
//
//   [commit]  store-release -> load-acquire: the slot's bytes      [free]  store-release -> load-acquire: slots to
//   reuse
#pragma once

#include <atomic>
#include <cstring>
#include <string>

#include "bus/core/os/fd.hpp"
#include "bus/core/wait.hpp"
#include "tools/measure/ends/view.hpp"

namespace bus::tools::measure {

struct RingSlot {
  std::atomic<std::uint32_t> commit;  // lap + 1
  std::uint32_t size;
};

class RingEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  /// Memory for messages of `size` bytes. Throws Error.
  [[nodiscard]] static os::Fd make_memory(std::size_t size);
  /// Throws Error.
  RingEnd(int memory, std::size_t size, bool near, WaitMode wait);
  ~RingEnd();
  RingEnd(const RingEnd&) = delete;
  RingEnd& operator=(const RingEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    Way& way = out_;
    if (way.at - way.free_seen >= slots_) [[unlikely]]
      wait_for_room();
    RingSlot* const slot = slot_at(way);
    slot->size = static_cast<std::uint32_t>(message.size());
    std::memcpy(reinterpret_cast<std::byte*>(slot + 1), message.data(), message.size());
    slot->commit.store(lap_of(way.at), std::memory_order_release);  // [commit]
    ++way.at;
    if (sleeps_) [[unlikely]]
      wake(slot->commit);
    return true;
  }
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept {
    Way& way = in_;
    if ((way.at & (eighth_ - 1)) == 0) give_back();
    RingSlot* const slot = slot_at(way);
    const std::uint32_t lap = lap_of(way.at);
    if (slot->commit.load(std::memory_order_acquire) != lap) wait_for(slot->commit, lap);  // [commit]
    view.bytes = {reinterpret_cast<const std::byte*>(slot + 1), slot->size};
    ++way.at;
    return true;
  }
  [[nodiscard]] std::string failure() const { return ""; }

 private:
  struct Shared {  // one direction
    alignas(64) std::atomic<std::uint64_t> free;
    alignas(64) std::byte slots[1];
  };
  struct Way {
    std::byte* slots = nullptr;
    std::atomic<std::uint64_t>* free = nullptr;
    std::uint64_t at = 0, free_seen = 0;
  };
  [[nodiscard]] RingSlot* slot_at(const Way& way) const noexcept {
    return reinterpret_cast<RingSlot*>(way.slots + (way.at & (slots_ - 1)) * stride_);
  }
  [[nodiscard]] std::uint32_t lap_of(std::uint64_t at) const noexcept {
    return static_cast<std::uint32_t>(at / slots_) + 1;
  }
  void give_back() noexcept;
  void wait_for_room() noexcept;
  void wait_for(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;
  static void wake(std::atomic<std::uint32_t>& word) noexcept;

  void* memory_ = nullptr;
  std::size_t bytes_ = 0, stride_ = 0;
  std::uint64_t slots_ = 0, eighth_ = 1;
  WaitMode wait_;
  bool sleeps_;
  Way in_, out_;
};

/// A cache line there and back: one word each way, nothing else. What no shared memory can be below.
class LineEnd {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  LineEnd(int memory, bool near);
  ~LineEnd();
  LineEnd(const LineEnd&) = delete;
  LineEnd& operator=(const LineEnd&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, message.data(), sizeof word);
    last_out_ = word + 1;  // never 0, and never the same twice
    out_->store(last_out_, std::memory_order_release);
    return true;
  }
  [[nodiscard]] bool flush() noexcept { return true; }
  [[nodiscard]] bool receive(View& view) noexcept {
    std::uint64_t word = in_->load(std::memory_order_acquire);
    for (Spinner spinner(WaitMode::spin); word == last_in_; word = in_->load(std::memory_order_acquire)) {
      static_cast<void>(spinner.turn());
    }
    last_in_ = word;
    word_ = word - 1;
    view.bytes = std::as_bytes(std::span(&word_, 1));
    return true;
  }
  [[nodiscard]] std::string failure() const { return ""; }

 private:
  void* memory_ = nullptr;
  std::atomic<std::uint64_t>*in_ = nullptr, *out_ = nullptr;
  std::uint64_t last_in_ = 0, last_out_ = 0, word_ = 0;
};

}  // namespace bus::tools::measure
