// transports/tcp/tcp_connector.cpp: connecting without blocking.
#include "transports/tcp/tcp_connector.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

#include "bus/core/fault_point.hpp"
#include "transports/tcp/tcp_socket.hpp"

namespace bus::tcp {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 500ms;  // with one address of a host that has others

}  // namespace

TcpConnector::TcpConnector(const Address& address, const Options& options)
    : host_(address.host()), address_(address.text()), port_(*address.port()), terms_(terms_of(options)) {
  if (port_ == 0) throw Error(Errc::bad_address, address_ + ": port 0 is for listeners; which port do they print?");
}

Result<std::unique_ptr<ChannelImpl>> TcpConnector::try_connect() noexcept {
  try {
    return advance();
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  }
}

Result<std::unique_ptr<ChannelImpl>> TcpConnector::advance() {
  while (!introduction_) {
    const std::error_code error = socket_ ? finish() : begin();
    if (error == Errc::no_peer && next_ < targets_.size()) continue;  // the host's next address
    if (error) {
      if (error != Errc::would_block) targets_.clear();  // the next call starts anew
      return error;
    }
    if (!socket_) continue;  // looked up: now connect
    set_up(socket_.get());
    stream::StreamChannel::Terms terms = terms_;
    terms.peer.address = peer_endpoint(socket_.get()).text();
    targets_.clear();
    if (terms.framing != stream::Framing::bus) return stream::open_channel(std::move(socket_), std::move(terms));
    introduction_.emplace(std::move(socket_), stream::Handshake::Side::connecting, std::move(terms));
  }
  auto channel = introduction_->step();
  if (channel || channel.error() == Errc::would_block) return channel;
  detail_ = introduction_->detail();
  introduction_.reset();
  return channel;
}

/// Looks the host up, or starts a connection to its next address. Empty: go on, something has been reached.
std::error_code TcpConnector::begin() {
  if (targets_.empty()) {
    Lookup lookup = look_up(host_, port_, false);
    targets_ = std::move(lookup.found);
    next_ = 0;
    if (!targets_.empty()) return {};
    detail_ = lookup.failure;
    return lookup.temporary ? Errc::no_peer : Errc::bad_address;
  }
  const Endpoint& target = targets_[next_++];
  os::Fd socket(::socket(target.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket) {
    const int error = errno;
    failed(error);
    // A host without IPv6 has no such sockets: another address may do.
    return error == EAFNOSUPPORT ? make_error_code(Errc::no_peer) : std::error_code(error, std::system_category());
  }
  // Should this become a connection with oneself (see finish()), a listener can have its port all the same.
  const int on = 1;
  static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
  socket_ = std::move(socket);
  started_ = Clock::now();
  BUS_FAULT_POINT();
  if (::connect(socket_.get(), target.get(), target.size) == 0) return finish();
  const int error = errno;
  if (error == EINPROGRESS || error == EINTR) return Errc::would_block;
  failed(error);
  return error == EACCES || error == EPERM ? Errc::permission_denied : Errc::no_peer;
}

/// Empty when the connection stands.
std::error_code TcpConnector::finish() {
  pollfd ready{socket_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) <= 0) {
    // An address that swallows everything must not keep us from the host's other ones.
    if (next_ == targets_.size() || Clock::now() - started_ < kPatience) return Errc::would_block;
    failed(ETIMEDOUT);
    return Errc::no_peer;
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) {
    failed(error);
    return error == EACCES || error == EPERM ? Errc::permission_denied : Errc::no_peer;
  }
  // Nobody listens, and the kernel has chosen the very port that we connect to as ours: TCP's simultaneous open
  // makes a connection with oneself of that.
  if (local_endpoint(socket_.get()) == peer_endpoint(socket_.get())) {
    failed(ECONNREFUSED);
    return Errc::no_peer;
  }
  return {};
}

void TcpConnector::failed(int error) {
  socket_.reset();
  detail_ = (next_ > 0 && next_ <= targets_.size() ? targets_[next_ - 1].text() + ": " : std::string()) +
            std::system_category().message(error);
}

void TcpConnector::arm(WaitSet& wait) noexcept {
  if (introduction_) {
    wait.add(introduction_->fd(), introduction_->events());
  } else if (socket_) {
    wait.add(socket_.get(), POLLOUT);
    if (next_ < targets_.size()) wait.at_most(kPatience);
  }
}

std::string TcpConnector::detail() const {
  if (introduction_) return introduction_->detail();
  if (socket_) return "no answer from " + targets_[next_ - 1].text() + " yet";
  return detail_;
}

}  // namespace bus::tcp
