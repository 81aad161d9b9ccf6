// transports/udp/listener.cpp: greeting those who come.
#include "transports/udp/listener.hpp"

#include <poll.h>

#include <cerrno>
#include <new>

#include "bus/core/errc.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {
constexpr std::size_t kMostAtOnce = 256;  // in one call, so that a flood cannot hold it for ever

bool is_shortage(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}
}  // namespace

BusListener::BusListener(const Address& address, const Options& options, os::Fd socket, const Endpoint& bound)
    : fd_(std::move(socket)),
      bound_(bound),
      address_(address.with_port(bound.port()).text()),
      options_(options),
      window_(parse_window(options.get("window", "on")).value_or(WindowChoice{})),
      doorman_(make_random<SipKey>()) {
  if (bound_.is_any()) tell_destination(fd_.get(), bound_.family());
}

bool BusListener::arm(WaitSet& set) noexcept {
  set.add(fd_.get(), POLLIN);
  return false;
}

// Lost or refused by the kernel: the client asks again.
void BusListener::answer(std::span<const std::byte> datagram, const Endpoint& to, const Endpoint& from) noexcept {
  static_cast<void>(send_to(fd_.get(), datagram, to, from));
}

Result<std::unique_ptr<ChannelImpl>> BusListener::try_accept() noexcept {
  std::array<std::byte, 512> room;  // a hello is shorter; what is longer is none
  for (std::size_t i = 0; i < kMostAtOnce; ++i) {
    const Result<ReceivedFrom> received = receive_from(fd_.get(), room);
    if (!received) {
      if (received.error() == Errc::would_block) return received.error();
      continue;  // a report about an earlier answer
    }
    const auto datagram = std::span<const std::byte>(room).first(received->bytes);
    const Endpoint& from = received->from;
    Datagram reply;
    if (const auto other = other_version(datagram)) {
      if (other->kind == Kind::hello) {
        answer(make_refuse(other->session, Refusal::version, reply), from, received->to);
      }
      continue;
    }
    const Packet packet = decode(datagram);
    if (packet.header.kind != Kind::hello) continue;
    const auto theirs = read_greeting(packet);
    if (!theirs) continue;
    const std::uint32_t session = packet.header.session;
    const Clock::time_point now = Clock::now();
    if (!doorman_.knows(from, session, *theirs, now)) {
      answer(make_cookie(session, doorman_.cookie(from, session, now), reply), from, received->to);
      continue;
    }
    if (const auto mine = doorman_.welcomed(from, session, *theirs)) {
      answer(make_welcome(session, *mine, reply), from, received->to);
      continue;
    }
    try {
      auto channel = welcome(from, received->to, session, *theirs);
      if (channel || channel.error() == Errc::no_room) return channel;
    } catch (const std::bad_alloc&) {
      answer(make_refuse(session, Refusal::no_room, reply), from, received->to);
      return Errc::no_room;
    } catch (const Error& error) {
      if (!is_shortage(error.code().value())) return error.code();
      answer(make_refuse(session, Refusal::no_room, reply), from, received->to);
      return Errc::no_room;
    }
  }
  return Errc::would_block;  // more is there, and the caller will be told so
}

Result<std::unique_ptr<ChannelImpl>> BusListener::welcome(const Endpoint& from, const Endpoint& to,
                                                          std::uint32_t session, const Greeting& theirs) {
  auto socket = make_socket(from);
  if (!socket) throw Error(socket.error(), "accept: no socket");
  Endpoint here = to.size() > 0 ? to : bound_;
  here.set_port(0);
  if (const auto error = bind_to(socket->get(), here)) throw Error(error, "accept: cannot bind");
  if (connect_to(socket->get(), from)) return Errc::no_peer;  // no way to it: it will not miss the answer
  Greeting mine = make_greeting(socket->get(), options_, window_, path_datagram(socket->get(), from.family()));
  mine.port = bound_to(socket->get()).port();
  const int fd = socket->get();
  auto channel = std::make_unique<BusChannel>(std::move(*socket), agree(session, mine, theirs), mine);
  // A client that has given up meanwhile is no channel. If it is on this host, the kernel says so at once.
  Datagram room;
  const auto ping = make_control({.kind = Kind::ping, .session = session}, room);
  if (!send_one(fd, ping) && pending_error(fd) == std::errc::connection_refused) return Errc::no_peer;
  doorman_.remember(from, session, theirs, mine);
  answer(make_welcome(session, mine, room), from, to);
  return std::unique_ptr<ChannelImpl>(std::move(channel));
}

}  // namespace bus::udp
