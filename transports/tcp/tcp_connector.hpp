// transports/tcp/tcp_connector.hpp: reaching a TCP listener, one attempt after the other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/core/transport.hpp"
#include "transports/stream/introduction.hpp"
#include "transports/tcp/endpoint.hpp"

namespace bus::tcp {

class TcpConnector final : public ConnectorImpl {
 public:
  TcpConnector(const Address&, const Options&);

  /// Tries all addresses that the host has, in turn. Looking a name up may wait for its server.
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override;
  void arm(WaitSet&) noexcept override;
  [[nodiscard]] std::string detail() const override;

 private:
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> advance();
  [[nodiscard]] std::error_code begin();
  [[nodiscard]] std::error_code finish();
  void failed(int error);

  const std::string host_, address_;
  const std::uint16_t port_;
  const stream::StreamChannel::Terms terms_;

  std::vector<Endpoint> targets_;  // of this attempt
  std::size_t next_ = 0;           // the target to try next
  os::Fd socket_;                  // the connection that is being made
  Clock::time_point started_{};    // when
  std::optional<stream::Introduction> introduction_;
  std::string detail_;
};

}  // namespace bus::tcp
