// tools/measure/broker_process.hpp: the role that runs a broker for one repetition: ours or another's server, as a
// child; or ZeroMQ's proxy, which is a library's, in this process.
//
// Servers listen on loopback or on a socket in the runtime directory, write nothing to a disk, ask nobody who he is,
// send at once (TCP_NODELAY) and have no limit below what the measurement's window allows to be in flight.
#pragma once

#include "tools/measure/control.hpp"
#include "tools/measure/job.hpp"

namespace bus::tools::measure {

/// Says "PID ADDRESS" when it listens (or findings with the failure), and ends it when the other side of `control` says
/// anything or is gone. Says findings with the failure, too, when the broker ends before that.
void serve_broker(const Job&, Control&);

/// What it said.
struct ServedBroker {
  pid_t pid = 0;  // of the process that routes
  std::string address;
};
/// Throws Error.
[[nodiscard]] ServedBroker parse_served(const std::string& text);

/// Where the broker shall be in the next repetition, for serve_broker(): a path, or empty where it gets a port.
[[nodiscard]] std::string broker_place(std::string_view crossing);
/// Takes away what a killed one has left there. Does nothing for ours: whoever listens there next does it.
void sweep_broker(const Job&) noexcept;

}  // namespace bus::tools::measure
