// transports/tcp/tcp_transport.cpp: the tcp transport: its options, its listener.
#include <array>
#include <memory>
#include <string>

#include "transports/all.hpp"
#include "transports/stream/options.hpp"
#include "transports/tcp/tcp_connector.hpp"
#include "transports/tcp/tcp_listener.hpp"

namespace bus {
namespace {

constexpr OptionSpec kInsecureOption{"insecure", "0|1",
                                     [](std::string_view value) noexcept { return value == "0" || value == "1"; }};

class TcpTransport final : public Transport {
 public:
  std::string_view scheme() const noexcept override { return "tcp"; }
  std::string_view summary() const noexcept override {
    return "TCP: tcp://host:port, host an IPv4, [IPv6] or a name; port 0 is any";
  }

  std::span<const OptionSpec> options() const noexcept override {
    static constexpr std::array<OptionSpec, 2> kOptions{stream::kFramingOption, kInsecureOption};
    return kOptions;
  }

  void check(const Address& address) const override {
    const char* wrong = nullptr;
    if (address.host().empty()) {
      wrong =
          "a host is missing: tcp://host:port; to listen on every interface write tcp://0.0.0.0:port or "
          "tcp://[::]:port";
    } else if (!address.port()) {
      wrong = "a port is missing: tcp://host:port; port 0 lets a listener take any free one";
    } else if (!address.path().empty() && address.path() != "/") {
      wrong = "nothing may stand behind the port but options: tcp://host:port?option=value";
    }
    if (wrong != nullptr) throw Error(Errc::bad_address, address.text() + ": " + wrong);
  }

  std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    return std::make_unique<tcp::TcpListener>(address, options);
  }

  std::string address_of(int socket) const override { return tcp::address_of_listener(socket); }
  std::unique_ptr<ListenerImpl> adopt(int socket, const Address& address, const Options& options) const override {
    return std::make_unique<tcp::TcpListener>(os::Fd(socket), address, options);
  }

  std::unique_ptr<ConnectorImpl> connector(const Address& address, const Options& options) const override {
    return std::make_unique<tcp::TcpConnector>(address, options);
  }
};

}  // namespace

const Transport& tcp_transport() noexcept {
  static const TcpTransport transport;
  return transport;
}

}  // namespace bus
