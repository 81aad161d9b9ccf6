// tests/bus/core/books_test.cpp: the law of the books.
#include "bus/core/books.hpp"

#include <set>
#include <string>
#include "tests/support/catch.hpp"

using bus::Books;
using bus::Ledger;
using bus::Reason;

namespace {

std::size_t at(Reason reason) { return static_cast<std::size_t>(reason); }

/// 10 offered, 8 accepted; 5 received, 1 dropped.
void fill(Ledger& ledger) {
  ledger.offered.add(10);
  ledger.accepted.add(8);
  ledger.refused[at(Reason::queue_full)].add(2);
  ledger.received.add(5);
  ledger.dropped[at(Reason::closed)].add();
}

}  // namespace

TEST_CASE("every reason has a name of its own", "[books]") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < bus::kReasons; ++i) names.insert(bus::name(static_cast<Reason>(i)));
  REQUIRE(names.size() == bus::kReasons);
  REQUIRE(names.contains("queue_full"));
  REQUIRE(names.contains("unknown_after_crash"));
}

TEST_CASE("books are open until both ends have said their counts", "[books]") {
  Ledger ledger;
  fill(ledger);
  REQUIRE_FALSE(ledger.snapshot().closed());
  REQUIRE_FALSE(ledger.snapshot().peer_accepted);
  REQUIRE_FALSE(ledger.snapshot().peer_received);
  ledger.peer_accepted(6);
  REQUIRE_FALSE(ledger.snapshot().closed());
  ledger.peer_settled(8, 0, Reason::closed);
  REQUIRE(ledger.snapshot().closed());
  REQUIRE(ledger.snapshot().peer_accepted == 6);
  REQUIRE(ledger.snapshot().peer_received == 8);
}

TEST_CASE("what the peer neither received nor dropped is lost, for the reason that it gave", "[books]") {
  Ledger ledger;
  fill(ledger);
  ledger.peer_accepted(6);
  ledger.peer_settled(5, 1, Reason::closed);
  const Books books = ledger.snapshot();
  REQUIRE(books.lost[at(Reason::closed)] == 2);
  REQUIRE(books.peer_dropped == 1);
  REQUIRE(books.closed());
}

TEST_CASE("what is already known as lost is not lost twice", "[books]") {
  Ledger ledger;
  fill(ledger);
  ledger.lost[at(Reason::network)].add(2);
  ledger.peer_accepted(6);
  ledger.peer_settled(5, 1, Reason::unknown_after_crash);
  const Books books = ledger.snapshot();
  REQUIRE(books.lost[at(Reason::network)] == 2);
  REQUIRE(books.lost[at(Reason::unknown_after_crash)] == 0);
  REQUIRE(bus::total(books.lost) == 2);
  REQUIRE(books.closed());
}

TEST_CASE("a count that does not add up leaves the books open", "[books]") {
  Ledger ledger;
  fill(ledger);
  SECTION("the peer sent more than arrived") {
    ledger.peer_accepted(7);
    ledger.peer_settled(8, 0, Reason::closed);
  }
  SECTION("the peer received more than was sent") {
    ledger.peer_accepted(6);
    ledger.peer_settled(9, 0, Reason::closed);
  }
  SECTION("an offer has no outcome") {
    ledger.offered.add();
    ledger.peer_accepted(6);
    ledger.peer_settled(8, 0, Reason::closed);
  }
  REQUIRE_FALSE(ledger.snapshot().closed());
}

TEST_CASE("an empty channel's books close as well", "[books]") {
  Ledger ledger;
  ledger.peer_accepted(0);
  ledger.peer_settled(0, 0, Reason::closed);
  REQUIRE(ledger.snapshot().closed());
  REQUIRE(bus::total(ledger.snapshot().dropped) == 0);
}

TEST_CASE("the sum of what was dropped is what the peer is told", "[books]") {
  Ledger ledger;
  ledger.dropped[at(Reason::network)].add(3);
  ledger.dropped[at(Reason::corrupt)].add(4);
  REQUIRE(ledger.dropped_total() == 7);
  bus::Counter counter;
  counter.add();
  counter.add(41);
  REQUIRE(counter.get() == 42);
  counter.set(1);
  REQUIRE(counter.get() == 1);
}
