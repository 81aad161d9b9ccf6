// tests/transports/udp/udp_raw_test.cpp: framing=raw against plain sockets.
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "bus/core/address.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/poller.hpp"
#include "tests/support/traffic.hpp"
#include "tests/transports/udp/udp_datagrams.hpp"
#include "transports/udp/raw.hpp"
#include "transports/udp/socket.hpp"

using namespace bus;
using namespace bus::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kRaw = "udp://127.0.0.1:0?framing=raw";

/// A socket as any program makes one.
class Plain {
 public:
  Plain() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(fd_);
    REQUIRE_FALSE(udp::bind_to(fd_.get(), udp::resolve(Address::parse("udp://127.0.0.1:0"), "test").front()));
  }
  void connect(std::string_view address) {
    REQUIRE_FALSE(udp::connect_to(fd_.get(), udp::resolve(Address::parse(address), "test").front()));
  }
  void send(std::string_view text) const { REQUIRE_FALSE(udp::send_one(fd_.get(), bytes_of(text))); }
  [[nodiscard]] std::string receive() const {
    wait();
    std::string room(70'000, '\0');
    const auto got = ::recv(fd_.get(), room.data(), room.size(), 0);
    REQUIRE(got >= 0);
    room.resize(static_cast<std::size_t>(got));
    return room;
  }
  /// Whose datagram, of `text`, is next.
  [[nodiscard]] udp::Endpoint receive_from(std::string_view text) const {
    wait();
    Bytes room(100);
    const auto received = udp::receive_from(fd_.get(), room);
    REQUIRE(received);
    CHECK(received->bytes == text.size());
    return received->from;
  }
  [[nodiscard]] std::string address() const { return udp::bound_to(fd_.get()).text() + "?framing=raw"; }
  [[nodiscard]] udp::Endpoint endpoint() const { return udp::bound_to(fd_.get()); }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  void wait() const {
    pollfd fd{fd_.get(), POLLIN, 0};
    REQUIRE(::poll(&fd, 1, 20'000) == 1);
  }

  os::Fd fd_;
};

}  // namespace

TEST_CASE("a raw listener serves plain sockets, a channel for each address", "[udp][raw]") {
  Listener listener = listen(kRaw);
  Plain one, two;
  one.connect(listener.address());
  two.connect(listener.address());
  one.send("from one");
  two.send("from two");
  auto first = listener.accept(soon());
  auto second = listener.accept(soon());
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->receive(soon())->text() == "from one");
  CHECK(second->receive(soon())->text() == "from two");
  CHECK(first->peer().address == one.endpoint().text());
  REQUIRE_FALSE(first->send(bytes_of("to one"), soon()));
  REQUIRE_FALSE(second->send(bytes_of("to two"), soon()));
  CHECK(one.receive() == "to one");
  CHECK(two.receive() == "to two");
  // An empty datagram is a message.
  one.send("");
  one.send("after");
  CHECK(first->receive(soon())->empty());
  CHECK(first->receive(soon())->text() == "after");
  CHECK(listener.try_accept().error() == Errc::would_block);
  const Traits traits = first->traits();
  CHECK_FALSE(traits.reliable);
  CHECK_FALSE(traits.exchanges_books);
  CHECK(traits.max_message == udp::kMostDatagram);
}

TEST_CASE("a raw connection talks to a plain socket", "[udp][raw]") {
  Plain server;
  Channel channel = connect(server.address(), soon());
  REQUIRE_FALSE(channel.send(bytes_of("hello"), soon()));
  REQUIRE_FALSE(udp::send_to(server.fd(), bytes_of("back"), server.receive_from("hello")));
  CHECK(channel.receive(soon())->text() == "back");

  auto loan = channel.loan(10, soon());
  REQUIRE(loan);
  loan->bytes()[0] = std::byte{'x'};
  REQUIRE_FALSE(loan->publish(1));
  CHECK(server.receive() == "x");

  CHECK(channel.try_send(Bytes(udp::kMostDatagram + 1)) == Errc::message_too_large);
  REQUIRE_FALSE(channel.send(Bytes(udp::kMostDatagram), soon()));
  CHECK(server.receive().size() == udp::kMostDatagram);
}

TEST_CASE("a raw connection to a port that nobody has says so", "[udp][raw]") {
  std::string address;
  {
    Plain gone;
    address = gone.address();
  }
  Channel channel = connect(address, soon());
  static_cast<void>(channel.send(bytes_of("anyone?"), soon()));
  CHECK(channel.receive(soon()).error() == Errc::peer_died);
  CHECK(channel.try_send(bytes_of("x")) == Errc::peer_died);
}

TEST_CASE("a slow channel of a raw listener drops its own messages and disturbs no other", "[udp][raw]") {
  Listener listener = listen("udp://127.0.0.1:0?framing=raw&capacity=64KiB");
  Plain slow, quick;
  slow.connect(listener.address());
  quick.connect(listener.address());
  slow.send("first");
  quick.send("first");
  auto slow_channel = listener.accept(soon());
  auto quick_channel = listener.accept(soon());
  REQUIRE(slow_channel);
  REQUIRE(quick_channel);
  const std::string large(1000, 'x');
  std::uint64_t sent = 1;
  for (int i = 0; i < 200; ++i, ++sent) slow.send(large);
  REQUIRE(quick_channel->receive(soon()));
  quick.send("last");
  CHECK(quick_channel->receive(soon())->text() == "last");  // takes in what came for the other, too
  std::uint64_t received = 0;
  while (slow_channel->try_receive()) ++received;
  const Books books = slow_channel->books();
  CHECK(received < sent);
  CHECK(received + books.dropped[static_cast<std::size_t>(Reason::queue_full)] == sent);
  CHECK(total(quick_channel->books().dropped) == 0);
}

TEST_CASE("what is larger than max_message is dropped and counted", "[udp][raw]") {
  Listener listener = listen("udp://127.0.0.1:0?framing=raw&max_message=100");
  Plain plain;
  plain.connect(listener.address());
  plain.send(std::string(101, 'x'));
  plain.send(std::string(100, 'y'));
  auto channel = listener.accept(soon());
  REQUIRE(channel);
  CHECK(channel->receive(soon())->size() == 100);
  CHECK(channel->books().dropped[static_cast<std::size_t>(Reason::too_large)] == 1);
}

TEST_CASE("what the kernel dropped at a connected raw socket is counted", "[udp][raw]") {
  Plain server;
  Channel channel = connect(server.address(), soon());
  REQUIRE_FALSE(channel.send(bytes_of("hello"), soon()));
  const udp::Endpoint client = server.receive_from("hello");
  constexpr std::uint64_t kCount = 20'000;
  const Bytes payload(1000);
  for (std::uint64_t i = 0; i < kCount; ++i) REQUIRE_FALSE(udp::send_to(server.fd(), payload, client));
  std::uint64_t received = 0;
  while (channel.try_receive()) ++received;
  CHECK(received < kCount);
  // The count comes with the next datagram.
  REQUIRE_FALSE(udp::send_to(server.fd(), payload, client));
  REQUIRE(channel.receive(soon()));
  CHECK(received + channel.books().dropped[static_cast<std::size_t>(Reason::kernel_buffer)] == kCount);
}

TEST_CASE("a raw listener has a limit of channels, and gives up those that are idle", "[udp][raw]") {
  Listener listener = listen(kRaw);
  std::vector<Plain> plains(udp::RawHub::kMostChannels + 1);
  std::vector<Channel> channels;
  const auto first_use = Clock::now();
  for (std::size_t i = 0; i < plains.size(); ++i) {
    plains[i].connect(listener.address());
    plains[i].send("hello");
    if (i == udp::RawHub::kMostChannels) break;
    auto channel = listener.accept(soon());
    REQUIRE(channel);
    channels.push_back(std::move(*channel));
  }
  // One too many, and nobody has been idle for long (unless the machine was very slow).
  if (Clock::now() - first_use < udp::RawHub::kIdle / 2) CHECK(listener.try_accept().error() == Errc::would_block);
  // After a while the one that was used least lately gives way; the others stay.
  Result<Channel> late = Errc::would_block;
  REQUIRE(eventually([&] {
    for (std::size_t i = 1; i < channels.size(); ++i) static_cast<void>(channels[i].try_send(bytes_of("busy")));
    plains.back().send("me");
    late = listener.try_accept();
    return late.has_value();
  }));
  CHECK_FALSE(late->receive(soon())->empty());
  CHECK(channels[0].receive(soon())->text() == "hello");  // what it had is not lost
  CHECK(channels[0].receive(soon()).error() == Errc::closed);
  CHECK(channels[0].try_send(bytes_of("x")) == Errc::closed);
  CHECK(channels[1].receive(soon())->text() == "hello");
  CHECK_FALSE(channels[1].try_send(bytes_of("x")));
}

TEST_CASE("raw channels outlive their listener, and messages their channel", "[udp][raw]") {
  Plain plain, stranger;
  Channel channel;
  {
    Listener listener = listen(kRaw);
    plain.connect(listener.address());
    stranger.connect(listener.address());
    plain.send("one");
    auto accepted = listener.accept(soon());
    REQUIRE(accepted);
    channel = std::move(*accepted);
    stranger.send("never accepted");
  }
  plain.send("two");
  CHECK(channel.receive(soon())->text() == "one");
  auto two = channel.receive(soon());
  REQUIRE(two);
  REQUIRE_FALSE(channel.send(bytes_of("answer"), soon()));
  CHECK(plain.receive() == "answer");
  channel = Channel();
  CHECK(two->text() == "two");
}

TEST_CASE("a poller waits for raw channels and their listener", "[udp][raw]") {
  Listener listener = listen(kRaw);
  Poller poller;
  poller.add(listener, 0);
  Plain one, two;
  one.connect(listener.address());
  two.connect(listener.address());
  std::vector<Channel> channels;
  std::uint64_t received = 0;
  one.send("a");
  two.send("b");
  const Deadline deadline = soon();
  while (received < 2 + 2 * 50) {
    std::array<Poller::Key, 8> ready{};
    const std::size_t count = poller.wait(ready, deadline);
    REQUIRE((count > 0 || Clock::now() < deadline));
    for (std::size_t i = 0; i < count; ++i) {
      if (ready[i] == 0) {
        auto channel = listener.try_accept();
        if (!channel) continue;
        channels.push_back(std::move(*channel));
        if (channels.size() == 2) {
          poller.add(channels[0], 1);
          poller.add(channels[1], 2);
          for (int n = 0; n < 50; ++n) {
            one.send("more");
            two.send("more");
          }
        }
      } else if (channels[ready[i] - 1].try_receive()) {
        ++received;
      }
    }
  }
  for (Channel& channel : channels) poller.remove(channel);
  poller.remove(listener);
}
