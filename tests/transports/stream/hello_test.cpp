// tests/transports/stream/hello_test.cpp: the handshake of framing=bus, without sockets and with them.
#include "transports/stream/hello.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "tests/transports/stream/sockets.hpp"
#include "transports/stream/introduction.hpp"

using namespace bus;
using namespace bus::stream;
using bus::test::bytes_from;

namespace {

using Side = Handshake::Side;

Hello example() {
  Hello hello;
  hello.max_message = 1 << 20;
  hello.pid = 258;
  for (std::uint8_t i = 0; i < 16; ++i) hello.instance[i] = i;
  return hello;
}

std::vector<std::byte> golden() {
  return bytes_from({0x89, 'b', 'u', 's', 32, 0, 1, 0, 0, 0, 0x10, 0,  2,  1,  0,  0,  //
                     0,    1,   2,   3,   4,  5, 6, 7, 8, 9, 10,   11, 12, 13, 14, 15});
}

/// Gives all bytes to a handshake, at most `step` at a time; returns those that it did not want.
std::size_t feed(Handshake& handshake, std::span<const std::byte> bytes, std::size_t step = 1000) {
  while (!bytes.empty()) {
    const auto room = handshake.wanted();
    const std::size_t count = std::min({room.size(), bytes.size(), step});
    if (count == 0) break;
    std::copy_n(bytes.begin(), count, room.begin());
    handshake.received(count);
    bytes = bytes.subspan(count);
  }
  return bytes.size();
}

std::vector<std::byte> drain(Handshake& handshake) {
  const auto out = handshake.outgoing();
  std::vector<std::byte> bytes(out.begin(), out.end());
  handshake.sent(bytes.size());
  return bytes;
}

}  // namespace

TEST_CASE("a hello has these bytes", "[stream]") {
  const auto bytes = encode_hello(example());
  REQUIRE(std::vector(bytes.begin(), bytes.end()) == golden());
}

TEST_CASE("two ends greet each other, in pieces of any size", "[stream]") {
  for (const std::size_t step : {1U, 3U, 8U, 1000U}) {
    CAPTURE(step);
    Hello there = example();
    there.max_message = 77;
    there.pid = 5;
    Handshake client(Side::connecting, example());
    Handshake server(Side::listening, there);
    REQUIRE(server.outgoing().empty());  // a stranger hears nothing before it has spoken
    REQUIRE(feed(server, drain(client), step) == 0);
    REQUIRE_FALSE(client.over());
    REQUIRE(feed(client, drain(server), step) == 0);
    REQUIRE(client.over());
    REQUIRE(server.over());
    REQUIRE_FALSE(client.failure());
    REQUIRE_FALSE(server.failure());
    REQUIRE(client.peer().max_message == 77);
    REQUIRE(client.peer().pid == 5);
    REQUIRE(server.peer().instance == example().instance);
  }
}

TEST_CASE("a handshake takes no byte of what follows it, and skips what a later version adds", "[stream]") {
  auto longer = golden();
  longer[4] = std::byte{0x2c};
  longer[5] = std::byte{0x01};  // 300 bytes
  longer.resize(300, std::byte{0xee});
  longer.push_back(std::byte{1});
  longer.push_back(std::byte{2});
  Handshake server(Side::listening, example());
  REQUIRE(feed(server, longer) == 2);
  REQUIRE_FALSE(server.failure());
  REQUIRE(server.outgoing().size() == kHelloBytes);
}

TEST_CASE("an unfinished hello is neither over nor a failure", "[stream]") {
  const auto bytes = golden();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    Handshake server(Side::listening, example());
    REQUIRE(feed(server, std::span(bytes).first(size)) == 0);
    REQUIRE_FALSE(server.over());
    REQUIRE_FALSE(server.failure());
    REQUIRE(server.outgoing().empty());
    REQUIRE_FALSE(server.wanted().empty());
  }
}

TEST_CASE("another version is told by both ends", "[stream]") {
  Hello newer = example();
  newer.version = 2;
  Handshake client(Side::connecting, example());
  Handshake server(Side::listening, newer);
  feed(server, drain(client));
  REQUIRE(server.failure() == Errc::version_mismatch);
  REQUIRE(server.detail() == "have 2, peer 1");
  REQUIRE_FALSE(server.over());  // it still answers
  feed(client, drain(server));
  REQUIRE(server.over());
  REQUIRE(client.over());
  REQUIRE(client.failure() == Errc::version_mismatch);
  REQUIRE(client.detail() == "have 1, peer 2");
}

TEST_CASE("a stranger gets no answer, a user who may not come in gets one", "[stream]") {
  {
    Handshake server(Side::listening, example());
    feed(server, bytes_from({'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P'}), 1);
    REQUIRE(server.failure() == Errc::corrupt);
    REQUIRE(server.outgoing().empty());
    REQUIRE(server.over());
  }
  for (const int size : {0, 31, 4097, 65535}) {
    auto bytes = golden();
    bytes[4] = static_cast<std::byte>(size & 0xff);
    bytes[5] = static_cast<std::byte>(size >> 8);
    Handshake server(Side::listening, example());
    feed(server, bytes);
    REQUIRE(server.failure() == Errc::corrupt);
    REQUIRE(server.outgoing().empty());
  }
  Hello refusing = example();
  refusing.verdict = Verdict::permission_denied;
  Handshake server(Side::listening, refusing);
  Handshake client(Side::connecting, example());
  feed(server, drain(client));
  REQUIRE(server.failure() == Errc::permission_denied);
  feed(client, drain(server));
  REQUIRE(client.failure() == Errc::permission_denied);
}

TEST_CASE("random hellos are refused or understood, never both", "[stream]") {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = golden();
    for (std::size_t n = random() % 4; n > 0; --n) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    Handshake server(Side::listening, example());
    feed(server, bytes, 1 + random() % 40);
    if (server.failure()) REQUIRE(server.wanted().empty());
    if (server.outgoing().size() == kHelloBytes && !server.failure()) REQUIRE(server.wanted().empty());
  }
}

TEST_CASE("two ends of a socket introduce themselves and become channels", "[stream]") {
  auto [one, other] = test::unix_sockets();
  StreamChannel::Terms small, large;
  small.max_message = 1000;
  large.max_message = 2000;
  Introduction client(std::move(one), Side::connecting, small);
  Introduction server(std::move(other), Side::listening, large);
  REQUIRE(server.step().error() == Errc::would_block);
  REQUIRE(client.step().error() == Errc::would_block);
  REQUIRE(client.detail() == "the listener has not accepted yet");
  auto served = server.step();
  REQUIRE(served);
  auto connected = client.step();
  REQUIRE(connected);
  REQUIRE((*connected)->traits().max_message == 2000);
  REQUIRE((*served)->traits().max_message == 1000);
  REQUIRE((*served)->peer().pid == ::getpid());
  REQUIRE((*served)->try_send(std::vector<std::byte>(1001)) == Errc::message_too_large);
  REQUIRE_FALSE((*served)->try_send(std::vector<std::byte>(1000)));
  REQUIRE(test::receive(**connected)->size() == 1000);
}

TEST_CASE("a connector says what the listener told it before it went", "[stream]") {
  auto [one, other] = test::tcp_sockets();
  Introduction client(std::move(one), Side::connecting, {});
  REQUIRE(client.step().error() == Errc::would_block);
  SECTION("another version") {
    Hello newer = make_hello(1);
    newer.version = 2;
    test::write_all(other.get(), encode_hello(newer));
    other.reset();
    REQUIRE(test::wait_readable(client.fd()));
    REQUIRE(client.step().error() == Errc::version_mismatch);
    REQUIRE(client.detail() == "have 1, peer 2");
  }
  SECTION("nothing") {
    other.reset();
    REQUIRE(test::wait_readable(client.fd()));
    REQUIRE(client.step().error() == Errc::no_peer);
    REQUIRE(client.detail().find("framing=raw") != std::string::npos);
  }
  SECTION("another protocol") {
    test::write_all(other.get(), bytes_of("220 mail ready\r\n"));
    REQUIRE(test::wait_readable(client.fd()));
    REQUIRE(client.step().error() == Errc::corrupt);
    REQUIRE(client.detail().find("framing=") != std::string::npos);
  }
}
