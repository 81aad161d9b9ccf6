// tools/measure/ends/ring_end.cpp: mapping, and the waits.
#include "tools/measure/ends/ring_end.hpp"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>

#include "bus/core/errc.hpp"

namespace bus::tools::measure {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kRingBytes = std::size_t{256} << 10;  // as large as a channel's default
constexpr std::uint64_t kLeastSlots = 8;

std::size_t stride_of(std::size_t size) { return (sizeof(RingSlot) + size + kLine - 1) / kLine * kLine; }
std::uint64_t slots_of(std::size_t size) {
  return std::max<std::uint64_t>(std::bit_floor(kRingBytes / stride_of(size)), kLeastSlots);
}
std::size_t way_bytes(std::size_t size) { return kLine + slots_of(size) * stride_of(size); }

void* map(int memory, std::size_t bytes) {
  void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0);
  if (at == MAP_FAILED) throw Error(last_system_error(), "ring: cannot map its memory");
  return at;
}

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) noexcept {
  return ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, value, nullptr, nullptr, 0);
}

}  // namespace

os::Fd RingEnd::make_memory(std::size_t size) {
  os::Fd memory(::memfd_create("bus-measure-ring", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(2 * way_bytes(size))) != 0) {
    throw Error(last_system_error(), "ring: cannot make its memory");
  }
  return memory;
}

RingEnd::RingEnd(int memory, std::size_t size, bool near, WaitMode wait)
    : bytes_(2 * way_bytes(size)),
      stride_(stride_of(size)),
      slots_(slots_of(size)),
      eighth_(slots_ / 8),
      wait_(wait),
      sleeps_(wait == WaitMode::block) {
  memory_ = map(memory, bytes_);
  auto* const first = static_cast<std::byte*>(memory_);
  auto* const second = first + way_bytes(size);
  const auto way = [](std::byte* at) {
    return Way{at + kLine, reinterpret_cast<std::atomic<std::uint64_t>*>(at), 0, 0};
  };
  out_ = way(near ? first : second);
  in_ = way(near ? second : first);
}

RingEnd::~RingEnd() { ::munmap(memory_, bytes_); }

void RingEnd::give_back() noexcept {
  in_.free->store(in_.at, std::memory_order_release);  // [free]
}

void RingEnd::wait_for_room() noexcept {
  // Also a sleeping pair spins here: a full ring is a matter of throughput, where nobody sleeps for long.
  Spinner spinner(WaitMode::spin);
  while (out_.at - (out_.free_seen = out_.free->load(std::memory_order_acquire)) >= slots_) {  // [free]
    static_cast<void>(spinner.turn());
  }
}

void RingEnd::wait_for(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  Spinner spinner(wait_);
  for (;;) {
    const std::uint32_t now = word.load(std::memory_order_acquire);  // [commit]
    if (now == value) return;
    if (!spinner.turn()) futex(word, FUTEX_WAIT, now);
  }
}

void RingEnd::wake(std::atomic<std::uint32_t>& word) noexcept { futex(word, FUTEX_WAKE, 1); }

LineEnd::LineEnd(int memory, bool near) : memory_(map(memory, 4 * kLine)) {
  auto* const first = static_cast<std::byte*>(memory_);
  auto* const second = first + 2 * kLine;  // the neighbour line is prefetched with a line, so it is left out
  out_ = reinterpret_cast<std::atomic<std::uint64_t>*>(near ? first : second);
  in_ = reinterpret_cast<std::atomic<std::uint64_t>*>(near ? second : first);
}

LineEnd::~LineEnd() { ::munmap(memory_, 4 * kLine); }

}  // namespace bus::tools::measure
