// transports/stream/introduction.hpp: the handshake over a socket, from either end, up to a channel.
#pragma once

#include <memory>
#include <string>

#include "bus/core/os/fd.hpp"
#include "transports/stream/acceptor.hpp"
#include "transports/stream/hello.hpp"
#include "transports/stream/stream_channel.hpp"

namespace bus::stream {

class Introduction final : public Greeting {
 public:
  /// `socket` is connected and non-blocking. `terms` lack what the peer will say. `verdict` of a listening end may
  /// turn the peer away once it has said hello.
  Introduction(os::Fd socket, Handshake::Side side, StreamChannel::Terms terms, Verdict verdict = Verdict::welcome);

  /// Errors: would_block, corrupt, version_mismatch, permission_denied; no_peer when the connection ended first.
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> step() noexcept override;
  [[nodiscard]] int fd() const noexcept override { return socket_.get(); }
  [[nodiscard]] short events() const noexcept override;

  /// The outcome, or what it waits for, in words.
  [[nodiscard]] std::string detail() const;

 private:
  [[nodiscard]] bool write() noexcept;
  [[nodiscard]] bool read() noexcept;
  [[nodiscard]] bool gave_up() const noexcept;

  const bool listening_;
  os::Fd socket_;
  StreamChannel::Terms terms_;
  Handshake handshake_;
  bool ended_ = false;  // the connection did, before the hello was complete
  int error_ = 0;       // the errno of that, if there was one
  bool heard_ = false;  // something came
};

/// A channel right away, as for framing=raw and line.
[[nodiscard]] Result<std::unique_ptr<ChannelImpl>> open_channel(os::Fd socket, StreamChannel::Terms terms) noexcept;

/// How a fresh connection of a listener is greeted: a handshake for framing=bus, none otherwise. Null: no memory.
[[nodiscard]] std::unique_ptr<Greeting> greet(os::Fd socket, StreamChannel::Terms terms,
                                              Verdict verdict = Verdict::welcome);

}  // namespace bus::stream
