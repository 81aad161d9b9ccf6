// tests/transports/mq/place_test.cpp: names, who removes them, and how many messages a queue holds.
#include <sys/statvfs.h>

#include <fstream>
#include <thread>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/traffic.hpp"
#include "transports/mq/link.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

/// Two queues as a dead listener leaves them: names without an owner.
void leave_queues(const mq::Place& place) {
  const mq::Id token = mq::random_id();
  static_cast<void>(mq::Queue::create(place.up(token), 2, 64));
  static_cast<void>(mq::Queue::create(place.down(token), 2, 64));
}

mq::Place place_of(const std::string& address) { return mq::Place(Address::parse(address)); }

}  // namespace

TEST_CASE("a new listener removes what a dead one of its name has left, and nothing else", "[mq]") {
  const std::string name = test::fresh_name();
  const mq::Place place = place_of("mq://" + name);
  const mq::Place other = place_of("mq://" + name + ".b");
  leave_queues(place);
  leave_queues(other);
  REQUIRE(mq::find_queues(place.prefix).size() == 2);
  {
    const Listener listener = listen("mq://" + name);
    CHECK(mq::find_queues(place.prefix).empty());
    CHECK(mq::find_queues(other.prefix).size() == 2);
  }
  mq::remove_leftovers(other);
  CHECK(test::leftovers().empty());
}

TEST_CASE("a connector that finds no listener removes what a dead one has left", "[mq]") {
  const std::string address = "mq://" + test::fresh_name();
  const mq::Place place = place_of(address);
  leave_queues(place);
  try {
    static_cast<void>(connect(address, in(20ms)));
    FAIL("nobody listens");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::no_peer);
  }
  CHECK(mq::find_queues(place.prefix).empty());
}

TEST_CASE("sweeping never harms a living listener", "[mq]") {
  const std::string address = "mq://" + test::fresh_name();
  const mq::Place place = place_of(address);
  Listener listener = listen(address);
  leave_queues(place);  // as if it were about to greet somebody
  mq::sweep(place);
  CHECK(mq::find_queues(place.prefix).size() == 2);
  Channel client, server;
  test::open_more(listener, client, server);
  test::close_books(client, server);
  listener.close();
  mq::sweep(place);
  CHECK(mq::find_queues(place.prefix).empty());
}

TEST_CASE("a channel in use has no names", "[mq]") {
  test::Pair pair = test::open_pair("mq");
  CHECK(mq::find_queues(place_of(std::string(pair.listener.address())).prefix).empty());
  REQUIRE_FALSE(pair.client.send(bytes_of("nameless"), test::soon()));
  CHECK(pair.server.receive(test::soon())->text() == "nameless");
  test::close_books(pair);
}

TEST_CASE("files of /dev/shm that only look like ours are left alone", "[mq]") {
  const mq::Place place = place_of("mq://" + test::fresh_name());
  const std::string folder = "/dev/shm/";
  const std::vector<std::string> strangers{place.prefix + "up", place.prefix + std::string(32, 'g') + ".up",
                                           place.prefix + std::string(32, 'a') + ".other",
                                           place.prefix + std::string(31, 'a') + ".up"};
  for (const std::string& name : strangers) std::ofstream(folder + name) << "x";
  CHECK(mq::find_queues(place.prefix).empty());
  mq::remove_leftovers(place);
  for (const std::string& name : strangers) CHECK(::unlink((folder + name).c_str()) == 0);
}

TEST_CASE("a queue holds what was asked for, what the capacity says, or what is usual", "[mq]") {
  constexpr std::uint64_t kMiB = 1 << 20;
  struct statvfs shm {};
  REQUIRE(::statvfs("/dev/shm", &shm) == 0);
  CHECK(mq::depth_for({64, 4096, 3}) == 3);
  CHECK(mq::depth_for({64, 4096, 65536}) == 65536);
  CHECK(mq::depth_for({64, 64 * 100, 0}) == 100);
  CHECK(mq::depth_for({64, 64, 0}) == 16);
  CHECK(mq::depth_for({0, kMiB, 0}) == 4096);
  if (shm.f_bavail * shm.f_frsize > 1024 * kMiB) {
    CHECK(mq::depth_for({kMiB, kMiB / 4, 0}) == 16);
    CHECK(mq::depth_for({16 * kMiB, kMiB / 4, 0}) == 2);
    CHECK(mq::depth_for({kMiB, 32 * kMiB, 0}) == 32);
  }
  CHECK_THROWS_AS(mq::depth_for({64 * kMiB, 0, 65536}), Error);
}

TEST_CASE("the depth of an address is obeyed in both directions", "[mq]") {
  test::Pair pair = test::open_pair("mq", "depth=3&max_message=4KiB");
  const test::Payloads payloads;
  for (auto [from, to] : {std::pair(&pair.client, &pair.server), std::pair(&pair.server, &pair.client)}) {
    CHECK(test::fill(*from, payloads, 0, 10).count == 3);
    CHECK(test::receive_stream(*to, payloads, 0, 3).damaged == 0);
  }
  test::close_books(pair);
}

TEST_CASE("an mq address is a name, and its options are checked", "[mq]") {
  const auto why = [](const std::string& address) -> std::string {
    try {
      static_cast<void>(listen(address));
      return "no error";
    } catch (const Error& e) {
      CHECK(e.code() == Errc::bad_address);
      return e.what();
    }
  };
  const std::string name = "mq://" + test::fresh_name();
  CHECK(why("mq://").find("name is missing") != std::string::npos);
  CHECK(why(name + ":80").find("no port") != std::string::npos);
  CHECK(why(name + "/path").find("no path") != std::string::npos);
  CHECK(why(name + "?depth=0").find("1 to 65536") != std::string::npos);
  CHECK(why(name + "?depth=65537").find("1 to 65536") != std::string::npos);
  CHECK(why(name + "?depth=many").find("1 to 65536") != std::string::npos);
  CHECK(why(name + "?depth=65536&max_message=1MiB").find("smaller depth") != std::string::npos);
}
