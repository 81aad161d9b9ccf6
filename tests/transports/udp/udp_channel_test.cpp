// tests/transports/udp/udp_channel_test.cpp: the window, the kernel's drops, large messages, deaths.
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"
#include "tests/transports/udp/udp_datagrams.hpp"
#include "transports/udp/channel.hpp"
#include "transports/udp/socket.hpp"

using namespace bus;
using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// Two channels on two sockets of this process, without a handshake.
struct Ends {
  std::unique_ptr<udp::BusChannel> one, two;
};
Ends make_ends(udp::Agreement terms) {
  const auto any = udp::resolve(Address::parse("udp://127.0.0.1:0"), "test").front();
  os::Fd first = udp::make_socket(any).value();
  os::Fd second = udp::make_socket(any).value();
  for (const int fd : {first.get(), second.get()}) {
    REQUIRE_FALSE(udp::bind_to(fd, any));
    static_cast<void>(udp::set_receive_buffer(fd, 4 << 20));
  }
  REQUIRE_FALSE(udp::connect_to(first.get(), udp::bound_to(second.get())));
  REQUIRE_FALSE(udp::connect_to(second.get(), udp::bound_to(first.get())));
  return {std::make_unique<udp::BusChannel>(std::move(first), terms),
          std::make_unique<udp::BusChannel>(std::move(second), terms)};
}

udp::Agreement usual_terms(std::uint64_t window) {
  return {.session = 5,
          .max_datagram = 65507,
          .max_message_here = 1 << 20,
          .max_message_there = 1 << 20,
          .window_here = window,
          .window_there = window};
}

}  // namespace

TEST_CASE("the cost of a datagram in the window is at least what the kernel charges for it", "[udp]") {
  const auto any = udp::resolve(Address::parse("udp://127.0.0.1:0"), "test").front();
  const Bytes bytes(udp::kMostDatagram);
  for (std::size_t size = 0; size <= udp::kMostDatagram; size += size < 20'000 ? 97 : 4999) {
    const os::Fd receiver = udp::make_socket(any).value();
    const os::Fd sender = udp::make_socket(any).value();
    REQUIRE_FALSE(udp::bind_to(receiver.get(), any));
    REQUIRE_FALSE(udp::connect_to(sender.get(), udp::bound_to(receiver.get())));
    static_cast<void>(udp::set_receive_buffer(receiver.get(), 1 << 20));
    REQUIRE_FALSE(udp::send_one(sender.get(), std::span(bytes).first(size)));
    std::array<std::uint32_t, 16> info{};
    ::socklen_t length = sizeof info;
    REQUIRE(::getsockopt(receiver.get(), SOL_SOCKET, SO_MEMINFO, info.data(), &length) == 0);
    CAPTURE(size);
    CHECK(info[0] <= udp::window_cost(size));  // SK_MEMINFO_RMEM_ALLOC
  }
}

TEST_CASE("a receiver that is slow to begin loses nothing with the default window", "[udp]") {
  const std::size_t size = GENERATE(0U, 1U, 64U, 1400U, 4096U, 30'000U, 65'536U, 200'000U);
  CAPTURE(size);
  Pair pair = open_pair("udp", "max_message=1MiB");
  const Payloads payloads(1);
  // As much as it takes, while nobody receives.
  const Stream sent = fill(pair.client, payloads, 0, size);
  CHECK(sent.end == Errc::would_block);
  CHECK(sent.count > 0);
  // Then with a receiver, several windows more.
  const std::uint64_t more = 3 * sent.count + 10;
  auto sender = std::async(std::launch::async,
                           [&] { return send_stream(pair.client, payloads, sent.count, more, always(size)); });
  const Stream received = receive_stream(pair.server, payloads, 0, sent.count + more);
  CHECK_FALSE(sender.get().end);
  CHECK_FALSE(received.end);
  CHECK(received.damaged == 0);
  close_books(pair);
  CHECK(total(pair.server.books().dropped) == 0);
}

TEST_CASE("gathered messages of all sizes at once lose nothing with a small window", "[udp]") {
  Pair pair = open_pair("udp", "window=64KiB&max_message=1MiB");
  const Payloads payloads(3);
  const auto size_of = [](std::uint64_t n) {
    return static_cast<std::size_t>(n % 50 == 7 ? 100'000 : n % 7 == 3 ? 3000 : n % 400);
  };
  auto sender = std::async(std::launch::async, [&] { return send_stream(pair.client, payloads, 0, 20'000, size_of); });
  const Stream received = receive_stream(pair.server, payloads, 0, 20'000);
  CHECK_FALSE(sender.get().end);
  CHECK(received.count == 20'000);
  CHECK(received.damaged == 0);
  close_books(pair);
  CHECK(total(pair.server.books().dropped) == 0);
}

TEST_CASE("a message behind a gap is for the receiver although a sender's thread took it in", "[udp]") {
  // The peer is made by hand, so that a datagram can be lost.
  const auto any = udp::resolve(Address::parse("udp://127.0.0.1:0"), "test").front();
  os::Fd near = udp::make_socket(any).value();
  const os::Fd far = udp::make_socket(any).value();
  for (const int fd : {near.get(), far.get()}) REQUIRE_FALSE(udp::bind_to(fd, any));
  REQUIRE_FALSE(udp::connect_to(near.get(), udp::bound_to(far.get())));
  REQUIRE_FALSE(udp::connect_to(far.get(), udp::bound_to(near.get())));
  const int socket = near.get();
  udp::Agreement terms = usual_terms(1 << 20);
  terms.session = kSession;
  terms.max_datagram = kMaxDatagram;
  udp::BusChannel channel(std::move(near), terms);
  test::Sender peer;
  const bool by_descriptor = GENERATE(false, true);
  CAPTURE(by_descriptor);
  const int readable = by_descriptor ? channel.readable_fd() : -1;
  REQUIRE(channel.try_receive().error() == Errc::would_block);

  static_cast<void>(peer.single("lost"));
  REQUIRE_FALSE(udp::send_one(far.get(), peer.single("behind the gap")));
  ::pollfd arrived{socket, POLLIN, 0};
  REQUIRE(::poll(&arrived, 1, 20'000) == 1);
  WaitSet sender;
  static_cast<void>(channel.arm(Ready::send, sender));  // takes it in, in search of acks
  channel.disarm(Ready::send);
  arrived.revents = 0;
  REQUIRE(::poll(&arrived, 1, 0) == 0);
  if (by_descriptor) {
    ::pollfd ready{readable, POLLIN, 0};
    CHECK(::poll(&ready, 1, 0) == 1);
  } else {
    WaitSet receiver;
    CHECK(channel.arm(Ready::receive, receiver));  // do not sleep
    channel.disarm(Ready::receive);
  }
  const auto message = channel.try_receive();
  REQUIRE(message);
  CHECK(message->text() == "behind the gap");
  CHECK(dropped(channel.ledger().snapshot(), Reason::network) == 1);
}

TEST_CASE("without a window the kernel drops what the receiver does not take, and every message is counted", "[udp]") {
  const std::size_t size = GENERATE(64U, 1400U, 100'000U);
  const bool batches = GENERATE(false, true);
  CAPTURE(size, batches);
  Pair pair = open_pair("udp", "window=off");
  const Payloads payloads(1);
  // More than any buffer holds, while nobody receives.
  const std::uint64_t count = size == 64 ? 300'000 : size < 10'000 ? 60'000 : 600;
  Bytes message(size);
  std::vector<std::span<const std::byte>> batch(100, message);
  for (std::uint64_t n = 0; n < count;) {
    if (batches) {
      std::error_code error;
      n += pair.client.send_some(batch, error);
      REQUIRE_FALSE(error);
    } else {
      REQUIRE_FALSE(pair.client.send(message, soon()));
      ++n;
    }
  }
  auto closing = std::async(std::launch::async, [&] { return pair.client.close(soon()); });
  std::uint64_t received = 0;
  for (;; ++received) {
    const auto got = pair.server.receive(soon());
    if (!got) {
      CHECK(got.error() == Errc::closed);
      break;
    }
  }
  CHECK_FALSE(closing.get());
  const Books books = pair.server.books();
  CAPTURE(to_text(books));
  CHECK(received > 0);
  CHECK(received < count);
  CHECK(received + total(books.dropped) == count);
  CHECK(dropped(books, Reason::kernel_buffer) == count - received);
  CHECK(books.closed());
  CHECK(pair.client.books().closed());
}

TEST_CASE("a message of 16 MiB crosses, also by a loan, and through a window much smaller than it", "[udp]") {
  const std::string options = GENERATE("max_message=16MiB", "max_message=16MiB&window=64KiB");
  const bool loaned = GENERATE(false, true);
  CAPTURE(options, loaned);
  Pair pair = open_pair("udp", options);
  const Payloads payloads(1);
  constexpr std::size_t kSize = 16 << 20;
  auto sender = std::async(std::launch::async, [&]() -> std::error_code {
    for (std::uint64_t n = 0; n < 2; ++n) {
      if (loaned) {
        auto loan = pair.client.loan(kSize, soon());
        if (!loan) return loan.error();
        payloads.fill(loan->bytes(), n);
        if (const auto error = loan->publish()) return error;
      } else if (const auto error = pair.client.send(payloads.make(n, kSize), soon())) {
        return error;
      }
    }
    return {};  // what is left of the last one leaves by itself
  });
  const Stream received = receive_stream(pair.server, payloads, 0, 2);
  CHECK_FALSE(sender.get());
  CHECK_FALSE(received.end);
  CHECK(received.damaged == 0);
  close_books(pair);
  CHECK(total(pair.server.books().dropped) == 0);
}

TEST_CASE("counting goes on across the wrap of every number", "[udp]") {
  udp::Agreement terms = usual_terms(64 << 10);
  terms.start = GENERATE(
      udp::Start{.sequence = (1ULL << 32) - 100, .datagram = (1ULL << 32) - 100, .position = (1ULL << 32) - 100'000},
      udp::Start{.sequence = ~0ULL - 100, .datagram = ~0ULL - 100, .position = ~0ULL - 100'000});
  Ends ends = make_ends(terms);
  Channel one(std::move(ends.one), WaitMode::hybrid, "one");
  Channel two(std::move(ends.two), WaitMode::hybrid, "two");
  const Payloads payloads(1);
  auto sender = std::async(std::launch::async, [&] { return send_stream(one, payloads, 0, 5000, always(700)); });
  const Stream received = receive_stream(two, payloads, 0, 5000);
  CHECK_FALSE(sender.get().end);
  CHECK(received.count == 5000);
  CHECK(received.damaged == 0);
  close_books(one, two);
}

TEST_CASE("a sender asks again when acks are lost", "[udp]") {
  // The receiver's acks go to a socket that nobody reads: as if each were lost, until the sender asks.
  Ends ends = make_ends(usual_terms(64 << 10));
  Channel one(std::move(ends.one), WaitMode::block, "one");
  Channel two(std::move(ends.two), WaitMode::block, "two");
  const Payloads payloads(1);
  const Stream sent = fill(one, payloads, 0, 500);
  CHECK(sent.end == Errc::would_block);
  // A window's worth was taken, less than what makes the receiver speak of itself.
  const Stream received = receive_stream(two, payloads, 0, sent.count);
  CHECK(received.count == sent.count);
  CHECK_FALSE(one.send(payloads.make(sent.count, 500), soon()));
}

TEST_CASE("a channel whose peer vanished says peer_died to both its threads, after what had arrived", "[udp]") {
  Ends ends = make_ends(usual_terms(64 << 10));
  auto two = std::move(ends.two);
  Channel one(std::move(ends.one), WaitMode::hybrid, "one");
  REQUIRE_FALSE(two->try_send(bytes_of("last words")));
  const Payloads payloads(1);
  static_cast<void>(fill(one, payloads, 0, 5000));
  InThread blocked_send([&] { return one.send(payloads.make(0, 5000), soon()); });
  blocked_send.wait_until_blocked();
  two.reset();  // its socket closes without a word, as that of a killed process
  const auto words = one.receive(soon());
  REQUIRE(words);
  CHECK(words->text() == "last words");
  CHECK(one.receive(soon()).error() == Errc::peer_died);
  CHECK(blocked_send.get() == Errc::peer_died);
  CHECK(one.try_send(bytes_of("x")) == Errc::peer_died);
}

TEST_CASE("a waiting receiver notices that its peer vanished", "[udp]") {
  const bool by_descriptor = GENERATE(false, true);
  Ends ends = make_ends(usual_terms(64 << 10));
  Channel one(std::move(ends.one), WaitMode::block, "one");
  const int fd = by_descriptor ? one.readable_fd() : -1;
  InThread waiting([&]() -> std::error_code {
    for (;;) {
      if (by_descriptor) {
        WaitSet set;
        set.add(fd, POLLIN);
        set.sleep(soon());
      }
      const auto message = by_descriptor ? one.try_receive() : one.receive(soon());
      if (message) return {};
      if (message.error() != Errc::would_block) return message.error();
    }
  });
  waiting.wait_until_blocked();
  ends.two.reset();
  CHECK(waiting.get() == Errc::peer_died);
}

TEST_CASE("datagrams against the format end the channel with corrupt, others are ignored", "[udp]") {
  const auto any = udp::resolve(Address::parse("udp://127.0.0.1:0"), "test").front();
  os::Fd ours = udp::make_socket(any).value();
  const os::Fd theirs = udp::make_socket(any).value();
  REQUIRE_FALSE(udp::bind_to(ours.get(), any));
  REQUIRE_FALSE(udp::bind_to(theirs.get(), any));
  REQUIRE_FALSE(udp::connect_to(ours.get(), udp::bound_to(theirs.get())));
  REQUIRE_FALSE(udp::connect_to(theirs.get(), udp::bound_to(ours.get())));
  Channel channel(std::make_unique<udp::BusChannel>(std::move(ours), usual_terms(64 << 10)), WaitMode::hybrid, "x");
  udp::Datagram room;
  const auto say = [&](std::span<const std::byte> datagram) { REQUIRE_FALSE(udp::send_one(theirs.get(), datagram)); };
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    Bytes junk(random() % 500);
    for (std::byte& byte : junk) byte = static_cast<std::byte>(random());
    say(junk);
  }
  say(udp::make_control({.kind = udp::Kind::ack, .session = 5, .position = 0x7fffffff}, room));  // never sent so much
  say(udp::make_control({.kind = udp::Kind::welcome, .session = 5}, room));
  CHECK(channel.try_receive().error() == Errc::would_block);
  SECTION("a settled without an end") { say(udp::make_counts({.kind = udp::Kind::settled, .session = 5}, {}, room)); }
  SECTION("an end without counts") { say(udp::make_control({.kind = udp::Kind::end, .session = 5}, room)); }
  SECTION("a message that contradicts itself") {
    udp::Header header{.kind = udp::Kind::data, .session = 5, .message_bytes = 3};
    say(Sender::make(header, bytes_of("four")));
  }
  CHECK(channel.receive(soon()).error() == Errc::corrupt);
}

TEST_CASE("sending and receiving at once, from two threads on each end", "[udp]") {
  Pair pair = open_pair("udp", "window=128KiB");
  const Payloads there(1);
  const Payloads back(2);
  constexpr std::uint64_t kCount = 20'000;
  const auto size_of = [](std::uint64_t n) { return static_cast<std::size_t>(n % 1000 == 0 ? 70'000 : n % 1500); };
  auto sender_one = std::async(std::launch::async, [&] { return send_stream(pair.client, there, 0, kCount, size_of); });
  auto sender_two = std::async(std::launch::async, [&] { return send_stream(pair.server, back, 0, kCount, size_of); });
  auto receiver_one = std::async(std::launch::async, [&] { return receive_stream(pair.server, there, 0, kCount); });
  const Stream two = receive_stream(pair.client, back, 0, kCount);
  const Stream one = receiver_one.get();
  CHECK_FALSE(sender_one.get().end);
  CHECK_FALSE(sender_two.get().end);
  CHECK(one.count == kCount);
  CHECK(two.count == kCount);
  CHECK(one.damaged + two.damaged == 0);
  close_books(pair);
}
