// tests/conformance/errors_test.cpp: what is said about addresses that do not work.
#include <functional>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// Requires that listen() and connect() both refuse the address with bad_address and a text with all of `parts`.
void require_bad(const std::string& address, const std::vector<std::string>& parts) {
  const std::function<void()> attempts[] = {
      [&] { static_cast<void>(bus::listen(address)); },
      [&] { static_cast<void>(bus::connect(address, bus::in(50ms))); },
  };
  for (const auto& attempt : attempts) {
    CAPTURE(address);
    try {
      attempt();
      FAIL("a bad address was taken");
    } catch (const bus::Error& error) {
      const std::string text = error.what();
      CAPTURE(text);
      CHECK(error.code() == bus::Errc::bad_address);
      for (const std::string& part : parts) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
      }
    }
  }
}

}  // namespace

TEST_CASE("an unknown scheme is answered with the list and the nearest", "[conformance][mixed]") {
  std::vector<std::string> parts{"did you mean shm"};
  for (const std::string& scheme : registered_schemes()) parts.push_back(scheme);
  require_bad("shmm://lab", parts);
}

TEST_CASE("an unknown option is answered with those that are allowed and the nearest", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  std::vector<std::string> parts{"\"max_mesage\"", "did you mean max_message", "capacity", "wait"};
  for (const bus::Transport* transport : bus::transports()) {
    if (transport->scheme() != scheme) continue;
    for (const bus::OptionSpec& option : transport->options()) parts.emplace_back(option.name);
  }
  require_bad(fresh_address(scheme, "max_mesage=1MiB"), parts);
}

TEST_CASE("a bad value is answered with the option, the value and what is allowed", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  require_bad(fresh_address(scheme, "wait=never"), {"wait", "never", "spin", "hybrid", "block"});
  require_bad(fresh_address(scheme, "max_message=banana"), {"max_message", "banana"});
  require_bad(fresh_address(scheme, "max_message=65MiB"), {"max_message", "65MiB", "64MiB"});
  require_bad(fresh_address(scheme, "capacity=1"), {"capacity", "4KiB"});
  require_bad(fresh_address(scheme, "capacity=-4KiB"), {"capacity", "-4KiB"});
  for (const bus::Transport* transport : bus::transports()) {
    if (transport->scheme() != scheme) continue;
    for (const bus::OptionSpec& option : transport->options()) {
      require_bad(fresh_address(scheme, std::string(option.name) + "=%20no%20such%20value"),
                  {std::string(option.name), std::string(option.allowed)});
    }
  }
}

TEST_CASE("an address without its main part says which", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  require_bad(scheme + "://", {scheme});
  if (has_port(scheme)) {
    require_bad(scheme + "://127.0.0.1", {"port"});
    require_bad(scheme + "://127.0.0.1:99999", {"port"});
  } else {
    require_bad(scheme + "://" + fresh_name() + ":80", {"port"});
  }
}

TEST_CASE("a name that is too long is refused with both lengths, or it works", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  if (has_port(scheme)) return;
  const std::string name = fresh_name() + std::string(250, 'n');
  try {
    bus::Listener listener = bus::listen(scheme + "://" + name);
    bus::Channel client, server;
    open_more(listener, client, server);
    close_books(client, server);
  } catch (const bus::Error& error) {
    CAPTURE(error.what());
    REQUIRE(error.code() == bus::Errc::bad_address);
    // How long it is, and how long it may be.
    std::string text = error.what();
    for (std::size_t at = 0; (at = text.find(name)) != std::string::npos;) text.erase(at, name.size());
    const auto digits = [&](std::size_t from) { return text.find_first_of("0123456789", from); };
    REQUIRE(digits(0) != std::string::npos);
    REQUIRE(digits(text.find_first_not_of("0123456789", digits(0))) != std::string::npos);
  }
}

TEST_CASE("the limits of both ends are told to the other", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  bus::Listener listener = bus::listen(fresh_address(scheme, "max_message=8KiB"));
  const std::string address(listener.address());
  const std::string place = address.substr(0, address.find('?'));
  InThread connecting([&] { return bus::connect(place + "?max_message=32KiB", soon()); });
  auto accepted = listener.accept(soon());
  REQUIRE(accepted);
  bus::Channel server = std::move(*accepted);
  bus::Channel client = connecting.get();
  // max_message is what an end takes: the other end may send that much.
  REQUIRE(client.traits().max_message == 8 * 1024);
  REQUIRE(server.traits().max_message == 32 * 1024);
  for (auto [from, to] : {std::pair(&client, &server), std::pair(&server, &client)}) {
    const std::size_t most = from->traits().max_message;
    REQUIRE(from->send(std::vector<std::byte>(most + 1), soon()) == bus::Errc::message_too_large);
    InThread sending([from = from, most] { return from->send(std::vector<std::byte>(most), soon()); });
    const auto message = to->receive(soon());
    REQUIRE_FALSE(sending.get());
    REQUIRE(message);
    REQUIRE(message->size() == most);
  }
  close_books(client, server);
}
