// tests/conformance/crash_points_test.cpp: a victim dies at its first fault point, at its second, at its third, ...
// until it finishes without reaching the next: all the places at which death could matter, one after the other.
//
// Each time: the survivor never hangs and never sees a torn message; the address can be listened on again at once;
// nothing is left behind. The same with a victim that is stopped at each point and goes on a little later: nobody
// takes it for dead, and everything arrives. Only in builds with BUS_FAULT_POINTS.
#include <atomic>
#include <iostream>
#include <optional>
#include <thread>

#include "tests/conformance/peer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/traffic.hpp"

#ifdef BUS_FAULT_POINTS

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

// More than a run passes; a victim that finishes before it dies ends the count.
constexpr unsigned kMostPoints = 5'000;
constexpr std::uint64_t kMessages = 6;
constexpr auto kOptions = "capacity=4KiB&max_message=256KiB";

/// Small ones, and one that no queue of 4 KiB holds: rings grow, streams block.
std::size_t size_with_one_large(std::uint64_t sequence) { return sequence == 3 ? 60'000 : 100 + sequence; }

/// Connects as long as the victim lives.
std::optional<bus::Channel> connect_while_alive(const std::string& address, Peer& victim) {
  for (;;) {
    try {
      return bus::connect(address, bus::in(250ms));
    } catch (const bus::Error&) {
      if (victim.process().ended()) return {};
    }
  }
}

/// The same for accepting.
std::optional<bus::Channel> accept_while_alive(bus::Listener& listener, Peer& victim) {
  for (;;) {
    const bool ended = victim.process().ended();  // looked at first: it may connect, then die
    auto accepted = listener.accept(bus::in(ended ? 20ms : 250ms));
    if (accepted) return std::move(*accepted);
    if (ended) return {};
  }
}

/// An outcome that a survivor may see: it ended, and said how.
bool is_end(std::error_code code) { return code == bus::Errc::peer_died || code == bus::Errc::closed; }

/// The address works, whatever happened on it: a new listener, a new channel, one message.
void works_anew(const std::string& address) {
  bus::Listener listener = bus::listen(address);
  bus::Channel client, server;
  open_more(listener, client, server);
  REQUIRE_FALSE(client.send(bus::bytes_of("anew"), soon()));
  const auto message = server.receive(soon());
  REQUIRE(message);
  REQUIRE(message->text() == "anew");
  close_books(client, server);
  client = bus::Channel();
  server = bus::Channel();
  listener.close();
  CAPTURE(leftovers());
  REQUIRE(leftovers().empty());
}

/// Victim: listens, accepts, receives, answers, closes. Survivor: connects, sends, receives.
void survive_listener(const std::string& address, Peer& victim) {
  victim.tell("accept");
  victim.tell("receive 1 0 " + std::to_string(kMessages));
  victim.tell("send 2 0 " + std::to_string(kMessages) + " 200");
  victim.tell("close");
  victim.process().close_stdin();
  const bool listened = eventually(
      [&] { return victim.process().ended() || victim.process().out().find("listening ") != std::string::npos; });
  REQUIRE(listened);
  auto channel = connect_while_alive(address, victim);
  if (!channel) return;
  const Stream sent = send_stream(*channel, Payloads(1), 0, kMessages, size_with_one_large);
  if (sent.end) CHECK(is_end(sent.end));
  const Stream received = receive_stream(*channel, Payloads(2), 0, kUntilTheEnd);
  CHECK(is_end(received.end));
  CHECK(received.damaged == 0);
  CHECK(received.count <= kMessages);
  if (received.end == bus::Errc::closed && channel->traits().reliable) CHECK(received.count == kMessages);
}

/// Victim: connects, sends, closes. Survivor: listens, accepts, receives; then serves another on the same listener.
void survive_sender(bus::Listener& listener, Peer& victim) {
  for (std::uint64_t n = 0; n < kMessages; ++n) {
    victim.tell("send 1 " + std::to_string(n) + " 1 " + std::to_string(size_with_one_large(n)));
  }
  victim.tell("close");
  victim.process().close_stdin();
  if (auto channel = accept_while_alive(listener, victim)) {
    const Stream received = receive_stream(*channel, Payloads(1), 0, kUntilTheEnd);
    CHECK(is_end(received.end));
    CHECK(received.damaged == 0);
    CHECK(received.count <= kMessages);
    if (received.end == bus::Errc::closed && channel->traits().reliable) CHECK(received.count == kMessages);
  }
}

/// A command that a dead victim no longer takes is no failure of the test.
template <class Act>
void with_victim(Act&& act) {
  try {
    act();
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::broken_pipe) throw;
  }
}

/// Lets a victim that has stopped itself go on, once it has. The pause is what makes the others wait for it; nothing
/// depends on its length.
class Continue {
 public:
  Continue(Peer& victim, std::atomic<bool>& stopped)
      : victim_(victim), stopped_(stopped), thread_([this] { work(); }) {}
  ~Continue() { thread_.join(); }
  Continue(const Continue&) = delete;
  Continue& operator=(const Continue&) = delete;

 private:
  void work() {
    const std::string task = "/proc/" + std::to_string(victim_.process().pid());
    static_cast<void>(eventually([&] {
      stopped_ = kernel_state(task) == 'T';
      return stopped_ || victim_.process().ended();
    }));
    if (!stopped_) return;
    let_pass(5ms);  // the length of the stop
    victim_.process().kill(SIGCONT);
  }
  Peer& victim_;
  std::atomic<bool>& stopped_;
  std::thread thread_;
};

/// What a victim that was not killed has to have done.
void require_all_well(Peer& victim) {
  const ExitStatus status = victim.process().wait(soon());
  const std::string out = victim.process().out();
  CAPTURE(out, victim.process().err());
  CHECK(status == ExitStatus{0, 0});
  CHECK(out.find("closed 0 ") != std::string::npos);
}

}  // namespace

TEST_CASE("a listener may die at any point", "[conformance][crash]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const bus::Traits traits = traits_of(scheme);
  if (!traits.crosses_processes || !traits.survives_peer || !traits.tells_death) return;
  const std::string address = fixed_address(scheme, kOptions);
  unsigned point = 1;
  for (; point < kMostPoints; ++point) {
    CAPTURE(point);
    Peer victim = Peer::start("listen", address, {{"CRASH_AT", std::to_string(point)}});
    with_victim([&] { survive_listener(address, victim); });
    const ExitStatus status = victim.process().wait(soon());
    works_anew(address);
    if (status != ExitStatus{-1, SIGKILL}) {
      CAPTURE(victim.process().out(), victim.process().err());
      REQUIRE(status == ExitStatus{0, 0});
      break;
    }
  }
  std::cout << "crash points of a listener and receiver on " << scheme << ": " << point - 1 << "\n";
  REQUIRE(point < kMostPoints);
  REQUIRE(point > 1);
}

TEST_CASE("a connecting sender may die at any point", "[conformance][crash]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const bus::Traits traits = traits_of(scheme);
  if (!traits.crosses_processes || !traits.survives_peer || !traits.tells_death) return;
  const std::string address = fixed_address(scheme, kOptions);
  unsigned point = 1;
  for (; point < kMostPoints; ++point) {
    CAPTURE(point);
    bus::Listener listener = bus::listen(address);
    Peer victim = Peer::start("connect", address, {{"CRASH_AT", std::to_string(point)}});
    with_victim([&] { survive_sender(listener, victim); });
    const ExitStatus status = victim.process().wait(soon());
    bus::Channel client, server;
    open_more(listener, client, server);
    close_books(client, server);
    listener.close();
    works_anew(address);
    if (status != ExitStatus{-1, SIGKILL}) {
      CAPTURE(victim.process().out(), victim.process().err());
      REQUIRE(status == ExitStatus{0, 0});
      break;
    }
  }
  std::cout << "crash points of a connecting sender on " << scheme << ": " << point - 1 << "\n";
  REQUIRE(point < kMostPoints);
  REQUIRE(point > 1);
}

TEST_CASE("a listener may be stopped at any point and goes on", "[conformance][crash]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).crosses_processes) return;
  const std::string address = fixed_address(scheme, kOptions);
  for (unsigned point = 1; point < kMostPoints; ++point) {
    CAPTURE(point);
    std::atomic<bool> stopped = false;
    Peer victim = Peer::start("listen", address, {{"STOP_AT", std::to_string(point)}});
    {
      const Continue later(victim, stopped);
      survive_listener(address, victim);
    }
    require_all_well(victim);
    if (!stopped) break;  // it finished before it came to that point
  }
}

TEST_CASE("a connecting sender may be stopped at any point and goes on", "[conformance][crash]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).crosses_processes) return;
  bus::Listener listener = bus::listen(fresh_address(scheme, kOptions));
  const std::string address(listener.address());
  for (unsigned point = 1; point < kMostPoints; ++point) {
    CAPTURE(point);
    std::atomic<bool> stopped = false;
    Peer victim = Peer::start("connect", address, {{"STOP_AT", std::to_string(point)}});
    {
      const Continue later(victim, stopped);
      survive_sender(listener, victim);
    }
    require_all_well(victim);
    if (!stopped) break;  // it finished before it came to that point
  }
}

#endif
