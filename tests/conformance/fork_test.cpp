// tests/conformance/fork_test.cpp: a forked child and the channels that it has inherited.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstring>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"

using bus::Errc;
using namespace bus::test;

TEST_CASE("a forked child can do nothing with its parent's channel, and harms it in no way", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("before"), soon()));
  const pid_t child = fork();
  if (child == 0) {
    const bool refused = pair.client.try_send(bus::bytes_of("from the child")) == Errc::closed &&
                         pair.client.try_receive().error() == Errc::closed &&
                         pair.client.close(soon()) == Errc::closed && pair.server.try_receive().error() == Errc::closed;
    // What the parent made is destroyed here, too.
    pair = Pair{};
    _exit(refused ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(pair.server.receive(soon()).value().text() == "before");
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("after"), soon()));
  REQUIRE(pair.server.receive(soon()).value().text() == "after");
  close_books(pair);
}

TEST_CASE("a child that lives on does not keep its dead parent's connection alive", "[conformance][processes]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).crosses_processes || !traits_of(scheme).tells_death) return;  // nobody dies, nothing is told
  const std::string address = fixed_address(scheme);
  // The parent listens and forks a child, which does nothing; the parent is killed and the child goes on.
  const pid_t parent = fork();
  if (parent == 0) {
    bus::Listener listener = bus::listen(address);
    bus::Result<bus::Channel> channel = listener.accept(soon());
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      for (;;) pause();
    }
    if (!channel || channel->send(std::as_bytes(std::span(&grandchild, 1)), soon())) _exit(1);
    for (;;) pause();
  }
  bus::Channel channel = bus::connect(address, soon());
  const bus::Result<bus::Message> message = channel.receive(soon());
  REQUIRE(message);
  pid_t grandchild = 0;
  REQUIRE(message->size() == sizeof grandchild);
  std::memcpy(&grandchild, message->data(), sizeof grandchild);
  REQUIRE(kill(parent, SIGKILL) == 0);
  const std::error_code end = channel.receive(soon()).error();
  const bool child_lives = kill(grandchild, 0) == 0;
  kill(grandchild, SIGKILL);
  int status = 0;
  waitpid(parent, &status, 0);
  REQUIRE(child_lives);
  REQUIRE(end == Errc::peer_died);
}
