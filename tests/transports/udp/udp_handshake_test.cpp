// tests/transports/udp/udp_handshake_test.cpp: who is let in, who is not, and what a stranger gets.
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "bus/core/address.hpp"
#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tests/support/traffic.hpp"
#include "tests/transports/udp/udp_datagrams.hpp"
#include "transports/udp/handshake.hpp"
#include "transports/udp/socket.hpp"

using namespace bus;
using namespace bus::test;
using namespace std::chrono_literals;
using udp::Datagram;
using udp::Endpoint;
using udp::Greeting;
using udp::Kind;

namespace {

Endpoint endpoint_of(std::string_view address) { return udp::resolve(Address::parse(address), "test").front(); }

/// A plain socket that speaks to a listener by hand.
class Stranger {
 public:
  explicit Stranger(std::string_view to) : to_(endpoint_of(to)), fd_(udp::make_socket(to_).value()) {
    REQUIRE_FALSE(udp::bind_to(fd_.get(), endpoint_of("udp://127.0.0.1:0")));
  }

  void say(std::span<const std::byte> datagram) { REQUIRE_FALSE(udp::send_to(fd_.get(), datagram, to_)); }

  /// What has been answered by now; empty if nothing. Over loopback an answer is there when its sender returns.
  [[nodiscard]] Bytes answer() {
    Bytes room(2000);
    const auto received = udp::receive_from(fd_.get(), room);
    if (!received) return {};
    room.resize(received->bytes);
    return room;
  }

 private:
  const Endpoint to_;
  const os::Fd fd_;
};

Greeting loopback_greeting() {
  Greeting greeting{.max_message = 1 << 20, .max_datagram = 65507, .window = 1 << 20};
  greeting.instance[0] = 1;
  return greeting;
}

/// Lets a listener take in what has arrived. No channel is expected.
void attend(Listener& listener) {
  const auto channel = listener.try_accept();
  REQUIRE_FALSE(channel);
  REQUIRE(channel.error() == Errc::would_block);
}

/// A hello with the cookie that a hello without one was answered with.
Greeting greeting_with_cookie(Stranger& stranger, Listener& listener) {
  Datagram room;
  Greeting greeting = loopback_greeting();
  stranger.say(udp::make_hello(1, greeting, room));
  attend(listener);
  greeting.cookie = udp::read_cookie(udp::decode(stranger.answer())).value();
  return greeting;
}

}  // namespace

TEST_CASE("a cookie is good for its address, its session and some seconds", "[udp]") {
  udp::Doorman doorman({1, 2});
  const Endpoint here = endpoint_of("udp://127.0.0.1:5000");
  const Endpoint port = endpoint_of("udp://127.0.0.1:5001");
  const Endpoint host = endpoint_of("udp://127.0.0.2:5000");
  const Endpoint six = endpoint_of("udp://[::1]:5000");
  const Clock::time_point now = Clock::now();
  Greeting greeting = loopback_greeting();
  CHECK_FALSE(doorman.knows(here, 7, greeting, now));
  greeting.cookie = doorman.cookie(here, 7, now);
  CHECK(doorman.knows(here, 7, greeting, now));
  CHECK(doorman.knows(here, 7, greeting, now + udp::Doorman::kCookieFor));
  CHECK_FALSE(doorman.knows(here, 7, greeting, now + 2 * udp::Doorman::kCookieFor));
  CHECK_FALSE(doorman.knows(here, 8, greeting, now));
  CHECK_FALSE(doorman.knows(port, 7, greeting, now));
  CHECK_FALSE(doorman.knows(host, 7, greeting, now));
  CHECK_FALSE(doorman.knows(six, 7, greeting, now));
  CHECK_FALSE(udp::Doorman({1, 3}).knows(here, 7, greeting, now));
}

TEST_CASE("a guest is remembered by its address, session and instance, until many others came", "[udp]") {
  udp::Doorman doorman({1, 2});
  const Endpoint here = endpoint_of("udp://127.0.0.1:5000");
  const Greeting theirs = loopback_greeting();
  Greeting mine = loopback_greeting();
  mine.port = 4711;
  doorman.remember(here, 7, theirs, mine);
  REQUIRE(doorman.welcomed(here, 7, theirs));
  CHECK(doorman.welcomed(here, 7, theirs)->port == 4711);
  CHECK_FALSE(doorman.welcomed(here, 8, theirs));
  Greeting other = theirs;
  other.instance[3] = 9;
  CHECK_FALSE(doorman.welcomed(here, 7, other));
  for (std::uint32_t session = 100; session < 100 + 256; ++session) doorman.remember(here, session, theirs, mine);
  CHECK_FALSE(doorman.welcomed(here, 7, theirs));
  CHECK(doorman.welcomed(here, 355, theirs));
}

TEST_CASE("both ends draw the same conclusions from their greetings", "[udp]") {
  Greeting one = loopback_greeting();
  Greeting two = loopback_greeting();
  two.max_datagram = 1472;
  two.max_message = 4096;
  two.window = 1 << 16;
  const auto here = udp::agree(5, one, two);
  const auto there = udp::agree(5, two, one);
  CHECK(here.max_datagram == 1472);
  CHECK(there.max_datagram == 1472);
  CHECK(here.max_message_there == 4096);
  CHECK(there.max_message_here == 4096);
  CHECK(here.window_there == 1 << 16);
  CHECK(there.window_here == 1 << 16);
  one.window = 0;  // one of them wants none
  CHECK(udp::agree(5, one, two).window_there == 0);
  CHECK(udp::agree(5, two, one).window_here == 0);
}

TEST_CASE("an address that has echoed no cookie gets no more bytes than it sent, and leaves nothing behind", "[udp]") {
  Listener listener = listen("udp://127.0.0.1:0");
  Stranger stranger(listener.address());
  Datagram room;

  SECTION("a hello gets a cookie, again and again the same") {
    Bytes first;
    for (int i = 0; i < 3; ++i) {
      const auto hello = udp::make_hello(1, loopback_greeting(), room);
      stranger.say(hello);
      attend(listener);
      const Bytes answer = stranger.answer();
      CHECK(answer.size() <= hello.size());
      REQUIRE(udp::read_cookie(udp::decode(answer)));
      if (i > 0) CHECK(answer == first);
      first = answer;
      CHECK(stranger.answer().empty());
    }
  }
  SECTION("a guessed cookie gets a true one and no channel") {
    Greeting greeting = loopback_greeting();
    greeting.cookie = 0x1234;
    stranger.say(udp::make_hello(1, greeting, room));
    attend(listener);
    CHECK(udp::read_cookie(udp::decode(stranger.answer())));
  }
  SECTION("somebody else's cookie does not help") {
    const Greeting greeting = greeting_with_cookie(stranger, listener);
    Stranger other(listener.address());
    other.say(udp::make_hello(1, greeting, room));
    attend(listener);
    CHECK(udp::read_cookie(udp::decode(other.answer())));
  }
  SECTION("everything else gets nothing") {
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) {
      Bytes junk(random() % 1500);
      for (std::byte& byte : junk) byte = static_cast<std::byte>(random());
      stranger.say(junk);
    }
    const Bytes hello = to_vector(udp::make_hello(1, loopback_greeting(), room));
    for (std::size_t size = 0; size < hello.size(); size += 5) stranger.say(std::span(hello).first(size));
    for (const Kind kind : {Kind::ack, Kind::probe, Kind::ping, Kind::data}) {
      stranger.say(udp::make_control({.kind = kind, .session = 1}, room));
    }
    stranger.say(udp::make_counts({.kind = Kind::end, .session = 1}, {}, room));
    attend(listener);
    attend(listener);
    CHECK(stranger.answer().empty());
  }

  // An honest client is served meanwhile.
  auto client = std::async(std::launch::async, [&] { return connect(listener.address(), soon()); });
  auto server = listener.accept(soon());
  REQUIRE(server);
  Channel connected = client.get();
  REQUIRE_FALSE(connected.send(bytes_of("hello"), soon()));
  CHECK(server->receive(soon())->text() == "hello");
}

TEST_CASE("a repeated hello gets the same answer and no second channel", "[udp]") {
  Listener listener = listen("udp://127.0.0.1:0");
  Stranger stranger(listener.address());
  Datagram room;
  const Greeting greeting = greeting_with_cookie(stranger, listener);
  for (int i = 0; i < 3; ++i) stranger.say(udp::make_hello(1, greeting, room));
  auto channel = listener.accept(soon());
  REQUIRE(channel);
  attend(listener);
  std::vector<std::uint16_t> ports;
  for (Bytes answer = stranger.answer(); !answer.empty(); answer = stranger.answer()) {
    const auto packet = udp::decode(answer);
    if (packet.header.kind == Kind::ping) continue;  // whether we are still there
    REQUIRE(udp::read_greeting(packet));
    ports.push_back(udp::read_greeting(packet)->port);
  }
  REQUIRE(ports.size() == 3);
  CHECK(ports[0] == ports[1]);
  CHECK(ports[0] == ports[2]);
  CHECK(ports[0] != endpoint_of(listener.address()).port());
}

TEST_CASE("a client that gave up before it was accepted is no channel", "[udp]") {
  Listener listener = listen("udp://127.0.0.1:0");
  {
    Stranger stranger(listener.address());
    Datagram room;
    stranger.say(udp::make_hello(1, greeting_with_cookie(stranger, listener), room));
  }
  attend(listener);
}

TEST_CASE("a hello of another version is refused, and the client says which versions they are", "[udp]") {
  SECTION("by the listener") {
    Listener listener = listen("udp://127.0.0.1:0");
    Stranger stranger(listener.address());
    Datagram room;
    Bytes hello = to_vector(udp::make_hello(77, loopback_greeting(), room));
    hello[8] = std::byte{9};
    stranger.say(hello);
    attend(listener);
    const Bytes answer = stranger.answer();
    CHECK(answer.size() <= hello.size());
    const auto packet = udp::decode(answer);
    CHECK(packet.header.session == 77);
    REQUIRE(udp::read_refuse(packet));
    CHECK(udp::read_refuse(packet)->why == udp::Refusal::version);
    CHECK(udp::read_refuse(packet)->version == udp::kVersion);
  }
  SECTION("by a listener that is older or newer than the client") {
    // A listener of version 9, by hand.
    const Endpoint any = endpoint_of("udp://127.0.0.1:0");
    const os::Fd socket = udp::make_socket(any).value();
    REQUIRE_FALSE(udp::bind_to(socket.get(), any));
    const std::string address = udp::bound_to(socket.get()).text();
    auto client = std::async(std::launch::async, [&]() -> std::string {
      try {
        static_cast<void>(connect(address, soon()));
      } catch (const Error& error) {
        return error.code() == Errc::version_mismatch ? error.what() : std::string("another error: ") + error.what();
      }
      return "connected";
    });
    pollfd fd{socket.get(), POLLIN, 0};
    REQUIRE(::poll(&fd, 1, 20'000) == 1);
    Bytes room(2000);
    const auto received = udp::receive_from(socket.get(), room);
    REQUIRE(received);
    const auto hello = udp::decode(std::span(room).first(received->bytes));
    REQUIRE(hello.header.kind == Kind::hello);
    Datagram reply;
    Bytes refuse = to_vector(udp::make_refuse(hello.header.session, udp::Refusal::version, reply));
    refuse[8] = std::byte{9};
    REQUIRE_FALSE(udp::send_to(socket.get(), refuse, received->from));
    const std::string text = client.get();
    CHECK_THAT(text, Catch::Contains("have version 1") && Catch::Contains("peer 9"));
  }
}

TEST_CASE("addresses that udp cannot serve are refused with the way out", "[udp]") {
  const auto refusal = [](std::string_view address, bool listening = true) -> std::pair<std::error_code, std::string> {
    try {
      if (listening) {
        static_cast<void>(listen(address));
      } else {
        static_cast<void>(connect(address, in(0s)));
      }
    } catch (const Error& error) {
      return {error.code(), error.what()};
    }
    return {};
  };
  auto [code, text] = refusal("udp://0.0.0.0:0");
  CHECK(code == Errc::permission_denied);
  CHECK_THAT(text, Catch::Contains("insecure=1"));
  CHECK_FALSE(refusal("udp://0.0.0.0:0?insecure=1").first);
  CHECK(refusal("udp://239.1.2.3:5000?insecure=1").first == Errc::not_supported);
  CHECK(refusal("udp://239.1.2.3:5000", false).first == Errc::not_supported);
  CHECK(refusal("udp://127.0.0.1").first == Errc::bad_address);
  CHECK(refusal("udp://127.0.0.1:5000/path").first == Errc::bad_address);
  CHECK(refusal("udp://127.0.0.1:0", false).first == Errc::bad_address);
  CHECK(refusal("udp://127.0.0.1:0?window=1KiB").first == Errc::bad_address);
  CHECK(refusal("udp://127.0.0.1:0?framing=line").first == Errc::bad_address);
  CHECK(refusal("udp://no-such-host.invalid:5000").first == Errc::bad_address);

  const Listener first = listen("udp://127.0.0.1:0");
  std::tie(code, text) = refusal(first.address());
  CHECK(code == Errc::address_in_use);
  CHECK_THAT(text, Catch::Contains("pid " + std::to_string(::getpid())));
}

TEST_CASE("IPv6, names and any-address listeners work", "[udp]") {
  const auto addresses = GENERATE(table<std::string, std::string>({{"udp://[::1]:0", ""},
                                                                   {"udp://localhost:0", ""},
                                                                   {"udp://0.0.0.0:0?insecure=1", ""},
                                                                   {"udp://0.0.0.0:0?insecure=1", "udp://127.0.0.1"},
                                                                   {"udp://[::]:0?insecure=1", "udp://[::1]"}}));
  const std::string listening = std::get<0>(addresses);
  const std::string connecting = std::get<1>(addresses);
  CAPTURE(listening);
  Listener listener = [&] {
    try {
      return listen(listening);
    } catch (const Error& error) {
      if (error.code() == std::errc::address_family_not_supported || error.code() == std::errc::address_not_available) {
        WARN("no IPv6 here: " << error.what());
        return Listener();
      }
      throw;
    }
  }();
  if (listener.address().empty()) return;
  std::string to(listener.address());
  if (!connecting.empty()) to = connecting + ":" + std::to_string(Address::parse(to).port().value());
  auto client = std::async(std::launch::async, [&] { return connect(to, soon()); });
  auto server = listener.accept(soon());
  REQUIRE(server);
  Channel connected = client.get();
  REQUIRE_FALSE(connected.send(bytes_of("there"), soon()));
  REQUIRE(server->receive(soon())->text() == "there");
  REQUIRE_FALSE(server->send(bytes_of("and back"), soon()));
  REQUIRE(connected.receive(soon())->text() == "and back");
}
