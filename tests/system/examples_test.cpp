// tests/system/examples_test.cpp: every example does what its first lines say, with real processes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <regex>

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

TEST_CASE("an example without a partner ends with a reason", "[examples]") {
  Process client = example("http_get", {"127.0.0.1:1"});
  REQUIRE(client.wait(soon()) == ExitStatus{1, 0});
  REQUIRE(client.err().find("http_get: connect tcp://127.0.0.1:1") == 0);
}
