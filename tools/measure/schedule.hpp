// tools/measure/schedule.hpp: when each message of an open loop is due, whatever became of those before it.
//
// Pure: no clock. The same schedule, rate and seed give the same instants, in every process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace bus::tools::measure {

/// One message of a trace: when it is due after the trace's start, and its size.
struct TraceEntry {
  std::uint64_t at = 0;  // nanoseconds
  std::uint64_t size = 0;
};

struct Arrivals {
  enum class Kind : unsigned char { constant, poisson, burst, trace };
  Kind kind = Kind::constant;
  double rate = 1000;        // messages a second; a trace has its own
  std::uint64_t burst = 10;  // messages that are due together
  std::uint64_t seed = 1;    // poisson
  std::vector<TraceEntry> trace;
};

/// "constant", "poisson", "burst" or "burst:N", "trace:FILE" is for the caller. None: not understood.
[[nodiscard]] std::optional<Arrivals> parse_arrivals(std::string_view text);
[[nodiscard]] std::string_view name(Arrivals::Kind) noexcept;

/// A trace is lines of "SECONDS SIZE" or "SECONDS,SIZE", times rising, '#' begins a comment. Throws Error(corrupt) that
/// names the line.
[[nodiscard]] std::vector<TraceEntry> parse_trace(std::string_view text);

class Schedule {
 public:
  struct Due {
    std::uint64_t at = 0;    // nanoseconds after the start
    std::uint64_t size = 0;  // bytes; 0: the usual
  };

  /// `arrivals` must outlive it.
  explicit Schedule(const Arrivals& arrivals) noexcept : arrivals_(&arrivals), random_(arrivals.seed) {}

  /// The next message. A trace that is over begins again behind its last entry.
  [[nodiscard]] Due next() noexcept;

 private:
  const Arrivals* arrivals_;
  std::mt19937_64 random_;
  std::uint64_t index_ = 0;
  double at_ = 0;               // poisson: of the last one
  std::uint64_t round_at_ = 0;  // trace: where this round of it began
};

}  // namespace bus::tools::measure
