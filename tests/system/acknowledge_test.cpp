// tests/system/acknowledge_test.cpp: which messages count as handled, and what is said of those that do not.
#include <optional>

#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

/// A subscriber whose stdout is a full disk.
Polite sub_on_full_disk(const std::string& bus, const std::vector<std::string>& more) {
  std::vector<std::string> words = bus_words(node_words("sub", "jobs", bus, more));
  words.insert(words.begin(), {"/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"});
  Polite sub(Process::start(std::move(words)));
  wait_subscribed(sub);
  return sub;
}

std::vector<std::string> made_jobs(const std::string& bus, const std::string& size, const std::string& count) {
  return node_words("pub", "jobs", bus, {"--level", "delivered", "--size", size, "--count", count});
}

}  // namespace

TEST_CASE("what sub cannot write is not acknowledged and does not count as received", "[system]") {
  const std::string size = GENERATE("10", "40000");  // gathered with others; written at once
  CAPTURE(size);
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  Polite sub = sub_on_full_disk(bus, {"--count", "1", "--record", folder + "/sub"});
  const Finished pub = run_bus(with(made_jobs(bus, size, "1"), {"--record", folder + "/pub"}));
  INFO(pub.err);
  REQUIRE(pub.status == exited(5));
  REQUIRE_THAT(pub.err, Contains("1 message not delivered"));
  REQUIRE(sub.wait() == exited(1));
  REQUIRE_THAT(sub.err(), Contains("cannot write stdout: No space left on device"));
  const Json sum = audited(folder);
  REQUIRE(sum.at("expected") == 1);
  REQUIRE(sum.at("received") == 0);
  REQUIRE(sum.at("in_flight") == 1);
}

TEST_CASE("what one of a group cannot write goes to another", "[system]") {
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  Polite full = sub_on_full_disk(bus, {"--queue", "q", "--record", folder + "/full"});
  Polite good = sub_on(bus, "jobs", {"--queue", "q", "--format", "none", "--record", folder + "/good"});
  const Finished pub = run_bus(with(made_jobs(bus, "10", "100"), {"--record", folder + "/pub"}));
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  REQUIRE(full.wait() == exited(1));
  end_subscriber(good);
  REQUIRE_THAT(good.err(), Contains("received 100 messages"));
  const Json sum = audited(folder);
  REQUIRE(sum.at("delivered") == 100);
  REQUIRE(sum.at("received") == 100);
}

TEST_CASE("a signal ends pub that waits to be acknowledged and it says what was not", "[system]") {
  const auto [signal, code] = GENERATE(table<int, int>({{SIGINT, 130}, {SIGTERM, 143}}));
  const bool hosts = GENERATE(false, true);
  CAPTURE(signal, hosts);
  const std::string bus = fixed_bus("unix");
  std::optional<Polite> broker;
  if (!hosts) broker.emplace(broker_on(bus));
  Process pub = start_bus({"pub", "a", "x", "--bus", bus, "--level", "delivered", "--linger", "1h", "--wait-subs", "1",
                           "--json", "--books"});
  pub.wait_for_output("\"joined\"");
  Polite sub = sub_on(bus, "a", {"--exec", "cat; exec sleep 3600"});
  sub.wait_for_output("x");
  pub.kill(signal);
  REQUIRE(pub.wait() == exited(code));
  REQUIRE_THAT(pub.err(), Contains("1 accepted, 1 not acknowledged") && Contains("; not acknowledged 1\n"));
  REQUIRE(summary_of(pub.out()).at("books").at("unacknowledged") == 1);
}

}  // namespace bus::test
