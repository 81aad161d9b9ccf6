// tests/conformance/listener_test.cpp: listening, accepting and connecting, in any order and number.
#include <deque>
#include <stop_token>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

void exchange(bus::Channel& from, bus::Channel& to, std::string_view text) {
  REQUIRE_FALSE(from.send(bus::bytes_of(text), soon()));
  REQUIRE_FALSE(from.flush(soon()));
  const auto message = to.receive(soon());
  REQUIRE(message);
  REQUIRE(message->text() == text);
}

}  // namespace

TEST_CASE("the one who connects may come first", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const std::string address = fixed_address(scheme);
  InThread connecting([&] { return bus::connect(address, soon()); });
  connecting.wait_until_blocked();
  bus::Listener listener = bus::listen(address);
  auto server = listener.accept(soon());
  REQUIRE(server);
  bus::Channel client = connecting.get();
  exchange(client, *server, "first");
  exchange(*server, client, "second");
  close_books(client, *server);
}

TEST_CASE("a listener tells the address that reaches it", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=32KiB");
  const bus::Address address = bus::Address::parse(pair.listener.address());
  REQUIRE(address.scheme() == scheme);
  REQUIRE(address.option("max_message") == "32KiB");
  if (has_port(scheme)) {
    REQUIRE(address.port().has_value());
    REQUIRE(*address.port() != 0);
  }
  REQUIRE(pair.client.address() == pair.listener.address());
  REQUIRE_FALSE(pair.client.peer().address.empty());
  REQUIRE_FALSE(pair.server.peer().address.empty());
  for (const bus::Channel* channel : {&pair.client, &pair.server}) {
    const bus::Peer peer = channel->peer();
    if (peer.uid) REQUIRE(*peer.uid == ::getuid());
    if (peer.gid) REQUIRE(*peer.gid == ::getgid());
    if (peer.pid) REQUIRE(*peer.pid == ::getpid());
  }
  close_books(pair);
}

TEST_CASE("many channels live on one listener and do not mix", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::size_t kChannels = 50;
  bus::Listener listener = bus::listen(fresh_address(scheme, "max_message=4KiB&capacity=8KiB"));
  const std::string address(listener.address());
  // All connect from one thread while another accepts: the order of the two lists may differ.
  InThread connecting([&] {
    std::deque<bus::Channel> clients;
    for (std::size_t n = 0; n < kChannels; ++n) clients.push_back(bus::connect(address, soon()));
    return clients;
  });
  std::deque<bus::Channel> servers;
  while (servers.size() < kChannels) {
    auto server = listener.accept(soon());
    REQUIRE(server);
    servers.push_back(std::move(*server));
  }
  std::deque<bus::Channel> clients = connecting.get();
  for (std::size_t n = 0; n < kChannels; ++n) {
    REQUIRE_FALSE(clients[n].send(bus::bytes_of(std::to_string(n)), soon()));
    REQUIRE_FALSE(clients[n].flush(soon()));
  }
  std::vector<bus::Channel*> server_of(kChannels, nullptr);
  for (bus::Channel& server : servers) {
    const auto message = server.receive(soon());
    REQUIRE(message);
    const std::size_t n = std::stoul(std::string(message->text()));
    REQUIRE(server_of.at(n) == nullptr);
    server_of[n] = &server;
  }
  for (std::size_t n = 0; n < kChannels; ++n) exchange(*server_of[n], clients[n], "answer " + std::to_string(n));
  for (std::size_t n = 0; n < kChannels; ++n) close_books(clients[n], *server_of[n]);
}

TEST_CASE("connecting where nobody listens ends at its deadline with no_peer", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const std::string address = fixed_address(scheme);
  const auto start = bus::Clock::now();
  InThread connecting([&]() -> std::pair<std::error_code, std::string> {
    try {
      static_cast<void>(bus::connect(address, start + 150ms));
      return {};
    } catch (const bus::Error& error) {
      return {error.code(), error.what()};
    }
  });
  REQUIRE(eventually([&] { return connecting.done(); }));  // it does not hang
  const auto [code, text] = connecting.get();
  REQUIRE(bus::Clock::now() >= start + 150ms);
  CAPTURE(text);
  REQUIRE(code == bus::Errc::no_peer);
  REQUIRE(text.find(address) != std::string::npos);
  REQUIRE(text.find("nobody is listening") != std::string::npos);
}

TEST_CASE("another thread ends a connect that waits for a listener", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  // Nobody listens; somebody does and does not accept.
  const bool listens = GENERATE(false, true);
  CAPTURE(scheme, listens);
  if (listens && !traits_of(scheme).crosses_processes) return;  // both ends are made at once
  const std::string address = fixed_address(scheme);
  bus::Listener listener;
  if (listens) listener = bus::listen(address);
  std::stop_source stop;
  InThread connecting([&]() -> std::pair<std::error_code, std::string> {
    try {
      static_cast<void>(bus::connect(address, bus::forever, stop.get_token()));
      return {};
    } catch (const bus::Error& error) {
      return {error.code(), error.what()};
    }
  });
  connecting.wait_until_blocked();
  REQUIRE_FALSE(connecting.done());
  stop.request_stop();
  REQUIRE(eventually([&] { return connecting.done(); }));
  const auto [code, text] = connecting.get();
  CAPTURE(text);
  REQUIRE(code == bus::Errc::closed);
  REQUIRE(text.find(address) != std::string::npos);
  REQUIRE(text.find("gave up") != std::string::npos);
}

TEST_CASE("a stop that came first keeps connect from trying, and one that never comes changes nothing",
          "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  bus::Listener listener = bus::listen(fresh_address(scheme));
  const std::string address(listener.address());
  std::stop_source stopped, running;
  stopped.request_stop();
  try {
    static_cast<void>(bus::connect(address, soon(), stopped.get_token()));
    FAIL("it connected");
  } catch (const bus::Error& error) {
    REQUIRE(error.code() == bus::Errc::closed);
  }
  REQUIRE(listener.try_accept().error() == bus::Errc::would_block);
  InThread connecting([&] { return bus::connect(address, soon(), running.get_token()); });
  auto server = listener.accept(soon());
  REQUIRE(server);
  bus::Channel client = connecting.get();
  running.request_stop();  // of no concern to the channel
  exchange(client, *server, "alive");
  close_books(client, *server);
}

TEST_CASE("a listener that does not accept harms nobody, and serves the next", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  bus::Listener listener = bus::listen(fresh_address(scheme));
  const std::string address(listener.address());
  const auto start = bus::Clock::now();
  try {
    // Where both ends are made at once there is nothing to wait for; everywhere else accept() greets.
    static_cast<void>(bus::connect(address, start + 150ms));
    REQUIRE_FALSE(traits_of(scheme).crosses_processes);
  } catch (const bus::Error& error) {
    REQUIRE(error.code() == bus::Errc::timed_out);
    REQUIRE(std::string(error.what()).find(address) != std::string::npos);
    REQUIRE(bus::Clock::now() >= start + 150ms);
  }
  // The one that gave up may still be accepted: it is seen as dead or closed then, and nobody else is harmed.
  InThread connecting([&] { return bus::connect(address, soon()); });
  bus::Channel client, server;
  REQUIRE(eventually([&] {
    auto accepted = listener.accept(bus::in(20ms));
    if (accepted) {
      if (accepted->receive(bus::in(20ms)).error() == bus::Errc::timed_out) {
        server = std::move(*accepted);
        return true;
      }
    }
    return false;
  }));
  client = connecting.get();
  exchange(client, server, "served");
  close_books(client, server);
}

TEST_CASE("accept waits until its deadline, and closing the listener wakes it", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  bus::Listener listener = bus::listen(fresh_address(scheme));
  REQUIRE(listener.try_accept().error() == bus::Errc::would_block);
  const auto start = bus::Clock::now();
  REQUIRE(listener.accept(start + 30ms).error() == bus::Errc::timed_out);
  REQUIRE(bus::Clock::now() >= start + 30ms);
  InThread accepting([&] { return listener.accept(soon()).error(); });
  accepting.wait_until_blocked();
  listener.close();
  REQUIRE(accepting.get() == bus::Errc::closed);
  REQUIRE(listener.try_accept().error() == bus::Errc::closed);
  REQUIRE_THROWS_AS(listener.readable_fd(), bus::Error);
  listener.close();
}

TEST_CASE("channels outlive their listener", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  const std::string address(pair.listener.address());
  pair.listener.close();
  exchange(pair.client, pair.server, "up");
  exchange(pair.server, pair.client, "down");
  // The address is free for another one meanwhile, and the two do not mix.
  bus::Listener second = bus::listen(address);
  bus::Channel client, server;
  open_more(second, client, server);
  exchange(client, server, "new");
  exchange(pair.client, pair.server, "old");
  close_books(client, server);
  close_books(pair);
}

TEST_CASE("an address is listened on once, and by the first", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  const std::string address(pair.listener.address());
  for (int n = 0; n < 3; ++n) {
    try {
      static_cast<void>(bus::listen(address));
      FAIL("stole the address of a living listener");
    } catch (const bus::Error& error) {
      CAPTURE(error.what());
      REQUIRE(error.code() == bus::Errc::address_in_use);
      const std::string text = error.what();
      REQUIRE(text.find(address) != std::string::npos);
      // Who has a name in our runtime directory can be known; who has a port is not told by the kernel.
      if (traits_of(scheme).crosses_processes && !has_port(scheme)) {
        REQUIRE(text.find(std::to_string(::getpid())) != std::string::npos);
      }
    }
  }
  // The living one has not noticed.
  bus::Channel client, server;
  open_more(pair.listener, client, server);
  exchange(client, server, "still here");
  close_books(client, server);
  close_books(pair);
  pair.listener.close();
  bus::Listener next = bus::listen(address);
  open_more(next, client, server);
  exchange(client, server, "anew");
  close_books(client, server);
}

TEST_CASE("a channel that is not there says closed to every call", "[conformance][mixed]") {
  bus::Channel channel;
  REQUIRE(channel.try_send({}) == bus::Errc::closed);
  REQUIRE(channel.send({}, soon()) == bus::Errc::closed);
  REQUIRE(channel.try_receive().error() == bus::Errc::closed);
  REQUIRE(channel.receive(soon()).error() == bus::Errc::closed);
  REQUIRE(channel.loan(1, soon()).error() == bus::Errc::closed);
  REQUIRE(channel.flush(soon()) == bus::Errc::closed);
  REQUIRE(channel.close(soon()) == bus::Errc::closed);
  REQUIRE_THROWS_AS(channel.readable_fd(), bus::Error);
  REQUIRE(channel.books().offered == 0);
  REQUIRE(channel.address().empty());
  channel.close();
  bus::Listener listener;
  REQUIRE(listener.try_accept().error() == bus::Errc::closed);
  REQUIRE(listener.accept(soon()).error() == bus::Errc::closed);
  REQUIRE_THROWS_AS(listener.readable_fd(), bus::Error);
  REQUIRE(listener.address().empty());
  listener.close();
}
