// tests/system/bus_limits_test.cpp: the bus where something runs out: descriptors, clients, windows, a member's time.
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <list>
#include <set>

#include "bus/client/node.hpp"
#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

/// A process that may open so many descriptors more than it has.
class FewMore {
 public:
  FewMore(pid_t pid, std::size_t more) : pid_(pid) {
    std::set<int> open;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
      open.insert(std::stoi(entry.path().filename()));
    }
    int next = 0;
    while (open.contains(next) || more-- > 0) ++next;
    REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_) == 0);
    const rlimit few{static_cast<rlim_t>(next), before_.rlim_max};
    REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, &few, nullptr) == 0);
  }
  /// Numbers that it can still give to a descriptor.
  [[nodiscard]] std::size_t left() const {
    rlimit now{};
    REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, nullptr, &now) == 0);
    std::size_t free = now.rlim_cur;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
      if (std::stoul(entry.path().filename()) < now.rlim_cur) --free;
    }
    return free;
  }
  void end() const { REQUIRE(::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr) == 0); }

 private:
  pid_t pid_;
  rlimit before_{};
};

std::size_t events_in(const std::string& record, std::string_view event) {
  const std::string sought = "{\"event\":\"" + std::string(event) + "\"";
  std::ifstream file(record);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.starts_with(sought) ? 1 : 0;
  return count;
}

bool can_join(const std::string& bus) {
  try {
    static_cast<void>(Node::join(bus + "?embed=never", {.name = {}, .within = 200ms}));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

TEST_CASE("who serves a bus and is out of descriptors turns clients away and serves those it has", "[system]") {
  const std::string scheme = GENERATE("unix", "shm", "tcp");
  const bool hosted = scheme != "tcp" && GENERATE(false, true);  // by a node, not by `bus broker`
  CAPTURE(scheme, hosted);
  const std::string bus = fixed_bus(scheme);
  Polite server(start_bus(hosted ? std::vector<std::string>{"sub", "nothing", "--bus", bus}
                                 : std::vector<std::string>{"broker", "--listen", bus}));
  server.wait_for_error(hosted ? "subscribed to " : "listening on ");
  for (std::size_t more = 0; more < 12; ++more) {  // each of them is the one that is missing, once
    CAPTURE(more);
    Node first = Node::join(bus + "?embed=never");
    Subscription sub = first.subscribe("a");
    const FewMore few(server.pid(), more);
    std::list<Node> nodes;
    bool refused = false;
    for (int i = 0; i < 40 && !refused; ++i) {
      try {
        nodes.push_back(Node::join(bus + "?embed=never", {.name = {}, .within = 100ms}));
      } catch (const Error&) {
        refused = few.left() < 12;  // and not for want of time; a client over shm takes six, and more while it comes
      }
    }
    REQUIRE(refused);
    REQUIRE_FALSE(first.publish("a", bytes_of("x"), {}, in(20s)));
    REQUIRE(sub.receive(in(20s)));
    few.end();
    REQUIRE(eventually([&] { return can_join(bus); }));
    REQUIRE_FALSE(server.ended());
    REQUIRE(first.books().reconnects == 0);
  }
}

TEST_CASE("a client too many hears why it is turned away", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp"));
  Polite broker = broker_on(bus, {"--max-clients", "1"});
  wait_listening(broker);
  Polite sub = sub_on(bus, "a", {});
  const Finished other = run_bus({"pub", "a", "x", "--bus", bus + "?embed=never", "--wait", "300ms"});
  REQUIRE(other.status == exited(1));
  REQUIRE_THAT(other.err, Contains("the broker has as many clients as its limits allow"));
}

TEST_CASE("a publisher with a full window comes back to a new broker once, and all is delivered", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp")), folder = temporary_folder();
  Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub"});
  REQUIRE(sub.kill(SIGSTOP));
  Polite pub(start_bus(node_words("pub", "a", bus,
                                  {"--size", "2KiB", "--count", "6000", "--level", "delivered", "--linger", "60s",
                                   "--books", "--record", folder + "/pub"})));
  REQUIRE(eventually([&] { return status_of(bus).at("accepted") >= 4000; }));
  REQUIRE(broker.kill(SIGKILL));
  REQUIRE(broker.wait() == ExitStatus{-1, SIGKILL});
  broker = broker_on(bus);
  wait_listening(broker);
  REQUIRE(sub.kill(SIGCONT));
  const ExitStatus status = pub.wait(in(60s));
  INFO(pub.err());
  REQUIRE(status == exited(0));
  end_subscriber(sub);
  REQUIRE_THAT(pub.err(), Contains("the broker was lost 1 time\n"));
  const Json sum = audited(folder);
  REQUIRE(sum.at("delivered") == 6000);
}

TEST_CASE("what a member that leaves has not taken is dropped by name: no hole in its group", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp")), folder = temporary_folder();
  const bool stopped = GENERATE(false, true);  // then most waits in the broker
  CAPTURE(bus, stopped);
  Polite broker = broker_on(bus);
  std::list<Polite> members;
  for (int i = 0; i < 2; ++i) {
    members.push_back(
        sub_on(bus, "a", {"--queue", "g", "--format", "none", "--record", folder + "/sub" + std::to_string(i)}));
  }
  Process& leaver = members.front();
  if (stopped) REQUIRE(leaver.kill(SIGSTOP));
  Polite pub(start_bus(node_words(
      "pub", "a", bus, {"--size", "4KiB", "--rate", "10k", "--duration", "300ms", "--record", folder + "/pub"})));
  if (stopped) {
    REQUIRE(pub.wait(in(60s)) == exited(0));
    REQUIRE(leaver.kill(SIGTERM));
    REQUIRE(leaver.kill(SIGCONT));
    REQUIRE(leaver.wait() == exited(143));
  } else {
    REQUIRE(eventually([&] { return events_in(folder + "/sub0", "received") > 100; }));
    end_subscriber(leaver);
    REQUIRE(pub.wait(in(60s)) == exited(0));
  }
  REQUIRE(eventually([&] { return status_of(bus).at("waiting") == 0; }));
  end_subscriber(members.back());
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("expected") == sum.at("published"));
  REQUIRE(sum.at("unknown") == 0);
}

TEST_CASE("a command that sub runs ends with it, and so do those that it has started", "[system]") {
  const std::string bus = "unix://" + fresh_name(), file = temporary_folder() + "/pid";
  Polite sub(start_bus({"sub", "a", "--bus", bus, "--exec", "sleep 600 & echo $! > " + file + "; wait"}));
  wait_subscribed(sub);
  REQUIRE(run_bus({"pub", "a", "x", "--bus", bus + "?embed=never"}).status == exited(0));
  pid_t child = 0;
  REQUIRE(eventually([&] { return (std::ifstream(file) >> child) && child > 0; }));
  end_subscriber(sub);
  REQUIRE(eventually([&] { return kernel_state("/proc/" + std::to_string(child)) == '?'; }));
}

}  // namespace bus::test
