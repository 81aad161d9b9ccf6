// tests/bus/broker/server_test.cpp: a broker that is told of other addresses while it works.
#include "bus/broker/server.hpp"

#include <algorithm>
#include <thread>

#include "bus/client/node.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"

namespace {

using namespace bus;
using namespace bus::test;

struct Running {
  explicit Running(std::vector<std::string> listen)
      : server({.listen = std::move(listen), .limits = {}, .name = "test"}), thread([this] { server.run(); }) {}
  ~Running() {
    server.stop();
    thread.join();
  }
  broker::Server server;
  std::thread thread;
};

/// Whether somebody answers at an address.
bool somebody_at(const std::string& address) {
  try {
    static_cast<void>(Node::join(address + "?embed=never", {.within = std::chrono::milliseconds(50)}));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("a broker opens new addresses and leaves old ones, and those who came by them stay", "[server]") {
  const std::string kept = fresh_address("unix"), gone = fresh_address("shm"), opened = fresh_address("unix");
  Running running({kept, gone});
  Node by_kept = Node::join(kept + "?embed=never"), by_gone = Node::join(gone + "?embed=never");
  Subscription subscription = by_gone.subscribe("a");
  CHECK(running.server.change({}, {opened, kept}));
  CHECK(running.server.addresses() == std::vector<std::string>{kept, opened});
  CHECK_FALSE(somebody_at(gone));
  Node by_opened = Node::join(opened + "?embed=never");
  REQUIRE_FALSE(by_opened.publish("a", bytes_of("1"), {}, soon()));
  REQUIRE(subscription.receive(soon()).value().text() == "1");
  REQUIRE_FALSE(by_kept.publish("a", bytes_of("2"), {}, soon()));
  REQUIRE(subscription.receive(soon()).value().text() == "2");
  running.server.change({}, {gone});
  CHECK(running.server.addresses() == std::vector<std::string>{gone});
  CHECK(somebody_at(gone));
}

TEST_CASE("a change that cannot be made changes nothing", "[server]") {
  const std::string kept = fresh_address("unix"), opened = fresh_address("unix"), taken = fresh_address("unix");
  const Listener other = listen(taken);
  Running running({kept});
  broker::Limits limits;
  limits.clients = 1;
  const auto code_of = [&](const std::vector<std::string>& addresses) -> std::error_code {
    try {
      running.server.change(limits, addresses);
    } catch (const Error& error) {
      return error.code();
    }
    return {};
  };
  CHECK(code_of({opened, taken}) == Errc::address_in_use);
  CHECK(code_of({"shn://x"}) == Errc::bad_address);
  CHECK(running.server.addresses() == std::vector<std::string>{kept});
  CHECK_FALSE(somebody_at(opened));
  Node one = Node::join(kept + "?embed=never"), two = Node::join(kept + "?embed=never");  // the limits did not change
}

TEST_CASE("other options of an address that is listened on need a restart", "[server]") {
  const std::string address = fresh_address("unix");
  Running running({address});
  CHECK_THROWS_WITH(running.server.change({}, {address + "?max_message=2MiB"}),
                    address + "?max_message=2MiB: the broker listens there with other options (" + address +
                        "); to change them needs a restart");
  // Any free port is another one each time.
  running.server.change({}, {address, "tcp://127.0.0.1:0"});
  const std::vector<std::string> first = running.server.addresses();
  running.server.change({}, {address, "tcp://127.0.0.1:0?wait=block"});
  const std::vector<std::string> second = running.server.addresses();
  CHECK(first.size() == 2);
  CHECK(second.size() == 2);
  CHECK(first[1] != second[1]);
}

TEST_CASE("an address that is listed twice is opened twice, and one of the two can go", "[server]") {
  Running running({"tcp://127.0.0.1:0", "tcp://127.0.0.1:0"});
  CHECK(running.server.addresses().size() == 2);
  running.server.change({}, {"tcp://127.0.0.1:0"});
  CHECK(running.server.addresses().size() == 1);
}

TEST_CASE("a change that comes while the broker stops is none, and ends", "[server]") {
  const std::string address = fresh_address("unix");
  broker::Server server({.listen = {address}, .limits = {}, .name = "test"});
  bool changed = true;
  std::thread changing([&] { changed = server.change({}, {fresh_address("unix")}); });  // waits for run()
  server.stop();
  changing.join();
  CHECK_FALSE(changed);
  server.run();
  CHECK(server.addresses() == std::vector<std::string>{address});
  CHECK_FALSE(server.change({}, {}));
  CHECK(server.addresses() == std::vector<std::string>{address});
}

TEST_CASE("listeners that are there already stay, whatever changes", "[server]") {
  const std::string handed_over = fresh_address("unix"), other = fresh_address("unix");
  broker::Server::Options options;
  options.listeners.push_back(listen(handed_over));
  options.listen = {other};
  broker::Server server(std::move(options));
  std::thread thread([&] { server.run(); });
  server.change({}, {});
  CHECK(server.addresses() == std::vector<std::string>{handed_over});
  CHECK(somebody_at(handed_over));
  server.stop();
  thread.join();
}
