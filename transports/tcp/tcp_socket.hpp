// transports/tcp/tcp_socket.hpp: what each TCP connection of ours is set to.
#pragma once

#include "transports/stream/stream_channel.hpp"

namespace bus::tcp {

/// No waiting for more bytes to fill a segment, and a peer whose host is gone is noticed after 30 s of silence:
/// a probe after 10 s, two more 10 s apart. Best effort: a socket of which the peer is gone refuses.
void set_up(int socket) noexcept;

/// Closing such a socket may lose what the peer's kernel has not acknowledged: the channel waits for that.
[[nodiscard]] stream::StreamChannel::Terms terms_of(const Options&);

}  // namespace bus::tcp
