// tools/common/summary.hpp: what a verb says at its end: the last line of --json, and the books as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/core/books.hpp"
#include "bus/core/deadline.hpp"
#include "tools/common/histogram.hpp"
#include "tools/common/stream_check.hpp"

namespace bus::tools {

/// The books of one channel, or of several added up.
class BooksSum {
 public:
  void add(const Books& books) noexcept;

  [[nodiscard]] const Books& sum() const noexcept { return sum_; }
  [[nodiscard]] std::uint64_t channels() const noexcept { return channels_; }
  /// The books of every channel closed.
  [[nodiscard]] bool closed() const noexcept { return all_closed_; }

 private:
  Books sum_;
  std::uint64_t channels_ = 0;
  bool all_closed_ = true;
};

/// Messages that were accepted from us and did not reach the peer's receive(), as far as known.
[[nodiscard]] std::uint64_t not_delivered(const Books& books) noexcept;
/// Messages of the peer that did not reach us, our own closing aside.
[[nodiscard]] std::uint64_t missed(const Books& books) noexcept;
/// "network 3, corrupt 1", or "none".
[[nodiscard]] std::string reasons_text(const ReasonCounts& counts);

struct Summary {
  std::string address;
  std::uint64_t sent = 0, received = 0;  // messages
  std::uint64_t bytes = 0;               // of payload, in the direction that is the verb's work
  std::chrono::nanoseconds elapsed{0};   // from the first connection to the last message
  BooksSum books;
  // recv --verify
  std::optional<StreamCounts> verified;
  // ping
  const Histogram* rtt = nullptr;
  std::uint64_t lost = 0;
};

/// One line with its end. Reasons with a count of zero are left out; `peer_accepted` is null when no peer has told.
[[nodiscard]] std::string summary_json(const Summary& summary);
/// The same for people, several lines.
[[nodiscard]] std::string books_text(const BooksSum& books);

/// "1234 messages, 76.3 KiB in 1.25 s (987 messages/s, 61 KiB/s)".
[[nodiscard]] std::string amount_text(std::uint64_t messages, std::uint64_t bytes, std::chrono::nanoseconds elapsed);

}  // namespace bus::tools
