// transports/lane/layout.hpp: what lies in shared memory: one ring for each direction, one status page for each end.
//
// A lane is one direction of a channel: one writer, one reader. Each word of shared memory is written by one
// end alone, and the other end has it mapped read-only.
//
// Ring (memfd of `capacity` bytes, a power of two; writer read-write, reader read-only; mapped twice in a row, so
// that every record is contiguous):
//   offset  size  field    meaning
//        0     4  commit   kEmpty, kMessage, or kMoved: the stream goes on in the next, larger ring
//        4     4  size     bytes of payload
//        8     n  payload
// Records lie one behind the other, each begins on a multiple of 64. Positions count bytes since the lane's
// creation and only grow; a position modulo the capacity is the place in the ring.
//
// Status page (memfd of one page for each end; that end read-write, the other read-only):
//   offset  size  field     written as   meaning
//        0     8  magic     -            kMagic
//        8     4  version   -            kVersion; any other is refused
//       64     8  released  reader       the reader needs nothing before this position any more
//      128     4  asleep    reader       odd while the reader sleeps or is about to; each sleep has its own number
//      192     4  waiting   writer       the same for a writer that waits for room
//      196     4  rung      writer       how often this end has rung the reader's bell (an eventfd), after the fact
//      256     4  ended     writer       1: this end has closed; its counts are final
//      264    24  counts    writer       messages accepted, received, dropped by this end
//      320     4  settled   reader       1: this end has read all up to the other's end
//      328    24  counts    reader       messages accepted, received, dropped by this end
//
// Ordering: a tag names a store and the load that has to see it; the code repeats the tag.
//   [commit]   record's commit store-release -> load-acquire: its bytes are readable, the next commit is kEmpty
//   [release]  released store-release -> load-acquire: the reader no longer needs those bytes
//   [ended]    ended store-release -> load-acquire: the counts, and every commit before it
//   [settled]  settled store-release -> load-acquire: the counts
//   [sleep]    reader: asleep := odd, heavy barrier, look at commit; writer: commit, light barrier, look at asleep.
//              Whoever comes second sees the other: no wake-up is lost. Without membarrier both are full fences.
//   [wait]     writer: waiting := odd, full fence, look at released; reader: released, full fence, look at waiting.
// Death: a writer killed before [commit] leaves nothing visible; a reader killed before [release] leaves its records
// for nobody: the lane ends with it. Nothing is ever repaired. Who died is told by the kernel, not by memory.
// Trust: every word of the other end's is read once, checked, then used. A bad one is `corrupt`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bus::lane {

inline constexpr std::uint64_t kMagic = 0x3130454e414c5342;  // "BSLANE01"
inline constexpr std::uint32_t kVersion = 1;

inline constexpr std::uint32_t kEmpty = 0;
inline constexpr std::uint32_t kMessage = 1;
inline constexpr std::uint32_t kMoved = 2;

inline constexpr std::size_t kRecordAlign = 64;  // a cache line: two records never share one
inline constexpr std::size_t kHeaderBytes = 8;
inline constexpr std::size_t kPageBytes = 4096;

struct Record {
  std::atomic<std::uint32_t> commit;
  std::atomic<std::uint32_t> size;

  [[nodiscard]] std::byte* payload() noexcept { return reinterpret_cast<std::byte*>(this) + kHeaderBytes; }
  [[nodiscard]] const std::byte* payload() const noexcept {
    return reinterpret_cast<const std::byte*>(this) + kHeaderBytes;
  }
};
static_assert(sizeof(Record) == kHeaderBytes);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && std::atomic<std::uint64_t>::is_always_lock_free);

/// What a message of `size` bytes takes in the ring.
[[nodiscard]] constexpr std::uint64_t record_bytes(std::uint64_t size) noexcept {
  return (kHeaderBytes + size + kRecordAlign - 1) & ~std::uint64_t{kRecordAlign - 1};
}

/// Counts of messages, final once the flag before them is set.
struct Counts {
  std::atomic<std::uint64_t> accepted, received, dropped;
};

struct StatusPage {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint32_t> version;
  alignas(64) std::atomic<std::uint64_t> released;
  alignas(64) std::atomic<std::uint32_t> asleep;
  alignas(64) std::atomic<std::uint32_t> waiting;
  std::atomic<std::uint32_t> rung;
  alignas(64) std::atomic<std::uint32_t> ended;
  alignas(8) Counts final_counts;
  alignas(64) std::atomic<std::uint32_t> settled;
  alignas(8) Counts settled_counts;
};
static_assert(offsetof(StatusPage, version) == 8);
static_assert(offsetof(StatusPage, released) == 64);
static_assert(offsetof(StatusPage, asleep) == 128);
static_assert(offsetof(StatusPage, waiting) == 192);
static_assert(offsetof(StatusPage, rung) == 196);
static_assert(offsetof(StatusPage, ended) == 256);
static_assert(offsetof(StatusPage, final_counts) == 264);
static_assert(offsetof(StatusPage, settled) == 320);
static_assert(offsetof(StatusPage, settled_counts) == 328);
static_assert(sizeof(StatusPage) <= kPageBytes);

}  // namespace bus::lane
