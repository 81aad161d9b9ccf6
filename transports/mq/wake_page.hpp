// transports/mq/wake_page.hpp: one shared page that says who sleeps, so that nobody is woken who does not.
//
// Boost's queue can only be slept on with the condition variables inside it, and those make a survivor hang when a
// process dies at the wrong instant. So sleepers announce themselves here and are woken by an eventfd.
//
//   offset  size  field                 meaning
//        0     4  up.receiver_asleep    1 while the reader of the queue "up" sleeps or is about to
//       64     4  up.sender_asleep      1 while its writer waits for room
//      128     4  up.ended              1 once its writer has said END on the control socket
//      192   ...  down                  the same for the queue "down"
//
// "up" leads to the listener's side, "down" to the connector's.
// Ordering: a sleeper stores its word and then asks the queue (has it a message, has it room); who pushes or pops does
// that first and then loads the word. The queue's mutex orders the two: whichever of them holds it second sees what
// the other has stored. So all accesses here are relaxed.
// Death: words of the dead keep their value; the worst that comes of it is one needless write to an eventfd.
// Trust: words are hints. Whatever a peer writes costs a wake-up too many, or makes a sleeper look again only when
// its slice is over.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bus/core/os/fd.hpp"

namespace bus::mq {

struct WakeWords {
  alignas(64) std::atomic<std::uint32_t> receiver_asleep;
  alignas(64) std::atomic<std::uint32_t> sender_asleep;
  alignas(64) std::atomic<std::uint32_t> ended;
};
static_assert(offsetof(WakeWords, sender_asleep) == 64 && offsetof(WakeWords, ended) == 128);
static_assert(sizeof(WakeWords) == 192 && std::atomic<std::uint32_t>::is_always_lock_free);

/// Wakes whoever sleeps on `word` with the eventfd that goes with it. No system call when nobody sleeps.
inline void wake(std::atomic<std::uint32_t>& word, int event) noexcept {
  // The load first: it leaves the line shared, and mostly nobody sleeps.
  if (word.load(std::memory_order_relaxed) != 0 && word.exchange(0, std::memory_order_relaxed) != 0) {
    os::signal_event(event);
  }
}

class WakePage {
 public:
  static constexpr std::size_t kBytes = 4096;

  /// A new page of zeros in a memfd whose size is sealed. Throws Error.
  [[nodiscard]] static WakePage make(os::Fd& descriptor);
  /// The page behind a descriptor that a peer has sent. Throws Error(corrupt) if it is another thing.
  [[nodiscard]] static WakePage map(const os::Fd& descriptor);

  WakePage(WakePage&&) noexcept;
  WakePage& operator=(WakePage&&) = delete;
  ~WakePage();

  [[nodiscard]] WakeWords& up() const noexcept { return (*words_)[0]; }
  [[nodiscard]] WakeWords& down() const noexcept { return (*words_)[1]; }

 private:
  using Words = std::array<WakeWords, 2>;
  static_assert(sizeof(Words) <= kBytes);
  explicit WakePage(Words* words) noexcept : words_(words) {}
  Words* words_;
};

}  // namespace bus::mq
