// transports/udp/udp_transport.cpp: the udp transport: options, addresses, and what is made of them.
#include <array>
#include <cerrno>

#include "bus/core/errc.hpp"
#include "transports/all.hpp"
#include "transports/udp/listener.hpp"
#include "transports/udp/raw.hpp"
#include "transports/udp/socket.hpp"

namespace bus {
namespace {

using udp::Endpoint;

bool is_framing(std::string_view value) noexcept { return value == "bus" || value == "raw"; }
bool is_window(std::string_view value) noexcept { return udp::parse_window(value).has_value(); }
bool is_flag(std::string_view value) noexcept { return value == "0" || value == "1"; }

constexpr std::array<OptionSpec, 3> kOptions{{
    {"framing", "bus|raw", is_framing},
    {"window", "on|off, or a size of 16KiB to 1GiB", is_window},
    {"insecure", "0|1 (1 allows to listen beyond loopback, where nobody is authenticated and nothing encrypted)",
     is_flag},
}};

[[noreturn]] void refuse(std::string_view operation, const Address& address, Errc code, const std::string& cause) {
  throw Error(code, std::string(operation) + " " + address.text() + ": " + cause);
}

std::vector<Endpoint> find(const Address& address, std::string_view operation) {
  std::vector<Endpoint> endpoints = udp::resolve(address, operation);
  for (const Endpoint& endpoint : endpoints) {
    if (!endpoint.is_multicast()) continue;
    refuse(operation, address, Errc::not_supported,
           "this is a multicast group, and udp channels have one peer; use the address of a host");
  }
  return endpoints;
}

class UdpTransport final : public Transport {
 public:
  std::string_view scheme() const noexcept override { return "udp"; }
  std::string_view summary() const noexcept override {
    return "datagrams; what is lost is counted; udp://host:port, framing=raw talks to any program";
  }
  std::span<const OptionSpec> options() const noexcept override { return kOptions; }

  void check(const Address& address) const override {
    const auto bad = [&](const std::string& cause) {
      throw Error(Errc::bad_address, "bad address " + address.text() + ": " + cause);
    };
    if (address.host().empty()) bad("the host is missing; write udp://127.0.0.1:5000");
    if (!address.port()) bad("the port is missing; write udp://" + address.host() + ":5000, or :0 for any free one");
    if (!address.path().empty() && address.path() != "/") bad("udp has no path; write udp://host:port");
  }

  std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    const Endpoint endpoint = find(address, "listen").front();
    if (!endpoint.is_loopback() && options.get("insecure", "0") != "1") {
      refuse("listen", address, Errc::permission_denied,
             "beyond loopback anyone may connect, and nothing is encrypted; listen on 127.0.0.1 or [::1], or add "
             "insecure=1 if the network is trusted");
    }
    auto socket = udp::make_socket(endpoint);
    if (!socket) refuse_system(address, socket.error());
    if (const auto error = udp::bind_to(socket->get(), endpoint)) {
      if (error == std::errc::address_in_use) {
        refuse(
            "listen", address, Errc::address_in_use,
            "the port is in use" + udp::holder_of(endpoint) + "; stop that program, or take port 0 for any free one");
      }
      if (error == std::errc::permission_denied) {
        refuse("listen", address, Errc::permission_denied,
               "the system does not allow this port; ports below 1024 are for root");
      }
      refuse_system(address, error);
    }
    const Endpoint bound = udp::bound_to(socket->get());
    if (options.get("framing", "bus") == "raw") {
      return std::make_unique<udp::RawListener>(std::make_shared<udp::RawHub>(std::move(*socket), options),
                                                address.with_port(bound.port()).text());
    }
    return std::make_unique<udp::BusListener>(address, options, std::move(*socket), bound);
  }

  std::unique_ptr<ConnectorImpl> connector(const Address& address, const Options& options) const override {
    if (address.port() == 0) {
      refuse("connect", address, Errc::bad_address, "port 0 is nobody's; take the port that the listener prints");
    }
    std::vector<Endpoint> endpoints = find(address, "connect");
    if (options.get("framing", "bus") == "raw") return std::make_unique<udp::RawConnector>(options, endpoints.front());
    return std::make_unique<udp::BusConnector>(address, options, std::move(endpoints));
  }

 private:
  [[noreturn]] static void refuse_system(const Address& address, std::error_code error) {
    throw Error(error, "listen " + address.text() + ": " + error.message());
  }
};

}  // namespace

const Transport& udp_transport() noexcept {
  static const UdpTransport transport;
  return transport;
}

}  // namespace bus
