// tests/conformance/signals_test.cpp: a storm of signals interrupts system calls and changes nothing else.
#include <csignal>
#include <ctime>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

std::atomic<std::uint64_t> signals_seen{0};

/// SIGALRM without SA_RESTART: interrupted calls return EINTR.
class Handler {
 public:
  Handler() {
    struct sigaction action {};
    action.sa_handler = [](int) { signals_seen.fetch_add(1, std::memory_order_relaxed); };
    REQUIRE(::sigaction(SIGALRM, &action, &before_) == 0);
  }
  ~Handler() { ::sigaction(SIGALRM, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  struct sigaction before_ {};
};

/// A thousand signals a second at the thread that makes it.
class Storm {
 public:
  Storm() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event._sigev_un._tid = ::gettid();
    if (::timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) throw std::runtime_error("timer_create");
    const itimerspec every{{0, 1'000'000}, {0, 1'000'000}};
    if (::timer_settime(timer_, 0, &every, nullptr) != 0) throw std::runtime_error("timer_settime");
  }
  ~Storm() { ::timer_delete(timer_); }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

 private:
  timer_t timer_{};
};

}  // namespace

TEST_CASE("a storm of signals loses, repeats and hurries nothing", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("hybrid", "block");
  CAPTURE(scheme, wait);
  constexpr std::uint64_t kSignals = 300;
  const Handler handler;
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=256KiB&wait=" + wait);
  const bool reliable = pair.client.traits().reliable;
  const Payloads payloads;
  const std::uint64_t before = signals_seen.load();
  InThread sending([&] {
    const Storm storm;
    Stream sent;
    std::uint64_t n = 0;
    do {  // a few hundred messages at a time, now and then a large one, until the storm has passed
      const Stream part = send_stream(pair.client, payloads, n, 200, [](std::uint64_t sequence) {
        return sequence % 100 == 99 ? 100'000 : mixed_size(sequence, true);
      });
      n += part.count;
      sent.end = part.end;
    } while (!sent.end && signals_seen.load() < before + kSignals);
    sent.count = n;
    const std::error_code closed = pair.client.close(soon());
    if (!sent.end) sent.end = closed;
    return sent;
  });
  Stream received;
  {
    const Storm storm;
    received = receive_stream(pair.server, payloads, 0, kUntilTheEnd, !reliable);
  }
  const Stream sent = sending.get();
  REQUIRE(sent.end == std::error_code{});
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE(received.damaged == 0);
  if (reliable) REQUIRE(received.count == sent.count);
  REQUIRE(signals_seen.load() >= before + kSignals);
  close_books(pair);
}

TEST_CASE("a storm of signals does not shorten a timed wait", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Handler handler;
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB&wait=block");
  const Payloads payloads;
  Stream filled = fill(pair.client, payloads, 0, 1000);
  {
    const Storm storm;
    std::error_code late;
    while (!late) {  // a kernel that has just found some more room is no failure
      const auto start = bus::Clock::now();
      late = pair.client.send(payloads.make(filled.count, 1000), start + 40ms);
      if (late) REQUIRE(bus::Clock::now() >= start + 40ms);
      if (!late) ++filled.count;
    }
    REQUIRE(late == bus::Errc::timed_out);
    const auto start = bus::Clock::now();
    REQUIRE(pair.client.receive(start + 40ms).error() == bus::Errc::timed_out);
    REQUIRE(bus::Clock::now() >= start + 40ms);
    REQUIRE(pair.listener.accept(start + 80ms).error() == bus::Errc::timed_out);
    REQUIRE(bus::Clock::now() >= start + 80ms);
  }
  const bool reliable = pair.client.traits().reliable;
  const Stream received =
      receive_stream(pair.server, payloads, 0, filled.count, !reliable, reliable ? soon() : bus::in(1s));
  REQUIRE(received.damaged == 0);
  close_books(pair);
}
