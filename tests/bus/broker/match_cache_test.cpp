// tests/bus/broker/match_cache_test.cpp: which matches the index remembers, and that they are right.
#include "bus/broker/match_cache.hpp"

#include <new>
#include <string>

#include "tests/bus/broker/index_bench.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/failing_allocations.hpp"

using namespace bus::broker;
using namespace bus::test;

TEST_CASE("a subject that comes again is remembered, and then costs no allocation", "[broker]") {
  IndexBench bus;
  bus.add("a.*");
  bus.add("a.b", "q");
  REQUIRE(bus.match("a.b").size() == 2);
  REQUIRE(bus.index.remembered().subjects == 0);  // it may never come again
  (void)bus.index.match("a.b");
  REQUIRE(bus.index.remembered().subjects == 1);
  REQUIRE(bus.hits() == 0);
  const FailingAllocation fail(1);
  const Match& match = bus.index.match("a.b");
  const bool allocated = FailingAllocation::happened();
  REQUIRE_FALSE(allocated);
  REQUIRE(bus.hits() == 1);
  REQUIRE(match.plain.size() == 1);
}

TEST_CASE("what is remembered is right after a subscription comes or goes", "[broker]") {
  const std::string pattern = GENERATE("a.b", "a.*", "*.b", ">", "a.>");
  const std::string queue = GENERATE("", "q", "r");
  CAPTURE(pattern, queue);
  IndexBench bus;
  bus.add("a.b");
  bus.add("a.*", "q");
  bus.warm("a.b");
  const Strings before = bus.match("a.b");
  Route& route = bus.add(pattern, queue);
  const Strings with = bus.match("a.b");
  REQUIRE(with != before);
  bus.warm("a.b");
  REQUIRE(bus.match("a.b") == with);
  bus.index.remove(route);
  REQUIRE(bus.match("a.b") == before);
}

TEST_CASE("a subscription on something else leaves what is remembered alone", "[broker]") {
  IndexBench bus;
  bus.add("a.*");
  bus.warm("a.b");
  const std::string pattern = GENERATE("a.c", "c.*", "a.*.c", "a.b.>", "_INBOX.x.*", "_INBOX.x.y");
  const auto other = route(pattern);
  const std::uint64_t before = bus.hits();
  for (std::uint64_t i = 0; i < 1000; ++i) {
    bus.index.add(*other);
    bus.index.remove(*other);
    REQUIRE(bus.match("a.b").size() == 1);
  }
  REQUIRE(bus.hits() == before + 1000);
}

TEST_CASE("more changes than are written down are not overlooked", "[broker]") {
  const std::size_t changes = GENERATE(MatchCache::kChanges - 1, MatchCache::kChanges, MatchCache::kChanges + 1);
  const std::size_t about_it = GENERATE(std::size_t{0}, std::size_t{1});  // which of them is about the subject
  IndexBench bus;
  bus.add("a.b");
  bus.warm("a.b");
  for (std::size_t i = 0; i < changes; ++i) bus.add(i == about_it ? "a.*" : "c.*");
  REQUIRE(bus.match("a.b") == Strings{"a.b", "a.*"});
}

TEST_CASE("a pattern too long to write down is not overlooked", "[broker]") {
  IndexBench bus;
  const std::string start(300, 'a');
  bus.add(start + ".b");
  bus.warm(start + ".b");
  bus.add("*." + std::string(300, 'c'));
  REQUIRE(bus.match(start + ".b").size() == 1);
  bus.warm(start + ".b");
  bus.add(start + ".*");
  REQUIRE(bus.match(start + ".b").size() == 2);
}

TEST_CASE("no number of subjects is remembered beyond the bound", "[broker]") {
  IndexBench bus;
  bus.add(">");
  const std::ptrdiff_t before = bus::test::allocated_bytes();
  for (int i = 0; i < 30'000; ++i) bus.warm("sensors." + std::to_string(i));
  REQUIRE(bus.index.remembered().subjects == MatchCache::kMostSubjects);
  const std::ptrdiff_t used = bus::test::allocated_bytes() - before;
  REQUIRE(used < static_cast<std::ptrdiff_t>(2 * MatchCache::kMostBytes));
}

TEST_CASE("matches of many subscriptions are remembered within the bound on memory", "[broker]") {
  IndexBench bus;
  for (int i = 0; i < 8000; ++i) bus.add("a.*");
  const std::ptrdiff_t before = bus::test::allocated_bytes();
  for (int i = 0; i < 200; ++i) bus.warm("a." + std::to_string(i));
  const std::ptrdiff_t used = bus::test::allocated_bytes() - before;
  REQUIRE(bus.index.remembered().subjects > 10);
  REQUIRE(used < static_cast<std::ptrdiff_t>(2 * MatchCache::kMostBytes));
}

TEST_CASE("subjects that never come again push nothing out", "[broker]") {
  IndexBench bus;
  bus.add("a.*");
  bus.warm("a.b");
  for (int i = 0; i < 100'000; ++i) {
    if (i % 1000 == 0) (void)bus.index.match("a.b");
    (void)bus.index.match("a." + std::to_string(i));
  }
  const std::uint64_t before = bus.hits();
  (void)bus.index.match("a.b");
  REQUIRE(bus.hits() == before + 1);
}

TEST_CASE("inboxes are not remembered", "[broker]") {
  IndexBench bus;
  bus.add("_INBOX.x");
  for (int i = 0; i < 10; ++i) REQUIRE(bus.match("_INBOX.x") == Strings{"_INBOX.x"});
  REQUIRE(bus.index.remembered().subjects == 0);
  bus.add("_INBOX");
  bus.warm("_INBOX");
  REQUIRE(bus.index.remembered().subjects == 1);
  bus.add("_INBOX");
  REQUIRE(bus.match("_INBOX").size() == 2);
}
