// transports/stream/outbox.hpp: the sending side of a stream: one system call for a message alone, few for a burst.
//
// A message alone goes to the kernel in the send call itself, header and payload in one sendmsg, without a copy.
// A message that follows another within about 1 us is gathered, and the gathered bytes go together
//   - when there are 128 KiB of them, or with the next message that is larger than 16 KiB (that one uncopied),
//   - at flush(), at the end of a batch, and when the channel's receiver has nothing to do,
//   - 200 us after the first of them, by the Flusher, if the caller does nothing more.
// What the kernel does not take is kept, up to `capacity`, and leaves by later calls or by the Flusher as soon as
// the socket can be written.
//
// Threads: sender and receiver thread may call at once, and the Flusher does: one mutex guards it all.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <system_error>

#include "bus/core/flusher.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/result.hpp"
#include "transports/common/chunk.hpp"
#include "transports/stream/frame.hpp"
#include "transports/stream/wire.hpp"

namespace bus::stream {

class Outbox final : private FlusherClient {
 public:
  Outbox(Wire& wire, Framing framing, std::size_t capacity) noexcept;
  ~Outbox() override;

  /// Errors: would_block (nothing was queued), not_supported (a line that holds its delimiter), no_room (memory),
  /// what stop() said, or the errno of a broken connection.
  [[nodiscard]] std::error_code send(std::span<const std::byte> payload) noexcept;
  /// Queues an end or an ack, which always finds room. `accepted` is filled in here: what send() took.
  [[nodiscard]] std::error_code send_counts(Kind, std::uint64_t received, std::uint64_t dropped) noexcept;

  /// Hands what is gathered to the kernel. Errors: would_block (some is left), or the errno.
  [[nodiscard]] std::error_code flush() noexcept;
  /// The same, if there is anything; what is left leaves by itself.
  void flush_gathered() noexcept {
    // relaxed: bytes of the calling thread are always seen; those of another have their Flusher
    if (held_.load(std::memory_order_relaxed) != 0) static_cast<void>(flush());
  }
  /// Inside a batch everything is gathered.
  void begin_batch() noexcept;
  void end_batch() noexcept;

  /// Memory for a message of `size` bytes that publish() will not find without room. One at a time.
  [[nodiscard]] Result<std::span<std::byte>> loan(std::size_t size) noexcept;
  [[nodiscard]] std::error_code publish(std::size_t used) noexcept;
  void drop_loan() noexcept;
  /// A loan and its publishing in one, without the copy. Not for lines.
  [[nodiscard]] std::error_code send_pieces(std::span<const std::byte> head, std::span<const std::byte> tail) noexcept;

  /// From now on send() gives `why`. What was queued still goes.
  void stop(std::error_code why) noexcept;
  /// Messages that were taken. Final after stop().
  [[nodiscard]] std::uint64_t accepted() noexcept;
  /// Bytes that the kernel does not have yet.
  [[nodiscard]] std::size_t held() const noexcept { return held_.load(std::memory_order_relaxed); }

  /// A caller begins (or ends) to wait itself for the socket to be writable, so that the Flusher need not.
  void tend(bool begins) noexcept;

 private:
  struct Payload {
    std::span<const std::byte> head, tail;
    [[nodiscard]] std::size_t size() const noexcept { return head.size() + tail.size(); }
  };
  struct Parts;  // of one frame
  enum class Room : unsigned char { needed, promised };

  void on_due() noexcept override;
  [[nodiscard]] std::error_code send_locked(const Payload&, Room room) noexcept;
  /// Writes the held bytes and then the frame's. How many of the frame's went; an error other than would_block is
  /// final.
  [[nodiscard]] std::error_code write(const Parts& frame, std::size_t& taken) noexcept;
  [[nodiscard]] std::error_code flush_locked() noexcept;
  [[nodiscard]] bool gather(const Payload&) noexcept;
  [[nodiscard]] bool append(std::span<const iovec> parts, std::size_t skip) noexcept;
  [[nodiscard]] bool make_room(std::size_t bytes) noexcept;
  [[nodiscard]] bool admits(std::size_t bytes) const noexcept;
  [[nodiscard]] std::error_code find_room(std::size_t size) noexcept;
  void took(std::size_t bytes) noexcept;
  void watch() noexcept;
  std::error_code broken(int error) noexcept;
  [[nodiscard]] std::size_t pending() const noexcept { return end_ - begin_; }
  void note_held() noexcept { held_.store(pending(), std::memory_order_relaxed); }

  Wire& wire_;
  const Framing framing_;
  const std::size_t capacity_;  // bytes that may be held before would_block
  const std::size_t gather_;    // bytes at which a burst is written
  const os::Origin origin_;

  std::mutex mutex_;
  // guarded by mutex_
  common::OwnedChunk buffer_;        // empty until something is gathered
  std::size_t begin_ = 0, end_ = 0;  // the held bytes in buffer_
  std::size_t write_at_;             // held bytes at which the next attempt is made
  std::uint64_t last_send_ = 0;      // ticks at the end of the last send
  std::uint64_t accepted_ = 0;
  std::error_code stopped_, broken_;
  common::OwnedChunk loan_;
  std::size_t loan_size_ = 0;
  bool batch_ = false;
  bool watched_ = false;     // the Flusher knows
  bool for_room_ = false;    // it waits for the socket to be writable
  int tenders_ = 0;          // callers that see to what is held
  Clock::time_point due_{};  // when what is held must leave

  std::atomic<std::size_t> held_{0};  // pending(), for a look without the lock
};

}  // namespace bus::stream
