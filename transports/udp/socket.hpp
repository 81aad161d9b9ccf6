// transports/udp/socket.hpp: the system calls of the transport, with their offloads and ancillary data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "bus/core/os/fd.hpp"
#include "bus/core/result.hpp"
#include "transports/udp/endpoint.hpp"

namespace bus::udp {

/// A non-blocking, close-on-exec socket of the endpoint's family (IPv6: of IPv6 alone).
[[nodiscard]] Result<os::Fd> make_socket(const Endpoint& family_of) noexcept;
[[nodiscard]] std::error_code bind_to(int fd, const Endpoint&) noexcept;
[[nodiscard]] std::error_code connect_to(int fd, const Endpoint&) noexcept;

/// Asks for a receive buffer of `bytes`, beyond the system's limit where that is allowed. Returns what the kernel
/// will really let wait in it (it counts its own overhead, see window_cost()).
[[nodiscard]] std::size_t set_receive_buffer(int fd, std::size_t bytes) noexcept;
/// Has the kernel tell its count of drops with what is received (SO_RXQ_OVFL).
void tell_drops(int fd) noexcept;
/// Receives runs of datagrams of one size as one (UDP_GRO).
void join_runs(int fd) noexcept;
/// Has a socket without a peer report that nobody is there (IP_RECVERR).
void tell_refusals(int fd, int family, bool on) noexcept;
/// Has a listener learn which of its addresses a datagram was sent to.
void tell_destination(int fd, int family) noexcept;

/// The largest datagram that the path of a connected socket takes in one piece.
[[nodiscard]] std::size_t path_datagram(int fd, int family) noexcept;

struct Received {
  std::size_t bytes = 0;
  std::size_t segment = 0;             // a run: size of each datagram in it but the last; else bytes
  std::optional<std::uint32_t> drops;  // the kernel's count, once there are any
};
/// Receives what waits first, without waiting. Errors: would_block, or the system's.
[[nodiscard]] Result<Received> receive(int fd, std::span<std::byte> room) noexcept;

struct ReceivedFrom {
  std::size_t bytes = 0;
  Endpoint from;
  Endpoint to;  // without port; size() 0 unless tell_destination() is on
  std::optional<std::uint32_t> drops;
};
/// As receive(), for sockets without a peer. A datagram larger than `room` is cut.
[[nodiscard]] Result<ReceivedFrom> receive_from(int fd, std::span<std::byte> room) noexcept;

/// The error that the kernel holds for the next call, which takes it away.
[[nodiscard]] std::error_code pending_error(int fd) noexcept;

/// Sends one datagram on a connected socket, never waits. Errors: would_block, or the system's.
[[nodiscard]] std::error_code send_one(int fd, std::span<const std::byte> datagram) noexcept;
/// Sends one datagram to `to`, from the address `from` if it is one.
[[nodiscard]] std::error_code send_to(int fd, std::span<const std::byte> datagram, const Endpoint& to,
                                      const Endpoint& from = {}) noexcept;

/// Which process has the UDP port, for error texts: ", held by pid N (NAME)", or nothing.
[[nodiscard]] std::string holder_of(const Endpoint&);

}  // namespace bus::udp
