// tools/common/endpoint.cpp: see endpoint.hpp.
#include "tools/common/endpoint.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"
#include "tools/common/format.hpp"
#include "tools/common/log.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

void check_address(const std::string& text) {
  const Address address = Address::parse(text);
  const Transport& transport = find_transport(address);
  static_cast<void>(read_options(transport, address));
  transport.check(address);
  // Known only here: traits() tells it of a channel, and no channel can ever come about.
  if (transport.scheme() == "inproc") {
    throw Error(Errc::bad_address, text +
                                       ": inproc joins the threads of one process, and this program is a process of "
                                       "its own: between processes use shm://" +
                                       address.host());
  }
}

void check_accepts(const std::string& what, const std::string& address, std::uint64_t size) {
  const Address parsed = Address::parse(address);
  if (size <= read_options(find_transport(parsed), parsed).max_message) return;
  std::string way_out;
  if (size > Options::kMostMaxMessage) {
    way_out = "a message has at most " + format_size(Options::kMostMaxMessage);
  } else if (parsed.option("max_message")) {
    way_out = "say max_message=" + format_size(size) + " in the address";
  } else {
    way_out = std::string("add ") + (parsed.options().empty() ? "?" : "&") + "max_message=" + format_size(size);
  }
  throw Error(Errc::bad_address, what + " is more than this end accepts: " + way_out);
}

Channel connect_or_stop(const std::string& address, std::chrono::nanoseconds wait, Signals& signals,
                        const std::function<void()>& on_failure) {
  // connect() cannot be interrupted. Nothing has been sent yet, so nothing is lost by ending the process here.
  const Signals::OnStop guard(signals, [&] {
    on_failure();
    ::_exit(static_cast<int>(signals.exit()));
  });
  try {
    return connect(address, in(wait));
  } catch (const Error& error) {
    on_failure();
    // Who answers something else is no peer of ours, and nothing was lost.
    if (error.code() == Errc::corrupt) throw Error(Errc::no_peer, error.what());
    throw;
  }
}

std::optional<Channel> accept_or_stop(Listener& listener, Deadline deadline, Signals& signals) {
  const Signals::OnStop guard(signals, [&listener] { listener.close(); });
  Result<Channel> channel = listener.accept(deadline);
  if (channel) return std::move(*channel);
  if (signals.stopped()) return {};
  const std::error_code code = channel.error();
  throw Error(code, code == Errc::timed_out
                        ? "listen " + std::string(listener.address()) + ": nobody has connected in time"
                        : describe("accept", listener.address(), code));
}

std::error_code close_or_stop(Channel& channel, std::chrono::nanoseconds linger, std::chrono::nanoseconds after_signal,
                              const Signals& signals) noexcept {
  constexpr auto kSlice = 50ms;  // a close cannot be interrupted
  Deadline deadline = in(linger);
  for (bool stopped = false;;) {
    if (!stopped && signals.stopped()) {
      stopped = true;
      deadline = std::min(deadline, in(after_signal));
    }
    const std::error_code error = channel.close(stopped ? deadline : std::min(deadline, in(kSlice)));
    if (error != Errc::timed_out || Clock::now() >= deadline) return error;
  }
}

Listener listen_and_say(const std::string& address, Output* output) {
  Listener listener;
  try {
    listener = listen(address);
  } catch (const Error& error) {
    // An address that is not allowed to us is a mistake in the command line: another one has to be chosen.
    if (error.code() == Errc::permission_denied) throw Error(Errc::bad_address, error.what());
    throw;
  }
  log::info("listening on " + std::string(listener.address()));
  if (output != nullptr) {
    Event event;
    event.type = "listening";
    event.address = listener.address();
    output->write(event_json(event));
    output->flush();
  }
  return listener;
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  // Without it there is room for fewer clients, which accept() reports when it comes to that.
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

std::string describe_peer(const Peer& peer) {
  std::string text = peer.address;
  const auto add = [&text](std::string_view label, auto number) {
    if (!text.empty()) text.append(", ");
    text.append(label).append(std::to_string(number));
  };
  // Some transports name their peer by its pid.
  if (peer.pid && text.find(" " + std::to_string(*peer.pid)) == std::string::npos) add("pid ", *peer.pid);
  if (peer.uid) add("uid ", *peer.uid);
  return text;
}

}  // namespace bus::tools
