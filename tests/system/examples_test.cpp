// tests/system/examples_test.cpp: every example does what its first lines say, with real processes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/support/eventually.hpp"
#include "tests/support/process.hpp"

using namespace bus::test;

namespace {

Process example(const std::string& name, std::vector<std::string> arguments, ProcessOptions options = {}) {
  arguments.insert(arguments.begin(), example_program(name));
  return Process::start(std::move(arguments), std::move(options));
}

constexpr ExitStatus kWell{0, 0};

}  // namespace

TEST_CASE("echo_client prints what echo_server returns, in both start orders", "[examples]") {
  const std::string address = GENERATE("shm://examples-echo", "unix://examples-echo");
  Process client = example("echo_client", {address}, {.stdin_pipe = true});
  client.write_stdin("one\ntwo\n\nfour\n");
  client.close_stdin();
  Process server = example("echo_server", {address, "2"});
  REQUIRE(client.wait(soon()) == kWell);
  REQUIRE(client.out() == "one\ntwo\n\nfour\n");
  Process second = example("echo_client", {address}, {.stdin_pipe = true});
  second.write_stdin("again\n");
  second.close_stdin();
  REQUIRE(second.wait(soon()) == kWell);
  REQUIRE(second.out() == "again\n");
  REQUIRE(server.wait(soon()) == kWell);
}

TEST_CASE("equal peers answer each other", "[examples]") {
  Process one = example("equal_peers", {"unix://examples-equals"});
  Process other = example("equal_peers", {"unix://examples-equals"});
  REQUIRE(one.wait(soon()) == kWell);
  REQUIRE(other.wait(soon()) == kWell);
  const std::string both = one.out() + other.out();
  for (const char* line : {"1 squared is 1\n", "2 squared is 4\n", "3 squared is 9\n", "10 squared is 100\n",
                           "20 squared is 400\n", "30 squared is 900\n"}) {
    CAPTURE(line, both);
    REQUIRE(both.find(line) != std::string::npos);
  }
}

TEST_CASE("waiting shows three outcomes", "[examples]") {
  Process program = example("waiting", {});
  REQUIRE(program.wait(soon()) == kWell);
  REQUIRE(program.out() ==
          "try_receive: it would have to wait\n"
          "receive(in(20ms)): the deadline passed\n"
          "receive(): hello\n");
}

TEST_CASE("a producer's pieces all reach one of two consumers", "[examples]") {
  const std::string address = "shm://examples-work";
  Process one = example("producer_consumers", {"consume", address});
  Process two = example("producer_consumers", {"consume", address});
  Process producer = example("producer_consumers", {"produce", address, "20000"});
  REQUIRE(producer.wait(soon()) == kWell);
  REQUIRE(producer.out() == "20000 pieces handed out, 20000 received\n");
  REQUIRE(one.wait(soon()) == kWell);
  REQUIRE(two.wait(soon()) == kWell);
  unsigned long count = 0, sum = 0;
  const std::regex form("([0-9]+) pieces, sum ([0-9]+)\n");
  for (const std::string& out : {one.out(), two.out()}) {
    std::smatch match;
    REQUIRE(std::regex_match(out, match, form));
    count += std::stoul(match[1]);
    sum += std::stoul(match[2]);
  }
  REQUIRE(count == 20000);
  REQUIRE(sum == 20000UL * 20001 / 2);
}

TEST_CASE("pictures arrive as they were drawn", "[examples]") {
  const std::string address = GENERATE("shm://examples-pictures", "unix://examples-pictures");
  Process receiver = example("image_zero_copy", {"receive", address});
  Process sender = example("image_zero_copy", {"send", address});
  REQUIRE(sender.wait(soon()) == kWell);
  REQUIRE(receiver.wait(soon()) == kWell);
  const std::string out = receiver.out();
  REQUIRE(sender.out() == out);
  REQUIRE(std::count(out.begin(), out.end(), '\n') == 3);
}

TEST_CASE("one wait serves three transports", "[examples]") {
  Process program = example("three_transports", {"examples-three"});
  REQUIRE(program.wait(soon()) == kWell);
  REQUIRE(program.out() == "from shm\nfrom tcp\nfrom unix\n");
}

TEST_CASE("an Asio coroutine receives until the sender closes", "[examples]") {
  Process server = example("asio_coroutine", {"shm://examples-asio"});
  Process sender = Process::start({bus_program(), "send", "shm://examples-asio", "first", "second", "third"});
  REQUIRE(sender.wait(soon()) == kWell);
  REQUIRE(server.wait(soon()) == kWell);
  REQUIRE(server.out() == "first\nsecond\nthird\n");
}

TEST_CASE("http_get prints status, headers and body of a web server", "[examples]") {
  const std::filesystem::path root = std::filesystem::temp_directory_path() / ("bus-http-" + std::to_string(getpid()));
  std::filesystem::create_directory(root);
  std::ofstream(root / "page.txt") << "what the page says\n";
  // Python's own server: it says which port it got.
  Process server =
      Process::start({"python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"}, {.directory = root.string()});
  const std::string said = server.wait_for_output("port ");
  std::smatch match;
  REQUIRE(std::regex_search(said, match, std::regex("port ([0-9]+)")));
  Process client = example("http_get", {"127.0.0.1:" + match[1].str(), "/page.txt"});
  REQUIRE(client.wait(soon()) == kWell);
  const std::string out = client.out();
  CAPTURE(out);
  REQUIRE(out.find("status:  HTTP/1.0 200 OK\n") == 0);
  REQUIRE(out.find("header:  Content-Length: 19\n") != std::string::npos);
  REQUIRE(out.ends_with("what the page says\n"));
  std::filesystem::remove_all(root);
}

TEST_CASE("a monitor prints what sensors publish, whoever starts first", "[examples]") {
  const std::string bus = "shm://examples-sensors";
  std::vector<Process> sensors;
  for (const char* name : {"kitchen", "hall"}) sensors.push_back(example("sensors", {name, bus}));
  Process monitor = example("sensors", {"monitor", bus});
  sensors.push_back(example("sensors", {"cellar", bus}));
  REQUIRE(monitor.wait(soon()) == kWell);
  for (Process& sensor : sensors) REQUIRE(sensor.wait(soon()) == kWell);
  for (const char* name : {"kitchen", "hall", "cellar"}) {
    for (const char* value : {"20.5", "21.5", "22.5"}) {
      CAPTURE(name, value, monitor.out());
      REQUIRE(monitor.out().find("sensors." + std::string(name) + ".temperature " + value + "\n") != std::string::npos);
    }
  }
}

TEST_CASE("every job is done though a worker is killed", "[examples]") {
  const std::string bus = "shm://examples-work";
  std::vector<Process> workers;
  for (const char* name : {"ann", "bob", "cid"}) {
    workers.push_back(example("work_queue", {"work", name, bus}));
    workers.back().wait_for_output("ready");
  }
  Process order = example("work_queue", {"order", "3000", bus});
  workers[1].wait_for_output("bob did");
  REQUIRE(workers[1].kill(SIGKILL));
  REQUIRE(order.wait(soon()) == kWell);
  REQUIRE(order.out() == "3000 jobs done\n");
  REQUIRE(workers[0].wait(soon()) == kWell);
  REQUIRE(workers[2].wait(soon()) == kWell);
  workers[1].wait(soon());
  std::set<std::string> done;
  for (Process& worker : workers) {
    std::istringstream lines(worker.out());
    for (std::string line; std::getline(lines, line);) {
      if (const auto at = line.find(" did "); at != std::string::npos) done.insert(line.substr(at + 5));
    }
  }
  REQUIRE(done.size() == 3000);
}

TEST_CASE("a calculator adds for whoever asks", "[examples]") {
  const std::string bus = "unix://examples-calculator";
  Process asks_first = example("calculator", {"ask", "20", "22", bus});
  Process server = example("calculator", {"serve", bus});
  REQUIRE(asks_first.wait(soon()) == kWell);
  REQUIRE(asks_first.out() == "42\n");
  for (int i = 0; i < 2; ++i) {
    Process asks = example("calculator", {"ask", std::to_string(i), "1", bus});
    REQUIRE(asks.wait(soon()) == kWell);
    REQUIRE(asks.out() == std::to_string(i + 1) + "\n");
  }
  REQUIRE(server.wait(soon()) == kWell);
}

TEST_CASE("a thermometer on TCP and its reader on shared memory are on one bus", "[examples]") {
  Process program = example("two_transports", {"shm://examples-two"});
  REQUIRE(program.wait(soon()) == kWell);
  REQUIRE(program.out() == "kitchen.temperature 20.5 celsius\nkitchen.temperature 21.5 celsius\n");
}

TEST_CASE("an experiment of five processes closes its books", "[examples]") {
  const auto addresses = GENERATE(values<std::vector<std::string>>(
      {{"unix://examples-experiment", "tcp://127.0.0.1:0"}, {"shm://examples-experiment"}}));
  std::vector<std::string> words{source_directory() + "/examples/experiment.sh", "500"};
  words.insert(words.end(), addresses.begin(), addresses.end());
  ProcessOptions options;
  options.env["PATH"] = std::filesystem::path(bus_program()).parent_path().string() + ":" + std::getenv("PATH");
  Process experiment = Process::start(words, options);
  INFO(experiment.err());
  REQUIRE(experiment.wait(soon()) == kWell);
  for (const char* const text : {"copies    2000 = delivered 2000 + dropped 0 + waiting 0",
                                 "the books close: 2000 expected = 2000 delivered + 0 dropped"}) {
    CAPTURE(text, experiment.err());
    REQUIRE(eventually([&] { return experiment.err().find(text) != std::string::npos; }));
  }
}

TEST_CASE("an experiment that cannot begin says why, and leaves nothing running", "[examples]") {
  ProcessOptions options;
  options.env["PATH"] = std::filesystem::path(bus_program()).parent_path().string() + ":" + std::getenv("PATH");
  Process experiment =
      Process::start({source_directory() + "/examples/experiment.sh", "5", "tcp://0.0.0.0:0"}, options);
  REQUIRE(experiment.wait(soon()) == ExitStatus{1, 0});
  REQUIRE(experiment.err().find("--insecure") != std::string::npos);
}

TEST_CASE("an example without a partner ends with a reason", "[examples]") {
  Process client = example("http_get", {"127.0.0.1:1"});
  REQUIRE(client.wait(soon()) == ExitStatus{1, 0});
  REQUIRE(client.err().find("http_get: connect tcp://127.0.0.1:1") == 0);
}
