// transports/shm/handshake.hpp: from a connected control socket to a channel, for either end. Non-blocking.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"
#include "transports/lane/lane_channel.hpp"
#include "transports/shm/hello.hpp"

namespace bus::shm {

class Handshake {
 public:
  enum class Role : unsigned char { connecting, accepting };
  /// `path` is the control socket's, swept when the peer is found dead. Throws Error.
  Handshake(Role role, os::Fd socket, std::string path, const Options& options);

  /// Errors: would_block (waiting for the peer's bytes, or for room in the socket), no_peer (it hung up before it
  /// had said anything), corrupt, version_mismatch, permission_denied, no_room.
  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> step() noexcept;
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] short events() const noexcept;
  /// Why step() failed, for people.
  [[nodiscard]] const std::string& detail() const noexcept { return detail_; }

 private:
  [[nodiscard]] std::error_code say(bool with_fds) noexcept;
  [[nodiscard]] std::error_code hear();  // throws what mapping throws
  [[nodiscard]] std::error_code fail(std::error_code code, std::string why);
  [[nodiscard]] std::unique_ptr<ChannelImpl> join();

  const Role role_;
  os::Fd socket_;
  const std::string path_;
  const std::size_t max_message_;
  const WaitMode wait_;
  lane::Offer mine_;
  Hello hello_;
  Peer peer_;
  std::string detail_;
  bool said_ = false;
  std::optional<Hello> heard_;
  lane::Offer theirs_;
};

}  // namespace bus::shm
