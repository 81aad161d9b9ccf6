// tests/bus/core/address_test.cpp: addresses: what is understood, what is refused, and with which words.
#include "bus/core/address.hpp"

#include "bus/core/errc.hpp"
#include "bus/core/transport.hpp"
#include "tests/support/catch.hpp"

namespace {

struct Good {
  std::string text, scheme, host, path;
  std::optional<std::uint16_t> port;
  std::vector<std::pair<std::string, std::string>> options;
};

struct Bad {
  std::string text;
  std::string part;  // of the error's text
};

std::string refusal(const std::string& text) {
  try {
    static_cast<void>(bus::Address::parse(text));
  } catch (const bus::Error& error) {
    CHECK(error.code() == bus::Errc::bad_address);
    return error.what();
  }
  FAIL("understood: " << text);
  return {};
}

}  // namespace

TEST_CASE("an address is taken apart", "[address]") {
  const Good expected = GENERATE(values<Good>({
      {"shm://lab", "shm", "lab", "", {}, {}},
      {"SHM://lab", "shm", "lab", "", {}, {}},
      {"unix://name", "unix", "name", "", {}, {}},
      {"unix:///tmp/a%20b.sock", "unix", "", "/tmp/a b.sock", {}, {}},
      {"tcp://127.0.0.1:0", "tcp", "127.0.0.1", "", 0, {}},
      {"tcp://host.example:65535", "tcp", "host.example", "", 65535, {}},
      {"tcp://[::1]:5000", "tcp", "::1", "", 5000, {}},
      {"tcp://[::1]:5000/", "tcp", "::1", "", 5000, {}},
      {"udp://239.1.2.3:7000?window=off", "udp", "239.1.2.3", "", 7000, {{"window", "off"}}},
      {"shm://lab?max_message=16MiB&wait=hybrid", "shm", "lab", "", {}, {{"max_message", "16MiB"}, {"wait", "hybrid"}}},
      {"shm://lab?a=", "shm", "lab", "", {}, {{"a", ""}}},
      {"shm://lab?a=%26%3D", "shm", "lab", "", {}, {{"a", "&="}}},
      {"fault+shm://lab?drop=0.01&seed=7", "fault+shm", "lab", "", {}, {{"drop", "0.01"}, {"seed", "7"}}},
  }));
  CAPTURE(expected.text);
  const bus::Address address = bus::Address::parse(expected.text);
  CHECK(address.text() == expected.text);
  CHECK(address.scheme() == expected.scheme);
  CHECK(address.host() == expected.host);
  CHECK(address.path() == expected.path);
  CHECK(address.port() == expected.port);
  CHECK(address.options() == expected.options);
  for (const auto& [key, value] : expected.options) CHECK(address.option(key) == value);
  CHECK_FALSE(address.option("not there"));
}

TEST_CASE("what is no address is refused, with the text and the reason", "[address]") {
  const Bad bad = GENERATE(values<Bad>({
      {"", "scheme://"},
      {"lab", "scheme://"},
      {"shm:lab", "scheme://"},
      {"://lab", "scheme://"},
      {"1shm://lab", "scheme://"},
      {"shm://a b", "scheme://"},
      {"shm://lab?a=%zz", "scheme://"},
      {"tcp://[::1:5000", "scheme://"},
      {"tcp://[::1]5000", "scheme://"},
      {"tcp://127.0.0.1:port", "65535"},
      {"tcp://127.0.0.1:5x", "65535"},
      {"tcp://127.0.0.1:65536", "65535"},
      {"tcp://127.0.0.1:99999999999999999999", "65535"},
      {"tcp://127.0.0.1:", "port"},
      {"tcp://me@host:1", "user"},
      {"tcp://me:secret@host:1", "password"},
      {"shm://lab#part", "fragment"},
      {"shm://lab?wait", "option wait needs a value"},
      {"shm://lab?wait=spin&wait=block", "option wait is given twice"},
  }));
  CAPTURE(bad.text);
  const std::string text = refusal(bad.text);
  CAPTURE(text);
  CHECK(text.find(bad.text) != std::string::npos);
  CHECK(text.find(bad.part) != std::string::npos);
}

TEST_CASE("an address of absurd length is refused in few words", "[address]") {
  const std::string text = refusal("shm://" + std::string(100'000, 'x'));
  REQUIRE(text.find("4096") != std::string::npos);
  REQUIRE(text.size() < 200);
}

TEST_CASE("an address is told with another port and nothing else changed", "[address]") {
  const bus::Address v4 = bus::Address::parse("tcp://127.0.0.1:0?max_message=1MiB&wait=spin");
  REQUIRE(v4.with_port(4711).text() == "tcp://127.0.0.1:4711?max_message=1MiB&wait=spin");
  REQUIRE(v4.with_port(4711).port() == 4711);
  REQUIRE(v4.with_port(4711).option("wait") == "spin");
  REQUIRE(bus::Address::parse("tcp://[::1]:0").with_port(80).text() == "tcp://[::1]:80");
  REQUIRE(bus::Address::parse("udp://host:1").with_port(65535).host() == "host");
}

TEST_CASE("the nearest word is found, and none where none is near", "[address]") {
  const std::vector<std::string_view> words{"inproc", "shm", "unix", "tcp", "udp", "mq"};
  REQUIRE(bus::nearest("shmm", words) == "shm");
  REQUIRE(bus::nearest("shn", words) == "shm");
  REQUIRE(bus::nearest("inprocs", words) == "inproc");
  REQUIRE(bus::nearest("uinx", words) == "unix");
  REQUIRE(bus::nearest("tcp", words) == "tcp");
  REQUIRE(bus::nearest("carrier-pigeon", words).empty());
  REQUIRE(bus::nearest("", {}).empty());
}

TEST_CASE("an unknown word is answered with all that are allowed", "[address]") {
  REQUIRE(bus::unknown_word("option", "wiat", {"wait", "capacity"}) ==
          "unknown option \"wiat\": allowed are wait, capacity; did you mean wait?");
  REQUIRE(bus::unknown_word("option", "zzzzzzzzzz", {"wait"}) == "unknown option \"zzzzzzzzzz\": allowed are wait");
}

TEST_CASE("a scheme is looked up, and an unknown one is answered with the list", "[address]") {
  for (const bus::Transport* transport : bus::transports()) {
    const bus::Address address = bus::Address::parse(std::string(transport->scheme()) + "://x");
    REQUIRE(&bus::find_transport(address) == transport);
    REQUIRE_FALSE(transport->summary().empty());
  }
  REQUIRE_THROWS_WITH(bus::find_transport(bus::Address::parse("unx://x")),
                      Catch::Contains("did you mean unix?") && Catch::Contains("shm"));
}

TEST_CASE("options have defaults, limits and names", "[address]") {
  const auto read = [](const std::string& query) {
    const bus::Address address = bus::Address::parse("shm://x" + query);
    return bus::read_options(bus::find_transport(address), address);
  };
  const bus::Options defaults = read("");
  REQUIRE(defaults.max_message == bus::Options::kDefaultMaxMessage);
  REQUIRE(defaults.capacity == bus::Options::kDefaultCapacity);
  REQUIRE(defaults.wait == bus::WaitMode::hybrid);
  REQUIRE(defaults.own.empty());
  REQUIRE(defaults.get("framing", "bus") == "bus");

  const bus::Options given = read("?max_message=64MiB&capacity=4KiB&wait=block");
  REQUIRE(given.max_message == std::size_t{64} << 20);
  REQUIRE(given.capacity == 4096);
  REQUIRE(given.wait == bus::WaitMode::block);
  REQUIRE(read("?max_message=1").max_message == 1);
  REQUIRE(read("?capacity=1GiB").capacity == std::size_t{1} << 30);

  REQUIRE_THROWS_WITH(read("?max_message=0"), Catch::Contains("max_message=0") && Catch::Contains("64MiB"));
  REQUIRE_THROWS_WITH(read("?max_message=67108865"), Catch::Contains("max_message"));
  REQUIRE_THROWS_WITH(read("?capacity=4095"), Catch::Contains("from 4KiB to 1GiB"));
  REQUIRE_THROWS_WITH(read("?capacity=1025MiB"), Catch::Contains("from 4KiB to 1GiB"));
  REQUIRE_THROWS_WITH(read("?wait=soon"), Catch::Contains("spin|hybrid|block"));
  REQUIRE_THROWS_WITH(read("?capactiy=1MiB"), Catch::Contains("did you mean capacity?"));
}
