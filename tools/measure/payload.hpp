// tools/measure/payload.hpp: the messages of a measurement: a header that counts, and a body that is known.
//
//   offset  size  field     meaning
//        0     8  sequence  0, 1, 2 ... of one sender; the highest byte is the phase
//        8     8  due       open loop: when the message should have left; nanoseconds of the sample clock
//       16     8  sent      open loop: when it left
//        8/24  -  body      words drawn from the run's seed, the same in each message
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

/// The messages of a run: a body that is the same in all, but for a word at its beginning, at each 4 KiB behind that
/// and at its end, which are the message's sequence. So a message that is stale, cut or put together from two does not
/// add up.
class Body {
 public:
  Body(std::size_t most, std::size_t header, std::uint64_t seed) : header_(header), size_(most), message_(most + 8) {
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < most; at += 8) store_word(message_.data() + at, random());
    body_ = message_;
    fixed_ = fixed(most);
  }

  /// The message, to be stamped by its sender.
  [[nodiscard]] std::span<std::byte> message(std::size_t size) noexcept { return std::span(message_).first(size); }

  /// Puts the sequence into the body; the header is stamp()'s.
  void mark(std::span<std::byte> message, std::uint64_t sequence) const noexcept {
    // Sizes change in a trace alone: what messages of other sizes were marked with goes first.
    if (message.size() != size_ && message.size() > header_) {
      std::memcpy(message.data() + header_, body_.data() + header_, message.size() - header_);
    }
    for_each_mark(message.size(), [&](std::size_t at) { store_word(message.data() + at, sequence); });
  }

  /// Reads of `message` what `touch` says. False: its body is not that of message `sequence`.
  [[nodiscard]] bool read(std::span<const std::byte> message, std::uint64_t sequence, Touch touch) noexcept {
    if (touch == Touch::none || message.size() <= header_) return true;
    if (touch == Touch::first) {
      std::uint64_t word = 0;
      std::memcpy(&word, message.data(), message.size() < 8 ? message.size() : 8);
      asm volatile("" : : "r"(word));  // so that it is read
      return true;
    }
    const Fixed expected = message.size() == size_ ? fixed_ : fixed(message.size());
    return sum(message.subspan(header_)) == expected.sum + expected.marks * sequence;
  }
  /// The same, of a copy that is made first.
  [[nodiscard]] bool copy_and_read(std::span<const std::byte> message, std::uint64_t sequence, Touch touch) noexcept {
    if (copy_.size() < message.size()) copy_.resize(message.size());
    std::memcpy(copy_.data(), message.data(), message.size());
    return read(std::span<const std::byte>(copy_).first(message.size()), sequence, touch);
  }
  void prepare_copy() { copy_.resize(message_.size()); }

 private:
  static constexpr std::size_t kMarkEach = 4096;
  struct Fixed {
    std::uint64_t sum = 0, marks = 0;
  };

  /// Where the words of the sequence are: each on a word of the sum, so that it can be told from the rest.
  template <class F>
  void for_each_mark(std::size_t size, F&& f) const noexcept {
    if (size < header_ + 8) return;
    const std::size_t last = header_ + (size - header_ - 8) / 8 * 8;
    for (std::size_t at = header_; at < last; at += kMarkEach) f(at);
    f(last);
  }
  [[nodiscard]] Fixed fixed(std::size_t size) const noexcept {
    Fixed found;
    if (size <= header_) return found;
    found.sum = sum(std::span<const std::byte>(body_).subspan(header_, size - header_));
    for_each_mark(size, [&](std::size_t at) {
      found.sum -= load_word(body_.data() + at);
      ++found.marks;
    });
    return found;
  }

  std::size_t header_, size_;
  std::vector<std::byte> message_, body_, copy_;  // body_ is without marks
  Fixed fixed_;
};

}  // namespace bus::tools::measure
