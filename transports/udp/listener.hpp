// transports/udp/listener.hpp: the two ends of the handshake: who accepts channels, and who connects.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/udp/handshake.hpp"

namespace bus::udp {

class BusListener final : public ListenerImpl {
 public:
  /// Throws Error.
  BusListener(const Address&, const Options&, os::Fd socket, const Endpoint& bound);

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override;
  [[nodiscard]] bool arm(WaitSet&) noexcept override;
  [[nodiscard]] int readable_fd() override { return fd_.get(); }
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> welcome(const Endpoint& from, const Endpoint& to,
                                                             std::uint32_t session, const Greeting& theirs);
  void answer(std::span<const std::byte> datagram, const Endpoint& to, const Endpoint& from) noexcept;

  const os::Fd fd_;
  const os::Lifeline lifeline_{fd_.get()};
  const Endpoint bound_;
  const std::string address_;
  const Options options_;
  const WindowChoice window_;
  Doorman doorman_;
};

class BusConnector final : public ConnectorImpl {
 public:
  /// Throws Error.
  BusConnector(const Address&, const Options&, std::vector<Endpoint> candidates);

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override;
  void arm(WaitSet&) noexcept override;
  [[nodiscard]] std::string detail() const override;

 private:
  [[nodiscard]] std::error_code begin();
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> enter(const Greeting& theirs);
  void give_up() noexcept;

  const Options options_;
  const WindowChoice window_;
  const std::vector<Endpoint> candidates_;
  std::size_t candidate_ = 0;
  Endpoint to_;  // the candidate, as the kernel understands it: the any-address is loopback

  os::Fd fd_;  // while an attempt is under way
  std::uint32_t session_ = 0;
  Greeting mine_;
  Clock::time_point next_hello_{};
  Clock::duration hello_interval_{};
  unsigned hellos_ = 0;
  std::uint32_t other_version_ = 0;  // that the listener speaks
};

}  // namespace bus::udp
