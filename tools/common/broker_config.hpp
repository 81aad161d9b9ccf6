// tools/common/broker_config.hpp: what a broker is told by a file (TOML), by options, or by both.
//
//     listen = ["shm://lab", "tcp://127.0.0.1:4222"]
//     insecure = false
//     drain = "5s"
//     name = "lab"
//
//     [limits]
//     max-clients = 1024          # as the options of bus broker; sizes as bytes or "64MiB", counts as 10000 or "10k"
//     max-memory = "256MiB"
//
// Nothing is guessed: an unknown key, a value of another type or out of range, a file without a key, are mistakes. Each
// is one line, FILE:LINE:COLUMN: what is wrong, and what is allowed.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/core.hpp"
#include "tools/common/verb.hpp"

namespace bus::tools {

/// A limit that the user may set, by the name that its option and its key have.
struct BrokerLimit {
  std::string_view name;
  Kind kind;  // count or size
};
inline constexpr std::array<BrokerLimit, 6> kBrokerLimits{{
    {"max-clients", Kind::count},
    {"max-message", Kind::size},
    {"max-subscriptions", Kind::count},
    {"max-memory", Kind::size},
    {"max-history", Kind::count},
    {"window", Kind::count},
}};
/// Sets one of them. Empty, or what is allowed if the value is not: then nothing has changed.
[[nodiscard]] std::string set_limit(broker::Limits& limits, std::string_view name, std::uint64_t value);

struct BrokerConfig {
  struct Entry {
    std::string address;
    std::string where;  // FILE:LINE:COLUMN, for what is wrong with it
  };
  std::vector<Entry> listen;
  std::optional<bool> insecure;
  std::optional<std::chrono::nanoseconds> drain;
  std::optional<std::string> name;
  std::map<std::string, std::uint64_t, std::less<>> limits;  // by their names; each has a value that is allowed
};

/// Throws UsageError: the file cannot be read, or a mistake in it. Addresses are looked at by whoever listens.
[[nodiscard]] BrokerConfig read_broker_config(const std::string& path);
/// The same of a text; `path` is for error texts.
[[nodiscard]] BrokerConfig parse_broker_config(std::string_view text, const std::string& path);

}  // namespace bus::tools
