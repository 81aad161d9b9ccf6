// transports/udp/connector.cpp: asking to be let in.
#include <poll.h>

#include <algorithm>
#include <new>

#include "bus/core/errc.hpp"
#include "transports/udp/listener.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

using namespace std::chrono_literals;

constexpr auto kFirstHello = 10ms;
constexpr auto kLastHello = 200ms;
constexpr std::size_t kMostAnswersAtOnce = 64;

}  // namespace

BusConnector::BusConnector(const Address&, const Options& options, std::vector<Endpoint> candidates)
    : options_(options),
      window_(parse_window(options.get("window", "on")).value_or(WindowChoice{})),
      candidates_(std::move(candidates)) {}

void BusConnector::give_up() noexcept {
  fd_.reset();
  candidate_ = (candidate_ + 1) % candidates_.size();
}

// A socket, what this end offers, and the first hello. The socket stays unconnected: the answer comes from the
// listener's port, what follows comes from the channel's, and none of it may be turned away.
std::error_code BusConnector::begin() {
  const Endpoint& to = candidates_[candidate_];
  std::size_t path = kLeastDatagram;
  {
    auto scout = make_socket(to);
    if (!scout) return scout.error();
    if (const auto error = connect_to(scout->get(), to)) return error;
    path = path_datagram(scout->get(), to.family());
    to_ = connected_to(scout->get());
  }
  auto socket = make_socket(to);
  if (!socket) return socket.error();
  tell_refusals(socket->get(), to.family(), true);
  mine_ = make_greeting(socket->get(), options_, window_, path);
  session_ = make_random<std::uint32_t>();
  fd_ = std::move(*socket);
  next_hello_ = Clock::time_point::min();
  hello_interval_ = kFirstHello;
  hellos_ = 0;
  return {};
}

Result<std::unique_ptr<ChannelImpl>> BusConnector::try_connect() noexcept {
  try {
    if (!fd_) {
      if (const auto error = begin()) return error;
    }
    const Endpoint& to = to_;
    std::array<std::byte, 512> room;
    for (std::size_t i = 0; i < kMostAnswersAtOnce; ++i) {
      if (const auto now = Clock::now(); now >= next_hello_) {
        Datagram hello;
        // What the kernel says to it shows below, or there is another one soon.
        static_cast<void>(send_to(fd_.get(), make_hello(session_, mine_, hello), to));
        ++hellos_;
        next_hello_ = now + hello_interval_;
        hello_interval_ = std::min<Clock::duration>(hello_interval_ * 2, kLastHello);
      }
      const Result<ReceivedFrom> received = receive_from(fd_.get(), room);
      if (!received) {
        if (received.error() == Errc::would_block) break;
        if (received.error() == std::errc::connection_refused) {
          give_up();
          return Errc::no_peer;
        }
        continue;  // a way that is closed for the moment
      }
      if (!received->from.same_host(to)) continue;
      const auto datagram = std::span<const std::byte>(room).first(received->bytes);
      if (const auto other = other_version(datagram); other && received->from == to && other->session == session_) {
        other_version_ = other->version;
        return Errc::version_mismatch;
      }
      const Packet packet = decode(datagram);
      if (packet.header.kind != Kind::welcome && received->from != to) continue;
      if (packet.soundness != Soundness::sound || packet.header.session != session_) continue;
      if (const auto refused = read_refuse(packet)) {
        other_version_ = refused->version;
        return refused->why == Refusal::version ? Errc::version_mismatch : Errc::refused;
      }
      if (const auto cookie = read_cookie(packet); cookie && *cookie != mine_.cookie) {
        mine_.cookie = *cookie;
        next_hello_ = Clock::time_point::min();
        hello_interval_ = kFirstHello;
      } else if (packet.header.kind == Kind::welcome) {
        // From the listener, or said again by the channel itself.
        const auto theirs = read_greeting(packet);
        const std::uint16_t port = received->from.port();
        if (theirs && (port == to.port() || port == theirs->port)) return enter(*theirs);
      }
    }
    return Errc::would_block;
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  } catch (const Error& error) {
    return error.code();
  }
}

Result<std::unique_ptr<ChannelImpl>> BusConnector::enter(const Greeting& theirs) {
  Endpoint channel_at = to_;
  channel_at.set_port(theirs.port);
  tell_refusals(fd_.get(), channel_at.family(), false);
  if (const auto error = connect_to(fd_.get(), channel_at)) return error;
  const int fd = fd_.get();
  auto channel = std::make_unique<BusChannel>(std::move(fd_), agree(session_, mine_, theirs));
  Datagram room;  // "I am here"; if it is lost, whatever comes next says so, too
  static_cast<void>(send_one(fd, make_control({.kind = Kind::ping, .session = session_}, room)));
  return std::unique_ptr<ChannelImpl>(std::move(channel));
}

void BusConnector::arm(WaitSet& set) noexcept {
  set.add(fd_.get(), POLLIN);
  set.at_most(next_hello_ - Clock::now());
}

std::string BusConnector::detail() const {
  if (other_version_ != 0 && other_version_ != kVersion) {
    return "have version " + std::to_string(kVersion) + " of the datagrams, peer " + std::to_string(other_version_) +
           "; install the same ipcbus at both ends";
  }
  if (other_version_ != 0) return "the listener has no memory or descriptors left";
  if (fd_) return std::to_string(hellos_) + " hellos sent to " + to_.text();
  return {};
}

}  // namespace bus::udp
