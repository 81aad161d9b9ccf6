// transports/mq/endpoints.hpp: the two sides of a handshake.
#pragma once

#include <memory>

#include "bus/core/transport.hpp"

namespace bus::mq {

/// Listens on a socket in the runtime directory. Throws as Transport::listen().
[[nodiscard]] std::unique_ptr<ListenerImpl> make_listener(const Address&, const Options&);
/// Throws as Transport::connector().
[[nodiscard]] std::unique_ptr<ConnectorImpl> make_connector(const Address&, const Options&);

}  // namespace bus::mq
