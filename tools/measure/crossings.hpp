// tools/measure/crossings.hpp: the ways of crossing between two processes that can be measured.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/wait.hpp"
#include "tools/measure/control.hpp"
#include "tools/measure/job.hpp"

namespace bus::tools::measure {

struct Crossing {
  std::string_view id;    // in row ids and in --peers: "ring", "raw-unix", "zmq-ipc"
  std::string_view name;  // in tables: "raw unix"
  Family family;
  bool latency, throughput;
  bool one_process;                 // both ends in one process
  std::span<const WaitMode> waits;  // those that it knows; a row with another takes the nearest of them
  std::uint64_t least_size, most_size;
  std::optional<double> copies;  // of a payload, from the sender's memory to where the receiver reads it
};

/// Floors and peers that this program was built with; not ipcbus' own, and no brokers (brokers.hpp).
[[nodiscard]] std::span<const Crossing> crossings() noexcept;
/// Of those, and of the brokers that can be measured here.
[[nodiscard]] const Crossing* find_crossing(std::string_view id) noexcept;
/// Name and version of a peer's library; empty for floors.
[[nodiscard]] std::string library_of(std::string_view id);
/// Where the far end of a peer shall be in the next repetition, in that library's words.
[[nodiscard]] std::string peer_address(std::string_view id);
/// Takes away what killed ends of a peer have left. What is not there is no failure.
void sweep_peer(const Job&) noexcept;
/// Peers that this program was not built with, with the package that each needs.
[[nodiscard]] std::vector<std::string> missing_peers();

/// What the measuring process makes for a repetition of a floor and hands to the ends by inheritance.
struct Resources {
  std::vector<os::Fd> near, far;
};
/// Throws Error.
[[nodiscard]] Resources make_resources(const Job&);

/// The work of one role, in its own process (or thread). `fds` are this role's resources. `tell_address` is the far
/// end's way to say where it is, `await_address` the near end's to hear it, `await_start` returns the instant at which
/// all begin.
struct Meeting {
  virtual ~Meeting() = default;
  virtual void tell_address(const std::string& address) = 0;
  virtual std::string await_address() = 0;
  virtual std::uint64_t await_start() = 0;
  /// Says what was found and waits until all have: what is under way must not be cut off while others still read it.
  virtual void report(Findings found) = 0;
};
/// Throws Error. What goes wrong in the timed part is in the findings.
void run_role(const Job&, std::span<const int> fds, Meeting&);

}  // namespace bus::tools::measure
