// transports/udp/intake.hpp: where a socket receives into: one chunk after the other, each from its front.
//
// Threads: none of its own; the owner's receive lock guards it. Messages are released on any thread, also later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "transports/common/chunk.hpp"

namespace bus::udp {

using common::Chunk;

class Intake {
 public:
  static constexpr std::size_t kRoom = std::size_t{64} << 10;  // a datagram, or a run of them, is never larger

  Intake() = default;
  ~Intake() { let_go(); }
  Intake(const Intake&) = delete;
  Intake& operator=(const Intake&) = delete;

  /// kRoom bytes to receive into. Empty: no memory.
  [[nodiscard]] std::span<std::byte> room() noexcept {
    // A receiver that keeps up stays in a few cache lines.
    if (issued_ > 0 && chunk_->all_released(issued_)) rewind();
    if (chunk_ != nullptr && chunk_->capacity() - fill_ < kRoom) let_go();
    if (chunk_ == nullptr) {
      chunk_ = Chunk::take(Chunk::kStandard);
      if (chunk_ == nullptr) return {};
    }
    issued_before_ = issued_;
    return {chunk_->data() + fill_, kRoom};
  }
  /// The room's bytes have become a message: whoever has it releases the chunk that this returns, once.
  [[nodiscard]] Chunk& issue() noexcept {
    ++issued_;
    return *chunk_;
  }
  /// `bytes` were received. Unless a message points to them, they are received over.
  void received(std::size_t bytes) noexcept {
    if (issued_ == issued_before_) return;
    fill_ = (fill_ + bytes + kAlign - 1) / kAlign * kAlign;
    chunk_->touched(fill_);
  }

 private:
  static constexpr std::size_t kAlign = 64;  // payloads of different receives share no cache line

  void rewind() noexcept {
    chunk_->recount();
    fill_ = 0;
    issued_ = 0;
  }
  void let_go() noexcept {
    if (chunk_ != nullptr) chunk_->retire(issued_);
    chunk_ = nullptr;
    fill_ = 0;
    issued_ = 0;
  }

  Chunk* chunk_ = nullptr;
  std::size_t fill_ = 0;
  std::int64_t issued_ = 0;         // messages of the chunk
  std::int64_t issued_before_ = 0;  // when room() was asked for
};

}  // namespace bus::udp
