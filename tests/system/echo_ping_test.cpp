// tests/system/echo_ping_test.cpp: bus echo and bus ping as two programs, and echo with clients of every kind.
#include <regex>

#include "tests/system/bus_run.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

TEST_CASE("ping prints a line a round trip and percentiles at the end", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process echo = start_bus({"echo", fresh_address(scheme)});
  const std::string address = listening(echo);
  const Finished ping = run_bus({"ping", address, "--count", "3", "--interval", "1ms"});
  INFO(ping.err);
  REQUIRE(ping.status == exited(0));
  for (const char* const number : {"1", "2", "3"}) {
    REQUIRE_THAT(ping.out, Contains("64 bytes from " + address + ": seq=" + number + " time="));
  }
  REQUIRE(std::regex_search(ping.out, std::regex("time=[0-9.]+ (us|ms)\n")));
  REQUIRE_THAT(ping.out, Contains("3 sent, 3 received, 0 lost (0%)") && Contains("rtt min/p50/p90/p99/p99.9/max = "));
  REQUIRE(lines_in(ping.out) == 6);
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("ping with interval 0 prints the summary alone", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  const std::string size = GENERATE("64", "16", "100000");
  CAPTURE(scheme, size);
  Process echo = start_bus({"echo", fresh_address(scheme), "--json"});
  const Finished ping = run_bus({"ping", listening(echo), "-c", "500", "-i", "0", "-s", size, "--json"});
  INFO(ping.err);
  REQUIRE(ping.status == exited(0));
  const auto lines = objects(ping.out);
  REQUIRE(lines.size() == 1);
  const Json& summary = lines.front();
  REQUIRE(summary.at("type") == "summary");
  REQUIRE(summary.at("sent") == 500);
  REQUIRE(summary.at("received") == 500);
  REQUIRE(summary.at("lost") == 0);
  REQUIRE(summary.at("bytes") == 500 * std::stoul(size));
  REQUIRE(summary.at("books").at("closed") == true);
  const Json& rtt = summary.at("rtt_ns");
  std::uint64_t before = 1;
  for (const char* const key : {"min", "p50", "p90", "p99", "p999", "max"}) {
    CAPTURE(key);
    REQUIRE(rtt.at(key).get<std::uint64_t>() >= before);
    before = rtt.at(key).get<std::uint64_t>();
  }
  echo.wait_for_output("\"went\"");
  echo.kill(SIGINT);
  REQUIRE(echo.wait() == exited(130));
  const Json returned = summary_of(echo.out());
  REQUIRE(returned.at("sent") == 500);
  REQUIRE(returned.at("received") == 500);
  REQUIRE(returned.at("books").at("closed") == true);
}

TEST_CASE("ping knows sizes below its number", "[system]") {
  Process echo = start_bus({"echo", fresh_address("shm")});
  const std::string address = listening(echo);
  const std::string size = GENERATE("0", "1", "15");
  CAPTURE(size);
  REQUIRE(run_bus({"ping", address, "-c", "40", "-i", "0", "-s", size}).status == exited(0));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("ping says that a peer which never answers does not", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--format", "none"});
  const Finished ping = run_bus({"ping", listening(recv), "-c", "2", "-i", "1ms", "--timeout", "50ms", "--json"});
  REQUIRE(ping.status == exited(3));
  REQUIRE_THAT(ping.err, Contains("no answer"));
  const auto lines = objects(ping.out);
  REQUIRE(lines.size() == 3);
  REQUIRE(lines[0] == Json{{"type", "lost"}, {"seq", 1}});
  REQUIRE(lines[2].at("lost") == 2);
  recv.kill(SIGTERM);
  REQUIRE(recv.wait() == exited(143));
}

TEST_CASE("ping says that an answer is not what was sent", "[system]") {
  Process other = start_bus({"send", fresh_address("unix"), "--listen", "surprise", "--linger", "1s"});
  const Finished ping = run_bus({"ping", listening(other), "-c", "1"});
  REQUIRE(ping.status == exited(5));
  REQUIRE_THAT(ping.err, Contains("not what was sent"));
  other.wait();
}

TEST_CASE("ping and latency say at once that they do not accept answers of that size", "[system]") {
  Process echo = start_bus({"echo", fresh_address("unix", "max_message=4MiB")});
  const std::string address = listening(echo);  // with its options
  const std::string plain = address.substr(0, address.find('?'));
  const auto [given, says] =
      GENERATE(table<std::string, std::string>({{"", "add ?max_message=2MiB"},
                                                {"?wait=block", "add &max_message=2MiB"},
                                                {"?max_message=64KiB", "say max_message=2MiB in the address"}}));
  CAPTURE(given);
  const Finished ping = run_bus({"ping", plain + given, "--size", "2MiB", "-c", "2", "-i", "0"});
  REQUIRE(ping.status == exited(2));
  REQUIRE_THAT(ping.err, Contains("--size 2MiB is more than this end accepts: " + says));
  REQUIRE(lines_in(ping.err) == 1);
  const Finished latency = run_bus({"latency", plain + given, "--peer", "--sizes", "2MiB", "-d", "10ms", "-r", "1"});
  REQUIRE(latency.status == exited(2));
  REQUIRE_THAT(latency.err, Contains("--sizes 2MiB is more than this end accepts: " + says));
  REQUIRE(run_bus({"ping", plain + "?max_message=2MiB", "--size", "2MiB", "-c", "2", "-i", "0"}).status == exited(0));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("throughput says at once that its address does not accept the size", "[system]") {
  const Finished finished = run_bus({"throughput", "unix://?max_message=64KiB", "--sizes", "1MiB"});
  REQUIRE(finished.status == exited(2));
  REQUIRE_THAT(finished.err, Contains("--sizes 1MiB is more than this end accepts: say max_message=1MiB"));
}

TEST_CASE("send --reply prints the answer to each message", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process echo = start_bus({"echo", fresh_address(scheme)});
  const std::string address = listening(echo);
  const Finished send = run_bus({"send", address, "one", "", "two", "--reply"});
  INFO(send.err);
  REQUIRE(send.status == exited(0));
  REQUIRE(send.out == "one\n\ntwo\n");
  const Finished json = run_bus({"send", address, "x", "--reply", "--json"});
  REQUIRE(objects(json.out).front() ==
          Json{{"type", "answer"}, {"peer", 1}, {"number", 1}, {"size", 1}, {"text", "x"}});
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("send --reply gives up on an answer that does not come", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--format", "none"});
  const Finished send = run_bus({"send", listening(recv), "hello", "--reply", "--timeout", "50ms"});
  REQUIRE(send.status == exited(3));
  REQUIRE_THAT(send.err, Contains("no answer within 50ms"));
  REQUIRE(recv.wait() == exited(0));
}

TEST_CASE("a client that does not take its answers holds up nobody else", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).reliable) return;  // what is not taken is dropped there: nobody can hold up anybody
  Process echo = start_bus({"echo", fresh_address(scheme)});
  const std::string address = listening(echo);
  Channel greedy = connect(address);
  const std::vector<std::byte> message(32 << 10);
  // Full when the echo's answers have filled the way back as well.
  std::size_t sent = 0;
  while (greedy.send(message, in(200ms)) == std::error_code{}) ++sent;
  REQUIRE(sent > 0);
  REQUIRE(run_bus({"ping", address, "-c", "10", "-i", "0"}).status == exited(0));

  for (std::size_t i = 0; i < sent; ++i) {
    const Result<Message> answer = greedy.receive(soon());
    REQUIRE(answer);
    REQUIRE(answer->size() == message.size());
  }
  REQUIRE_FALSE(greedy.close(soon()));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("echo serves many clients at once", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  constexpr std::size_t kClients = 20;
  Process echo = start_bus({"echo", fresh_address(scheme), "--json"});
  const std::string address = listening(echo);
  std::vector<Channel> clients;
  for (std::size_t i = 0; i < kClients; ++i) clients.push_back(connect(address, soon()));
  for (std::size_t round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < kClients; ++i) REQUIRE_FALSE(clients[i].send(bytes_of(std::to_string(i)), soon()));
    for (std::size_t i = 0; i < kClients; ++i) {
      const Result<Message> answer = clients[i].receive(soon());
      REQUIRE(answer);
      REQUIRE(answer->text() == std::to_string(i));
    }
  }
  for (Channel& client : clients) REQUIRE_FALSE(client.close(soon()));
  clients.clear();
  REQUIRE(eventually([&] {
    const std::string out = echo.out();
    std::size_t gone = 0;
    for (std::size_t at = 0; (at = out.find("\"went\"", at)) != std::string::npos; ++at) ++gone;
    return gone == kClients;
  }));
  echo.kill(SIGINT);
  REQUIRE(echo.wait() == exited(130));
  const Json books = summary_of(echo.out()).at("books");
  REQUIRE(books.at("received") == 3 * kClients);
  REQUIRE(books.at("accepted") == 3 * kClients);
  REQUIRE(books.at("closed") == true);
}

}  // namespace bus::test
