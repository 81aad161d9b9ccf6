// transports/stream/inbox.cpp: where the next bytes go.
#include "transports/stream/inbox.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bus::stream {
namespace {

constexpr std::size_t kMostRead = std::size_t{256} << 10;    // more at once gained nothing: see README
constexpr std::size_t kLeastRead = std::size_t{32} << 10;    // less room than this: better to move what is pending
constexpr std::size_t kMostMove = std::size_t{16} << 10;     // more than this is moved only when it has to be
constexpr std::size_t kExactRead = std::size_t{64} << 10;    // that much missing of one message: read no further
constexpr std::size_t kKeepTouched = std::size_t{64} << 10;  // an idle channel keeps a chunk with so much in use
constexpr unsigned kManySmallFills = 64;

}  // namespace

Inbox::~Inbox() {
  if (chunk_ != nullptr) chunk_->retire(handed_out_);
  Chunk::trim();
}

void Inbox::use(Chunk* chunk) noexcept {
  chunk_ = chunk;
  base_ = chunk != nullptr ? chunk->data() : nullptr;
  begin_ = end_ = 0;
  handed_out_ = 0;
}

bool Inbox::move_to_new(std::size_t capacity) noexcept {
  Chunk* const fresh = Chunk::take(capacity);
  if (fresh == nullptr) return false;
  const std::size_t moved = pending();
  if (moved > 0) std::memcpy(fresh->data(), base_ + begin_, moved);
  if (chunk_ != nullptr) chunk_->retire(handed_out_);
  use(fresh);
  end_ = moved;
  fresh->touched(moved);
  small_fills_ = 0;
  return true;
}

bool Inbox::make_room() noexcept {
  const std::size_t have = pending();
  const std::size_t want = std::max(needed_, have + 1);
  if (chunk_ == nullptr) return move_to_new(want);

  const std::size_t capacity = chunk_->capacity();
  // Lines do not tell their length: room grows by doubling then, so that each byte is moved once on average.
  if (want > capacity) return move_to_new(std::max(want, 2 * have));

  if (chunk_->all_released(handed_out_)) {
    const bool oversized = capacity > 2 * Chunk::kStandard && want <= Chunk::kStandard / 2;
    small_fills_ = oversized ? small_fills_ + 1 : 0;
    if (small_fills_ > kManySmallFills) return move_to_new(want);
    const bool fits = begin_ + want <= capacity;
    if (have == 0 || !fits || (have <= kMostMove && capacity - end_ < kMostRead)) {
      std::memmove(base_, base_ + begin_, have);
      chunk_->recount();
      begin_ = 0;
      handed_out_ = 0;
      end_ = have;
    }
    return true;
  }
  const bool fits = begin_ + want <= capacity;
  const bool cramped = have <= kMostMove && capacity - end_ < kLeastRead;
  return fits && !cramped ? true : move_to_new(want);
}

Transfer Inbox::fill(Wire& wire) noexcept {
  if (!make_room()) return {Transfer::State::broken, 0, ENOMEM};
  std::size_t most = std::min(chunk_->capacity() - end_, kMostRead);
  // Of a large message no more is read than it has: what follows begins in the right place then, unmoved.
  if (const std::size_t missing = needed_ > pending() ? needed_ - pending() : 0; missing >= kExactRead) most = missing;
  const Transfer transfer = wire.read({base_ + end_, most});
  if (transfer.state == Transfer::State::moved) {
    end_ += transfer.count;
    chunk_->touched(end_);
  }
  return transfer;
}

void Inbox::rest() noexcept {
  if (chunk_ == nullptr || pending() != 0 || chunk_->touched() <= kKeepTouched) return;
  if (!chunk_->all_released(handed_out_)) return;
  Chunk::give(chunk_);
  use(nullptr);
}

}  // namespace bus::stream
