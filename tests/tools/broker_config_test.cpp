// tests/tools/broker_config_test.cpp: a broker's file: what it says, and what is wrong with it, where.
#include "tools/common/broker_config.hpp"

#include <sys/stat.h>

#include <fstream>
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/support/sandbox.hpp"
#include "tools/common/arguments.hpp"

namespace bus::tools {
namespace {

using namespace std::chrono_literals;

std::string mistake_in(std::string_view text) {
  try {
    static_cast<void>(parse_broker_config(text, "b.toml"));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "none";
}

std::string mistake_with(const std::string& path) {
  try {
    static_cast<void>(read_broker_config(path));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("a broker's file says all that options can say", "[config]") {
  const BrokerConfig config = parse_broker_config(R"(
listen = [
  "shm://lab",
  "tcp://127.0.0.1:0?max_message=4MiB",
]
insecure = true
drain = "250ms"
name = "lab"

[limits]
max-clients = 7
max-message = "64KiB"
max-subscriptions = "1k"
max-memory = 1048576
max-history = 3
window = 64
)",
                                                  "b.toml");
  REQUIRE(config.listen.size() == 2);
  CHECK(config.listen[0].address == "shm://lab");
  CHECK(config.listen[0].where == "b.toml:3:3");
  CHECK(config.listen[1].address == "tcp://127.0.0.1:0?max_message=4MiB");
  CHECK(config.insecure == true);
  CHECK(config.drain == 250ms);
  CHECK(config.name == "lab");
  const std::map<std::string, std::uint64_t, std::less<>> limits{{"max-clients", 7},          {"max-message", 65536},
                                                                 {"max-subscriptions", 1000}, {"max-memory", 1048576},
                                                                 {"max-history", 3},          {"window", 64}};
  CHECK(config.limits == limits);
}

TEST_CASE("what a broker's file does not say stays open", "[config]") {
  const BrokerConfig config = parse_broker_config("name = 'x'", "b.toml");
  CHECK(config.listen.empty());
  CHECK_FALSE(config.insecure);
  CHECK_FALSE(config.drain);
  CHECK(config.limits.empty());
}

TEST_CASE("a mistake in a broker's file is one line with its place and what is allowed", "[config]") {
  struct Mistake {
    std::string text, says;
  };
  const auto mistake = GENERATE(values<Mistake>({
      {"", "b.toml:1:1: it is empty; allowed are listen, insecure, drain, name and [limits]"},
      {"# nothing\n\n", "b.toml:1:1: it is empty; allowed are listen, insecure, drain, name and [limits]"},
      {"name = 'x'\nlissten = []",
       "b.toml:2:1: unknown key \"lissten\": allowed are listen, insecure, drain, name, limits; did you mean listen?"},
      {"window = 3", "b.toml:1:1: unknown key \"window\": allowed are listen, insecure, drain, name, limits"},
      {"[limits]\nmax-client = 3",
       "b.toml:2:1: unknown limit \"max-client\": allowed are max-clients, max-message, max-subscriptions, max-memory, "
       "max-history, window; did you mean max-clients?"},
      {"listen = 'shm://lab'",
       "b.toml:1:10: listen \"shm://lab\": allowed is an array of addresses: [\"shm://lab\", "
       "\"tcp://127.0.0.1:4222\"]"},
      {"listen = ['shm://lab', 4222]",
       "b.toml:1:24: listen 4222: allowed is an array of addresses: [\"shm://lab\", \"tcp://127.0.0.1:4222\"]"},
      {"insecure = 'true'", "b.toml:1:12: insecure \"true\": allowed is true or false, without quotes"},
      {"drain = 5", "b.toml:1:9: drain 5: allowed is a duration such as \"100ms\" or \"5s\", in quotes"},
      {"drain = '5 sec'", "b.toml:1:9: drain \"5 sec\": allowed is a duration such as \"100ms\" or \"5s\", in quotes"},
      {"drain = 1.5", "b.toml:1:9: drain is a number with a fraction: allowed is a duration such as"},
      {"drain = 10:00:00", "b.toml:1:9: drain is a date or time: allowed is a duration such as"},
      {"name = ''", "b.toml:1:8: name \"\": allowed is a text of 1 to 1024 bytes, in quotes"},
      {"name = false", "b.toml:1:8: name is true or false: allowed is a text"},
      {"name = [1]", "b.toml:1:8: name is an array: allowed is a text"},
      {"name = {a = 1}", "b.toml:1:8: name is a table: allowed is a text"},
      {"limits = 3", "b.toml:1:10: limits 3: allowed is a table: [limits], and a line for each limit"},
      {"[[limits]]\nwindow = 3", "limits is an array: allowed is a table: [limits], and a line for each limit"},
      {"[limits]\nmax-message = 'big'",
       "b.toml:2:15: max-message \"big\": allowed is a size such as 65536, \"64KiB\" or \"1MiB\""},
      {"[limits]\nmax-clients = '1.5'", "b.toml:2:15: max-clients \"1.5\": allowed is a count such as 250 or \"10k\""},
      {"[limits]\nwindow = -1", "b.toml:2:10: window -1: allowed is a count such as 250 or \"10k\""},
      {"[limits]\nwindow = 0", "b.toml:2:10: window 0: allowed is 1 to 4294967295"},
      {"[limits]\nmax-message = 0", "b.toml:2:15: max-message 0: allowed is 1 to 64MiB"},
      {"[limits]\nmax-message = '65MiB'", "b.toml:2:15: max-message \"65MiB\": allowed is 1 to 64MiB"},
      {"[limits]\nwindow = 4294967296", "b.toml:2:10: window 4294967296: allowed is 1 to 4294967295"},
      {"name = 'a'\nname = 'b'", "b.toml:2:"},
      {"name = 'a", "b.toml:1:"},
      {"name", "b.toml:1:"},
      {"name = \"\x1b[31m\"", "b.toml:1:"},
      {"name = \"\xff\"", "b.toml:1:"},
  }));
  CAPTURE(mistake.text);
  const std::string said = mistake_in(mistake.text);
  CHECK_THAT(said, Catch::Matchers::Contains(mistake.says));
  CHECK(said.find_first_of("\n\x1b") == std::string::npos);
}

TEST_CASE("what is no TOML is said with the reason", "[config]") {
  const std::string text = GENERATE("k\xc3\xa9y = 1", "\xcc\x92", "[==", "drain = 1979-05-27TB7:32:00Z");
  CAPTURE(text);
  CHECK_THAT(mistake_in(text),
             Catch::Matchers::StartsWith("b.toml:1:") && Catch::Matchers::Contains("this is no TOML: "));
  CHECK_THAT(mistake_in("a = 1\nlisten = ]\n"),
             Catch::Matchers::StartsWith("b.toml:2:") && Catch::Matchers::Contains("this is no TOML: "));
}

TEST_CASE("the first mistake of a broker's file is the one that is told", "[config]") {
  CHECK_THAT(mistake_in("zebra = 1\napple = 2\n"), Catch::Matchers::StartsWith("b.toml:1:1: unknown key \"zebra\""));
}

TEST_CASE("a broker's file that cannot be read is a mistake", "[config]") {
  const std::string folder = test::temporary_folder();
  CHECK(mistake_with(folder + "/none") == folder + "/none: No such file or directory");
  const std::string no_file = ": it is no regular file; a configuration is one, so that it can be read again";
  CHECK(mistake_with(folder) == folder + no_file);
  REQUIRE(::mkfifo((folder + "/fifo").c_str(), 0600) == 0);
  CHECK(mistake_with(folder + "/fifo") == folder + "/fifo" + no_file);  // and waits for nobody
  std::ofstream(folder + "/large") << std::string((std::size_t{1} << 20) + 1, '#');
  CHECK(mistake_with(folder + "/large") == folder + "/large: it is larger than 1MiB");
  std::ofstream(folder + "/good") << "name = 'x'\n";
  CHECK(read_broker_config(folder + "/good").name == "x");
}

TEST_CASE("each limit has a range, and a value beyond it changes nothing", "[config]") {
  for (const BrokerLimit& limit : kBrokerLimits) {
    CAPTURE(limit.name);
    broker::Limits limits;
    CHECK_THAT(set_limit(limits, limit.name, 0), Catch::Matchers::StartsWith("1 to "));
    CHECK(set_limit(limits, limit.name, 12345).empty());
  }
  broker::Limits limits;
  CHECK(set_limit(limits, "max-memory", std::numeric_limits<std::uint64_t>::max()).empty());
  CHECK(set_limit(limits, "max-clients", std::uint64_t{1} << 32) == "1 to 4294967295");
  CHECK(limits.clients == broker::Limits{}.clients);
}

}  // namespace bus::tools
