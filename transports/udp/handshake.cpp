// transports/udp/handshake.cpp: greetings, cookies, and guests.
#include "transports/udp/handshake.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bus/core/errc.hpp"
#include "bus/core/units.hpp"
#include "transports/udp/socket.hpp"

namespace bus::udp {
namespace {

constexpr std::uint64_t kLeastWindow = std::uint64_t{16} << 10;  // some datagrams of 1400 bytes
constexpr std::uint64_t kMostWindow = std::uint64_t{1} << 30;    // half the range of a position's low half

// The largest datagram of which four fit in a window: several have to be on their way at a time.
std::size_t datagram_for(std::uint64_t window) noexcept {
  const std::uint64_t cost = window / 4;
  std::size_t low = kLeastDatagram;
  std::size_t high = kMostDatagram;
  while (low < high) {
    const std::size_t middle = (low + high + 1) / 2;
    if (window_cost(middle) <= cost) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

void fill_random(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ::ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(last_system_error(), "cannot get random numbers from the kernel");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

std::optional<WindowChoice> parse_window(std::string_view text) noexcept {
  if (text == "on") return WindowChoice{};
  if (text == "off") return WindowChoice{.bytes = WindowChoice{}.bytes, .on = false};
  const auto bytes = parse_size(text);
  if (!bytes || *bytes < kLeastWindow || *bytes > kMostWindow) return {};
  return WindowChoice{.bytes = *bytes, .on = true};
}

Greeting make_greeting(int fd, const Options& options, WindowChoice window, std::size_t path) {
  // Half of the buffer is the window. The other half is for what the kernel has not yet given back of datagrams
  // that were read (up to a quarter, Linux: udp_rmem_release()), for probes, and for a larger overhead than expected.
  const std::size_t buffer = set_receive_buffer(fd, window.bytes);  // the kernel doubles what it is asked for
  Greeting greeting;
  greeting.instance = make_random<std::array<std::uint8_t, 16>>();
  greeting.max_message = static_cast<std::uint32_t>(options.max_message);
  std::uint64_t granted = std::min<std::uint64_t>(window.bytes, buffer / 2);
  if (!window.on) granted = 0;
  greeting.window = static_cast<std::uint32_t>(granted);
  greeting.max_datagram = static_cast<std::uint32_t>(std::min(path, datagram_for(window.on ? granted : buffer / 2)));
  return greeting;
}

Agreement agree(std::uint32_t session, const Greeting& mine, const Greeting& theirs) noexcept {
  const bool windowed = mine.window != 0 && theirs.window != 0;
  return {.session = session,
          .max_datagram = std::min<std::size_t>({mine.max_datagram, theirs.max_datagram, kMostDatagram}),
          .max_message_here = mine.max_message,
          .max_message_there = std::min<std::size_t>(theirs.max_message, Options::kMostMaxMessage),
          .window_here = windowed ? mine.window : 0,
          .window_there = windowed ? theirs.window : 0,
          .peer_instance = theirs.instance};
}

std::uint64_t Doorman::hash(const Endpoint& from, std::uint32_t session, std::uint64_t period) const noexcept {
  std::array<std::byte, 16 + 2 + 4 + 8> input{};
  const std::string_view host = from.host_bytes();
  std::memcpy(input.data(), host.data(), host.size());
  const std::uint16_t port = from.port();
  std::memcpy(input.data() + 16, &port, sizeof port);
  std::memcpy(input.data() + 18, &session, sizeof session);
  std::memcpy(input.data() + 22, &period, sizeof period);
  const std::uint64_t cookie = siphash(key_, input);
  return cookie != 0 ? cookie : 1;  // zero says "none"
}

std::uint64_t Doorman::cookie(const Endpoint& from, std::uint32_t session, Clock::time_point now) const noexcept {
  return hash(from, session, static_cast<std::uint64_t>(now.time_since_epoch() / kCookieFor));
}

bool Doorman::knows(const Endpoint& from, std::uint32_t session, const Greeting& theirs,
                    Clock::time_point now) const noexcept {
  if (theirs.cookie == 0) return false;
  return theirs.cookie == cookie(from, session, now) || theirs.cookie == cookie(from, session, now - kCookieFor);
}

std::optional<Greeting> Doorman::welcomed(const Endpoint& from, std::uint32_t session,
                                          const Greeting& theirs) const noexcept {
  const auto at = std::find_if(guests_.begin(), guests_.end(), [&](const Guest& guest) {
    return guest.session == session && guest.instance == theirs.instance && guest.from == from;
  });
  if (at == guests_.end()) return {};
  return at->answer;
}

void Doorman::remember(const Endpoint& from, std::uint32_t session, const Greeting& theirs, const Greeting& mine) {
  Guest guest{.from = from, .session = session, .instance = theirs.instance, .answer = mine};
  if (guests_.size() < kRemembered) {
    guests_.push_back(guest);
    return;
  }
  guests_[oldest_] = guest;
  oldest_ = (oldest_ + 1) % kRemembered;
}

}  // namespace bus::udp
