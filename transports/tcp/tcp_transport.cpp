// transports/tcp/tcp_transport.cpp: the tcp transport.
#include "transports/all.hpp"

namespace bus {
namespace {

class Stub final : public Transport {
 public:
  std::string_view scheme() const noexcept override { return "tcp"; }
  std::string_view summary() const noexcept override { return "not yet"; }
  void check(const Address&) const override {}
  std::unique_ptr<ListenerImpl> listen(const Address&, const Options&) const override {
    throw Error(Errc::not_supported, "tcp: not built yet");
  }
  std::unique_ptr<ConnectorImpl> connector(const Address&, const Options&) const override {
    throw Error(Errc::not_supported, "tcp: not built yet");
  }
};

}  // namespace

const Transport& tcp_transport() noexcept {
  static const Stub transport;
  return transport;
}

}  // namespace bus
