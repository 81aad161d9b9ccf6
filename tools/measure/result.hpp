// tools/measure/result.hpp: what a measurement found, as the one document that everything else reads: text, HTML, diff.
//
// A result has rows; a row is one way of crossing (a transport, a floor, a peer) under one set of conditions; a row has
// repetitions, each of fresh processes. What is derived from repetitions (medians, intervals, ratios, verdicts) is in
// Summary and can be computed again from the rest. README.md has the JSON form, result.schema.json its schema.
// Units: nanoseconds, bytes, messages a second, unless a name says otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/common/histogram.hpp"

namespace bus::tools::measure {

inline constexpr int kSchema = 1;

/// What is timed.
enum class Measure : unsigned char {
  latency,     // histograms of durations
  throughput,  // messages a second
  cost,        // one duration without messages: the timer, memcpy
};

/// How messages are offered.
enum class LoadModel : unsigned char {
  closed,  // ping-pong: the next leaves when the answer is there; latency is the round trip (RTT)
  open,    // each is due at its own time, whatever became of those before; latency is one way
  flood,   // as fast as it goes
  none,    // a cost
};

enum class Family : unsigned char { ours, floor, peer };

/// The conditions of a row: all that makes two rows comparable or not.
struct Conditions {
  Measure measure = Measure::latency;
  LoadModel load_model = LoadModel::closed;
  std::string arrival;        // open: "constant", "poisson", "burst", "trace"; else empty
  double rate = 0;            // open: messages a second that are due; 0: none
  std::uint64_t size = 64;    // bytes of a message; with a trace the largest
  std::string wait;           // "spin", "hybrid", "block", or what a floor or peer does: "spins", "sleeps"
  std::string touch = "all";  // what the receiver reads of a payload: "none", "first", "all"
  bool copy = false;          // the receiver copies the payload as well
  bool loan = false;
  std::uint64_t batch = 1;
  std::uint64_t producers = 1;
  std::string clock = "monotonic";
  std::map<std::string, int> pin;  // role -> CPU, as asked for; empty: not pinned
};

/// A slice of a repetition, so that drift and pauses can be seen. Offset and length from the start of the timed part.
struct Slice {
  double at_seconds = 0, seconds = 0;
  std::uint64_t count = 0;
  std::uint64_t p50 = 0, p99 = 0, max = 0;  // of the row's main histogram; 0 in a throughput row
};

/// One of the slowest samples, with what happened around it.
struct Worst {
  double at_seconds = 0;
  std::uint64_t duration = 0;
  std::string cause;  // "", or what was seen: "involuntary context switch", "page fault", "steal", "the machine paused"
};

struct Repetition {
  std::uint64_t block = 0;           // of the plan: each block has every row once
  std::uint64_t position = 0;        // in its block
  std::vector<std::string> invalid;  // why it does not count; empty: it does
  std::vector<std::string> warnings;

  std::uint64_t messages = 0;  // in the timed part, that arrived
  std::uint64_t bytes = 0;
  double seconds = 0;
  std::uint64_t lost = 0, duplicates = 0, reordered = 0, damaged = 0;
  double achieved_rate = 0;  // messages a second

  // Latency rows. closed: "rtt". open: "response" (from when it was due), "service" (from when it was sent),
  // "send_lag".
  std::map<std::string, Histogram> histograms;
  double cost = 0;  // cost rows: nanoseconds of one

  // Over all roles, a message. None: could not be counted.
  std::optional<double> cpu, voluntary_switches, involuntary_switches, page_faults;
  std::vector<Slice> timeline;
  std::vector<Worst> worst;
};

/// A figure of a row: the median over repetitions and an interval of it that holds with `confidence`. Fewer than
/// six repetitions give no interval.
struct Figure {
  double value = 0;
  std::optional<double> low, high;
  double confidence = 0;
};

struct Verdict {
  std::string against;  // the id of the row
  Figure ratio;         // this row's figure over the other's, in pairs of one block
  std::string says;     // "faster", "slower", "no difference shown", "invalid", "too few repetitions"
};

/// Derived from the valid repetitions. A figure that cannot be given is absent.
struct RowSummary {
  // "p50" "p90" "p99" "p99.9" "p99.99" "max": of the main histogram; "send_lag_p99"; "rate"; "bytes_per_second";
  // "cost"; "cpu" "voluntary_switches" "involuntary_switches" "page_faults"
  std::map<std::string, Figure> figures;
  std::optional<Verdict> floor;     // against the row's own floor
  std::optional<Verdict> baseline;  // against the comparison's baseline
};

struct Row {
  std::string id;    // unique in a result and the same in the next one: "latency/shm/64/hybrid"
  std::string name;  // what a table calls it: "shm", "raw unix", "ZeroMQ ipc"
  Family family = Family::ours;
  std::string address;  // ours; else empty
  std::string library;  // peers: name and version
  Conditions conditions;
  std::optional<double>
      copies;  // of the payload from the caller's buffer to what the receiver reads; known, not measured
  std::optional<double> syscalls, yields;  // a message, over all roles; counted in a run of its own under ptrace(2)
  std::string floor;                       // the id of the row that is this one's limit; empty: none
  std::vector<std::string> invalid;        // why the whole row does not count
  std::vector<std::string> warnings;
  std::vector<Repetition> repetitions;
  RowSummary summary;
};

struct Result {
  std::string kind;  // the verb: "latency", "throughput", "compare"
  std::vector<std::string> command;
  std::string started;  // ISO 8601, UTC
  double seconds = 0;
  std::uint64_t seed = 0;
  std::string baseline;                         // id of a row, or empty
  std::vector<std::vector<std::string>> order;  // ids as they ran, block by block
  std::vector<std::string> invalid, warnings;   // of the whole
  /// What the machine and the build are: groups of keys and texts or numbers (as text), in order. See environment.hpp.
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::string>>>> environment;
  std::vector<Row> rows;

  /// Every row counts.
  [[nodiscard]] bool is_valid() const noexcept;
  [[nodiscard]] const Row* find(std::string_view id) const noexcept;
};

/// The main histogram of a repetition: "rtt" or "response". None in rows without latency.
[[nodiscard]] const Histogram* main_histogram(const Repetition&) noexcept;

// JSON, in result_json.cpp. from_json throws Error(Errc::corrupt) saying what is wrong and where, for input that is no
// result, or is of another schema.
[[nodiscard]] std::string to_json(const Result&);
[[nodiscard]] Result result_from_json(std::string_view text);

}  // namespace bus::tools::measure
