// tests/support/channel_pair.hpp: a listener and two connected channels on any transport, and the end of every case.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/transport.hpp"

namespace bus::test {

/// The schemes that this run is about: all that the build has, or the one that BUS_TEST_SCHEME names.
[[nodiscard]] std::vector<std::string> registered_schemes();
/// Those of them whose channels cross processes.
[[nodiscard]] std::vector<std::string> process_schemes();

/// An address to listen on that nobody else uses; `options` is a query without its '?'. The transport itself is asked
/// how its addresses are spelled: a name, or a host with a port where it will have one.
[[nodiscard]] std::string fresh_address(std::string_view scheme, std::string_view options = {});
/// The same, but fixed: it has its port already, so that it can be connected to before anyone listens.
[[nodiscard]] std::string fixed_address(std::string_view scheme, std::string_view options = {});
/// Whether addresses of a scheme have a port.
[[nodiscard]] bool has_port(std::string_view scheme);
[[nodiscard]] std::string with_options(std::string address, std::string_view options);

struct Pair {
  Listener listener;
  Channel client, server;
};

/// Listens and connects within this process. Throws what listen(), connect() or accept() have to say.
[[nodiscard]] Pair open_pair(std::string_view scheme, std::string_view options = {});
/// One more channel on a listener.
void open_more(Listener& listener, Channel& client, Channel& server);

/// What channels of a scheme promise; asked once.
[[nodiscard]] Traits traits_of(std::string_view scheme);

/// The end of every case: closes both ends at once and requires (Catch) that the books add up: on each end by
/// itself, between the two ends, and as the ends told each other where they do.
void close_books(Channel& one, Channel& other);
inline void close_books(Pair& pair) { close_books(pair.client, pair.server); }

/// A count of the books that Catch prints when a case fails.
[[nodiscard]] std::string to_text(const Books&);

}  // namespace bus::test
