// transports/mq/mq_transport.cpp: boost::interprocess::message_queue as a transport, the baseline in comparisons.
#include <array>

#include "bus/core/units.hpp"
#include "transports/all.hpp"
#include "transports/mq/endpoints.hpp"
#include "transports/mq/handshake.hpp"

namespace bus {
namespace {

bool is_depth(std::string_view text) noexcept {
  const auto depth = parse_size(text);
  return depth && *depth >= 1 && *depth <= mq::kMostDepth;
}

class MqTransport final : public Transport {
 public:
  [[nodiscard]] std::string_view scheme() const noexcept override { return "mq"; }
  [[nodiscard]] std::string_view summary() const noexcept override {
    return "two queues of Boost.Interprocess, the baseline: processes of one user on one host";
  }
  [[nodiscard]] std::span<const OptionSpec> options() const noexcept override {
    static constexpr std::array<OptionSpec, 1> kOptions{{{"depth", "messages in each queue, 1 to 65536", &is_depth}}};
    return kOptions;
  }
  void check(const Address& address) const override {
    const auto bad = [&](std::string_view why) {
      throw Error(Errc::bad_address, address.text() + ": " + std::string(why) + "; an address is mq://NAME");
    };
    if (address.host().empty()) bad("the name is missing");
    if (address.port()) bad("a name has no port");
    if (!address.path().empty()) bad("a name has no path");
  }
  [[nodiscard]] std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    return mq::make_listener(address, options);
  }
  [[nodiscard]] std::unique_ptr<ConnectorImpl> connector(const Address& address,
                                                         const Options& options) const override {
    return mq::make_connector(address, options);
  }
};

}  // namespace

const Transport& mq_transport() noexcept {
  static const MqTransport transport;
  return transport;
}

}  // namespace bus
