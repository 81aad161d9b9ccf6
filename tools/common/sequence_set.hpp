// tools/common/sequence_set.hpp: a set of sequence numbers, most of which follow each other.
//
// A bit for each number, in blocks: numbers in a row, or of several that share a row, take a bit and no search each;
// one that stands alone takes a block. Threads: one.
#pragma once

#include <bitset>
#include <cstdint>
#include <unordered_map>

namespace bus::tools {

class SequenceSet {
 public:
  SequenceSet() = default;
  SequenceSet(const SequenceSet&) = delete;  // block_ points into it
  SequenceSet& operator=(const SequenceSet&) = delete;

  /// False: it was there.
  bool insert(std::uint64_t number) {
    if (!look_at(number)) {
      place_ = number / kBlock;
      block_ = &blocks_[place_];
    }
    auto bit = (*block_)[number % kBlock];
    if (bit) return false;
    bit = true;
    return true;
  }
  [[nodiscard]] bool contains(std::uint64_t number) { return look_at(number) && (*block_)[number % kBlock]; }

 private:
  static constexpr std::uint64_t kBlock = 512;
  using Block = std::bitset<kBlock>;

  /// Makes block_ the one that the number belongs to, if there is one.
  bool look_at(std::uint64_t number) {
    if (block_ != nullptr && place_ == number / kBlock) return true;
    const auto it = blocks_.find(number / kBlock);
    if (it == blocks_.end()) return false;
    place_ = it->first;
    block_ = &it->second;
    return true;
  }

  std::unordered_map<std::uint64_t, Block> blocks_;
  Block* block_ = nullptr;  // the last one looked at
  std::uint64_t place_ = 0;
};

}  // namespace bus::tools
