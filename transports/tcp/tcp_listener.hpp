// transports/tcp/tcp_listener.hpp: a listening TCP socket.
#pragma once

#include <memory>
#include <string>

#include "bus/core/os/fork.hpp"
#include "bus/core/transport.hpp"
#include "transports/stream/acceptor.hpp"
#include "transports/stream/stream_channel.hpp"

namespace bus::tcp {

class TcpListener final : public ListenerImpl {
 public:
  /// Throws Error: address_in_use (by which process), permission_denied (strangers could reach it, and
  /// `insecure=1` was not said), bad_address (the host), or the system's.
  TcpListener(const Address&, const Options&);
  /// On a socket that somebody else has made. Throws Error: permission_denied, as above.
  TcpListener(os::Fd socket, const Address&, const Options&);

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override { return acceptor_.try_accept(); }
  [[nodiscard]] bool arm(WaitSet& wait) noexcept override { return acceptor_.arm(wait); }
  [[nodiscard]] int readable_fd() override { return acceptor_.readable_fd(); }
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  [[nodiscard]] std::unique_ptr<stream::Greeting> greet(os::Fd connection) const;

  const stream::StreamChannel::Terms terms_;
  const os::Fd socket_;
  const os::Lifeline lifeline_{socket_.get()};
  const std::string address_;
  stream::Acceptor acceptor_;
};

/// tcp://HOST:PORT of a TCP socket that listens; empty if it is none.
[[nodiscard]] std::string address_of_listener(int socket);

}  // namespace bus::tcp
