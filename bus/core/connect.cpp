// bus/core/connect.cpp: listen() and connect(): from an address to an endpoint.
#include <poll.h>

#include <algorithm>
#include <optional>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"

namespace bus {

using namespace std::chrono_literals;

namespace {

constexpr auto kFirstRetry = 1ms;
constexpr auto kLastRetry = 50ms;

[[noreturn]] void fail(std::string_view address, std::error_code code, std::string_view detail,
                       Clock::duration waited) {
  std::string text("connect ");
  text.append(address).append(": ");
  if (code == Errc::no_peer) {
    text.append("nobody is listening there");
  } else if (code == Errc::timed_out) {
    text.append("no answer");
  } else if (code == std::errc::not_a_socket) {
    text.append("what is there is no socket; it is left alone");
  } else if (code == Errc::closed) {
    text.append("this program gave up");
  } else {
    text = describe("connect", address, code);
  }
  if (!detail.empty()) text.append(": ").append(detail);
  if (code == Errc::no_peer || code == Errc::timed_out || code == Errc::closed) {
    text.append(" (waited ").append(format_duration(waited)).append(")");
  }
  if (code == Errc::no_peer) text.append("; start the listener, or wait longer for it");
  throw Error(code, text);
}

/// A stop token as a descriptor to sleep on.
class StopEvent {
 public:
  explicit StopEvent(const std::stop_token& stop) {
    if (!stop.stop_possible()) return;
    event_ = os::make_event();
    callback_.emplace(stop, Signal{event_.get()});
  }
  void arm(WaitSet& set) const noexcept {
    if (event_) set.add(event_.get(), POLLIN);
  }

 private:
  struct Signal {
    int event;
    void operator()() const noexcept { os::signal_event(event); }
  };
  os::Fd event_;
  std::optional<std::stop_callback<Signal>> callback_;  // goes first, and waits for a signal under way
};

}  // namespace

Listener listen(std::string_view text, std::size_t max_message) {
  const Address address = Address::parse(text);
  const Transport& transport = find_transport(address);
  const Options options = read_options(transport, address, max_message);
  transport.check(address);
  try {
    return Listener(transport.listen(address, options), options.wait);
  } catch (const Error& error) {
    // Whatever it was that needed one more descriptor.
    if (error.code() == std::errc::too_many_files_open) {
      throw Error(error.code(), describe("listen", text, error.code()));
    }
    throw;
  }
}

Channel connect(std::string_view text, Deadline deadline, const std::stop_token& stop) {
  const Address address = Address::parse(text);
  const Transport& transport = find_transport(address);
  const Options options = read_options(transport, address);
  transport.check(address);

  const auto start = Clock::now();
  const StopEvent stop_event(stop);
  auto connector = transport.connector(address, options);
  Clock::duration retry = kFirstRetry;
  for (;;) {
    if (stop.stop_requested()) fail(text, Errc::closed, connector->detail(), Clock::now() - start);
    auto channel = connector->try_connect();
    if (channel) return Channel(std::move(*channel), options.wait, address.text());
    const std::error_code code = channel.error();
    if (code != Errc::would_block && code != Errc::no_peer) fail(text, code, connector->detail(), Clock::now() - start);
    const auto now = Clock::now();
    if (now >= deadline) {
      fail(text, code == Errc::no_peer ? code : make_error_code(Errc::timed_out), connector->detail(), now - start);
    }
    WaitSet set;
    stop_event.arm(set);
    if (code == Errc::would_block) {
      connector->arm(set);
    } else {
      set.at_most(retry);
      retry = std::min<Clock::duration>(retry * 2, kLastRetry);
    }
    set.sleep(deadline);
    // Nobody was there, and no time is left: an attempt that would only just begin could say nothing new.
    if (code == Errc::no_peer && !stop.stop_requested() && Clock::now() >= deadline) {
      fail(text, code, connector->detail(), Clock::now() - start);
    }
  }
}

}  // namespace bus
