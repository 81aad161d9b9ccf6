// tools/measure/brokers.cpp: the table of other brokers, and the roles at each of them, over its own client library.
#include "tools/measure/brokers.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "bus/core/errc.hpp"
#include "tools/measure/child.hpp"
#include "tools/measure/ends/node_end.hpp"
#include "tools/measure/ends/windowed.hpp"
#include "tools/measure/run_end.hpp"
#if defined(BUS_HAS_ZMQ)
#include "tools/measure/ends/zmq_end.hpp"
#include "tools/measure/ends/zmq_proxy_end.hpp"
#endif
#if defined(BUS_HAS_NATS)
#include "tools/measure/ends/nats_end.hpp"
#endif
#if defined(BUS_HAS_MOSQUITTO)
#include "tools/measure/ends/mosquitto_end.hpp"
#endif
#if defined(BUS_HAS_HIREDIS)
#include "tools/measure/ends/redis_end.hpp"
#endif

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr auto kVersionWithin = 5s;
constexpr std::array<WaitMode, 1> kBrokersSleep{WaitMode::block};

constexpr Crossing broker_crossing(std::string_view id, std::string_view name) {
  return {id, name, Family::peer, true, true, false, kBrokersSleep, 8, std::uint64_t{64} << 20, {}};
}

constexpr std::array kBrokers{
    Broker{broker_crossing("nats-tcp", "NATS tcp"), "nats-server", "libnats-dev"},
    Broker{broker_crossing("mosquitto-tcp", "mosquitto tcp"), "mosquitto", "libmosquitto-dev"},
    Broker{broker_crossing("redis-tcp", "redis tcp"), "redis-server", "libhiredis-dev"},
    Broker{broker_crossing("redis-unix", "redis unix"), "redis-server", "libhiredis-dev"},
    Broker{broker_crossing("zmq-proxy-tcp", "ZeroMQ proxy tcp"), "", "libzmq3-dev"},
    Broker{broker_crossing("zmq-proxy-ipc", "ZeroMQ proxy ipc"), "", "libzmq3-dev"},
};

/// Name and version of the client library; empty: this program was built without it.
std::string client_of(const Broker& broker) {
  static const std::map<std::string_view, std::string> kClients {
#if defined(BUS_HAS_ZMQ)
    {"libzmq3-dev", ZmqEnd::version()},
#endif
#if defined(BUS_HAS_NATS)
        {"libnats-dev", NatsEnd::version()},
#endif
#if defined(BUS_HAS_MOSQUITTO)
        {"libmosquitto-dev", MosquittoEnd::version()},
#endif
#if defined(BUS_HAS_HIREDIS)
        {"libhiredis-dev", RedisEnd::version()},
#endif
  };
  const auto it = kClients.find(broker.library);
  return it == kClients.end() ? std::string() : it->second;
}

/// The first number with dots that a server says of itself; empty: it says none.
std::string version_said(std::string_view program) {
  const auto file = find_program(program);
  if (!file) return {};
  try {
    Child asked(*file, {std::string(program), program == "mosquitto" ? "-h" : "--version"});
    asked.wait_until([&] { return asked.ended(); }, in(kVersionWithin));
    const std::string text = asked.said();
    constexpr std::string_view kDigits = "0123456789", kNumber = "0123456789.";
    const auto begin = text.find_first_of(kDigits);
    return begin == std::string::npos ? "" : text.substr(begin, text.find_first_not_of(kNumber, begin) - begin);
  } catch (const Error&) {
    return {};  // it shows again when the server is wanted
  }
}

/// "NATS tcp" is NATS.
std::string_view without_transport(std::string_view name) noexcept { return name.substr(0, name.rfind(' ')); }

/// In a flood with the window that all brokers have.
template <class End>
void run_at(End& end, const Job& job, Meeting& meeting) {
  if (job.load_model != LoadModel::flood) return run_end(end, job, meeting);
  Windowed<End> windowed(end, window_of(job.size));
  run_end(windowed, job, meeting);
}

#if defined(BUS_HAS_MOSQUITTO) || defined(BUS_HAS_HIREDIS)
/// Of "host:port"; 0: it is a path.
int port_of(const std::string& place) noexcept {
  int port = 0;
  const auto colon = place.rfind(':');
  if (colon != std::string::npos) std::from_chars(place.data() + colon + 1, place.data() + place.size(), port);
  return port;
}
#endif

}  // namespace

std::span<const Broker> brokers() noexcept { return kBrokers; }

const Broker* find_broker(std::string_view id) noexcept {
  const auto it = std::find_if(kBrokers.begin(), kBrokers.end(), [id](const Broker& b) { return b.crossing.id == id; });
  return it == kBrokers.end() ? nullptr : &*it;
}

std::string lack_of(const Broker& broker) {
  if (client_of(broker).empty()) {
    return "this program was built without its client library (Debian's " + std::string(broker.library) + ")";
  }
  if (!broker.program.empty() && !find_program(broker.program)) {
    const std::string program(broker.program);
    return "there is no program " + program + " (Debian's " + program + ")";
  }
  return {};
}

std::vector<std::string> missing_brokers() {
  std::vector<std::string> missing;
  for (const Broker& broker : kBrokers) {
    const std::string lack = lack_of(broker);
    if (lack.empty()) continue;
    std::string text = std::string(without_transport(broker.crossing.name)) + ": " + lack;
    if (std::find(missing.begin(), missing.end(), text) == missing.end()) missing.push_back(std::move(text));
  }
  return missing;
}

std::string versions_of(const Broker& broker) {
  std::string text = client_of(broker);
  if (broker.program.empty()) return text;
  static std::map<std::string_view, std::string> servers;  // a server is asked once
  const auto [it, is_new] = servers.try_emplace(broker.program);
  if (is_new) it->second = version_said(broker.program);
  return text + ", " + std::string(broker.program) + (it->second.empty() ? "" : " " + it->second);
}

bool is_through_broker(std::string_view crossing) noexcept {
  return crossing == kOwnBroker || find_broker(crossing) != nullptr;
}

void run_at_broker(const Job& job, Meeting& meeting) {
  const bool near = job.role == Role::near;
  // The far end has subscribed before the near one comes.
  if (near) static_cast<void>(meeting.await_address());
  const auto met = [&] {
    if (!near) meeting.tell_address(job.address);
  };
  const std::string in = near ? "back" : "there", out = near ? "there" : "back";
  if (job.crossing == kOwnBroker) {
    // A node may host a broker itself, which is not what is measured.
    const bool has_query = job.address.find('?') != std::string::npos;
    NodeEnd end(job.address + (has_query ? "&embed=never" : "?embed=never"), in, out,
                static_cast<std::uint32_t>(std::max<std::uint64_t>(window_of(job.size), 1024)));
    met();
    return run_at(end, job, meeting);
  }
#if defined(BUS_HAS_NATS) || defined(BUS_HAS_HIREDIS)
  const bool gathers = near && job.load_model == LoadModel::flood;
#endif
#if defined(BUS_HAS_NATS)
  if (job.crossing.starts_with("nats")) {
    NatsEnd end(job.address, in, out, gathers);
    met();
    return run_at(end, job, meeting);
  }
#endif
#if defined(BUS_HAS_MOSQUITTO)
  if (job.crossing.starts_with("mosquitto")) {
    MosquittoEnd end(port_of(job.address), in, out);
    met();
    return run_at(end, job, meeting);
  }
#endif
#if defined(BUS_HAS_HIREDIS)
  if (job.crossing.starts_with("redis")) {
    RedisEnd end(port_of(job.address), job.address, in, out, gathers);
    met();
    return run_at(end, job, meeting);
  }
#endif
#if defined(BUS_HAS_ZMQ)
  if (job.crossing.starts_with("zmq-proxy")) {
    ZmqProxyEnd end(job.address, in[0], out[0]);
    met();
    end.meet(bus::in(10s));
    return run_at(end, job, meeting);
  }
#endif
  throw Error(Errc::not_supported, "measure: no such broker: " + job.crossing);
}

}  // namespace bus::tools::measure
