// tools/measure/job.hpp: what one process of a repetition is told to do, and what it found.
//
// The process that measures starts the others and talks to each over a socket of its own, in JSON (control.hpp):
//   it tells     the job              once; its address is that of the broker, where there is one
//   it is told   address              the far end: where it can be reached
//   it tells     the far end's address to the near ends
//   it is told   ready
//   it tells     start at             CLOCK_MONOTONIC, the same for all
//   it is told   the findings         the process then ends
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/clock.hpp"
#include "tools/measure/payload.hpp"
#include "tools/measure/result.hpp"
#include "tools/measure/schedule.hpp"

namespace bus::tools::measure {

/// The end that offers the messages, the one that takes them, both in threads of one process, or the broker between
/// them.
enum class Role : unsigned char { near, far, both, broker };

struct Job {
  std::string crossing;  // which way of crossing: "bus", "ring", "unix", ... (crossings.hpp)
  std::string address;   // bus and peers
  Role role = Role::near;
  LoadModel load_model = LoadModel::closed;
  std::uint64_t size = 64;  // the largest
  std::string wait = "hybrid";
  Touch touch = Touch::all;
  bool copy = false;
  bool loan = false;
  std::uint64_t batch = 1;
  std::uint64_t producers = 1;
  std::uint64_t index = 0;  // of this near end
  int broker_pid = 0;       // of the broker that the messages go through; 0: none
  Arrivals arrivals;        // open
  std::uint64_t warm_up_ns = 0, timed_ns = 0;
  std::uint64_t most_messages = 0;  // ends the timed part earlier; 0: it does not
  std::uint64_t seed = 1;
  std::optional<int> cpu;
  std::optional<int> far_cpu;  // Role::both: of the far thread
  SampleClock::Scale clock;
  std::uint64_t delay_ns = 0;  // added to each round trip or message, to see what a comparison can tell apart
  bool trace = false;          // system calls are counted: marks the timed part
  bool echoes = false;         // open: the far end is an echo, and the answers are what is timed
};

/// What a role found. The near end's and the far end's are put together to one Repetition.
struct Findings {
  std::string failure;  // empty: it has done its work
  std::vector<std::string> warnings;
  std::uint64_t sent = 0, received = 0;   // all phases
  std::uint64_t messages = 0, bytes = 0;  // timed
  std::uint64_t offered = 0;              // open: that were due in the timed part
  double cost = 0;                        // of a cost row: nanoseconds of one
  double seconds = 0;                     // of the timed part, as this role saw it
  std::uint64_t duplicates = 0, reordered = 0, damaged = 0, clock_back = 0;
  std::map<std::string, Histogram> histograms;
  std::vector<Slice> timeline;
  std::vector<Worst> worst;
  std::uint64_t worst_from_ns = 0;  // CLOCK_MONOTONIC where `worst` begins to count: comparable between processes
  double cpu_ns = 0;                // of the process in the timed part
  std::uint64_t voluntary_switches = 0, involuntary_switches = 0, page_faults = 0;
};

[[nodiscard]] std::string to_json(const Job&);
[[nodiscard]] Job job_from_json(std::string_view);
[[nodiscard]] std::string to_json(const Findings&);
[[nodiscard]] Findings findings_from_json(std::string_view);

}  // namespace bus::tools::measure
