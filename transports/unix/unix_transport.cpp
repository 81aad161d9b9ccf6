// transports/unix/unix_transport.cpp: channels over Unix domain stream sockets.
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bus/core/os/local_socket.hpp"
#include "bus/core/transport.hpp"
#include "transports/all.hpp"
#include "transports/stream/acceptor.hpp"
#include "transports/stream/introduction.hpp"
#include "transports/stream/options.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;
using stream::Framing;
using stream::Introduction;
using stream::StreamChannel;
using stream::Verdict;

std::string path_of(const Address& address) {
  if (!address.host().empty()) return os::socket_path(address.host(), "sock", address.text());
  os::check_socket_path(address.path(), address.text());
  return address.path();
}

/// The address of a socket's path: what a URL would read as something else is written as %XX.
std::string address_of_path(std::string_view path) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/!$&'()*+,;=:@";
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text = "unix://";
  for (const char c : path) {
    if (kPlain.find(c) != std::string_view::npos) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
    }
  }
  return text;
}

/// Who the kernel says is at the other end.
Peer identify(int socket, std::string name) {
  Peer peer;
  peer.address = std::move(name);
  if (const auto credentials = os::peer_credentials(socket)) {
    peer.uid = credentials->uid;
    peer.gid = credentials->gid;
    if (credentials->pid > 0) peer.pid = credentials->pid;  // 0: in another pid namespace
  }
  return peer;
}

class UnixListener final : public ListenerImpl {
 public:
  UnixListener(const Address& address, const Options& options)
      : address_(address.text()),
        terms_(stream::terms_of(options)),
        named_(std::in_place, path_of(address), address.text()),
        acceptor_(named_->fd(), [this](os::Fd connection) { return greet(std::move(connection)); }) {}

  /// On a socket that somebody else has made and named, and will remove.
  UnixListener(os::Fd socket, const Address& address, const Options& options)
      : address_(address.text()),
        terms_(stream::terms_of(options)),
        adopted_(std::move(socket)),
        acceptor_(adopted_.get(), [this](os::Fd connection) { return greet(std::move(connection)); }) {}

  Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override { return acceptor_.try_accept(); }
  bool arm(WaitSet& wait) noexcept override { return acceptor_.arm(wait); }
  int readable_fd() override { return acceptor_.readable_fd(); }
  std::string address() const override { return address_; }

 private:
  std::unique_ptr<stream::Greeting> greet(os::Fd connection) const {
    StreamChannel::Terms terms = terms_;
    terms.peer = identify(connection.get(), address_);
    if (terms.peer.pid) terms.peer.address.append(" from process ").append(std::to_string(*terms.peer.pid));
    const bool trusted = terms.peer.uid && os::is_trusted(*terms.peer.uid);
    return stream::greet(std::move(connection), std::move(terms),
                         trusted ? Verdict::welcome : Verdict::permission_denied);
  }

  const std::string address_;
  const StreamChannel::Terms terms_;
  std::optional<os::LocalListener> named_;  // one of these two
  os::Fd adopted_;
  stream::Acceptor acceptor_;
};

class UnixConnector final : public ConnectorImpl {
 public:
  UnixConnector(const Address& address, const Options& options)
      : address_(address.text()), path_(path_of(address)), terms_(stream::terms_of(options)) {
    terms_.sweep = path_;
  }

  Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override {
    try {
      return connect();
    } catch (const std::bad_alloc&) {
      return Errc::no_room;
    }
  }

  void arm(WaitSet& wait) noexcept override {
    if (introduction_) {
      wait.add(introduction_->fd(), introduction_->events());
    } else {
      wait.at_most(kQueueFull);  // the kernel has no event for a queue that has room again
    }
  }

  std::string detail() const override { return introduction_ ? introduction_->detail() : detail_; }

 private:
  static constexpr auto kQueueFull = 2ms;

  Result<std::unique_ptr<ChannelImpl>> connect() {
    if (!introduction_) {
      Result<os::Fd> socket = os::connect_local(path_);
      if (!socket) {
        detail_ = socket.error() == Errc::would_block         ? "the listener's queue of connections is full"
                  : socket.error() == Errc::permission_denied ? path_ + " is not open to this user"
                                                              : "";
        return socket.error();
      }
      StreamChannel::Terms terms = terms_;
      terms.peer = identify(socket->get(), address_);
      if (terms.framing != Framing::bus) return stream::open_channel(std::move(*socket), std::move(terms));
      if (!terms.peer.uid || !os::is_trusted(*terms.peer.uid)) {
        detail_ = "the listener at " + path_ + " runs as uid " +
                  (terms.peer.uid ? std::to_string(*terms.peer.uid) : std::string("unknown")) +
                  ", which is neither ours nor root";
        return Errc::permission_denied;
      }
      introduction_.emplace(std::move(*socket), stream::Handshake::Side::connecting, std::move(terms));
    }
    auto channel = introduction_->step();
    if (channel || channel.error() == Errc::would_block) return channel;
    detail_ = introduction_->detail();
    introduction_.reset();
    return channel;
  }

  const std::string address_, path_;
  StreamChannel::Terms terms_;
  std::optional<Introduction> introduction_;
  std::string detail_;
};

class UnixTransport final : public Transport {
 public:
  std::string_view scheme() const noexcept override { return "unix"; }
  std::string_view summary() const noexcept override { return "Unix domain stream sockets: unix://name, unix:///path"; }

  std::span<const OptionSpec> options() const noexcept override {
    static constexpr std::array<OptionSpec, 1> kOptions{stream::kFramingOption};
    return kOptions;
  }

  void check(const Address& address) const override {
    const char* wrong = nullptr;
    if (address.port()) {
      wrong = "a Unix socket has no port";
    } else if (!address.host().empty() && !address.path().empty()) {
      wrong = "either a name (unix://name) or a path (unix:///path), not both";
    } else if (address.host().empty() && address.path().size() < 2) {
      wrong = "a name or a path is missing: unix://name or unix:///path";
    }
    if (wrong != nullptr) throw Error(Errc::bad_address, address.text() + ": " + wrong);
  }

  std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    return std::make_unique<UnixListener>(address, options);
  }

  std::string address_of(int socket) const override {
    sockaddr_un name{};
    socklen_t size = sizeof name;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0 || name.sun_family != AF_UNIX) return {};
    if (size <= offsetof(sockaddr_un, sun_path) || name.sun_path[0] != '/') return {};
    const std::size_t most = std::min<std::size_t>(size - offsetof(sockaddr_un, sun_path), sizeof name.sun_path);
    const std::string_view path(name.sun_path, most);
    return address_of_path(path.substr(0, path.find('\0')));
  }

  std::unique_ptr<ListenerImpl> adopt(int socket, const Address& address, const Options& options) const override {
    return std::make_unique<UnixListener>(os::Fd(socket), address, options);
  }

  std::unique_ptr<ConnectorImpl> connector(const Address& address, const Options& options) const override {
    return std::make_unique<UnixConnector>(address, options);
  }
};

}  // namespace

const Transport& unix_transport() noexcept {
  static const UnixTransport transport;
  return transport;
}

}  // namespace bus
