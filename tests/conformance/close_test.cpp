// tests/conformance/close_test.cpp: orderly ends: nothing accepted is lost, everybody is told, nobody hangs.
#include <optional>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {
constexpr auto kRoomForMany = "max_message=4KiB&capacity=256KiB";  // 64 messages, also where each takes max_message
}

TEST_CASE("what was sent before a close is received before closed", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const bool server_closes = GENERATE(false, true);
  CAPTURE(scheme, server_closes);
  Pair pair = open_pair(scheme);
  bus::Channel& closing = server_closes ? pair.server : pair.client;
  bus::Channel& other = server_closes ? pair.client : pair.server;
  const Payloads payloads;
  InThread sending([&] {
    Stream sent = send_stream(closing, payloads, 0, 10, always(500));
    closing.close();
    return sent;
  });
  const bool reliable = other.traits().reliable;
  const Stream received = receive_stream(other, payloads, 0, kUntilTheEnd, !reliable);
  REQUIRE(sending.get().end == std::error_code{});
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE(received.damaged == 0);
  if (reliable) REQUIRE(received.count == 10);
  // It stays so, for every call.
  REQUIRE(other.receive(soon()).error() == bus::Errc::closed);
  REQUIRE(other.try_receive().error() == bus::Errc::closed);
  REQUIRE(other.send(bus::bytes_of("x"), soon()) == bus::Errc::closed);
  REQUIRE(other.loan(1, soon()).error() == bus::Errc::closed);
  REQUIRE(closing.send(bus::bytes_of("x"), soon()) == bus::Errc::closed);
  REQUIRE(closing.receive(soon()).error() == bus::Errc::closed);
  close_books(pair);
}

TEST_CASE("a full queue is delivered whole after its sender closed", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  const Stream filled = fill(pair.client, payloads, 0, 1000);
  REQUIRE(filled.end == bus::Errc::would_block);
  InThread closing([&] {
    pair.client.close();
    return true;
  });
  const bool reliable = pair.server.traits().reliable;
  const Stream received = receive_stream(pair.server, payloads, 0, kUntilTheEnd, !reliable);
  REQUIRE(closing.get());
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE(received.damaged == 0);
  if (reliable) REQUIRE(received.count == filled.count);
  close_books(pair);
}

TEST_CASE("both ends close at once with messages under way in both directions", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::uint64_t count = GENERATE(0U, 1U, 5U);
  CAPTURE(scheme, count);
  Pair pair = open_pair(scheme, kRoomForMany);
  const Payloads payloads;
  REQUIRE(send_stream(pair.client, payloads, 0, count, always(300)).count == count);
  REQUIRE(send_stream(pair.server, payloads, 0, count, always(300)).count == count);
  close_books(pair);
  // Nobody received them, and both ends know.
  const bus::Books at_server = pair.server.books();
  const bus::Books at_client = pair.client.books();
  INFO("client: " << to_text(at_client) << "\nserver: " << to_text(at_server));
  for (const bus::Books& books : {at_client, at_server}) {
    REQUIRE(books.received == 0);
    if (pair.client.traits().exchanges_books) {
      REQUIRE(books.peer_received == 0);
      REQUIRE(books.peer_accepted == count);
      REQUIRE(books.peer_dropped + bus::total(books.lost) == count);
    }
  }
}

TEST_CASE("closing wakes one's own blocked receiver", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "wait=" + wait);
  InThread receiving([&] { return pair.server.receive(soon()).error(); });
  if (wait != "spin") receiving.wait_until_blocked();
  pair.server.close();
  REQUIRE(receiving.get() == bus::Errc::closed);
  REQUIRE(pair.client.receive(soon()).error() == bus::Errc::closed);
  close_books(pair);
}

TEST_CASE("closing wakes one's own blocked sender", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB&wait=" + wait);
  const Payloads payloads;
  const Stream filled = fill(pair.client, payloads, 0, 1000);
  InThread sending(
      [&] { return send_stream(pair.client, payloads, filled.count, kUntilTheEnd, always(1000), bus::forever); });
  if (wait != "spin") sending.wait_until_blocked();
  InThread closing([&] {
    pair.client.close();
    return true;
  });
  const Stream sent = sending.get();
  REQUIRE(sent.end == bus::Errc::closed);
  const bool reliable = pair.server.traits().reliable;
  const Stream received = receive_stream(pair.server, payloads, 0, kUntilTheEnd, !reliable);
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE(closing.get());
  if (reliable) REQUIRE(received.count == filled.count + sent.count);
  close_books(pair);
}

TEST_CASE("a peer's close wakes a blocked receiver", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "wait=" + wait);
  InThread receiving([&] { return pair.server.receive(soon()).error(); });
  if (wait != "spin") receiving.wait_until_blocked();
  pair.client.close();
  REQUIRE(receiving.get() == bus::Errc::closed);
  close_books(pair);
}

TEST_CASE("a peer's close wakes a blocked sender", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  const std::string wait = GENERATE("spin", "hybrid", "block");
  CAPTURE(scheme, wait);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB&wait=" + wait);
  const Payloads payloads;
  const Stream filled = fill(pair.client, payloads, 0, 1000);
  // Room that the closing peer makes may still be used; in the end there is nobody any more.
  InThread sending([&] { return send_stream(pair.client, payloads, filled.count, kUntilTheEnd, always(1000)); });
  if (wait != "spin") sending.wait_until_blocked();
  pair.server.close();
  REQUIRE(sending.get().end == bus::Errc::closed);
  close_books(pair);
}

TEST_CASE("a channel that is destroyed has been closed", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("last words"), soon()));
  InThread destroying([client = std::move(pair.client)]() mutable {
    const bus::Channel end = std::move(client);
    return true;
  });
  const auto message = pair.server.receive(soon());
  REQUIRE(message);
  REQUIRE(message->text() == "last words");
  REQUIRE(pair.server.receive(soon()).error() == bus::Errc::closed);
  REQUIRE(destroying.get());
  const bus::Books books = pair.server.books();
  INFO(to_text(books));
  if (pair.server.traits().exchanges_books) REQUIRE(books.peer_accepted == 1);
  pair.server.close();
}

TEST_CASE("a peer that closes and is gone at that moment has closed, not died", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  for (int n = 0; n < 300; ++n) {  // there is no way to aim between two system calls of the other end
    bus::Channel client, server;
    open_more(pair.listener, client, server);
    InThread leaving([&, last = std::move(server)]() mutable {
      const auto message = last.receive(soon());
      const bus::Channel end = std::move(last);
      return message.has_value();
    });
    REQUIRE_FALSE(client.send(bus::bytes_of("the last one"), soon()));
    for (const auto later = bus::Clock::now() + n * 300ns; bus::Clock::now() < later;) std::this_thread::yield();
    const std::error_code closed = client.close(soon());
    REQUIRE(leaving.get());
    REQUIRE(closed == std::error_code{});
  }
  close_books(pair);
}

TEST_CASE("a sender learns that its peer closed before its receiver has come to the end", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  REQUIRE_FALSE(pair.server.send(bus::bytes_of("one"), soon()));
  REQUIRE_FALSE(pair.server.send(bus::bytes_of("two"), soon()));
  InThread leaving([last = std::move(pair.server)]() mutable {
    const bus::Channel end = std::move(last);
    return true;
  });
  REQUIRE(leaving.get());
  REQUIRE(pair.client.receive(soon())->text() == "one");
  std::error_code error;
  while (!error || error == bus::Errc::would_block) error = pair.client.send(bus::bytes_of("x"), soon());
  REQUIRE(error == bus::Errc::closed);
  REQUIRE(pair.client.receive(soon())->text() == "two");
  REQUIRE(pair.client.receive(soon()).error() == bus::Errc::closed);
}

TEST_CASE("an end that has received everything lets the other close its books alone", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  if (!pair.client.traits().exchanges_books) return close_books(pair);
  const Payloads payloads;
  InThread closing([&] {
    static_cast<void>(send_stream(pair.client, payloads, 0, 20, always(100)));
    return pair.client.close(soon());
  });
  const Stream received = receive_stream(pair.server, payloads, 0, kUntilTheEnd, !pair.server.traits().reliable);
  REQUIRE(received.end == bus::Errc::closed);
  REQUIRE_FALSE(closing.get());  // the receiver did nothing but receive
  for (int again = 0; again < 3; ++again) REQUIRE(pair.server.receive(soon()).error() == bus::Errc::closed);
  const bus::Books books = pair.client.books();
  INFO(to_text(books));
  REQUIRE(books.closed());
  close_books(pair);
}

TEST_CASE("closing with confirmation gives up at its deadline", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  if (!pair.client.traits().exchanges_books) return close_books(pair);
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("nobody looks at this"), soon()));
  const auto start = bus::Clock::now();
  REQUIRE(pair.client.close(start + 50ms) == bus::Errc::timed_out);
  REQUIRE(bus::Clock::now() >= start + 50ms);
  REQUIRE_FALSE(pair.client.books().closed());
  close_books(pair);  // it can be taken up again
}

TEST_CASE("a close keeps its deadline beside another one, which goes on", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  if (!pair.client.traits().exchanges_books) return close_books(pair);
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("nobody looks at this yet"), soon()));
  InThread other([&] { return pair.client.close(soon()); });
  other.wait_until_blocked();
  REQUIRE(pair.client.close(bus::in(50ms)) == bus::Errc::timed_out);
  REQUIRE(pair.client.close(bus::Deadline::min()) == bus::Errc::timed_out);
  REQUIRE_FALSE(other.done());
  while (pair.server.receive(soon())) {
  }
  REQUIRE_FALSE(other.get());
  close_books(pair);
}

TEST_CASE("closing again, and every call after it, is harmless", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  const bus::Traits traits = pair.client.traits();
  close_books(pair);
  pair.client.close();
  pair.client.close();
  REQUIRE(pair.client.try_send(bus::bytes_of("x")) == bus::Errc::closed);
  REQUIRE(pair.client.send(bus::bytes_of("x"), soon()) == bus::Errc::closed);
  REQUIRE(pair.client.try_receive().error() == bus::Errc::closed);
  REQUIRE(pair.client.receive(soon()).error() == bus::Errc::closed);
  REQUIRE(pair.client.try_loan(1).error() == bus::Errc::closed);
  REQUIRE(pair.client.flush(soon()) == bus::Errc::closed);
  std::error_code error;
  REQUIRE(pair.client.send_some({}, error) == 0);
  REQUIRE(error == bus::Errc::closed);
  REQUIRE_THROWS_AS(pair.client.readable_fd(), bus::Error);
  REQUIRE(pair.client.traits().max_message == traits.max_message);
  const bus::Books books = pair.client.books();
  REQUIRE(books.offered == books.accepted + bus::total(books.refused));
  REQUIRE(books.refused[static_cast<std::size_t>(bus::Reason::closed)] == 3);
}

TEST_CASE("channels come and go without leaving anything", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=4KiB&capacity=8KiB");
  // The descriptors and files are counted at the end of each case, by main.cpp.
  for (int n = 0; n < 100; ++n) {
    bus::Channel client, server;
    open_more(pair.listener, client, server);
    REQUIRE_FALSE(client.send(bus::bytes_of("hello"), soon()));
    REQUIRE(server.receive(soon())->text() == "hello");
    close_books(client, server);
  }
  close_books(pair);
}
