// tools/common/exit_code.hpp: what the program's exit codes mean, and the one mapping from errors to them.
#pragma once

#include <system_error>

namespace bus::tools {

enum class Exit : int {
  ok = 0,
  failed = 1,         // anything that has no code of its own
  usage = 2,          // the command line or an address cannot be understood, or the address is not allowed
  timed_out = 3,      // what was waited for did not happen in time
  no_peer = 4,        // nobody there, refused, or the peer went away before the work was done
  loss = 5,           // messages were lost or damaged; a measurement does not count
  regression = 6,     // slower than before
  hung_up = 129,      // 128 + SIGHUP, where a verb runs commands
  interrupted = 130,  // 128 + SIGINT
  pipe_closed = 141,  // 128 + SIGPIPE: whoever read our output has gone
  terminated = 143,   // 128 + SIGTERM
};

[[nodiscard]] Exit exit_of(std::error_code code) noexcept;

}  // namespace bus::tools
