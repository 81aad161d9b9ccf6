// tests/conformance/mixed_test.cpp: things that concern all transports together.
#include <array>
#include <deque>
#include <map>

#include "bus/core/os/fd.hpp"
#include "bus/core/poller.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

TEST_CASE("one wait covers channels and listeners of all transports", "[conformance][mixed]") {
  const std::vector<std::string> schemes = registered_schemes();
  std::deque<Pair> pairs;
  bus::Poller poller;
  for (const std::string& scheme : schemes) {
    pairs.push_back(open_pair(scheme));
    poller.add(pairs.back().server, pairs.size() - 1);
    poller.add(pairs.back().listener, 1000 + pairs.size() - 1);
  }
  std::array<bus::Poller::Key, 64> ready{};
  constexpr std::uint64_t kCount = 200;
  const Payloads payloads;
  std::map<std::size_t, std::uint64_t> received;
  InThread sending([&] {
    for (std::uint64_t n = 0; n < kCount; ++n) {
      for (Pair& pair : pairs) {
        if (const auto error = pair.client.send(payloads.make(n, 100), soon())) return error;
      }
    }
    return std::error_code{};
  });
  REQUIRE(eventually([&] {
    const std::size_t count = poller.wait(ready, bus::in(1s));
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] >= 1000) {
        static_cast<void>(pairs.at(ready[i] - 1000).listener.try_accept().error());
        continue;
      }
      const std::size_t at = ready[i];
      pairs.at(at).server.poll(
          [&](bus::Message&& message) {
            if (payloads.matches(message.bytes(), received[at])) ++received[at];
          },
          16);
    }
    bool all = received.size() == pairs.size();
    for (const auto& [at, of] : received) all = all && of == kCount;
    return all;
  }));
  REQUIRE_FALSE(sending.get());
  // Newcomers on every listener, all found by the same wait.
  std::deque<bus::Channel> newcomers(pairs.size());
  for (std::size_t at = 0; at < pairs.size(); ++at) {
    CAPTURE(schemes[at]);
    InThread connecting([&] { return bus::connect(pairs[at].listener.address(), soon()); });
    REQUIRE(eventually([&] {
      const std::size_t count = poller.wait(ready, bus::in(1s));
      for (std::size_t i = 0; i < count; ++i) {
        if (ready[i] < 1000) {
          static_cast<void>(pairs.at(ready[i]).server.try_receive().error());
        } else if (auto accepted = pairs.at(ready[i] - 1000).listener.try_accept()) {
          newcomers.at(ready[i] - 1000) = std::move(*accepted);
        }
      }
      return newcomers[at].traits().max_message != 0;
    }));
    bus::Channel client = connecting.get();
    close_books(client, newcomers[at]);
  }
  for (Pair& pair : pairs) {
    poller.remove(pair.server);
    poller.remove(pair.listener);
    close_books(pair);
  }
}

TEST_CASE("a poller wakes on request, ends at its deadline and reports what a program adds", "[conformance][mixed]") {
  bus::Poller poller;
  std::array<bus::Poller::Key, 4> ready{};
  const auto start = bus::Clock::now();
  REQUIRE(poller.wait(ready, start + 30ms) == 0);
  REQUIRE(bus::Clock::now() >= start + 30ms);

  InThread waiting([&] { return poller.wait(ready); });
  waiting.wait_until_blocked();
  poller.wake();
  REQUIRE(waiting.get() == 0);
  poller.wake();  // before the wait: it ends the next one
  REQUIRE(poller.wait(ready) == 0);
  REQUIRE(poller.wait(ready, bus::in(5ms)) == 0);

  const bus::os::Fd event = bus::os::make_event();
  poller.add(event.get(), 42);
  bus::os::signal_event(event.get());
  REQUIRE(poller.wait(ready, soon()) == 1);
  REQUIRE(ready[0] == 42);
  REQUIRE(poller.wait(ready, soon()) == 1);  // level-triggered
  bus::os::clear_event(event.get());
  REQUIRE(poller.wait(ready, bus::in(5ms)) == 0);
  bus::os::signal_event(event.get());
  poller.remove(event.get());
  REQUIRE(poller.wait(ready, bus::in(5ms)) == 0);
  REQUIRE(poller.wait({}, soon()) == 0);
}
