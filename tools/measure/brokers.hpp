// tools/measure/brokers.hpp: what a comparison of brokers can measure: a message goes producer -> broker -> consumer.
//
// Ours is the crossing kOwnBroker with any address, the others are crossings of their own. broker_process.hpp runs the
// brokers; README.md says what is the same for all of them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/measure/crossings.hpp"

namespace bus::tools::measure {

inline constexpr std::string_view kOwnBroker = "broker";

/// A broker that is not ours, over one transport.
struct Broker {
  Crossing crossing;
  std::string_view program;  // the server's, and Debian's package of it; empty: a library's, run by this program
  std::string_view library;  // Debian's package of the client library
};

/// All that this source knows, whether they are here or not.
[[nodiscard]] std::span<const Broker> brokers() noexcept;
[[nodiscard]] const Broker* find_broker(std::string_view id) noexcept;
/// Why it cannot be measured here: its library was not there when this program was built, or its server is not now.
/// Empty: it can.
[[nodiscard]] std::string lack_of(const Broker&);
/// Those that cannot, with the reason and the package that helps: "NATS: ...".
[[nodiscard]] std::vector<std::string> missing_brokers();
/// Names and versions of client and server.
[[nodiscard]] std::string versions_of(const Broker&);

/// Whether a crossing leads through a broker, ours or another.
[[nodiscard]] bool is_through_broker(std::string_view crossing) noexcept;

/// The work of one role over a broker at job.address. Throws Error.
void run_at_broker(const Job&, Meeting&);

}  // namespace bus::tools::measure
