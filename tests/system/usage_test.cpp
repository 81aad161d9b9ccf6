// tests/system/usage_test.cpp: the command line: help, mistakes, and what exit codes and words they get.
#include <fstream>

#include "bus/core/version.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

struct Mistake {
  std::vector<std::string> words;
  int code;
  std::string says;
};
std::ostream& operator<<(std::ostream& out, const Mistake& mistake) {
  for (const std::string& word : mistake.words) out << word << ' ';
  return out;
}

}  // namespace

TEST_CASE("a mistake gets one line that says what would be right, and its exit code", "[system]") {
  const auto mistake = GENERATE(values<Mistake>({
      {{}, 2, "a verb is missing"},
      {{"snd", "shm://x"}, 2, "did you mean send?"},
      {{"help", "pign"}, 2, "did you mean ping?"},
      {{"send"}, 2, "an argument is missing: write bus send ADDRESS [DATA...]"},
      {{"recv", "shm://x", "more"}, 2, "too many arguments: more"},
      {{"send", "shm://x", "--cont", "3"}, 2, "did you mean --count?"},
      {{"send", "shm://x", "-5"}, 2, "goes after --"},
      {{"send", "shm://x", "--count"}, 2, "count"},
      {{"send", "shm://x", "--count", "0"}, 2, "a count such as"},
      {{"send", "shm://x", "--count", "-1"}, 2, "a count such as"},
      {{"send", "shm://x", "--size", "64kib"}, 2, "a size such as 64, 64KiB or 1MiB"},
      {{"ping", "shm://x", "--interval", "5"}, 2, "a duration such as"},
      {{"send", "shm://x", "--rate", "fast"}, 2, "a rate such as"},
      {{"recv", "shm://x", "--format", "lines"}, 2, "did you mean line?"},
      {{"recv", "shm://x", "--log-level", "loud"}, 2, "allowed are debug, info, warn, error, off"},
      {{"recv", "shm://x", "--once", "--keep"}, 2, "exclude each other"},
      {{"recv", "shm://x", "--json", "--format", "raw"}, 2, "--output"},
      {{"recv", "shm://x", "--wait", "1s"}, 2, "--connect"},
      {{"send", "shm://x", "data", "--file", "f"}, 2, "exclude each other"},
      {{"send", "shm://x", "--file", "f", "--count", "2"}, 2, "--count is for DATA"},
      {{"send", "shm://x", "data", "--timeout", "1s"}, 2, "--reply"},
      {{"send", "shn://x", "data"}, 2, "did you mean shm?"},
      {{"send", "shm://x?capasity=1MiB", "data"}, 2, "did you mean capacity?"},
      {{"send", "data"}, 2, "data"},
      {{"echo", "tcp://127.0.0.1"}, 2, "port"},
      {{"echo", "inproc://x"}, 2, "threads of one process"},
      {{"recv", "udp://0.0.0.0:7000"}, 2, "insecure=1"},
      {{"recv", "tcp://0.0.0.0:7000"}, 2, "insecure=1"},
      {{"send", "tcp://0.0.0.0:7000", "--listen", "data"}, 2, "insecure=1"},
      {{"send", "shm://x", "--file", "/nowhere/at/all"}, 1, "cannot read /nowhere/at/all: No such file"},
      {{"send", "shm://x", "--file", "/"}, 1, "Is a directory"},
      {{"recv", "unix:///nowhere/at/all"},
       1,
       "listen unix:///nowhere/at/all: there is no folder /nowhere/at; create it"},
      {{"send", "shm://nobody-is-here", "data", "--wait", "10ms"}, 4, "nobody is listening"},
      {{"recv", "unix://nobody-is-here", "--connect", "--wait", "10ms"}, 4, "nobody is listening"},
      {{"ping", "tcp://127.0.0.1:1", "--wait", "50ms"}, 4, "nobody is listening"},
  }));
  CAPTURE(mistake);
  const Finished finished = run_bus(mistake.words);
  INFO(finished.err);
  REQUIRE(finished.status == exited(mistake.code));
  REQUIRE_THAT(finished.err, StartsWith("bus: ") && Contains(mistake.says));
  REQUIRE(lines_in(finished.err) == 1);
  REQUIRE(finished.out.empty());
}

TEST_CASE("a runtime directory that is not there is named by its variable", "[system]") {
  const Finished finished = run(bus_words({"recv", "unix://x"}), {}, in(std::chrono::seconds(30)),
                                {.env = {{"XDG_RUNTIME_DIR", "/nowhere/at"}}});
  REQUIRE(finished.status == exited(1));
  REQUIRE_THAT(finished.err, Contains("XDG_RUNTIME_DIR") && Contains("there is no folder /nowhere/at; create it"));
}

TEST_CASE("connecting to what is no socket says so at once", "[system]") {
  const std::string folder = temporary_folder();
  std::ofstream(folder + "/file") << "precious";
  const std::string path = GENERATE("/file", "");
  const Finished finished = run_bus({"send", "unix://" + folder + path, "data", "--wait", "1h"});
  REQUIRE(finished.status == exited(1));
  REQUIRE_THAT(finished.err, Contains("connect unix://" + folder + path) && Contains("is no socket"));
  REQUIRE(lines_in(finished.err) == 1);
}

TEST_CASE("a program that speaks another protocol is no peer, and nothing was lost", "[system]") {
  Process other = start_bus({"send", fresh_address("tcp", "framing=raw"), "--listen", "--linger", "1s",
                             "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n"});
  const std::string address = listening(other);
  const Finished finished = run_bus({"send", address.substr(0, address.find('?')), "data"});
  REQUIRE(finished.status == exited(4));
  REQUIRE_THAT(finished.err, Contains("framing=raw"));
  REQUIRE(lines_in(finished.err) == 1);
  other.wait();
}

TEST_CASE("short of descriptors a verb names operation, address, cause and way out", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  const std::string verb = GENERATE("recv", "send");
  const std::string address = fixed_address(scheme);
  bool enough = false;
  for (int limit = 4; !enough; ++limit) {
    CAPTURE(verb, address, limit);
    REQUIRE(limit < 64);
    std::vector<std::string> words{"/bin/sh", "-c", "ulimit -n \"$0\"; exec \"$@\"", std::to_string(limit)};
    const auto bus = bus_words(verb == "recv" ? std::vector<std::string>{"recv", address, "--timeout", "1ms"}
                                              : std::vector<std::string>{"send", address, "data", "--wait", "1ms"});
    words.insert(words.end(), bus.begin(), bus.end());
    const Finished finished = run(words);
    INFO(finished.err);
    if (finished.status == exited(127)) continue;  // not even enough to load the program
    enough = finished.status == exited(verb == "recv" ? 3 : 4);
    if (enough) continue;
    REQUIRE(finished.status == exited(1));
    const auto end = finished.err.rfind('\n');
    const auto begin = finished.err.rfind('\n', end - 1);
    const std::string last = finished.err.substr(begin == std::string::npos ? 0 : begin + 1);
    REQUIRE_THAT(last, StartsWith("bus: " + verb) || StartsWith("bus: listen ") || StartsWith("bus: connect "));
    REQUIRE_THAT(last, Contains(" " + address + ": ") && Contains("Too many open files") && Contains("ulimit -n"));
  }
}

TEST_CASE("a second listener is told who has the address", "[system]") {
  const std::string address = fixed_address(GENERATE("shm", "unix"));
  CAPTURE(address);
  Process first = start_bus({"echo", address});
  REQUIRE(listening(first) == address);
  const Finished second = run_bus({"echo", address});
  REQUIRE(second.status == exited(1));
  REQUIRE_THAT(second.err, Contains(std::to_string(first.pid())));
  first.kill(SIGTERM);
  REQUIRE(first.wait() == exited(143));
}

TEST_CASE("the version is the library's", "[system]") {
  const Finished finished = run_bus({"--version"});
  REQUIRE(finished.status == exited(0));
  REQUIRE(finished.out == "bus " + std::string(version()) + " (" + std::string(build()) + ")\n");
}

TEST_CASE("help lists the verbs, the transports and the exit codes", "[system]") {
  const Finished finished = run_bus({GENERATE("help", "--help", "-h")});
  REQUIRE(finished.status == exited(0));
  for (const char* const verb :
       {"send", "recv", "echo", "ping", "pub", "sub", "request", "reply", "broker", "audit", "list", "help"}) {
    REQUIRE_THAT(finished.out, Contains("\n  " + std::string(verb) + " "));
  }
  for (const Transport* const transport : transports()) {
    REQUIRE_THAT(finished.out, Contains("\n  " + std::string(transport->scheme()) + "://"));
  }
  REQUIRE_THAT(finished.out, Contains("Exit codes:"));
  REQUIRE(finished.err.empty());
}

TEST_CASE("help of a verb shows its options and examples", "[system]") {
  const std::string verb = GENERATE("send", "recv", "echo", "ping");
  CAPTURE(verb);
  const Finished finished = run_bus({"help", verb});
  REQUIRE(finished.status == exited(0));
  REQUIRE_THAT(finished.out, StartsWith("Usage: bus " + verb + " ADDRESS") && Contains("--json") &&
                                 Contains("--books") && Contains("--log-format") && Contains("Examples:\n  bus ") &&
                                 Contains("framing="));
  REQUIRE(run_bus({verb, "--help"}).out == finished.out);
  for (std::size_t at = 0; at < finished.out.size();) {
    const std::size_t end = finished.out.find('\n', at);
    REQUIRE(end - at <= 110);
    at = end + 1;
  }
}

TEST_CASE("with --json the last line is a summary even if nobody was there", "[system]") {
  const Finished finished = run_bus({"send", "shm://nobody-is-here", "data", "--wait", "10ms", "--json"});
  REQUIRE(finished.status == exited(4));
  const Json summary = summary_of(finished.out);
  REQUIRE(summary.at("sent") == 0);
  REQUIRE(summary.at("books").at("peer_accepted") == nullptr);
}

TEST_CASE("stderr can be JSON, and silent", "[system]") {
  const Finished json = run_bus({"recv", fresh_address("unix"), "--timeout", "1ms", "--log-format", "json"});
  const auto lines = objects(json.err);
  REQUIRE(lines.size() == 2);
  REQUIRE(lines[0].at("level") == "info");
  REQUIRE_THAT(lines[0].at("text").get<std::string>(), StartsWith("listening on unix://"));
  REQUIRE(lines[1].at("level") == "error");

  const Finished quiet = run_bus({"recv", fresh_address("unix"), "--timeout", "1ms", "--log-level", "off"});
  REQUIRE(quiet.status == exited(3));
  REQUIRE(quiet.err.empty());
}

}  // namespace bus::test
