// tools/verbs/doctor.cpp: bus doctor: what makes this machine noisy or unsafe, and with --intrinsic its own pauses.
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "bus/core/units.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/log.hpp"
#include "tools/common/output.hpp"
#include "tools/measure/doctor.hpp"
#include "tools/measure/intrinsic.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

// Between the two looks at load, steal and processes: 50 clock ticks of 10 ms for each CPU.
constexpr auto kApart = 500ms;

[[noreturn]] void wrong(const std::string& text) { throw UsageError("doctor: " + text + "; see bus help doctor"); }

/// "all", or a list as 0,2-3 of CPUs that this program may use; without it the one that runs this, where it is quiet
/// enough for somebody to start programs.
std::vector<int> chosen_cpus(const Arguments& arguments) {
  std::vector<int> allowed = measure::allowed_cpus(measure::SystemFiles());
  const auto text = arguments.text("cpus");
  if (!text) {
    const int here = ::sched_getcpu();
    return {here >= 0 ? here : allowed.front()};
  }
  if (*text == "all") return allowed;
  const auto cpus = measure::parse_cpus(*text);
  if (!cpus || cpus->empty()) wrong("--cpus " + *text + ": allowed is all, or a list such as 0,2-3");
  for (const int cpu : *cpus) {
    if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end()) {
      wrong("--cpus " + *text + ": CPU " + std::to_string(cpu) + " is not one of " + measure::cpus_text(allowed) +
            ", which this program may use");
    }
  }
  return *cpus;
}

Exit run_intrinsic(const Arguments& arguments, Signals& signals, Output& output) {
  const auto duration = *arguments.duration("intrinsic");
  const auto threshold = *arguments.duration("threshold");
  if (duration <= 0ns) wrong("--intrinsic 0: write for how long to look, such as 5s");
  if (threshold < 100ns)
    wrong("--threshold " + format_duration(threshold) + ": the least is 100ns, some readings of the clock");
  const std::vector<int> cpus = chosen_cpus(arguments);
  log::info("reading the clock for " + format_duration(duration) + " on " + (cpus.size() == 1 ? "CPU " : "CPUs ") +
            measure::cpus_text(cpus));
  const auto results = measure::watch_pauses(cpus, threshold, [&] { signals.sleep_until(in(duration)); });
  output.write(arguments.flag("json") ? measure::intrinsic_json(results, threshold)
                                      : measure::intrinsic_text(results, threshold));
  output.flush();
  return signals.exit();
}

Exit run_doctor(const Arguments& arguments, Signals& signals) {
  Output output(signals);
  if (arguments.given("intrinsic")) return run_intrinsic(arguments, signals, output);
  for (const char* const name : {"cpus", "threshold"}) {
    if (arguments.given(name)) wrong("--" + std::string(name) + " is for --intrinsic");
  }
  const auto machine = measure::Machine::here([&] { signals.sleep_until(in(kApart)); });
  const std::vector<measure::Finding> findings = measure::examine(machine);
  if (signals.stopped()) return signals.exit();
  const char* const no_colour = std::getenv("NO_COLOR");
  const bool colour = output.is_terminal() && (no_colour == nullptr || *no_colour == '\0');
  output.write(arguments.flag("json") ? measure::findings_json(findings)
                                      : measure::findings_text(findings, arguments.flag("all"), colour));
  output.flush();
  return measure::tally(findings).problems > 0 ? Exit::failed : Exit::ok;
}

}  // namespace

const Verb& doctor_verb() noexcept {
  static constexpr std::array<Option, 4> kOptions{{
      {'a', "all", Kind::flag, "", "show what is in order, too"},
      {0, "intrinsic", Kind::duration, "D", "instead: spin for so long and tell the machine's own pauses"},
      {0, "cpus", Kind::text, "all|LIST", "with --intrinsic: on these CPUs at once, such as 0,2-3 (else on one)"},
      {0, "threshold", Kind::duration, "D", "with --intrinsic: shorter gaps are no pause", "1us"},
  }};
  static constexpr std::array<Example, 4> kExamples{{
      {"bus doctor", "findings, the worst first, each with the command that mends it"},
      {"bus doctor --all", "and what is in order"},
      {"bus doctor --intrinsic 10s --cpus all", "how long and how often each CPU stands still, and why"},
      {"bus doctor --json | grep '\"problem\"'", "for scripts: an object a line, the last one is the summary"},
  }};
  static constexpr Verb kVerb{
      "doctor",
      "what makes this machine noisy or unsafe, the command that mends it, leftovers",
      "",
      0,
      0,
      "Looks at CPUs, clocks, memory, limits, sockets, the kernel, what else runs, the places of local names\n"
      "and what dead programs left there, for half a second. It changes nothing: it only says the command.\n"
      "Exit code 1 if there is a problem: then messages cannot be moved, or figures mean nothing. Warnings and\n"
      "notes are about how steady figures are, and give 0.\n",
      kOptions,
      kExamples,
      run_doctor,
  };
  return kVerb;
}

}  // namespace bus::tools
