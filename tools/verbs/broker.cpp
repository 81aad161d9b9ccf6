// tools/verbs/broker.cpp: bus broker: a broker on any number of addresses; or what a running one says of itself.
#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bus/broker/server.hpp"
#include "bus/core/address.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/units.hpp"
#include "tools/common/broker_config.hpp"
#include "tools/common/bus.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/hangup.hpp"
#include "tools/common/inherited.hpp"
#include "tools/common/json.hpp"
#include "tools/common/log.hpp"
#include "tools/common/notify.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/table.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

/// Whether others than this machine can reach it.
bool is_open_to_others(const Address& address) {
  std::string_view scheme = address.scheme();
  if (scheme.starts_with("fault+")) scheme.remove_prefix(6);
  if (scheme != "tcp" && scheme != "udp" && scheme != "tls") return false;
  if (address.host() == "localhost") return false;
  in_addr v4{};
  if (::inet_pton(AF_INET, address.host().c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) != 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, address.host().c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) == 0;
  return true;  // a name: what it means is known elsewhere
}

// ---- serving ----

constexpr std::string_view kOpen =
    "anybody who reaches this address could read and write everything; on a network that you trust say ";
constexpr std::string_view kElse = ", else listen on 127.0.0.1, [::1] or localhost";

/// What holds: the options of the command line, else the file's keys, else what the help says.
struct Settings {
  std::vector<std::string> listen;  // checked, with insecure=1 where it is needed
  bool insecure = false;
  std::chrono::nanoseconds drain{};
  std::string name;
  broker::Limits limits = broker::default_limits();
};

/// Throws UsageError or Error(bad_address). `where` is a place in a file; empty: the command line.
std::string checked_address(std::string address, const std::string& where, bool insecure) {
  try {
    check_address(address);
  } catch (const Error& error) {
    if (where.empty()) throw;
    throw UsageError(where + ": " + error.what());
  }
  const Address parsed = Address::parse(address);
  if (!is_open_to_others(parsed) || parsed.option("insecure") == "1") return address;
  if (!insecure) {
    throw UsageError((where.empty() ? "broker: --listen " : where + ": ") + address + ": " + std::string(kOpen) +
                     (where.empty() ? "--insecure" : "insecure = true") + std::string(kElse));
  }
  if (!parsed.option("insecure")) address += address.find('?') == std::string::npos ? "?insecure=1" : "&insecure=1";
  return address;
}

std::string_view without_options(std::string_view address) { return address.substr(0, address.find('?')); }

/// Throws as checked_address() does, and for an address that is there already.
void add_address(Settings& settings, const std::string& address, const std::string& where) {
  std::string checked = checked_address(address, where, settings.insecure);
  for (const std::string& other : settings.listen) {
    const bool finds_a_port = Address::parse(checked).port() == 0;
    if (finds_a_port || without_options(other) != without_options(checked)) continue;
    throw UsageError((where.empty() ? "broker: --listen " : where + ": ") + address + ": is there twice");
  }
  settings.listen.push_back(std::move(checked));
}

/// Reads the file, too, if there is one. `needs_address`: without any it is the bus that clients would use.
Settings settings_of(const Arguments& arguments, bool needs_address) {
  BrokerConfig config;
  if (const auto file = arguments.text("config")) config = read_broker_config(*file);
  Settings settings;
  settings.insecure = arguments.flag("insecure") || config.insecure.value_or(false);
  settings.drain =
      arguments.given("drain") ? *arguments.duration("drain") : config.drain.value_or(*arguments.duration("drain"));
  settings.name = arguments.text("name").value_or(config.name.value_or(""));
  for (const BrokerLimit& limit : kBrokerLimits) {
    if (const auto value = arguments.number(limit.name)) {
      const std::string allowed = set_limit(settings.limits, limit.name, *value);
      if (!allowed.empty()) throw UsageError("broker: --" + std::string(limit.name) + ": allowed is " + allowed);
    } else if (const auto found = config.limits.find(limit.name); found != config.limits.end()) {
      static_cast<void>(set_limit(settings.limits, limit.name, found->second));  // the file was checked
    }
  }
  for (const std::string& address : arguments.list("listen")) add_address(settings, address, {});
  if (settings.listen.empty()) {
    for (const auto& [address, where] : config.listen) add_address(settings, address, where);
  }
  if (settings.listen.empty() && needs_address) add_address(settings, bus_of(arguments), {});
  return settings;
}

/// Those of a service manager, each with the options of the address in `listen` that is the same, which is then none to
/// be opened any more.
std::vector<Listener> take_over(const std::vector<InheritedSocket>& sockets, Settings& settings) {
  std::vector<Listener> listeners;
  for (const InheritedSocket& socket : sockets) {
    const std::string number = "descriptor " + std::to_string(socket.descriptor);
    try {
      const std::string address = address_of_socket(socket.descriptor);
      log::info(describe_inherited(socket) + " is " + address);
      std::string options;
      const auto same = std::find_if(settings.listen.begin(), settings.listen.end(),
                                     [&](const std::string& listed) { return without_options(listed) == address; });
      if (same != settings.listen.end()) {
        options = same->substr(std::min(address.size() + 1, same->size()));
        settings.listen.erase(same);
      } else if (is_open_to_others(Address::parse(address))) {
        if (!settings.insecure) {
          throw UsageError("broker: " + describe_inherited(socket) + " is " + address + ": " + std::string(kOpen) +
                           "--insecure" + std::string(kElse));
        }
        options = "insecure=1";
      }
      listeners.push_back(listen_on(socket.descriptor, options, broker::largest_frame(settings.limits)));
    } catch (const Error& error) {
      std::string text = error.what();
      if (text.starts_with(number)) text = describe_inherited(socket) + text.substr(number.size());
      // Whoever wrote the service's sockets down has to choose others.
      throw Error(error.code() == Errc::not_supported ? Errc::bad_address : error.code(), "broker: " + text);
    }
  }
  return listeners;
}

std::string totals_text(const broker::Totals& totals) {
  const auto n = [](std::uint64_t number) { return std::to_string(number); };
  std::string text = "books\n  messages  accepted " + n(totals.accepted) + "; reached nobody " + n(totals.unreached);
  if (totals.lost_coming > 0) text += "; lost on the way here " + n(totals.lost_coming);
  text += "\n  copies    " + n(totals.copies) + " = delivered " + n(totals.delivered) + " + dropped " +
          n(total(totals.dropped));
  if (total(totals.dropped) > 0) text += " (" + reasons_text(totals.dropped) + ")";
  text += " + waiting " + n(totals.waiting);
  if (totals.again > 0) text += "; sent again " + n(totals.again);
  return text + "\n";
}

Json totals_json(const broker::Totals& totals) {
  Json dropped = Json::object();
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (totals.dropped[i] > 0) dropped[std::string(name(static_cast<Reason>(i)))] = totals.dropped[i];
  }
  return Json{{"accepted", totals.accepted},   {"unreached", totals.unreached}, {"lost_coming", totals.lost_coming},
              {"copies", totals.copies},       {"delivered", totals.delivered}, {"again", totals.again},
              {"dropped", std::move(dropped)}, {"waiting", totals.waiting}};
}

void announce(const std::string& address, Output* json) {
  log::info("listening on " + address);
  if (json == nullptr) return;
  Event event;
  event.type = "listening";
  event.address = address;
  json->write(event_json(event));
}

/// A broker that reads its configuration again when it is told to.
class Reloading {
 public:
  Reloading(const Arguments& arguments, broker::Server& server, const Settings& settings,
            std::vector<std::string> taken_over, Output* json)
      : arguments_(arguments),
        server_(server),
        name_(settings.name),
        taken_over_(std::move(taken_over)),
        json_(json),
        drain_(settings.drain) {}

  /// Throws nothing: what is wrong is said, and then nothing has changed.
  void reload() noexcept {
    try {
      if (!arguments_.given("config")) {
        log::warn("SIGHUP is ignored: there is no configuration to read again; see --config");
        return;
      }
      // Source: sd_notify(3); the time tells this reload from others.
      const auto now = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
      notify_service_manager("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.count()));
      try {
        change();
      } catch (const std::exception& error) {
        log::error(std::string(error.what()) + "; the configuration stays as it was");
      }
      notify_service_manager("READY=1");
    } catch (const std::exception&) {
      // No memory to say something with; the next SIGHUP may find more.
    }
  }

  [[nodiscard]] std::chrono::nanoseconds drain() const noexcept { return drain_.load(); }

 private:
  void change() {
    Settings settings = settings_of(arguments_, taken_over_.empty());
    std::erase_if(settings.listen, [this](const std::string& address) {
      return std::find(taken_over_.begin(), taken_over_.end(), without_options(address)) != taken_over_.end();
    });
    const std::vector<std::string> before = server_.addresses();
    if (!server_.change(settings.limits, settings.listen)) return;  // it is stopping
    drain_.store(settings.drain);
    say_changed(settings, before);
  }

  void say_changed(const Settings& settings, const std::vector<std::string>& before) {
    log::info("read " + *arguments_.text("config") + " again");
    if (settings.name != name_) log::warn("the broker keeps its name until its next start");
    const std::vector<std::string> after = server_.addresses();
    const auto has = [](const std::vector<std::string>& all, const std::string& address) {
      return std::find(all.begin(), all.end(), address) != all.end();
    };
    for (const std::string& address : after) {
      if (!has(before, address)) say_listening(address);
    }
    for (const std::string& address : before) {
      if (!has(after, address)) log::info("no longer listening on " + address);
    }
  }

  void say_listening(const std::string& address) {
    try {
      announce(address, json_);
      if (json_ != nullptr) json_->flush();
    } catch (const std::exception&) {
      // Nobody reads stdout any more: main finds that out when it writes there.
    }
  }

  const Arguments& arguments_;
  broker::Server& server_;
  const std::string name_;
  const std::vector<std::string> taken_over_;  // addresses without options
  Output* const json_;                         // main's, who does not write while the broker runs
  std::atomic<std::chrono::nanoseconds> drain_;
};

Exit serve(const Arguments& arguments, Signals& signals) {
  const bool json = arguments.flag("json");
  const std::vector<InheritedSocket> inherited = inherited_sockets();
  Settings settings = settings_of(arguments, inherited.empty());
  raise_descriptor_limit();

  Output output(signals);
  std::vector<std::string> taken_over;
  broker::Server server = [&] {
    broker::Server::Options options;
    options.listeners = take_over(inherited, settings);
    for (const Listener& listener : options.listeners) taken_over.emplace_back(without_options(listener.address()));
    options.listen = settings.listen;
    options.limits = settings.limits;
    options.name = settings.name;
    try {
      return broker::Server(std::move(options));
    } catch (const Error& error) {
      // An address that is not allowed to us is a mistake in the command line: another one has to be chosen.
      if (error.code() == Errc::permission_denied) throw Error(Errc::bad_address, error.what());
      throw;
    }
  }();
  Reloading reloading(arguments, server, settings, std::move(taken_over), json ? &output : nullptr);
  const auto start = Clock::now();
  {
    const OnHangup on_hangup([&reloading] { reloading.reload(); });
    struct Stop {
      broker::Server& server;
      ~Stop() { server.stop(); }  // a reload does not wait for a broker that will not run
    } const stop{server};
    for (const std::string& address : server.addresses()) announce(address, json ? &output : nullptr);
    output.flush();
    notify_service_manager("READY=1");
    const Signals::OnStop guard(signals, [&] {
      const auto drain = reloading.drain();
      log::info("stopping: delivers what waits for at most " + format_duration(drain));
      notify_service_manager("STOPPING=1");
      server.drain(in(drain));
    });
    server.run();
  }
  const broker::Totals totals = server.totals();
  log::info("accepted " + counted(totals.accepted, "message") + ", delivered " + std::to_string(totals.delivered) +
            (total(totals.dropped) > 0 ? ", dropped " + std::to_string(total(totals.dropped)) : "") +
            (totals.unreached > 0 ? ", reached nobody " + std::to_string(totals.unreached) : ""));
  if (arguments.flag("books")) log::block(totals_text(totals));
  if (json) {
    Json summary{{"type", "summary"},
                 {"addresses", server.addresses()},
                 {"seconds", std::chrono::duration<double>(Clock::now() - start).count()},
                 {"books", totals_json(totals)}};
    output.write(json_line(summary));
    output.flush();
  }
  return signals.exit();
}

// ---- asking a running one ----

struct Sample {
  Json status, subscriptions;
  Clock::time_point at;
};

Sample ask(Node& node, const Signals& signals, Deadline deadline) {
  const auto query = [&](std::string_view what) {
    std::string text;
    const std::error_code error = until_stopped(signals, deadline, [&](Deadline d) -> std::error_code {
      Result<std::string> answer = node.query(what, d);
      if (!answer) return answer.error();
      text = std::move(*answer);
      return {};
    });
    if (error) throw Error(error, describe("broker --status", node.bus(), error));
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) throw Error(Errc::corrupt, describe("broker --status", node.bus(), Errc::corrupt));
    return json;
  };
  Sample sample;
  sample.status = query("status");
  sample.at = Clock::now();
  sample.subscriptions = query("subscriptions").value("subscriptions", Json::array());
  return sample;
}

std::uint64_t number_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

std::string text_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? harmless(it->get<std::string>()) : std::string();
}

/// Adds what came to be between two samples, a second.
void add_rates(Json& now, const Json& before, double seconds) {
  for (const char* const key : {"accepted", "delivered"}) {
    const std::uint64_t more = number_of(now, key) - std::min(number_of(now, key), number_of(before, key));
    now[std::string(key) + "_per_second"] = seconds > 0 ? static_cast<double>(more) / seconds : 0.0;
  }
}

std::string rate_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return {};
  const double rate = it->get<double>();
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), rate >= 100 || rate == 0 ? "%.0f" : "%.3g", rate);
  return text.data();
}

std::string status_text(const Json& status, const Json& subscriptions, std::size_t width) {
  const auto n = [](const Json& object, const char* key) { return std::to_string(number_of(object, key)); };
  const auto dropped = [](const Json& object) {
    std::string text;
    if (const auto it = object.find("dropped"); it != object.end() && it->is_object()) {
      for (const auto& [reason, count] : it->items()) {
        text += (text.empty() ? "" : ", ") + harmless(reason) + " " + count.dump();
      }
    }
    return text;
  };
  std::string text = text_of(status, "name") + ": up " +
                     format_duration(std::chrono::seconds(static_cast<std::int64_t>(status.value("up_seconds", 0.0)))) +
                     ", " +
                     counted(status.value("clients", Json::array()).size() + number_of(status, "left_out"), "client") +
                     ", " + counted(number_of(status, "subscriptions"), "subscription") + ", memory " +
                     format_size(number_of(status, "memory")) + "\n";
  text += "messages  accepted " + n(status, "accepted") + " (" + rate_of(status, "accepted_per_second") +
          "/s); reached nobody " + n(status, "unreached") + "; lost on the way here " + n(status, "lost_coming") + "\n";
  const std::string drops = dropped(status);
  text += "copies    " + n(status, "copies") + " = delivered " + n(status, "delivered") + " (" +
          rate_of(status, "delivered_per_second") + "/s) + dropped " + (drops.empty() ? "0" : drops) + " + waiting " +
          n(status, "waiting") + "\n\n";

  measure::Table clients({{"client", true},
                          {"name", false},
                          {"peer", false, 1},
                          {"accepted"},
                          {"/s"},
                          {"delivered"},
                          {"/s"},
                          {"subs", true, 3},
                          {"held back", true, 2}});
  for (const Json& client : status.value("clients", Json::array())) {
    clients.add({{n(client, "client")},
                 {text_of(client, "name")},
                 {text_of(client, "peer")},
                 {n(client, "accepted")},
                 {rate_of(client, "accepted_per_second")},
                 {n(client, "delivered")},
                 {rate_of(client, "delivered_per_second")},
                 {n(client, "subscriptions")},
                 {n(client, "held_back")}});
  }
  text += clients.text(width, false);
  const auto others = [](std::uint64_t count) {
    return count > 0 ? "and " + std::to_string(count) + " more than one answer holds\n" : std::string();
  };
  text += others(number_of(status, "left_out"));
  if (subscriptions.empty()) return text;
  measure::Table table({{"pattern", false},
                        {"queue", false},
                        {"client", false},
                        {"sent"},
                        {"waiting"},
                        {"depth", true, 2},
                        {"full", false, 2},
                        {"dropped", false, 3}});
  for (const Json& one : subscriptions) {
    table.add({{text_of(one, "pattern")},
               {text_of(one, "queue")},
               {text_of(one, "name")},
               {n(one, "sent")},
               {n(one, "waiting")},
               {n(one, "depth")},
               {text_of(one, "full")},
               {dropped(one)}});
  }
  const std::uint64_t all = number_of(status, "subscriptions");
  return text + "\n" + table.text(width, false) + others(all - std::min<std::uint64_t>(all, subscriptions.size()));
}

Exit print_status(const Arguments& arguments, Signals& signals) {
  std::string bus = bus_of(arguments);
  if (!Address::parse(bus).option("embed")) bus += bus.find('?') == std::string::npos ? "?embed=never" : "&embed=never";
  Node node = join_or_stop(bus, arguments, signals, [] {});
  const auto wait = *arguments.duration("wait");
  const Sample first = ask(node, signals, in(wait));
  const auto interval = *arguments.duration("interval");
  Sample last = first;
  if (interval > 0ns) {
    if (signals.sleep_until(in(interval))) return signals.exit();
    last = ask(node, signals, in(wait));
  }
  const double seconds = std::chrono::duration<double>(last.at - first.at).count();
  add_rates(last.status, first.status, seconds);
  std::map<std::uint64_t, Json> before;
  for (const Json& client : first.status.value("clients", Json::array())) before[number_of(client, "client")] = client;
  if (const auto clients = last.status.find("clients"); clients != last.status.end()) {
    for (Json& client : *clients) add_rates(client, before[number_of(client, "client")], seconds);
  }
  static_cast<void>(node.close(in(1s)));
  Output output(signals);
  if (arguments.flag("json")) {
    Json object{{"type", "status"}};
    object.update(last.status);
    object["subscriptions"] = last.subscriptions;
    output.write(json_line(object));
  } else {
    winsize size{};
    const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    output.write(status_text(last.status, last.subscriptions, known ? size.ws_col : 120));
  }
  output.flush();
  return signals.exit();
}

// ---- looking at a configuration ----

Exit check_config(const Arguments& arguments, Signals& signals) {
  if (!arguments.given("config")) throw UsageError("broker: --check looks at a --config FILE; see bus help broker");
  const Settings settings = settings_of(arguments, true);
  std::string listen;
  for (const std::string& address : settings.listen) listen += (listen.empty() ? "" : ", ") + address;
  log::info(*arguments.text("config") + " is right: the broker would listen on " + listen);
  if (arguments.flag("json")) {
    const broker::Limits& limits = settings.limits;
    Json all{{"max-clients", limits.clients},
             {"max-message", limits.max_payload},
             {"max-subscriptions", limits.subscriptions},
             {"max-memory", limits.memory},
             {"max-history", limits.history},
             {"window", limits.window_messages}};
    Json summary{{"type", "summary"},
                 {"listen", settings.listen},
                 {"insecure", settings.insecure},
                 {"drain_seconds", std::chrono::duration<double>(settings.drain).count()},
                 {"name", settings.name},
                 {"limits", std::move(all)}};
    Output output(signals);
    output.write(json_line(summary));
    output.flush();
  }
  return Exit::ok;
}

Exit run_broker(const Arguments& arguments, Signals& signals) {
  if (!arguments.flag("status")) {
    if (arguments.given("interval")) throw UsageError("broker: --interval is for --status; see bus help broker");
    return arguments.flag("check") ? check_config(arguments, signals) : serve(arguments, signals);
  }
  for (const std::string_view name : {"listen", "insecure", "drain", "config", "check"}) {
    if (arguments.given(name)) {
      throw UsageError("broker: --status asks a broker that runs, and --" + std::string(name) +
                       " is for starting one; see bus help broker");
    }
  }
  return print_status(arguments, signals);
}

}  // namespace

const Verb& broker_verb() noexcept {
  static constexpr std::array<Option, 16> kOptions{{
      {'l', "listen", Kind::list, "ADDRESS", "where clients find it; may be repeated, with any transports (the bus)"},
      kBusOption,
      {'c', "config", Kind::text, "FILE", "read listen, insecure, drain, name and limits from this file, too (TOML)"},
      {0, "check", Kind::flag, "", "only look at --config FILE: 0 if it is right, else 2 and what is wrong, where"},
      {0, "insecure", Kind::flag, "",
       "let tcp and udp listen where other machines reach them: nothing is checked there"},
      {0, "drain", Kind::duration, "D", "how long what was accepted is still delivered after a signal", "5s"},
      {0, "status", Kind::flag, "", "ask the broker of the bus what it does: clients, rates, subscriptions, books"},
      {'i', "interval", Kind::duration, "D", "over which --status measures rates", "1s"},
      {0, "max-clients", Kind::count, "N", "how many may be connected (1024)"},
      {0, "max-message", Kind::size, "SIZE", "of subject, headers and payload together (1MiB; at most 64MiB)"},
      {0, "max-subscriptions", Kind::count, "N", "of each client (512)"},
      {0, "max-memory", Kind::size, "SIZE",
       "of all messages that wait: publishers wait then, too (256MiB, or a quarter of what there is)"},
      {0, "max-history", Kind::count, "N", "messages kept of one subject, whatever publishers ask for (10k)"},
      {0, "window", Kind::count, "N", "messages that a publisher may have under way (4096)"},
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 5> kExamples{{
      {"bus broker --listen shm://lab --listen tcp://127.0.0.1:4222", "joins both: a producer here, a consumer there"},
      {"bus broker --listen tcp://0.0.0.0:4222 --insecure", "for other machines, on a network that is trusted"},
      {"bus broker --config broker.toml", "listen = [\"shm://lab\"], and [limits]; kill -HUP reads it again"},
      {"bus broker --status --bus tcp://127.0.0.1:4222", "clients, rates, subscriptions, books"},
      {"bus broker --status --json | jq .accepted_per_second", "the same as an object"},
  }};
  static constexpr Verb kVerb{
      "broker",
      "connects publishers and subscribers on any number of addresses",
      "",
      0,
      0,
      "Listens on each ADDRESS and passes messages between all who join, whatever their transport. stderr has a\n"
      "line for each address, with the real port. A signal lets it deliver what it has accepted, for at most\n"
      "--drain; a second one ends it at once. A local bus (shm, unix) needs none: its first node hosts one.\n"
      "\n"
      "--config has the keys listen (an array), insecure, drain and name, and below [limits] max-clients,\n"
      "max-message, max-subscriptions, max-memory, max-history and window. Options win over it. SIGHUP reads\n"
      "it again: new addresses are opened, old ones take no new clients, limits hold for what is decided from\n"
      "then on, and nobody who is connected goes. A file with a mistake changes nothing. A new name, and new\n"
      "options of an address that is listened on, need a restart.\n"
      "\n"
      "Under systemd: Type=notify-reload or notify, SuccessExitStatus=143. Unix and TCP sockets that it hands\n"
      "over (LISTEN_FDS) are listened on as well; without any other address, alone.\n",
      kOptions,
      kExamples,
      run_broker,
  };
  return kVerb;
}

}  // namespace bus::tools
