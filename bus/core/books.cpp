// bus/core/books.cpp: adding up.
#include "bus/core/books.hpp"

#include <numeric>

namespace bus {
namespace {

ReasonCounts read(const std::array<Counter, kReasons>& counters) noexcept {
  ReasonCounts counts{};
  for (std::size_t i = 0; i < kReasons; ++i) counts[i] = counters[i].get();
  return counts;
}

}  // namespace

std::string_view name(Reason reason) noexcept {
  switch (reason) {
    case Reason::queue_full:
      return "queue_full";
    case Reason::no_subscriber:
      return "no_subscriber";
    case Reason::peer_died:
      return "peer_died";
    case Reason::closed:
      return "closed";
    case Reason::too_large:
      return "too_large";
    case Reason::kernel_buffer:
      return "kernel_buffer";
    case Reason::network:
      return "network";
    case Reason::corrupt:
      return "corrupt";
    case Reason::expired:
      return "expired";
    case Reason::injected:
      return "injected";
    case Reason::unknown_after_crash:
      return "unknown_after_crash";
    case Reason::not_supported:
      return "not_supported";
  }
  return "unknown";
}

std::uint64_t total(const ReasonCounts& counts) noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

bool Books::closed() const noexcept {
  return offered == accepted + total(refused) && peer_accepted && peer_received &&
         accepted == *peer_received + peer_dropped + total(lost) && *peer_accepted == received + total(dropped);
}

void Ledger::peer_accepted(std::uint64_t n) noexcept { peer_accepted_.store(n, std::memory_order_relaxed); }

void Ledger::peer_settled(std::uint64_t received_there, std::uint64_t dropped_there, Reason rest) noexcept {
  peer_dropped_.store(dropped_there, std::memory_order_relaxed);
  peer_rest_reason_.store(rest, std::memory_order_relaxed);
  peer_received_.store(received_there, std::memory_order_relaxed);
}

std::uint64_t Ledger::dropped_total() const noexcept { return total(read(dropped)); }

Books Ledger::snapshot() const noexcept {
  Books books;
  // What is counted later in a call is read first, so that a snapshot taken meanwhile never shows more
  // accepted than offered.
  books.accepted = accepted.get();
  books.refused = read(refused);
  books.offered = offered.get();
  books.lost = read(lost);
  books.bytes_sent = bytes_sent.get();
  books.received = received.get();
  books.dropped = read(dropped);
  books.duplicates = duplicates.get();
  books.reordered = reordered.get();
  books.bytes_received = bytes_received.get();
  if (const auto n = peer_accepted_.load(std::memory_order_relaxed); n != kUnknown) books.peer_accepted = n;
  if (const auto n = peer_received_.load(std::memory_order_relaxed); n != kUnknown) {
    books.peer_received = n;
    books.peer_dropped = peer_dropped_.load(std::memory_order_relaxed);
    // What the peer neither received nor dropped before it closed is lost for the reason that it gave.
    const std::uint64_t known = n + books.peer_dropped + total(books.lost);
    if (books.accepted > known) {
      const auto reason = peer_rest_reason_.load(std::memory_order_relaxed);
      books.lost[static_cast<std::size_t>(reason)] += books.accepted - known;
    }
  } else if (peer_died_.load(std::memory_order_relaxed)) {
    const std::uint64_t known = total(books.lost);
    if (books.accepted > known) {
      books.lost[static_cast<std::size_t>(Reason::unknown_after_crash)] += books.accepted - known;
    }
  }
  return books;
}

}  // namespace bus
