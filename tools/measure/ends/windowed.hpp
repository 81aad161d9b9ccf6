// tools/measure/ends/windowed.hpp: an end whose flood is bounded by the consumer: so many messages are in flight, no
// more.
//
// Brokers differ in what they do when a consumer is slower than its producer: they hold up the producer, buffer without
// bound, or drop. A rate of messages that were buffered or dropped says nothing, so every flood through a broker, ours
// too, has this window: the consumer tells, through the same broker, which message it has taken last, for every quarter
// of the window; the producer waits when it is a window ahead. What is told is a place in the sequence and no count, so
// that a message which is lost is missing in the result and does not stop the flow.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "tools/measure/ends/view.hpp"
#include "tools/measure/payload.hpp"

namespace bus::tools::measure {

/// Messages in flight at most: as many as make up a MiB, so that brokers and clients can gather as they like.
[[nodiscard]] constexpr std::uint64_t window_of(std::uint64_t size) noexcept {
  return std::clamp<std::uint64_t>((std::uint64_t{1} << 20) / std::max<std::uint64_t>(size, 1), 2, 8192);
}

/// Of a flood's end. `End::receive()` of the producer gets what `End::send()` of the consumer was given.
template <class End>
class Windowed {
 public:
  static constexpr bool kLoans = false;
  static constexpr bool kBatches = false;

  Windowed(End& end, std::uint64_t window) noexcept
      : end_(end), window_(window), step_(std::max<std::uint64_t>(window / 4, 1)) {}

  /// The producer's.
  [[nodiscard]] bool send(std::span<const std::byte> message) noexcept {
    while (place_ - told_ >= window_) {
      View word;
      if (!end_.receive(word)) return false;
      if (word.bytes.size() >= sizeof told_) told_ = std::max(told_, load_word(word.bytes.data()));
    }
    ++place_;
    return end_.send(message);
  }
  [[nodiscard]] bool flush() noexcept { return end_.flush(); }

  /// The consumer's.
  [[nodiscard]] bool receive(View& view) noexcept {
    // Before the next one and not behind this one, which must stay as it is.
    if (place_ - told_ >= step_) {
      told_ = place_;
      std::array<std::byte, sizeof told_> word{};
      store_word(word.data(), told_);
      if (!end_.send(word)) return false;
    }
    if (!end_.receive(view)) return false;
    if (view.bytes.size() >= kCountHeader) {
      place_ = std::max(place_, read_stamp(view.bytes.data()).sequence + 1);
    }
    return true;
  }
  [[nodiscard]] std::string failure() const { return end_.failure(); }

 private:
  End& end_;
  const std::uint64_t window_, step_;
  std::uint64_t place_ = 0;  // behind the last message that was sent, or seen
  std::uint64_t told_ = 0;   // what the other side knows
};

}  // namespace bus::tools::measure
