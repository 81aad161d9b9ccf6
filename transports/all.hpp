// transports/all.hpp: the transports of this build. Each function gives the one object of its transport.
#pragma once

#include "bus/core/transport.hpp"

namespace bus {

[[nodiscard]] const Transport& inproc_transport() noexcept;  // transports/inproc
[[nodiscard]] const Transport& shm_transport() noexcept;     // transports/shm
[[nodiscard]] const Transport& unix_transport() noexcept;    // transports/unix
[[nodiscard]] const Transport& tcp_transport() noexcept;     // transports/tcp
[[nodiscard]] const Transport& udp_transport() noexcept;     // transports/udp
[[nodiscard]] const Transport& mq_transport() noexcept;      // transports/mq

}  // namespace bus
