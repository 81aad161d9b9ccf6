// tools/measure/payload.hpp: the messages of a measurement: a header that counts, and a body that is known.
//
//   offset  size  field     meaning
//        0     8  sequence  0, 1, 2 ... of one sender; the highest byte is the phase
//        8     8  due       open loop: when the message should have left; nanoseconds of the sample clock
//       16     8  sent      open loop: when it left
//        8/24  -  body      the same in each message of a run: words drawn from its seed
//
// Reading every byte is adding up the words, about as fast as memory gives them; a body that adds up to something else
// is damaged. Host byte order: both ends are on one machine, or the other one only echoes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace bus::tools::measure {

enum class Phase : unsigned char { warm_up = 0, timed = 1, end = 2 };
enum class Touch : unsigned char { none, first, all };

inline constexpr std::size_t kCountHeader = 8;
inline constexpr std::size_t kTimeHeader = 24;

struct Stamp {
  std::uint64_t sequence = 0;
  Phase phase = Phase::warm_up;
};

[[nodiscard]] inline std::uint64_t load_word(const std::byte* at) noexcept {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}
inline void store_word(std::byte* at, std::uint64_t word) noexcept { std::memcpy(at, &word, sizeof word); }

inline constexpr std::uint64_t kSequenceMask = (std::uint64_t{1} << 56) - 1;

inline void stamp(std::byte* message, Stamp what) noexcept {
  store_word(message, (static_cast<std::uint64_t>(what.phase) << 56) | (what.sequence & kSequenceMask));
}
[[nodiscard]] inline Stamp read_stamp(const std::byte* message) noexcept {
  const std::uint64_t word = load_word(message);
  return {word & kSequenceMask, static_cast<Phase>(word >> 56)};
}

/// The sum of a body's words, the last one filled up with zeros.
[[nodiscard]] inline std::uint64_t sum(std::span<const std::byte> body) noexcept {
  std::uint64_t a = 0, b = 0, c = 0, d = 0;  // four chains: an addition does not wait for the one before it
  const std::byte* at = body.data();
  std::size_t left = body.size();
  for (; left >= 32; left -= 32, at += 32) {
    a += load_word(at);
    b += load_word(at + 8);
    c += load_word(at + 16);
    d += load_word(at + 24);
  }
  for (; left >= 8; left -= 8, at += 8) a += load_word(at);
  if (left > 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, left);
    b += word;
  }
  return a + b + c + d;
}

/// What all messages of a run have in common.
class Body {
 public:
  Body(std::size_t most, std::size_t header, std::uint64_t seed) : header_(header), message_(most + 8) {
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < most; at += 8) store_word(message_.data() + at, random());
    expected_ = expected(most);
    size_ = most;
  }

  /// The message, to be stamped by its sender.
  [[nodiscard]] std::span<std::byte> message(std::size_t size) noexcept { return std::span(message_).first(size); }

  /// Reads of `message` what `touch` says. False: its body is not what was sent.
  [[nodiscard]] bool read(std::span<const std::byte> message, Touch touch) noexcept {
    if (touch == Touch::none || message.size() <= header_) return true;
    if (touch == Touch::first) {
      const std::uint64_t word = load_first(message);
      asm volatile("" : : "r"(word));  // so that it is read
      return true;
    }
    const std::uint64_t found = sum(message.subspan(header_));
    return found == (message.size() == size_ ? expected_ : expected(message.size()));
  }
  /// The same, of a copy that is made first.
  [[nodiscard]] bool copy_and_read(std::span<const std::byte> message, Touch touch) noexcept {
    if (copy_.size() < message.size()) copy_.resize(message.size());
    std::memcpy(copy_.data(), message.data(), message.size());
    return read(std::span<const std::byte>(copy_).first(message.size()), touch);
  }
  void prepare_copy() { copy_.resize(message_.size()); }

 private:
  [[nodiscard]] static std::uint64_t load_first(std::span<const std::byte> message) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, message.data(), message.size() < 8 ? message.size() : 8);
    return word;
  }
  [[nodiscard]] std::uint64_t expected(std::size_t size) const noexcept {
    return size <= header_ ? 0 : sum(std::span<const std::byte>(message_).subspan(header_, size - header_));
  }

  std::size_t header_, size_ = 0;
  std::vector<std::byte> message_, copy_;
  std::uint64_t expected_ = 0;
};

}  // namespace bus::tools::measure
