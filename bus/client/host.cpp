// bus/client/host.cpp: reaching who listens, and listening oneself.
#include "bus/client/host.hpp"

#include <pthread.h>

#include "bus/core/address.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/transport.hpp"
#include "bus/protocol/frame.hpp"

namespace bus::client {

namespace {

constexpr std::size_t kLeastMessage = 256;  // a broker's welcome with its name, and a subscribe, as a rule

/// Who may host is never long without a broker: all are back a few attempts after the last host's death, and shall not
/// wait longer for that than 200 ms in all. When a host leaves, nobody publishes until the next one is there: one
/// client that is stopped, or busy, does not keep all others for long.
broker::Limits limits() {
  broker::Limits limits = broker::default_limits();
  limits.gather = std::chrono::milliseconds(150);
  limits.stalled = std::chrono::seconds(1);
  return limits;
}

}  // namespace

BusAddress BusAddress::parse(std::string_view text) {
  const Address address = Address::parse(text);
  BusAddress result;
  result.may_host = address.scheme() == "inproc" || address.scheme() == "shm" || address.scheme() == "unix";
  result.channel = std::string(text.substr(0, text.find('?')));
  char separator = '?';
  for (const auto& [key, value] : address.options()) {
    if (key == "embed") {
      if (value != "never" && value != "auto") {
        throw Error(Errc::bad_address, "join " + std::string(text) + ": embed=" + value + ": allowed are auto, never");
      }
      if (value == "never") result.may_host = false;
      continue;
    }
    result.channel += separator + key + "=" + value;
    separator = '&';
  }
  return result;
}

Channel reach(const std::string& text, Deadline deadline) {
  const Address parsed = Address::parse(text);
  const Transport& transport = find_transport(parsed);
  const auto options = read_options(transport, parsed, Options::kDefaultMaxMessage + protocol::kMostAround);
  transport.check(parsed);
  if (options.max_message < kLeastMessage) {
    throw Error(Errc::bad_address, "join " + text + ": max_message=" + std::to_string(options.max_message) +
                                       ": a bus needs at least " + std::to_string(kLeastMessage));
  }
  const auto connector = transport.connector(parsed, options);
  for (;;) {
    auto channel = connector->try_connect();
    if (channel) return Channel(std::move(*channel), options.wait, text);
    std::error_code code = channel.error();
    if (code == Errc::would_block) {
      if (Clock::now() < deadline) {
        WaitSet set;
        connector->arm(set);
        set.sleep(deadline);
        continue;
      }
      code = Errc::timed_out;
    }
    const std::string detail = connector->detail();
    throw Error(code, describe("join", text, code) + (detail.empty() ? "" : ": " + detail));
  }
}

std::unique_ptr<Host> Host::try_start(const std::string& address) {
  try {
    return std::make_unique<Host>(address);
  } catch (const Error& error) {
    if (error.code() == Errc::address_in_use) return nullptr;
    throw;
  }
}

Host::Host(const std::string& address)
    : server_({.listen = {address}, .limits = limits(), .name = {}}), thread_([this] {
        ::pthread_setname_np(::pthread_self(), "bus-broker");
        server_.run();
      }) {}

void Host::drain(Deadline deadline) noexcept {
  server_.drain(deadline);
  thread_.join();
}

Host::~Host() {
  server_.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace bus::client
