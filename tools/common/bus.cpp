// tools/common/bus.cpp: see bus.hpp.
#include "tools/common/bus.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "bus/client/host.hpp"
#include "bus/core/units.hpp"
#include "bus/protocol/subject.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/json.hpp"
#include "tools/common/log.hpp"
#include "tools/common/summary.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kSlice = 100ms;  // how late a signal may be noticed

Json reasons_json(const ReasonCounts& counts) {
  Json object = Json::object();
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (counts[i] != 0) object[std::string(name(static_cast<Reason>(i)))] = counts[i];
  }
  return object;
}

std::string summary_json(const BusSummary& summary) {
  const NodeBooks& b = summary.books;
  Json object{{"type", "summary"},      {"bus", summary.bus},
              {"sent", summary.sent},   {"received", summary.received},
              {"bytes", summary.bytes}, {"seconds", std::chrono::duration<double>(summary.elapsed).count()},
              {"books", Json::object()}};
  Json& books = object["books"];
  books["published"] = b.published;
  books["accepted"] = b.accepted;
  books["unreached"] = b.unreached;
  books["received"] = b.received;
  books["dropped"] = reasons_json(b.dropped);
  // Only where there is something to tell.
  const auto tell = [&books](const char* key, std::uint64_t count) {
    if (count != 0) books[key] = count;
  };
  tell("settled", b.settled);
  tell("unacknowledged", summary.unacknowledged);
  if (total(b.undelivered) != 0) books["undelivered"] = reasons_json(b.undelivered);
  tell("copies_dropped", b.copies_dropped);
  tell("unknown_after_crash", b.unknown_after_crash);
  tell("lost", b.lost);
  tell("duplicates", b.duplicates);
  tell("missing", b.missing);
  tell("reconnects", b.reconnects);
  if (!summary.subscriptions.empty()) {
    Json& all = object["subscriptions"] = Json::array();
    for (const auto& [pattern, s] : summary.subscriptions) {
      all.push_back({{"pattern", pattern},
                     {"received", s.received},
                     {"dropped", reasons_json(s.dropped)},
                     {"missing", s.missing},
                     {"duplicates", s.duplicates}});
    }
  }
  if (summary.rtt != nullptr) {
    const Histogram& rtt = *summary.rtt;
    object["lost"] = summary.lost;
    object["rtt_ns"] = {{"min", rtt.least()},        {"p50", rtt.quantile(0.5)},    {"p90", rtt.quantile(0.9)},
                        {"p99", rtt.quantile(0.99)}, {"p999", rtt.quantile(0.999)}, {"max", rtt.greatest()}};
  }
  return json_line(object);
}

std::string books_text(const BusSummary& summary) {
  const NodeBooks& b = summary.books;
  const auto n = [](std::uint64_t number) { return std::to_string(number); };
  const auto tell = [&n](std::uint64_t count, std::string_view what) {
    return count == 0 ? std::string() : std::string("; ").append(what).append(" ").append(n(count));
  };
  std::string text = "books of " + summary.bus + "\n";
  text += "  publishing   published " + n(b.published) + " = accepted " + n(b.accepted) + " + lost " + n(b.lost) +
          " + unknown " + n(b.unknown_after_crash);
  if (const std::uint64_t known = b.accepted + b.lost + b.unknown_after_crash; known < b.published) {
    text += " + not yet accepted " + n(b.published - known);
  }
  text += "\n               reached nobody " + n(b.unreached) + tell(b.copies_dropped, "copies dropped");
  if (b.settled != 0) text += "; settled " + n(b.settled);
  text += tell(summary.unacknowledged, "not acknowledged");
  if (total(b.undelivered) != 0) text += "; undelivered " + reasons_text(b.undelivered);
  text += "\n  subscribing  received " + n(b.received) + "; dropped " + reasons_text(b.dropped) +
          tell(b.missing, "missing") + tell(b.duplicates, "duplicates") + "\n";
  for (const auto& [pattern, s] : summary.subscriptions) {
    text += "    " + pattern + "  received " + n(s.received) + "; dropped " + reasons_text(s.dropped) +
            tell(s.missing, "missing") + tell(s.duplicates, "duplicates") + "\n";
  }
  if (b.reconnects != 0)
    text += "  the broker was lost " + n(b.reconnects) + (b.reconnects == 1 ? " time\n" : " times\n");
  return text;
}

}  // namespace

std::string bus_of(const Arguments& arguments) {
  std::string bus = "shm://default";
  if (const auto given = arguments.text("bus")) {
    bus = *given;
  } else if (const char* const environment = std::getenv("BUS_URL"); environment != nullptr && *environment != '\0') {
    bus = environment;
  }
  check_address(client::BusAddress::parse(bus).channel);
  return bus;
}

void require_subject(const Arguments& arguments, std::string_view what, std::string_view subject) {
  if (protocol::valid_subject(subject)) return;
  throw UsageError(std::string(arguments.verb().name)
                       .append(": ")
                       .append(what)
                       .append(" '")
                       .append(subject)
                       .append("': a subject is tokens with a '.' between them, none empty, without white space, '*' "
                               "and '>', at most ")
                       .append(std::to_string(protocol::kMaxSubject))
                       .append(" bytes: sensors.kitchen.temp"));
}

void require_pattern(const Arguments& arguments, std::string_view pattern) {
  if (protocol::valid_pattern(pattern)) return;
  throw UsageError(std::string(arguments.verb().name)
                       .append(": pattern '")
                       .append(pattern)
                       .append("': a pattern is tokens with a '.' between them, none empty, without white space, at "
                               "most ")
                       .append(std::to_string(protocol::kMaxSubject))
                       .append(" bytes; '*' stands for one token, '>' at the end for all that follow: sensors.*.temp, "
                               "sensors.>"));
}

void read_headers(const Arguments& arguments, HeaderBlock& headers) {
  const auto fail = [&arguments](const std::string& text) {
    throw UsageError(std::string(arguments.verb().name) + ": --header " + text);
  };
  for (const std::string& header : arguments.list("header")) {
    const auto colon = header.find(':');
    if (colon == 0 || colon == std::string::npos) fail(header + ": allowed is KEY:VALUE");
    std::string_view value = std::string_view(header).substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);  // as HTTP's are written
    try {
      headers.add(std::string_view(header).substr(0, colon), value);
    } catch (const std::invalid_argument&) {
      fail("KEY:VALUE: all together have at most " + format_size(protocol::kMaxHeaders));
    }
  }
}

Node join_or_stop(const std::string& bus, const Arguments& arguments, Signals& signals,
                  const std::function<void()>& on_failure) {
  // join() cannot be interrupted. Nothing has been said yet, so nothing is lost by ending the process here.
  const Signals::OnStop guard(signals, [&] {
    on_failure();
    ::_exit(static_cast<int>(signals.exit()));
  });
  JoinOptions options;
  options.name = arguments.text("name").value_or(std::string(arguments.verb().name) + "-" + std::to_string(::getpid()));
  options.within = *arguments.duration("wait");
  try {
    return Node::join(bus, options);
  } catch (const Error&) {
    on_failure();
    throw;
  }
}

std::error_code until_stopped(const Signals& signals, Deadline deadline,
                              const std::function<std::error_code(Deadline)>& work) {
  for (;;) {
    const std::error_code error = work(std::min(deadline, in(kSlice)));
    if (error != Errc::timed_out || signals.stopped() || Clock::now() >= deadline) return error;
  }
}

std::error_code flush_all(Node& node, Deadline deadline) {
  const std::error_code error = node.flush(deadline);
  return error == Errc::peer_died ? node.flush(deadline) : error;
}

Full full_of(std::string_view rule) noexcept {
  if (rule == "drop-new") return Full::drop_new;
  if (rule == "drop-old") return Full::drop_old;
  if (rule == "disconnect") return Full::disconnect;
  return Full::block;
}

std::string publisher_text(std::uint64_t publisher) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(publisher));
  return text.data();
}

void report(const BusSummary& summary, const Arguments& arguments, const Signals& signals, Output& output) {
  if (arguments.flag("books") || (signals.stopped() && !arguments.flag("json"))) log::block(books_text(summary));
  try {
    if (arguments.flag("json")) output.write(summary_json(summary));
    output.flush();
  } catch (const OutputStuck& stuck) {
    log::warn(stuck.what());
  }
}

std::string joined_json(const Node& node) {
  return json_line(Json{{"type", "joined"},
                        {"bus", std::string(node.bus())},
                        {"node", publisher_text(node.publisher())},
                        {"hosts_broker", node.hosts_broker()}});
}

}  // namespace bus::tools
