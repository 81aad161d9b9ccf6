// tests/bus/client/node_fork_test.cpp: a forked child and the nodes that it has inherited.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <thread>
#include <vector>

#include "bus/client/node.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/sanitized.hpp"

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

TEST_CASE("a forked child lives on with a node of its own, and destroys its parent's when it likes", "[bus]") {
  if (kThreadSanitizer) {
    WARN("skipped: ThreadSanitizer allows no threads in the child of a process that has some");
    return;
  }
  const std::string scheme = GENERATE("inproc", "shm", "unix");
  CAPTURE(scheme);
  const std::string bus = scheme + "://" + fresh_name();
  std::optional<Node> node(Node::join(bus));
  std::optional<Subscription> subscription(node->subscribe("a"));
  const auto echo = [](Request& request) { static_cast<void>(request.reply(request.bytes())); };
  std::optional<Service> service(node->serve("question", echo));
  std::array<std::vector<Delivery>, 2> held;
  for (std::size_t i = 0; i < 1000; ++i) {
    REQUIRE_FALSE(node->publish("a", bytes_of("x"), {.level = Level::delivered}, soon()));
    held[i % 2].push_back(subscription->receive(soon()).value());
  }
  REQUIRE(node->request("question", bytes_of("1"), soon()));

  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    {
      Node own = Node::join(bus);  // inproc: the first one of this process
      const Service answers = own.serve("child", echo);
      good = static_cast<bool>(own.request("child", bytes_of("2"), soon()));
      std::thread other([&held] { held[1].clear(); });
      held[0].clear();
      other.join();
      service.reset();
      subscription.reset();
      node.reset();
      good = good && own.hosts_broker() == (scheme == "inproc") &&
             static_cast<bool>(own.request("child", bytes_of("3"), soon()));
    }
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(eventually([&] { return ::waitpid(child, &status, WNOHANG) != 0; }));
  REQUIRE(status == 0);
  for (auto& some : held) some.clear();
  REQUIRE_FALSE(node->settled(soon()));
  REQUIRE(node->request("question", bytes_of("4"), soon())->text() == "4");
}

TEST_CASE("a forked child cannot answer for its parent", "[bus]") {
  const std::string bus = "shm://" + fresh_name();
  Node node = Node::join(bus);
  const Service service = node.serve("question", [](Request& request) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(request.reply(bytes_of("from the child")) == Errc::closed ? 0 : 1);
    int status = -1;
    static_cast<void>(::waitpid(child, &status, 0));
    static_cast<void>(request.reply(bytes_of(std::to_string(status))));
  });
  REQUIRE(node.request("question", {}, soon())->text() == "0");
  // Who asks, and forks before the answer is here.
  pid_t child = -1;
  const auto fork_now = [&child](std::uint64_t) { child = ::fork(); };
  const Result<Delivery> answer = node.request("question", {}, soon(), {.on_asked = fork_now});
  if (child == 0) ::_exit(answer.error() == Errc::closed ? 0 : 1);
  REQUIRE(answer);
  int status = -1;
  REQUIRE(eventually([&] { return ::waitpid(child, &status, WNOHANG) != 0; }));
  REQUIRE(status == 0);
}
