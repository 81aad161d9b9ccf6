// tests/tools/measure/brokers_test.cpp: the brokers of a comparison: their table, their servers, what they use.
#include "tools/measure/brokers.hpp"

#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <set>
#include <thread>

#include "bus/core/errc.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/eventually.hpp"
#include "tools/measure/broker_process.hpp"
#include "tools/measure/child.hpp"
#include "tools/measure/plan.hpp"
#include "tools/measure/usage.hpp"

using namespace bus::test;
using namespace bus::tools::measure;
using Catch::Matchers::Contains;

namespace {

RowOptions closed_options() {
  RowOptions options;
  options.conditions.wait = "spin";
  options.timed = std::chrono::milliseconds(1);
  return options;
}

/// The environment's PATH is another one while this lives.
struct WithPath {
  explicit WithPath(const char* path) : before(std::getenv("PATH")) { ::setenv("PATH", path, 1); }
  ~WithPath() { ::setenv("PATH", before.c_str(), 1); }
  WithPath(const WithPath&) = delete;
  WithPath& operator=(const WithPath&) = delete;
  const std::string before;
};

}  // namespace

TEST_CASE("no broker is called like another crossing, and each is measured or named as missing", "[measure]") {
  std::set<std::string_view> ids{kOwnBroker, "bus"}, names;
  for (const Crossing& crossing : crossings()) ids.insert(crossing.id);
  const std::size_t others = ids.size();
  std::string missing;
  for (const std::string& text : missing_brokers()) missing += text + "\n";
  for (const Broker& broker : brokers()) {
    CAPTURE(broker.crossing.id);
    ids.insert(broker.crossing.id);
    names.insert(broker.crossing.name);
    REQUIRE(is_through_broker(broker.crossing.id));
    const std::string name(broker.crossing.name.substr(0, broker.crossing.name.rfind(' ')));
    if (lack_of(broker).empty()) {
      REQUIRE(find_crossing(broker.crossing.id) == &broker.crossing);
      REQUIRE_THAT(versions_of(broker), Contains("."));
    } else {
      REQUIRE(find_crossing(broker.crossing.id) == nullptr);
      REQUIRE_THAT(missing, Contains(name + ": " + lack_of(broker)));
    }
  }
  REQUIRE(ids.size() == others + brokers().size());
  REQUIRE(names.size() == brokers().size());
  REQUIRE_FALSE(is_through_broker("bus"));
  REQUIRE_FALSE(is_through_broker("zmq-tcp"));
}

TEST_CASE("a row through our broker says so, and that it waits as nodes do", "[measure]") {
  const PlannedRow row = plan_own_broker("unix?capacity=1MiB&wait=block", closed_options());
  REQUIRE(row.row.name == "broker unix?capacity=1MiB");
  REQUIRE(row.row.id == "latency/broker-unix?capacity=1MiB/64/hybrid");
  REQUIRE(row.row.family == Family::ours);
  REQUIRE_FALSE(row.row.copies);
  REQUIRE(row.task.job.crossing == kOwnBroker);
  REQUIRE_THROWS_WITH(plan_own_broker("inproc", closed_options()), Contains("its broker is a process"));
  REQUIRE_THROWS(plan_own_broker("nonsense", closed_options()));
}

TEST_CASE("a broker's process says where it is in a form that is checked", "[measure]") {
  const ServedBroker served = parse_served("42 tcp://127.0.0.1:1 tcp://127.0.0.1:2");
  REQUIRE(served.pid == 42);
  REQUIRE(served.address == "tcp://127.0.0.1:1 tcp://127.0.0.1:2");
  for (const char* const wrong : {"", "42", "x y", " y", "-1 y", "0 y", "4x y", "99999999999999999999 y"}) {
    CAPTURE(wrong);
    REQUIRE_THROWS_AS(parse_served(wrong), bus::Error);
  }
}

TEST_CASE("a program is found in PATH and where servers are, and a name that is none is not", "[measure]") {
  REQUIRE(find_program("sh"));
  REQUIRE_FALSE(find_program("no-such-program-of-ours"));
  const WithPath nowhere("/nowhere::relative");
  REQUIRE_FALSE(find_program("sh"));
}

TEST_CASE("a program that ends before it is ready is told with its last words", "[measure]") {
  Child child("/bin/sh", {"server", "-c", "echo first; echo 'port is taken' >&2; exit 1"});
  REQUIRE_THROWS_WITH(child.wait_until([] { return false; }, soon()),
                      Contains("server has ended before its time (exit code 1); it said last: port is taken"));
  Child none("/nowhere/server", {"server"});
  REQUIRE_THROWS_WITH(none.wait_until([] { return false; }, soon()), Contains("No such file"));
}

TEST_CASE("a program that does not get ready is given up at the deadline, and ended", "[measure]") {
  pid_t pid = 0;
  {
    Child child("/bin/sh", {"sh", "-c", "echo up; exec sleep 1000"});
    pid = child.pid();
    child.wait_until([&] { return child.said() == "up\n"; }, soon());
    REQUIRE_THROWS_WITH(child.wait_until([] { return false; }, bus::in(std::chrono::milliseconds(20))),
                        Contains("did not get ready in time; it said last: up"));
    REQUIRE_FALSE(child.ended());
  }
  REQUIRE(::kill(pid, 0) != 0);
}

TEST_CASE("a program that does not heed SIGTERM is killed", "[measure]") {
  pid_t pid = 0;
  {
    Child child("/bin/sh", {"sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"});
    pid = child.pid();
    child.wait_until([&] { return child.said() == "up\n"; }, soon());
  }
  REQUIRE(::kill(pid, 0) != 0);
}

TEST_CASE("a program ends with the thread that has started it", "[measure]") {
  // Of a process that is killed all threads end; one that ends is the same to the kernel.
  std::unique_ptr<Child> child;
  std::thread([&] {
    child = std::make_unique<Child>("/bin/sh", std::vector<std::string>{"sh", "-c", "echo up; exec sleep 1000"});
    child->wait_until([&] { return child->said() == "up\n"; }, soon());
  }).join();
  REQUIRE(eventually([&] { return child->ended(); }));
}

TEST_CASE("a program reads its configuration from a file that is nowhere", "[measure]") {
  const MemoryFile file("hello\nworld\n");
  Child child("/bin/cat", {"cat", file.path(), file.path()});
  REQUIRE(eventually([&] { return child.ended(); }));
  REQUIRE(child.said() == "hello\nworld\nhello\nworld\n");
}

TEST_CASE("what another process uses is counted", "[measure]") {
  Child child("/bin/sh", {"sh", "-c", "while :; do :; done"});
  const Usage before = Usage::of(child.pid());
  REQUIRE(eventually([&] { return Usage::of(child.pid()).since(before).cpu_ns > 2e6; }));
  REQUIRE(Usage::of(child.pid()).faults > 0);
  REQUIRE(Usage::of(0x7ffffff0).cpu_ns == 0);
}
