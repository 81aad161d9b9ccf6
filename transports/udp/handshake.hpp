// transports/udp/handshake.hpp: how two ends agree on a channel.
//
//   client                         listener
//   hello (256 bytes)      --->
//                          <---    cookie (56): a keyed hash of the client's address, its session and the time
//   hello with the cookie  --->    the address is the client's own: the channel is made, with a socket and port of it
//                          <---    welcome (88): that port
//   then between the client's socket and that port
//
// A listener keeps nothing for an address that has not echoed a cookie, and sends it one datagram for each hello,
// which is shorter than the hello. Anything may be lost: the client repeats itself, and a repeated hello gets the same
// answer. This is TFTP's way of giving each transfer a port of its own (RFC 1350) and DTLS's way of proving an
// address (RFC 6347, section 4.2.1).
// Pure but for the random numbers: bytes and time in, bytes out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bus/core/deadline.hpp"
#include "bus/core/transport.hpp"
#include "transports/udp/channel.hpp"
#include "transports/udp/endpoint.hpp"
#include "transports/udp/packet.hpp"
#include "transports/udp/siphash.hpp"

namespace bus::udp {

/// Random bytes of the kernel. Throws Error.
void fill_random(std::span<std::byte> bytes);
template <class T>
[[nodiscard]] T make_random() {
  T value{};
  fill_random(std::as_writable_bytes(std::span<T, 1>(&value, 1)));
  return value;
}

/// How much window an end grants, from the option `window`: on, off, or a size.
struct WindowChoice {
  std::uint64_t bytes = std::uint64_t{4} << 20;  // what on asks for
  bool on = true;
};
[[nodiscard]] std::optional<WindowChoice> parse_window(std::string_view text) noexcept;

/// Prepares a socket that will be a channel's, and says what this end offers. `instance` is fresh.
/// `path` is the largest datagram that the way to the peer takes.
[[nodiscard]] Greeting make_greeting(int fd, const Options&, WindowChoice, std::size_t path);

/// What follows from the two greetings, the same at both ends.
[[nodiscard]] Agreement agree(std::uint32_t session, const Greeting& mine, const Greeting& theirs) noexcept;

/// Gives and checks cookies, and remembers whom it welcomed.
class Doorman {
 public:
  explicit Doorman(const SipKey& key) noexcept : key_(key) {}

  static constexpr auto kCookieFor = std::chrono::seconds(10);  // and at most twice that
  [[nodiscard]] std::uint64_t cookie(const Endpoint& from, std::uint32_t session, Clock::time_point) const noexcept;
  /// Whether the hello's cookie is one that was given to this address, lately.
  [[nodiscard]] bool knows(const Endpoint& from, std::uint32_t session, const Greeting&,
                           Clock::time_point) const noexcept;

  /// The answer that this client has got already; empty if it is new.
  [[nodiscard]] std::optional<Greeting> welcomed(const Endpoint& from, std::uint32_t session,
                                                 const Greeting&) const noexcept;
  /// Keeps the last kRemembered.
  void remember(const Endpoint& from, std::uint32_t session, const Greeting& theirs, const Greeting& mine);

 private:
  static constexpr std::size_t kRemembered = 256;
  struct Guest {
    Endpoint from;
    std::uint32_t session;
    std::array<std::uint8_t, 16> instance;
    Greeting answer;
  };
  [[nodiscard]] std::uint64_t hash(const Endpoint& from, std::uint32_t session, std::uint64_t period) const noexcept;

  const SipKey key_;
  std::vector<Guest> guests_;
  std::size_t oldest_ = 0;
};

}  // namespace bus::udp
