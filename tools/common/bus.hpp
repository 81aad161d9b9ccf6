// tools/common/bus.hpp: what the verbs of the bus share: which bus, joining it, subjects, and what is said at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/client/node.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/histogram.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

// Options that all of them have.
inline constexpr Option kBusOption{'b', "bus", Kind::text, "URL",
                                   "the bus: an address (else the environment's BUS_URL, else shm://default)"};
inline constexpr Option kNameOption{0, "name", Kind::text, "NAME", "what this node is called (verb and pid)"};
inline constexpr Option kBusWaitOption{0, "wait", Kind::duration, "D", "how long to wait for the bus", "5s"};
inline constexpr std::string_view kFullRules = "block|drop-new|drop-old|disconnect";

/// --bus, else BUS_URL, else shm://default. Throws Error(bad_address), so that a typing error is reported before
/// anything else happens.
[[nodiscard]] std::string bus_of(const Arguments& arguments);

/// Throw UsageError that says the rule.
void require_subject(const Arguments& arguments, std::string_view what, std::string_view subject);
void require_pattern(const Arguments& arguments, std::string_view pattern);

/// --header KEY:VALUE, each. Throws UsageError.
void read_headers(const Arguments& arguments, HeaderBlock& headers);

/// Joins, waiting for --wait. When it fails, or a signal comes meanwhile, runs `on_failure` (the summary of nothing; on
/// another thread); then it throws Error, or ends the process with the signal's exit code.
[[nodiscard]] Node join_or_stop(const std::string& bus, const Arguments& arguments, Signals& signals,
                                const std::function<void()>& on_failure);

/// Calls `work(deadline)` with short deadlines, for as long as it times out, until `deadline` or a signal.
[[nodiscard]] std::error_code until_stopped(const Signals& signals, Deadline deadline,
                                            const std::function<std::error_code(Deadline)>& work);

/// Until the broker has accepted everything, but for what was in flight when one died: the books say of how much.
[[nodiscard]] std::error_code flush_all(Node& node, Deadline deadline);

[[nodiscard]] Full full_of(std::string_view rule) noexcept;  // one of kFullRules
/// 16 hexadecimal digits: JSON's readers keep 53 bits of a number.
[[nodiscard]] std::string publisher_text(std::uint64_t publisher);

/// What a verb of the bus says at its end. Sums over all its subscriptions.
struct BusSummary {
  std::string bus;
  std::uint64_t sent = 0, received = 0;  // messages: questions and answers for request and reply
  std::uint64_t bytes = 0;               // of payload, in the direction that is the verb's work
  std::chrono::nanoseconds elapsed{0};
  NodeBooks books;
  std::uint64_t unacknowledged = 0;  // published as `delivered`, and no outcome is known
  std::vector<std::pair<std::string, SubscriptionBooks>> subscriptions;  // by pattern
  const Histogram* rtt = nullptr;                                        // request --count
  std::uint64_t lost = 0;
};

/// Prints what --json and --books ask for; the books also when a signal ended the work.
void report(const BusSummary& summary, const Arguments& arguments, const Signals& signals, Output& output);

/// {"type":"joined","bus":...,"node":...,"hosts_broker":...}.
[[nodiscard]] std::string joined_json(const Node& node);

}  // namespace bus::tools
