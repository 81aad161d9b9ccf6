// transports/tcp/tcp_listener.cpp: binding, listening, greeting.
#include "transports/tcp/tcp_listener.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "transports/stream/introduction.hpp"
#include "transports/tcp/endpoint.hpp"
#include "transports/tcp/tcp_socket.hpp"

namespace bus::tcp {
namespace {

[[noreturn]] void fail(const Address& address, std::error_code code, const std::string& why) {
  throw Error(code, "listen " + address.text() + ": " + why);
}

[[noreturn]] void fail_system(const Address& address, const Endpoint& endpoint, int error) {
  const std::error_code system(error, std::system_category());
  if (error == EADDRINUSE) {
    const ::pid_t owner = listener_on(endpoint);
    fail(address, Errc::address_in_use,
         "port " + std::to_string(endpoint.port()) + " is in use by " +
             (owner > 0 ? "process " + std::to_string(owner) : std::string("another process")) +
             "; choose another port (0 takes any free one) or stop it");
  }
  if (error == EACCES || error == EPERM) {
    fail(address, Errc::permission_denied, system.message() + "; ports below 1024 are for root, as a rule");
  }
  if (error == EADDRNOTAVAIL) fail(address, system, endpoint.text() + " is no address of this host");
  fail(address, system, system.message());
}

/// A name is bound to its first IPv4 address, else to its first IPv6 address.
Endpoint choose(const Address& address) {
  const Lookup lookup = look_up(address.host(), *address.port(), true);
  if (lookup.found.empty()) fail(address, Errc::bad_address, lookup.failure);
  const auto v4 =
      std::find_if(lookup.found.begin(), lookup.found.end(), [](const Endpoint& e) { return e.family() == AF_INET; });
  return v4 != lookup.found.end() ? *v4 : lookup.found.front();
}

void require_private(const Address& address, const Endpoint& endpoint, const Options& options) {
  if (endpoint.is_loopback() || options.get("insecure", "0") == "1") return;
  fail(address, Errc::permission_denied,
       "other hosts could reach " + endpoint.text() +
           ", and tcp neither encrypts nor asks who they are; add the option insecure=1 to allow it, or listen on "
           "127.0.0.1");
}

os::Fd open(const Address& address, const Options& options) {
  const Endpoint endpoint = choose(address);
  require_private(address, endpoint, options);
  os::Fd socket(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket) fail_system(address, endpoint, errno);
  const int on = 1;
  // A port is free again as soon as its listener is gone, connections that linger or not; Linux never lets this
  // take a port from a socket that listens. Source: socket(7).
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      // [::] is IPv6 and nothing else: what was not written out is not opened.
      (endpoint.family() == AF_INET6 && ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
      ::bind(socket.get(), endpoint.get(), endpoint.size) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
    fail_system(address, endpoint, errno);
  }
  return socket;
}

}  // namespace

TcpListener::TcpListener(const Address& address, const Options& options)
    : terms_(terms_of(options)),
      socket_(open(address, options)),
      address_(*address.port() != 0 ? address.text() : address.with_port(local_endpoint(socket_.get()).port()).text()),
      acceptor_(socket_.get(), [this](os::Fd connection) { return greet(std::move(connection)); }) {}

TcpListener::TcpListener(os::Fd socket, const Address& address, const Options& options)
    : terms_(terms_of(options)),
      socket_(std::move(socket)),
      address_(address.text()),
      acceptor_(socket_.get(), [this](os::Fd connection) { return greet(std::move(connection)); }) {
  require_private(address, local_endpoint(socket_.get()), options);
}

std::string address_of_listener(int socket) {
  int protocol = 0;
  socklen_t size = sizeof protocol;
  if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != IPPROTO_TCP) return {};
  const Endpoint endpoint = local_endpoint(socket);
  if (endpoint.size == 0) return {};
  return "tcp://" + endpoint.text();
}

std::unique_ptr<stream::Greeting> TcpListener::greet(os::Fd connection) const {
  set_up(connection.get());
  stream::StreamChannel::Terms terms = terms_;
  terms.peer.address = peer_endpoint(connection.get()).text();
  return stream::greet(std::move(connection), std::move(terms));
}

}  // namespace bus::tcp
