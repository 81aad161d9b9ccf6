// tests/transports/tcp/tcp_test.cpp: ports, hosts, and who may listen where.
#include <fcntl.h>
#include <netinet/tcp.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include "tests/support/channel_pair.hpp"
#include "tests/support/payload.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/transports/stream/sockets.hpp"
#include "transports/all.hpp"
#include "transports/tcp/endpoint.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

std::string failure(const std::function<void()>& call, std::error_code* code = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (code != nullptr) *code = error.code();
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Connecting {
  explicit Connecting(const std::string& text)
      : address(Address::parse(text)),
        connector(tcp_transport().connector(address, read_options(tcp_transport(), address))) {}
  Address address;
  std::unique_ptr<ConnectorImpl> connector;
};

/// A plain client of 127.0.0.1.
os::Fd plain_client(std::uint16_t port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  os::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  test::require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0, "connect");
  return fd;
}

std::uint16_t port_of(const Listener& listener) { return *Address::parse(listener.address()).port(); }

Channel accept(Listener& listener) {
  auto channel = listener.accept(test::soon());
  REQUIRE(channel);
  return std::move(*channel);
}

}  // namespace

TEST_CASE("IPv4, IPv6 and names reach a listener", "[tcp]") {
  for (const std::string host : {"127.0.0.1", "[::1]", "localhost"}) {
    CAPTURE(host);
    Listener listener;
    if (const std::string text = failure([&] { listener = listen("tcp://" + host + ":0"); }); text != "no error") {
      REQUIRE(host == "[::1]");  // a host without IPv6
      WARN(text);
      continue;
    }
    REQUIRE(port_of(listener) != 0);
    const std::string address = "tcp://" + host + ":" + std::to_string(port_of(listener));
    auto client = std::async(std::launch::async, [&] { return connect(address, test::soon()); });
    Channel server = accept(listener);
    Channel channel = client.get();
    REQUIRE_FALSE(channel.send(bytes_of("over"), test::soon()));
    REQUIRE(server.receive(test::soon())->text() == "over");
    REQUIRE(contains(server.peer().address, host == "[::1]" ? "[::1]:" : "127.0.0.1:"));
    test::close_books(channel, server);
  }
}

TEST_CASE("a tcp address has a host and a port and nothing behind them", "[tcp]") {
  const auto check = [](const char* text) { return failure([text] { tcp_transport().check(Address::parse(text)); }); };
  REQUIRE(contains(check("tcp://127.0.0.1"), "port"));
  REQUIRE(contains(check("tcp://127.0.0.1:5/path"), "behind the port"));
  REQUIRE(check("tcp://127.0.0.1:5") == "no error");
  REQUIRE(contains(failure([] { static_cast<void>(connect("tcp://127.0.0.1:0")); }), "port 0"));
}

TEST_CASE("a listener that strangers could reach has to be asked for", "[tcp]") {
  for (const std::string host : {"0.0.0.0", "[::]"}) {
    std::error_code code;
    const std::string text = failure([&] { static_cast<void>(listen("tcp://" + host + ":0")); }, &code);
    REQUIRE(code == Errc::permission_denied);
    REQUIRE(contains(text, "insecure=1"));
  }
  Listener open = listen("tcp://0.0.0.0:0?insecure=1");
  REQUIRE(contains(std::string(open.address()), "insecure=1"));
  auto client = std::async(std::launch::async, [port = port_of(open)] {
    return connect("tcp://127.0.0.1:" + std::to_string(port), test::soon());
  });
  Channel server = accept(open);
  Channel channel = client.get();
  test::close_books(channel, server);
}

TEST_CASE("a port in use is refused with its owner", "[tcp]") {
  Listener first = listen("tcp://127.0.0.1:0");
  std::error_code code;
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port_of(first));
  const std::string text = failure([&] { static_cast<void>(listen(address)); }, &code);
  REQUIRE(code == Errc::address_in_use);
  REQUIRE(contains(text, "process " + std::to_string(::getpid())));
  // A wildcard does not squat on it either.
  failure([&] { static_cast<void>(listen("tcp://0.0.0.0:" + std::to_string(port_of(first)) + "?insecure=1")); }, &code);
  REQUIRE(code == Errc::address_in_use);
  first.close();
  // At once, whatever connections linger.
  Listener second = listen(address);
  REQUIRE(second.address() == address);
}

TEST_CASE("a host that nobody knows and an address that is not ours are said to be so", "[tcp]") {
  std::error_code code;
  REQUIRE(contains(failure([] { static_cast<void>(connect("tcp://no-such-host.invalid:5", in(1s))); }),
                   "no-such-host.invalid"));
  const std::string text = failure([] { static_cast<void>(listen("tcp://203.0.113.1:0?insecure=1")); }, &code);
  REQUIRE(contains(text, "no address of this host"));
}

TEST_CASE("nobody there is no_peer, and the next attempt starts anew", "[tcp]") {
  std::uint16_t port = 0;
  {
    Listener gone = listen("tcp://127.0.0.1:0");
    port = port_of(gone);
  }
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port);
  Connecting connecting(address);
  for (int i = 0; i < 3; ++i) {
    std::error_code error;
    REQUIRE(test::eventually([&] {
      error = connecting.connector->try_connect().error();
      return error != Errc::would_block;
    }));
    REQUIRE(error == Errc::no_peer);
    REQUIRE(contains(connecting.connector->detail(), address.substr(6)));
  }
  Listener listener = listen(address);
  REQUIRE(test::eventually([&] {
    static_cast<void>(listener.try_accept());
    return static_cast<bool>(connecting.connector->try_connect());
  }));
}

TEST_CASE("a connection with oneself is nobody there", "[tcp]") {
  // The kernel picks our port itself; trying a port of its range again and again makes it pick that one some day.
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  int first = 0, last = 0;
  file >> first >> last;
  // Bound beforehand, the coincidence is certain: the same simultaneous open, without waiting for luck.
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  const os::Fd self(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(self.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
  REQUIRE(::getsockname(self.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  REQUIRE(::connect(self.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
  REQUIRE(tcp::local_endpoint(self.get()) == tcp::peer_endpoint(self.get()));

  // With a bounded number of tries through the connector: it never says connected.
  const int port = last - 1;
  Connecting connecting("tcp://127.0.0.1:" + std::to_string(port) + "?framing=raw");
  for (int i = 0; i < 30000; ++i) {
    const auto outcome = connecting.connector->try_connect();
    if (outcome) FAIL("connected to " << (*outcome)->peer().address << " where nobody listens");
    REQUIRE((outcome.error() == Errc::no_peer || outcome.error() == Errc::would_block));
  }
}

TEST_CASE("a listener that never greets leaves the connector waiting with an explanation", "[tcp]") {
  Listener listener = listen("tcp://127.0.0.1:0");
  std::error_code code;
  const std::string text =
      failure([&] { static_cast<void>(connect(std::string(listener.address()), in(50ms))); }, &code);
  REQUIRE(code == Errc::timed_out);
  REQUIRE(contains(text, "has not accepted yet"));
}

TEST_CASE("plain programs talk to raw and line listeners", "[tcp]") {
  for (const std::string framing : {"raw", "line"}) {
    CAPTURE(framing);
    Listener listener = listen("tcp://127.0.0.1:0?framing=" + framing);
    os::Fd client = plain_client(port_of(listener));
    Channel server = accept(listener);
    test::write_all(client.get(), bytes_of("hello\r\n"));
    REQUIRE(server.receive(test::soon())->text() == (framing == "raw" ? "hello\r\n" : "hello"));
    REQUIRE_FALSE(server.send(bytes_of("answer"), test::soon()));
    const std::string answer = framing == "raw" ? "answer" : "answer\n";
    REQUIRE(test::read_exactly(client.get(), answer.size()) == test::vector_of(answer));
    // It ends its direction and still hears the rest.
    ::shutdown(client.get(), SHUT_WR);
    REQUIRE(server.receive(test::soon()).error() == Errc::closed);
    REQUIRE_FALSE(server.send(bytes_of("more"), test::soon()));
    server.close();
    REQUIRE(test::read_exactly(client.get(), 100).size() == answer.size() - 2);
  }
}

TEST_CASE("a large message to a slow reader is closed without losing its end", "[tcp]") {
  auto pair = test::open_pair("tcp", "max_message=32MiB");
  const test::Payloads payloads(51);
  const std::size_t size = std::size_t{20} << 20;
  std::jthread sender([&] {
    if (pair.client.send(payloads.make(1, size), test::soon())) return;
    pair.client.close();
    pair.client = Channel();
  });
  const auto message = pair.server.receive(test::soon());
  REQUIRE(message);
  REQUIRE(payloads.matches(message->bytes(), 1));
  REQUIRE(pair.server.receive(test::soon()).error() == Errc::closed);
}

TEST_CASE("100,000 random strings at a tcp listener: it lives and honest clients are served", "[tcp]") {
  Listener listener = listen("tcp://127.0.0.1:0");
  const std::uint16_t port = port_of(listener);
  REQUIRE(listener.accept(in(1ms)).error() == Errc::timed_out);  // has made what waiting needs
  const std::size_t before = test::open_descriptors();
  std::atomic<bool> done{false};
  std::jthread server([&] {
    std::vector<Channel> channels;
    while (!done) {
      auto channel = listener.accept(in(20ms));
      if (!channel) continue;
      if (const auto request = channel->receive(test::soon())) {
        static_cast<void>(channel->send(request->bytes(), test::soon()));
      }
      channels.push_back(std::move(*channel));
      if (channels.size() > 4) channels.erase(channels.begin());
    }
  });
  std::mt19937 random(42);
  std::array<std::byte, 200> bytes{};
  // One connection carries many strings where the listener lets it: ports would run out otherwise.
  for (int i = 0; i < 100000;) {
    os::Fd stranger = plain_client(port);
    for (int n = 0; n < 20; ++n, ++i) {
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      if (::send(stranger.get(), bytes.data(), random() % bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        ++i;
        break;
      }
    }
    test::reset_connection(stranger);  // no TIME_WAIT
    if (i / 20 % 500 != 0) continue;
    Channel client = connect(std::string(listener.address()), test::soon());
    REQUIRE_FALSE(client.send(bytes_of("honest"), test::soon()));
    REQUIRE(client.receive(test::soon())->text() == "honest");
  }
  done = true;
  server.join();
  REQUIRE(test::eventually([&] {
    static_cast<void>(listener.try_accept());
    return test::open_descriptors() <= before;
  }));
}
