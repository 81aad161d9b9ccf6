// tools/common/exit_code.cpp: see exit_code.hpp.
#include "tools/common/exit_code.hpp"

#include "bus/core/errc.hpp"

namespace bus::tools {

Exit exit_of(std::error_code code) noexcept {
  if (!code) return Exit::ok;
  if (code == std::errc::broken_pipe) return Exit::pipe_closed;
  if (code.category() != category()) return Exit::failed;
  switch (static_cast<Errc>(code.value())) {
    case Errc::timed_out:
      return Exit::timed_out;
    case Errc::closed:
    case Errc::peer_died:
    case Errc::no_peer:
    case Errc::refused:
    case Errc::no_subscriber:
    case Errc::version_mismatch:
      return Exit::no_peer;
    case Errc::corrupt:
      return Exit::loss;
    case Errc::bad_address:
      return Exit::usage;
    case Errc::would_block:
    case Errc::message_too_large:
    case Errc::no_room:
    case Errc::permission_denied:
    case Errc::address_in_use:
    case Errc::busy:
    case Errc::not_supported:
      break;
  }
  return Exit::failed;
}

}  // namespace bus::tools
