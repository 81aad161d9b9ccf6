// transports/stream/introduction.cpp: moves the handshake's bytes.
#include "transports/stream/introduction.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include "bus/core/fault_point.hpp"

namespace bus::stream {
namespace {

Hello my_hello(const StreamChannel::Terms& terms, Verdict verdict) noexcept {
  Hello hello = make_hello(terms.max_message);
  hello.verdict = verdict;
  return hello;
}

/// framing=raw and line know no handshake.
class NoHandshake final : public Greeting {
 public:
  NoHandshake(os::Fd socket, StreamChannel::Terms terms) : socket_(std::move(socket)), terms_(std::move(terms)) {}
  Result<std::unique_ptr<ChannelImpl>> step() noexcept override {
    // A connection that was reset before it said anything (a look at the port, a client that gave up) is no channel.
    // One that has ended in good order is: the peer may want to read only.
    std::byte first;
    if (::recv(socket_.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno != EAGAIN) return Errc::no_peer;
    return open_channel(std::move(socket_), std::move(terms_));
  }
  int fd() const noexcept override { return socket_.get(); }
  short events() const noexcept override { return POLLIN; }

 private:
  os::Fd socket_;
  StreamChannel::Terms terms_;
};

}  // namespace

Introduction::Introduction(os::Fd socket, Handshake::Side side, StreamChannel::Terms terms, Verdict verdict)
    : listening_(side == Handshake::Side::listening),
      socket_(std::move(socket)),
      terms_(std::move(terms)),
      handshake_(side, my_hello(terms_, verdict)) {}

/// The peer has ended the connection with our answer still to be sent: it gave up while its hello waited for us. One
/// that has the answer may have sent its messages and closed.
bool Introduction::gave_up() const noexcept {
  if (!listening_ || handshake_.failure() || handshake_.outgoing().empty()) return false;
  pollfd state{socket_.get(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/// False when the connection is over.
bool Introduction::write() noexcept {
  for (;;) {
    const auto bytes = handshake_.outgoing();
    if (bytes.empty()) return true;
    BUS_FAULT_POINT();
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      handshake_.sent(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      return true;
    } else if (errno != EINTR) {
      error_ = errno;
      return false;
    }
  }
}

bool Introduction::read() noexcept {
  for (;;) {
    const auto room = handshake_.wanted();
    if (room.empty()) return true;
    BUS_FAULT_POINT();
    const ssize_t count = ::recv(socket_.get(), room.data(), room.size(), 0);
    if (count > 0) {
      heard_ = true;
      handshake_.received(static_cast<std::size_t>(count));
    } else if (count == 0) {
      return false;
    } else if (errno == EAGAIN) {
      return true;
    } else if (errno != EINTR) {
      error_ = errno;
      return false;
    }
  }
}

Result<std::unique_ptr<ChannelImpl>> Introduction::step() noexcept {
  if (!ended_) {
    // Reading goes on although writing failed: the listener may have said why before it went.
    const bool writable = write();
    const bool readable = read();
    ended_ = !readable || !writable || gave_up() || !write();
  }
  if (handshake_.over()) {
    if (!handshake_.failure()) {
      terms_.peer_max_message = std::min<std::size_t>(handshake_.peer().max_message, Options::kMostMaxMessage);
      terms_.peer.instance = handshake_.peer().instance;
      if (!terms_.peer.pid && handshake_.peer().pid != 0) {
        terms_.peer.pid = static_cast<::pid_t>(handshake_.peer().pid);
      }
      return open_channel(std::move(socket_), std::move(terms_));
    }
    // What the peer has sent beyond its hello is taken, so that closing does not reset our answer away.
    std::array<std::byte, 4096> scratch;
    static_cast<void>(::recv(socket_.get(), scratch.data(), scratch.size(), MSG_DONTWAIT));
    return handshake_.failure();
  }
  if (handshake_.failure() && ended_) return handshake_.failure();
  return ended_ ? Errc::no_peer : Errc::would_block;
}

short Introduction::events() const noexcept {
  return static_cast<short>(handshake_.outgoing().empty() ? POLLIN : POLLIN | POLLOUT);
}

std::string Introduction::detail() const {
  if (handshake_.failure()) return handshake_.detail();
  if (ended_) {
    std::string text(heard_ ? "the connection ended during the handshake"
                            : "the listener ended the connection before it said hello; it may be short of descriptors, "
                              "or speak another protocol (framing=raw talks to any program)");
    if (error_ != 0) text.append(": ").append(std::system_category().message(error_));
    return text;
  }
  return heard_ ? "the listener has not finished its hello" : "the listener has not accepted yet";
}

Result<std::unique_ptr<ChannelImpl>> open_channel(os::Fd socket, StreamChannel::Terms terms) noexcept {
  std::unique_ptr<ChannelImpl> channel(new (std::nothrow) StreamChannel(std::move(socket), std::move(terms)));
  if (!channel) return Errc::no_room;
  return channel;
}

std::unique_ptr<Greeting> greet(os::Fd socket, StreamChannel::Terms terms, Verdict verdict) {
  if (terms.framing != Framing::bus) return std::make_unique<NoHandshake>(std::move(socket), std::move(terms));
  return std::make_unique<Introduction>(std::move(socket), Handshake::Side::listening, std::move(terms), verdict);
}

}  // namespace bus::stream
