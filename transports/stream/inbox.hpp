// transports/stream/inbox.hpp: the receiving side of a stream: reads large pieces, hands out messages in place.
//
// Bytes are read into a chunk, up to 256 KiB at once, and parsed there; a Message is a view into it. When every
// message of a chunk has been released the chunk is used from its front again, so that a receiver that keeps up
// stays in a few cache lines. Otherwise reading goes on behind, and then in another chunk; only a message that
// does not fit in the rest is moved. A message larger than a chunk gets one of its size, and its bytes are read to
// where they stay. No allocation per message; an idle inbox gives back what it does not need.
//
// Threads: one, the receiver's. Messages are released on any, also after the inbox is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/core/message.hpp"
#include "transports/common/chunk.hpp"
#include "transports/stream/frame.hpp"
#include "transports/stream/wire.hpp"

namespace bus::stream {

using common::Chunk;

class Inbox {
 public:
  Inbox(Framing framing, std::size_t max_message) noexcept : cutter_(framing, max_message) {}
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  /// What stands at the front of the bytes that are there. May be asked again and again.
  [[nodiscard]] Cut next() noexcept {
    const Cut cut = cutter_.next({base_ + begin_, end_ - begin_}, at_end_);
    needed_ = cut.what == Cut::What::more ? cut.whole : 0;
    return cut;
  }
  /// Hands out the message that next() found.
  [[nodiscard]] Message take(const Cut& cut) noexcept {
    const std::span<const std::byte> bytes(base_ + begin_ + cut.skip, cut.size);
    begin_ += cut.whole;
    if (bytes.empty()) return Message({}, nullptr, nullptr);
    ++handed_out_;
    return Message(bytes, chunk_, nullptr);
  }
  /// The bytes of the frame that next() found, until the next fill().
  [[nodiscard]] std::span<const std::byte> body(const Cut& cut) const noexcept {
    return {base_ + begin_ + cut.skip, cut.size};
  }
  void skip(const Cut& cut) noexcept { begin_ += cut.whole; }
  /// The last bytes that were read and not handed out, at most so many.
  [[nodiscard]] std::span<const std::byte> tail(std::size_t most) const noexcept {
    const std::size_t size = pending() < most ? pending() : most;
    return {base_ + end_ - size, size};
  }

  /// Reads once, after next() said that there is not enough. no_room in `error` of a broken transfer is ENOMEM.
  [[nodiscard]] Transfer fill(Wire&) noexcept;
  /// The stream has ended: a last line without its delimiter counts.
  void at_end() noexcept { at_end_ = true; }

  /// The receiver is about to do something else: memory that an idle channel does not need is given back.
  void rest() noexcept;

 private:
  [[nodiscard]] std::size_t pending() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool make_room() noexcept;
  [[nodiscard]] bool move_to_new(std::size_t capacity) noexcept;
  void use(Chunk* chunk) noexcept;

  Cutter cutter_;
  Chunk* chunk_ = nullptr;
  std::byte* base_ = nullptr;    // chunk_'s data
  std::size_t begin_ = 0;        // first byte that was not handed out
  std::size_t end_ = 0;          // behind the last byte that was read
  std::size_t needed_ = 0;       // bytes from begin_ on that the next frame needs, as far as known
  std::int64_t handed_out_ = 0;  // messages of chunk_
  unsigned small_fills_ = 0;     // reads in a row into a chunk larger than they needed
  bool at_end_ = false;
};

}  // namespace bus::stream
