// tests/bus/client/node_fork_test.cpp: a forked child and the nodes that it has inherited.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <thread>

#include "bus/client/node.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"

using namespace bus;
using namespace bus::test;
using namespace std::chrono_literals;

TEST_CASE("a forked child finds its parent's node closed, and harms it in no way", "[bus]") {
  const std::string scheme = GENERATE("inproc", "shm", "unix");
  CAPTURE(scheme);
  const std::string bus = scheme + "://" + fresh_name();
  std::optional<Node> node(Node::join(bus));  // hosts the broker
  std::optional<Subscription> subscription(node->subscribe("a", {.queue = "workers"}));
  std::optional<Service> service(
      node->serve("question", [](Request& request) { static_cast<void>(request.reply(request.bytes())); }));
  REQUIRE_FALSE(node->publish("a", bytes_of("held"), {.level = Level::delivered}, soon()));
  std::optional<Delivery> held(subscription->receive(soon()).value());
  REQUIRE_FALSE(node->publish("a", bytes_of("waiting"), {}, soon()));
  REQUIRE_FALSE(node->flush(soon()));
  // Others are inside while the process forks: one sleeps in a call, the service in its thread.
  Subscription quiet = node->subscribe("quiet");
  std::atomic<pid_t> inside{0};
  std::thread waits([&] {
    inside = ::gettid();
    static_cast<void>(quiet.receive(soon()));
  });
  REQUIRE(eventually([&] { return inside != 0; }));
  REQUIRE(thread_sleeps(inside));

  const pid_t child = ::fork();
  if (child == 0) {
    const bool closed =
        node->publish("a", bytes_of("from the child"), {}, soon()) == Errc::closed &&
        node->flush(soon()) == Errc::closed && node->settled(soon()) == Errc::closed &&
        node->wait_subscribers("a", 1, soon()) == Errc::closed &&
        node->request("question", {}, soon()).error() == Errc::closed &&
        node->query("status", soon()).error() == Errc::closed && node->inbox(soon()).error() == Errc::closed &&
        subscription->receive(soon()).error() == Errc::closed && subscription->try_receive().error() == Errc::closed &&
        !node->hosts_broker() && subscription->books().received == 0 && subscription->why().empty();
    held->acknowledge();
    held.reset();
    service.reset();
    subscription.reset();
    node.reset();
    ::_exit(closed ? 0 : 1);
  }
  int status = -1;
  REQUIRE(eventually([&] { return ::waitpid(child, &status, WNOHANG) != 0; }));
  REQUIRE(status == 0);

  REQUIRE(subscription->receive(soon())->text() == "waiting");
  REQUIRE(node->settled(in(1ms)) == Errc::timed_out);  // the child's acknowledgement was none
  held.reset();
  REQUIRE_FALSE(node->settled(soon()));
  REQUIRE(node->request("question", bytes_of("42"), soon())->text() == "42");
  REQUIRE_FALSE(node->publish("quiet", bytes_of("x"), {}, soon()));
  waits.join();
}
