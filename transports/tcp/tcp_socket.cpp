// transports/tcp/tcp_socket.cpp: socket options.
#include "transports/tcp/tcp_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transports/stream/options.hpp"

namespace bus::tcp {
namespace {

constexpr int kSilence = 10;  // seconds before the first probe, and between probes
constexpr int kMisses = 2;    // probes without an answer

void set(int socket, int level, int option, int value) noexcept {
  // Fails only on a connection that is gone already, which the first read tells.
  static_cast<void>(::setsockopt(socket, level, option, &value, sizeof value));
}

}  // namespace

void set_up(int socket) noexcept {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, kSilence);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, kSilence);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kMisses);
}

stream::StreamChannel::Terms terms_of(const Options& options) {
  stream::StreamChannel::Terms terms = stream::terms_of(options);
  terms.acknowledged = true;
  return terms;
}

}  // namespace bus::tcp
