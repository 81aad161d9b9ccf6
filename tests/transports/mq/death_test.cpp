// tests/transports/mq/death_test.cpp: a peer is killed in the middle of heavy traffic, again and again.
//
// What Boost's queue does then is its own affair: often the victim holds its mutex, and the queue is lost. Here it is
// shown that the survivor is told, never hangs, never sees a torn message, and goes on with a new channel.
#include <sys/mman.h>

#include <chrono>
#include <random>
#include <thread>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/traffic.hpp"
#include "tests/transports/mq/child.hpp"

using namespace bus;
using namespace std::chrono_literals;
using test::Child;
using test::Payloads;
using test::Stream;

namespace {

constexpr int kRounds = 60;
constexpr std::size_t kLargest = 16384;

/// Large enough to spend much of the time in the copy, under the queue's mutex.
std::size_t size_at(std::uint64_t sequence) { return 64 + sequence * 1237 % (kLargest - 64); }

/// Traffic in both directions until the channel ends. `mine` and `theirs` are the streams' numbers.
struct BothWays {
  Stream sent, received;
  BothWays(Channel& channel, std::uint64_t mine, std::uint64_t theirs) {
    std::thread sender([&] { sent = test::send_stream(channel, Payloads(mine), 0, test::kUntilTheEnd, size_at); });
    received = test::receive_stream(channel, Payloads(theirs), 0, test::kUntilTheEnd);
    sender.join();
  }
};

/// Kills at a random moment, so that the victim is anywhere in its work.
class Killer {
 public:
  Killer(const Child& victim, std::mt19937& random)
      : thread_([&victim, delay = std::chrono::microseconds(random() % 15000)] {
          test::let_pass(delay);
          victim.kill();
        }) {}

 private:
  std::jthread thread_;
};

void survives(Channel& channel, const Child& victim, std::mt19937& random) {
  const Killer killer(victim, random);
  const BothWays traffic(channel, 1, 2);
  REQUIRE(traffic.received.end == Errc::peer_died);
  REQUIRE(traffic.sent.end == Errc::peer_died);
  REQUIRE(traffic.received.damaged == 0);
  REQUIRE(channel.try_receive().error() == Errc::peer_died);
  REQUIRE(channel.try_send(bytes_of("x")) == Errc::peer_died);
  REQUIRE(channel.close(test::soon()) == Errc::peer_died);
}

void never_ends(const std::string& address, bool listens) {
  Listener listener;
  Channel channel;
  if (listens) {
    listener = listen(address);
    channel = listener.accept(test::soon()).value();
  } else {
    channel = connect(address, test::soon());
  }
  const BothWays traffic(channel, 2, 1);
}

}  // namespace

TEST_CASE("a connector killed at a random moment never hangs or misleads its listener", "[mq]") {
  const std::string wait = GENERATE("hybrid", "block");
  CAPTURE(wait);
  const std::string address = "mq://" + test::fresh_name() + "?max_message=16KiB&capacity=64KiB&wait=" + wait;
  std::mt19937 random(11);
  Listener listener = listen(address);
  for (int round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    const Child victim([&] { never_ends(address, false); });
    Channel channel = listener.accept(test::soon()).value();
    survives(channel, victim, random);
  }
}

TEST_CASE("a listener killed at a random moment leaves its name free for the next", "[mq]") {
  const std::string wait = GENERATE("hybrid", "block");
  CAPTURE(wait);
  const std::string address = "mq://" + test::fresh_name() + "?max_message=16KiB&capacity=64KiB&wait=" + wait;
  std::mt19937 random(12);
  for (int round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    const Child victim([&] { never_ends(address, true); });
    Channel channel = connect(address, test::soon());
    survives(channel, victim, random);
    REQUIRE(test::leftovers().empty());  // the survivor has removed what the dead one had left
  }
}

TEST_CASE("a peer that dies inside the queue's lock is told as a death, and the listener serves the next", "[mq]") {
  const bool sleeping = GENERATE(false, true);
  CAPTURE(sleeping);
  const std::string address = "mq://" + test::fresh_name() + "?max_message=4KiB";
  Listener listener = listen(address);
  {
    Child victim([&] {
      Channel channel = connect(address, test::soon());
      if (channel.send(bytes_of("whole"), test::soon())) ::_exit(2);
      if (!channel.receive(test::soon())) ::_exit(3);
      test::die_quietly_of_faults();
      void* const page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      // Copying from that page kills, and Boost copies with its mutex held.
      static_cast<void>(channel.send({static_cast<const std::byte*>(page), 64}));
    });
    Channel channel = listener.accept(test::soon()).value();
    const auto first = channel.receive(test::soon());
    REQUIRE(first);
    CHECK(first->text() == "whole");
    REQUIRE_FALSE(channel.send(bytes_of("now die"), test::soon()));
    if (!sleeping) victim.wait();
    CHECK(channel.receive(test::soon()).error() == Errc::peer_died);
    CHECK(channel.send(bytes_of("x"), test::soon()) == Errc::peer_died);
    CHECK(channel.loan(8, test::soon()).error() == Errc::peer_died);
  }
  Child next([&] {
    Channel channel = connect(address, test::soon());
    if (channel.send(bytes_of("as new"), test::soon()) || channel.close(test::soon())) ::_exit(2);
  });
  Channel channel = listener.accept(test::soon()).value();
  const auto message = channel.receive(test::soon());
  REQUIRE(message);
  CHECK(message->text() == "as new");
  CHECK(channel.receive(test::soon()).error() == Errc::closed);
  channel.close();
  CHECK(next.wait() == 0);
}

TEST_CASE("what a dead peer had not taken is in the books as lost", "[mq]") {
  const std::string address = "mq://" + test::fresh_name() + "?max_message=4KiB";
  Listener listener = listen(address);
  const Child victim([&] {
    Channel channel = connect(address, test::soon());
    if (!channel.receive(test::soon())) ::_exit(2);
    if (channel.send(bytes_of("one taken"), test::soon())) ::_exit(3);
    ::kill(::getpid(), SIGKILL);
  });
  Channel channel = listener.accept(test::soon()).value();
  for (int n = 0; n < 5; ++n) REQUIRE_FALSE(channel.send(bytes_of("for the victim"), test::soon()));
  REQUIRE(channel.receive(test::soon()));
  REQUIRE(channel.receive(test::soon()).error() == Errc::peer_died);
  CHECK(channel.close(test::soon()) == Errc::peer_died);
  const Books books = channel.books();
  CHECK(books.accepted == 5);
  CHECK(books.lost[static_cast<std::size_t>(Reason::peer_died)] == 4);
  CHECK_FALSE(books.closed());
}
