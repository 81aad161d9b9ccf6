// tools/measure/runner.hpp: one repetition: fresh processes, fresh endpoints, one common start, and what they found.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>

#include "tools/common/signals.hpp"
#include "tools/measure/job.hpp"

namespace bus::tools::measure {

/// What a repetition is about. The roles are made from it.
struct Task {
  Job job;  // the near end's; role, index and address are filled in
  bool one_process = false;
  std::string peer;  // an echo that already runs; there is no far end of ours then
  std::optional<int> near_cpu, far_cpu;
};

/// A signal of the user's has ended the measurement.
struct Stopped : std::exception {
  [[nodiscard]] const char* what() const noexcept override { return "stopped by a signal"; }
};

/// Runs it. What does not work makes the repetition invalid and says why; a signal of the user's ends it (Error,
/// closed). Throws Error when processes cannot be started at all.
[[nodiscard]] Repetition run_repetition(const Task&, Signals&);

/// The system calls of one message, over all roles: counted in a run of its own, of which nothing else is used.
struct CallsPerMessage {
  double calls = 0, yields = 0;
};
/// None when it does not work (a process that may not be traced). Throws Stopped.
[[nodiscard]] std::optional<CallsPerMessage> count_calls(const Task&, Signals&);

/// The name that the next repetition's endpoint may have: nobody else uses it.
[[nodiscard]] std::string fresh_name();

}  // namespace bus::tools::measure
