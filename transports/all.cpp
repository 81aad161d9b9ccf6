// transports/all.cpp: the one list of transports that this build contains.
#include "transports/all.hpp"

#include <array>

namespace bus {

std::span<const Transport* const> transports() noexcept {
  static const std::array<const Transport*, 6> list{
      &inproc_transport(), &shm_transport(), &unix_transport(), &tcp_transport(), &udp_transport(), &mq_transport(),
  };
  return list;
}

}  // namespace bus
