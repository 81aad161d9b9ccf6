// tests/conformance/loan_test.cpp: writing a message in place.
#include <algorithm>
#include <optional>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

TEST_CASE("a loan is published whole, in part, empty, or dropped", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=4KiB");
  const Payloads payloads;

  auto whole = pair.client.loan(1000, soon());
  REQUIRE(whole);
  REQUIRE(whole->size() == 1000);
  payloads.fill(whole->bytes(), 1);
  REQUIRE_FALSE(whole->publish());

  auto part = pair.client.try_loan(1000);
  REQUIRE(part);
  payloads.fill(part->bytes().first(100), 2);
  REQUIRE_FALSE(part->publish(100));

  {
    auto dropped = pair.client.loan(500, soon());
    REQUIRE(dropped);
    payloads.fill(dropped->bytes(), 99);
  }

  auto empty = pair.client.loan(0, soon());
  REQUIRE(empty);
  REQUIRE(empty->size() == 0);
  REQUIRE_FALSE(empty->publish());

  auto emptied = pair.client.loan(64, soon());
  REQUIRE(emptied);
  REQUIRE_FALSE(emptied->publish(0));

  REQUIRE_FALSE(pair.client.send(payloads.make(3, 64), soon()));
  REQUIRE_FALSE(pair.client.flush(soon()));

  const std::vector<std::pair<std::uint64_t, std::size_t>> expected{{1, 1000}, {2, 100}, {0, 0}, {0, 0}, {3, 64}};
  for (const auto& [sequence, size] : expected) {
    const auto message = pair.server.receive(soon());
    REQUIRE(message);
    REQUIRE(message->size() == size);
    REQUIRE(payloads.matches(message->bytes(), sequence));
  }
  REQUIRE(pair.client.books().accepted == expected.size());
  close_books(pair);
}

TEST_CASE("a loan of every size carries its message", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "max_message=16MiB");
  const Payloads payloads;
  for (const std::size_t size : kSizes) {
    CAPTURE(size);
    InThread sending([&]() -> std::error_code {
      auto loan = pair.client.loan(size, soon());
      if (!loan) return loan.error();
      payloads.fill(loan->bytes(), size);
      if (const auto error = loan->publish()) return error;
      return pair.client.flush(soon());
    });
    const auto message = pair.server.receive(soon());
    REQUIRE_FALSE(sending.get());
    if (!message && !pair.client.traits().reliable) continue;
    REQUIRE(message);
    REQUIRE(message->size() == size);
    REQUIRE(payloads.matches(message->bytes(), size));
  }
  close_books(pair);
}

TEST_CASE("a message in two pieces comes as one, whatever their sizes", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=64KiB&max_message=1MiB");
  const Payloads payloads;
  std::vector<std::byte> whole;
  std::uint64_t sequence = 0;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{300}, std::size_t{17'000},
                                 std::size_t{100'000}, std::size_t{1} << 20}) {
    for (const std::size_t head : {std::size_t{0}, std::size_t{1}, size / 3, size}) {
      if (head > size) continue;
      CAPTURE(size, head);
      ++sequence;
      InThread sending([&]() -> std::error_code {
        whole.resize(size);
        payloads.fill(whole, sequence);
        std::error_code error;
        const std::span<const std::byte> all(whole);
        const bool sent = eventually([&] {
          error = pair.client.try_send(all.first(head), all.subspan(head));
          return error != bus::Errc::would_block;
        });
        return sent && !error ? pair.client.flush(soon()) : error;
      });
      const auto message = pair.server.receive(soon());
      REQUIRE_FALSE(sending.get());
      if (!message && !pair.client.traits().reliable) continue;
      REQUIRE(message);
      REQUIRE(message->size() == size);
      REQUIRE(payloads.matches(message->bytes(), sequence));
    }
  }
  const std::vector<std::byte> large(std::size_t{1} << 20);
  REQUIRE(pair.client.try_send(large, bus::bytes_of("x")) == bus::Errc::message_too_large);
  REQUIRE(pair.client.books().accepted == sequence);
  close_books(pair);
}

TEST_CASE("a full channel takes no message in two pieces, and takes one again when there is room", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  std::vector<std::byte> whole(1000);
  std::uint64_t count = 0;
  std::error_code error;
  const auto send = [&] {
    payloads.fill(whole, count);
    error = pair.client.try_send(std::span(whole).first(10), std::span(whole).subspan(10));
    if (!error) ++count;
    return !error;
  };
  while (eventually(send, bus::in(50ms))) {  // a kernel may make room for a while after it had none
  }
  REQUIRE(error == bus::Errc::would_block);
  REQUIRE(count > 0);
  const bool reliable = pair.client.traits().reliable;
  const Stream received = receive_stream(pair.server, payloads, 0, count, !reliable, reliable ? soon() : bus::in(1s));
  REQUIRE(received.damaged == 0);
  if (reliable) REQUIRE(received.count == count);
  REQUIRE(eventually(send));
  close_books(pair);
}

TEST_CASE("while a loan is open the channel is busy", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  auto loan = pair.client.loan(100, soon());
  REQUIRE(loan);
  REQUIRE(pair.client.try_send(bus::bytes_of("x")) == bus::Errc::busy);
  REQUIRE(pair.client.try_send(bus::bytes_of("x"), bus::bytes_of("y")) == bus::Errc::busy);
  REQUIRE(pair.client.send(bus::bytes_of("x"), soon()) == bus::Errc::busy);
  REQUIRE(pair.client.try_loan(1).error() == bus::Errc::busy);
  REQUIRE(pair.client.loan(1, soon()).error() == bus::Errc::busy);
  std::error_code error;
  const std::span<const std::byte> one = bus::bytes_of("x");
  REQUIRE(pair.client.send_some(std::span(&one, 1), error) == 0);
  REQUIRE(error == bus::Errc::busy);
  // The other direction is not concerned, and neither is the peer.
  REQUIRE(pair.client.try_receive().error() == bus::Errc::would_block);
  REQUIRE_FALSE(pair.server.send(bus::bytes_of("down"), soon()));
  REQUIRE(pair.client.receive(soon()));
  loan->drop();
  loan->drop();  // the second has nothing to do
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("x"), soon()));
  REQUIRE(pair.server.receive(soon())->text() == "x");
  close_books(pair);
}

TEST_CASE("publishing more than was lent is refused and sends nothing", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  auto loan = pair.client.loan(100, soon());
  REQUIRE(loan);
  REQUIRE(loan->publish(101) == bus::Errc::message_too_large);
  REQUIRE(loan->publish() == bus::Errc::closed);  // it is over
  REQUIRE_FALSE(pair.client.send(bus::bytes_of("next"), soon()));
  REQUIRE(pair.server.receive(soon())->text() == "next");
  close_books(pair);
}

TEST_CASE("a loan moves, and its old place is empty", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  auto lent = pair.client.loan(2, soon());
  REQUIRE(lent);
  bus::Loan loan = std::move(*lent);
  REQUIRE(lent->size() == 0);
  std::ranges::copy(bus::bytes_of("ok"), loan.data());
  REQUIRE(lent->publish() == bus::Errc::closed);
  REQUIRE_FALSE(loan.publish());
  REQUIRE(pair.server.receive(soon())->text() == "ok");
  close_books(pair);
}

TEST_CASE("a full channel lends nothing, and lends again when there is room", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme, "capacity=8KiB&max_message=4KiB");
  const Payloads payloads;
  std::uint64_t count = 0;
  std::error_code error;
  while (!error) {
    auto loan = pair.client.loan(1000, bus::in(50ms));  // a kernel may make room for a while after it had none
    error = loan ? std::error_code{} : loan.error();
    if (error) break;
    payloads.fill(loan->bytes(), count);
    REQUIRE_FALSE(loan->publish());
    ++count;
  }
  REQUIRE(error == bus::Errc::timed_out);
  REQUIRE(count > 0);
  const bool reliable = pair.client.traits().reliable;
  const Stream received = receive_stream(pair.server, payloads, 0, count, !reliable, reliable ? soon() : bus::in(1s));
  REQUIRE(received.damaged == 0);
  if (reliable) REQUIRE(received.count == count);
  auto loan = pair.client.loan(1000, soon());
  REQUIRE(loan);
  loan->drop();
  close_books(pair);
}

TEST_CASE("closing with an open loan drops it", "[conformance]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  Pair pair = open_pair(scheme);
  auto loan = pair.client.loan(100, soon());
  REQUIRE(loan);
  close_books(pair);
  REQUIRE(loan->publish() == bus::Errc::closed);
}
