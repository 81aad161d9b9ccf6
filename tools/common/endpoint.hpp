// tools/common/endpoint.hpp: connecting and listening as all verbs do it, and how they speak of peers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

/// How long a verb that ends waits for its peers to take what was sent.
inline constexpr std::chrono::seconds kCloseFor{2};

/// Throws Error for an address that cannot be understood or that joins threads of one process only, so that a typing
/// error is reported before anything else happens.
void check_address(const std::string& address);

/// Throws Error when messages of `size` bytes, which are to come back, are more than an end with this address accepts.
/// `what` begins its text: "ping ADDRESS: --size 2MiB".
void check_accepts(const std::string& what, const std::string& address, std::uint64_t size);

/// Connects, waiting for the listener for so long. When it fails, or a signal comes meanwhile, runs `on_failure` (the
/// summary of nothing; on another thread); then it throws Error, or ends the process with the signal's exit code.
[[nodiscard]] Channel connect_or_stop(const std::string& address, std::chrono::nanoseconds wait, Signals& signals,
                                      const std::function<void()>& on_failure);

/// The first channel that comes; none after a signal. Throws Error(timed_out), and accept()'s.
[[nodiscard]] std::optional<Channel> accept_or_stop(Listener& listener, Deadline deadline, Signals& signals);

/// Closes and waits for the peer's word for `linger`, and no longer than `after_signal` once a signal has come. Errors:
/// close()'s. For main's thread; an OnStop may interrupt() at the same time.
[[nodiscard]] std::error_code close_or_stop(Channel& channel, std::chrono::nanoseconds linger,
                                            std::chrono::nanoseconds after_signal, const Signals& signals) noexcept;

/// Wakes whoever waits in the channel, for good, and waits for nobody: closing in good order is close_or_stop()'s.
inline void interrupt(Channel& channel) noexcept { static_cast<void>(channel.close(Deadline::min())); }

/// Listens and says so on stderr, and with `output` also there, as an event. Throws Error.
[[nodiscard]] Listener listen_and_say(const std::string& address, Output* output);

/// Every client costs descriptors: as many as the hard limit allows.
void raise_descriptor_limit() noexcept;

/// "pid 123, uid 0", "127.0.0.1:40000", or both; empty when nothing is known.
[[nodiscard]] std::string describe_peer(const Peer& peer);

}  // namespace bus::tools
