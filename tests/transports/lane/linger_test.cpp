// tests/transports/lane/linger_test.cpp: the readable descriptor of a lane just after a message.
#include <poll.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "tests/support/eventually.hpp"
#include "tests/transports/lane/ends.hpp"
#include "transports/lane/lane_channel.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

struct Ends {
  explicit Ends(std::chrono::nanoseconds linger) {
    auto [near_socket, far_socket] = test::socket_pair();
    lane::Offer near = lane::Offer::make(4096), far = lane::Offer::make(4096);
    lane::Offer near_view = lane::view_of(near), far_view = lane::view_of(far);
    lane::Link link = test::make_link(std::move(near_socket), 1000);
    link.linger = linger;
    receiver = std::make_unique<lane::LaneChannel>(std::move(near), std::move(far_view), std::move(link));
    sender = std::make_unique<lane::LaneChannel>(std::move(far), std::move(near_view),
                                                 test::make_link(std::move(far_socket), 1000));
    fd = receiver->readable_fd();
    nothing();  // the descriptor's first look
  }

  [[nodiscard]] bool readable() const {
    pollfd ready{fd, POLLIN, 0};
    return ::poll(&ready, 1, 0) == 1;
  }
  void send() const { REQUIRE_FALSE(sender->try_send(bytes_of("x"))); }
  void one() const { REQUIRE(receiver->try_receive()); }
  void nothing() const { REQUIRE(receiver->try_receive().error() == Errc::would_block); }

  std::unique_ptr<lane::LaneChannel> receiver, sender;
  int fd = -1;
};

}  // namespace

TEST_CASE("without lingering, an empty ring silences the descriptor at once", "[lane]") {
  const Ends ends(0ns);
  for (int round = 0; round < 100; ++round) {
    REQUIRE_FALSE(ends.readable());
    ends.send();
    REQUIRE(ends.readable());
    ends.one();
    ends.nothing();
  }
}

TEST_CASE("with lingering, the descriptor stays readable after a message, and nobody announces a sleep", "[lane]") {
  const Ends ends(24h);
  REQUIRE_FALSE(ends.readable());  // nothing has come yet: no reason to linger
  ends.send();
  REQUIRE(ends.readable());
  for (int round = 0; round < 100; ++round) {
    ends.one();
    ends.nothing();
    ends.nothing();
    REQUIRE(ends.readable());
    ends.send();
    REQUIRE(ends.readable());
  }
}

TEST_CASE("a receiver may ask for longer lingering, but not where there is none", "[lane]") {
  const Ends longer(1us), never(0ns);
  for (const Ends* const ends : {&longer, &never}) {
    ends->receiver->stay_awake(24h);
    ends->send();
    ends->one();
    test::let_pass(1ms);  // lingering is a length of time: that of the first end (1 us) is long over
    ends->nothing();
    test::let_pass(1ms);  // and would be again, had that look begun a new one
    ends->nothing();
    REQUIRE(ends->readable() == (ends == &longer));
  }
}

TEST_CASE("lingering ends, and where it did not pay it is left out more and more", "[lane]") {
  const Ends ends(1us);
  unsigned at_once = 0;
  for (int round = 0; round < 300; ++round) {
    ends.send();
    REQUIRE(ends.readable());
    ends.one();
    ends.nothing();
    if (!ends.readable()) ++at_once;
    REQUIRE(test::eventually([&] {
      ends.nothing();
      return !ends.readable();
    }));
  }
  REQUIRE(at_once > 250);
}
