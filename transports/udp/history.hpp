// transports/udp/history.hpp: which datagrams of a direction have arrived, so that each is counted once and exactly.
//
// Datagrams are numbered from 0 without holes; the low 32 bits travel. Remembers the last kSpan of them: a datagram
// that comes later than that counts as a duplicate. Numbers wrap around without notice.
// Pure: numbers in, verdicts out. Not for several threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bus::udp {

class History {
 public:
  static constexpr std::uint64_t kSpan = std::uint64_t{1} << 15;

  explicit History(std::uint64_t first = 0) noexcept : known_(first), newest_(first) {}

  enum class Arrival : std::uint8_t {
    fresh,      // newer than all before
    late,       // for the first time, after a newer one: reordered
    duplicate,  // seen before
  };
  [[nodiscard]] Arrival arrive(std::uint64_t number) noexcept {
    if (ahead(number, known_) >= 0) {
      announce(number + 1);
      set(number);
      newest_ = number + 1;
      return Arrival::fresh;
    }
    if (known_ - number > kSpan || is_set(number)) return Arrival::duplicate;
    set(number);
    if (ahead(number, newest_) < 0) return Arrival::late;
    newest_ = number + 1;
    return Arrival::fresh;
  }

  /// Everything before `next` has been sent, whether it arrived or not. Returns how many were not known of.
  std::uint64_t announce(std::uint64_t next) noexcept {
    if (ahead(next, known_) <= 0) return 0;
    const std::uint64_t skipped = next - known_;
    if (skipped >= kSpan) {
      bits_.fill(0);
    } else {
      for (std::uint64_t number = known_; number != next; ++number) clear(number);
    }
    known_ = next;
    return skipped;
  }

  /// One behind the last datagram that is known to have been sent.
  [[nodiscard]] std::uint64_t known() const noexcept { return known_; }
  /// The number whose low half is `low`: the one nearest to what is known.
  [[nodiscard]] std::uint64_t extend(std::uint32_t low) const noexcept { return nearest(known_, low); }

  /// How far `a` is ahead of `b`, negative when behind, across the wrap.
  [[nodiscard]] static std::int64_t ahead(std::uint64_t a, std::uint64_t b) noexcept {
    return static_cast<std::int64_t>(a - b);
  }
  [[nodiscard]] static std::uint64_t nearest(std::uint64_t reference, std::uint32_t low) noexcept {
    const auto distance = static_cast<std::int32_t>(low - static_cast<std::uint32_t>(reference));
    return reference + static_cast<std::uint64_t>(std::int64_t{distance});
  }

 private:
  [[nodiscard]] static std::size_t word(std::uint64_t number) noexcept { return (number % kSpan) / 64; }
  [[nodiscard]] static std::uint64_t bit(std::uint64_t number) noexcept { return std::uint64_t{1} << (number % 64); }
  void set(std::uint64_t number) noexcept { bits_[word(number)] |= bit(number); }
  void clear(std::uint64_t number) noexcept { bits_[word(number)] &= ~bit(number); }
  [[nodiscard]] bool is_set(std::uint64_t number) const noexcept { return (bits_[word(number)] & bit(number)) != 0; }

  std::uint64_t known_;   // one behind the last that was announced
  std::uint64_t newest_;  // one behind the newest that arrived
  std::array<std::uint64_t, kSpan / 64> bits_{};
};

}  // namespace bus::udp
