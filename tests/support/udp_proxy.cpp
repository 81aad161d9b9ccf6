// tests/support/udp_proxy.cpp: forwarding and harming.
#include "tests/support/udp_proxy.hpp"

#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <stdexcept>

#include "bus/core/address.hpp"
#include "transports/udp/socket.hpp"

namespace bus::test {
namespace {

constexpr std::size_t kRoom = std::size_t{64} << 10;
constexpr std::size_t kBuffer = std::size_t{8} << 20;

os::Fd bound_socket() {
  const Address any = Address::parse("udp://127.0.0.1:0");
  const udp::Endpoint endpoint = udp::resolve(any, "proxy").front();
  auto socket = udp::make_socket(endpoint);
  if (!socket) throw std::system_error(socket.error(), "proxy");
  if (const auto error = udp::bind_to(socket->get(), endpoint)) throw std::system_error(error, "proxy");
  static_cast<void>(udp::set_receive_buffer(socket->get(), kBuffer));
  return std::move(*socket);
}

std::uint64_t drops_of(int fd) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
  ::socklen_t size = sizeof info;
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info.data(), &size) != 0) throw std::runtime_error("no SO_MEMINFO");
  return info[SK_MEMINFO_DROPS];
}

}  // namespace

UdpProxy::UdpProxy(const std::string& listener, const Faults& faults)
    : faults_(faults),
      front_(bound_socket()),
      back_(bound_socket()),
      stop_(os::make_event()),
      listener_(udp::resolve(Address::parse(listener), "proxy").front()),
      address_(Address::parse(listener).with_port(udp::bound_to(front_.get()).port()).text()),
      random_(faults.seed),
      thread_([this] { run(); }) {}

UdpProxy::~UdpProxy() { static_cast<void>(stop()); }

const UdpProxy::Done& UdpProxy::stop() {
  if (thread_.joinable()) {
    os::signal_event(stop_.get());
    thread_.join();
    done_.overflowed = drops_of(front_.get()) + drops_of(back_.get());
  }
  return done_;
}

void UdpProxy::run() {
  std::array<pollfd, 3> fds{pollfd{front_.get(), POLLIN, 0}, pollfd{back_.get(), POLLIN, 0},
                            pollfd{stop_.get(), POLLIN, 0}};
  while (fds[2].revents == 0) {
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    while (from_client()) {
    }
    while (from_server()) {
    }
  }
}

bool UdpProxy::lose_control() {
  if (!faults_.also_control || std::uniform_real_distribution<>()(random_) >= faults_.drop) return false;
  ++done_.control_dropped;
  return true;
}

// Whatever cannot be sent on is lost at a peer that is gone: nothing that a count of ours speaks of.
void UdpProxy::forward(std::span<const std::byte> datagram) {
  static_cast<void>(udp::send_to(back_.get(), datagram, channel_));
}

void UdpProxy::release_held() {
  if (held_.empty()) return;
  forward(held_);
  held_.clear();
  if (overtook_) ++done_.overtaken;
}

bool UdpProxy::from_client() {
  std::array<std::byte, kRoom> room;
  const auto received = udp::receive_from(front_.get(), room);
  if (!received) return received.error() != Errc::would_block;
  const auto datagram = std::span(room).first(received->bytes);
  client_ = received->from;
  const udp::Packet packet = udp::decode(datagram);
  if (packet.header.kind == udp::Kind::hello) {
    if (!lose_control()) static_cast<void>(udp::send_to(back_.get(), datagram, listener_));
  } else if (packet.header.kind != udp::Kind::data) {
    release_held();  // what control datagrams say of the past is to be true
    if (!lose_control()) forward(datagram);
  } else {
    harm(packet, datagram);
  }
  return true;
}

void UdpProxy::harm(const udp::Packet& packet, std::span<std::byte> datagram) {
  ++done_.seen;
  double fate = std::uniform_real_distribution<>()(random_);
  const auto is = [&fate](double share) { return (fate -= share) < 0; };
  const auto turn_a_bit = [&](std::size_t first, std::size_t count) {
    datagram[first + random_() % count] ^= std::byte{1} << static_cast<int>(random_() % 8);
  };
  const auto lose = [&](bool damaged) {
    done_.hit.insert(packet.header.sequence);
    if (damaged) done_.hit_damaged.insert(packet.header.sequence);
  };
  const bool has_payload = !packet.payload.empty();
  if (is(faults_.drop)) {
    ++done_.dropped;
    lose(false);
    return;
  }
  if (is(faults_.reorder)) {
    release_held();
    held_.assign(datagram.begin(), datagram.end());
    overtook_ = false;
    return;
  }
  if (is(faults_.duplicate)) {
    ++done_.duplicated;
    forward(datagram);
  } else if (has_payload && is(faults_.damage_payload)) {
    ++done_.damaged_payloads;
    turn_a_bit(udp::kHeaderBytes, packet.payload.size());
    lose(true);
    forward(datagram);
    return;
  } else if (is(faults_.damage_header)) {
    ++done_.damaged_headers;
    turn_a_bit(0, udp::kHeaderBytes);
    lose(true);
    forward(datagram);
    return;
  } else if (has_payload && is(faults_.truncate)) {
    ++done_.truncated;
    lose(true);
    forward(datagram.first(udp::kHeaderBytes + random_() % packet.payload.size()));
    return;
  }
  forward(datagram);
  overtook_ = true;
  release_held();
}

bool UdpProxy::from_server() {
  std::array<std::byte, kRoom> room;
  const auto received = udp::receive_from(back_.get(), room);
  if (!received) return received.error() != Errc::would_block;
  if (client_.size() == 0) return true;
  auto datagram = std::span<const std::byte>(room).first(received->bytes);
  const udp::Packet packet = udp::decode(datagram);
  udp::Datagram rewritten;
  if (auto welcome = udp::read_greeting(packet); welcome && packet.header.kind == udp::Kind::welcome) {
    channel_ = received->from;
    channel_.set_port(welcome->port);
    welcome->port = udp::bound_to(front_.get()).port();
    datagram = udp::make_welcome(packet.header.session, *welcome, rewritten);
  }
  if (packet.header.kind != udp::Kind::data && lose_control()) return true;
  static_cast<void>(udp::send_to(front_.get(), datagram, client_));
  return true;
}

}  // namespace bus::test
