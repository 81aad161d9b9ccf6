// tests/transports/udp/udp_loss_test.cpp: a bad network on purpose, and counts that equal what it did.
#include <catch2/catch.hpp>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/traffic.hpp"
#include "tests/support/udp_proxy.hpp"

using namespace bus;
using namespace bus::test;

namespace {

struct Outcome {
  Books client, server;
  Stream received;
  UdpProxy::Done done;
};

/// Sends through a proxy from a client to a server, closes with confirmation, and gives what everybody counted.
Outcome run(const UdpProxy::Faults& faults, std::uint64_t count, const SizeOf& size_of,
            const std::string& options = "window=256KiB&max_message=1MiB") {
  Listener listener = listen("udp://127.0.0.1:0?" + options);
  UdpProxy proxy(std::string(listener.address()), faults);
  const Payloads payloads(faults.seed);
  Channel client;
  auto sender = std::async(std::launch::async, [&]() -> std::error_code {
    client = connect(proxy.address(), soon());
    if (const Stream sent = send_stream(client, payloads, 0, count, size_of); sent.end) return sent.end;
    return client.close(soon());
  });
  auto server = listener.accept(soon());
  REQUIRE(server);
  Outcome outcome;
  outcome.received = receive_stream(*server, payloads, 0, kUntilTheEnd, true);
  // The answer to the client's end may be lost, too: as long as this end lives, it is given again.
  while (sender.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    CHECK(server->try_receive().error() == Errc::closed);
  }
  CHECK_FALSE(sender.get());
  outcome.client = client.books();
  outcome.server = server->books();
  outcome.done = proxy.stop();
  CHECK(outcome.done.overflowed == 0);
  CHECK(outcome.received.end == Errc::closed);
  CHECK(outcome.received.damaged == 0);
  CHECK(outcome.received.misplaced == 0);
  // Whatever happened: every message is in the books once, at both ends.
  CHECK(outcome.client.accepted == count);
  CHECK(outcome.received.count == outcome.server.received);
  CHECK(outcome.server.received + total(outcome.server.dropped) == count);
  CHECK(outcome.server.peer_accepted == count);
  CHECK(outcome.client.peer_received == outcome.server.received);
  CHECK(outcome.client.peer_dropped == total(outcome.server.dropped));
  CHECK(outcome.server.closed());
  CHECK(outcome.client.closed());
  return outcome;
}

}  // namespace

TEST_CASE("loss is counted exactly: as many messages as the network lost, and for that reason", "[udp][loss]") {
  const double loss = GENERATE(0.0, 0.01, 0.1, 0.3, 0.5);
  const std::uint64_t seed = GENERATE(range(1U, 21U));
  CAPTURE(loss, seed);
  const auto outcome = run({.drop = loss, .seed = seed}, 1000, [](std::uint64_t n) { return 8 + n % 300; });
  CHECK(dropped(outcome.server, Reason::network) == outcome.done.dropped);
  CHECK(total(outcome.server.dropped) == outcome.done.dropped);
  CHECK(outcome.server.duplicates == 0);
  CHECK(outcome.server.reordered == 0);
  CHECK(outcome.done.seen == 1000);
}

TEST_CASE("duplicates and damage are counted exactly", "[udp][loss]") {
  const std::uint64_t seed = GENERATE(range(1U, 21U));
  CAPTURE(seed);
  const auto outcome = run({.drop = 0.05, .duplicate = 0.1, .damage_payload = 0.1, .truncate = 0.05, .seed = seed},
                           1000, [](std::uint64_t n) { return 8 + n % 300; });
  const auto damaged = outcome.done.damaged_payloads + outcome.done.truncated;
  CHECK(outcome.server.duplicates == outcome.done.duplicated);
  CHECK(dropped(outcome.server, Reason::corrupt) == damaged);
  CHECK(dropped(outcome.server, Reason::network) == outcome.done.dropped);
  CHECK(damaged > 0);
  CHECK(outcome.done.duplicated > 0);
}

TEST_CASE("reordering is counted exactly, and costs at most what was overtaken", "[udp][loss]") {
  const std::uint64_t seed = GENERATE(range(1U, 21U));
  CAPTURE(seed);
  const auto outcome = run({.drop = 0.05, .duplicate = 0.05, .reorder = 0.2, .seed = seed}, 1000,
                           [](std::uint64_t n) { return 8 + n % 300; });
  CHECK(outcome.server.reordered == outcome.done.overtaken);
  CHECK(outcome.server.duplicates == outcome.done.duplicated);
  CHECK(total(outcome.server.dropped) >= outcome.done.dropped);
  CHECK(total(outcome.server.dropped) <= outcome.done.dropped + outcome.done.overtaken);
  CHECK(dropped(outcome.server, Reason::network) == total(outcome.server.dropped));
  CHECK(outcome.done.overtaken > 0);
}

TEST_CASE("damaged headers are noticed, and each message that they hit is counted once", "[udp][loss]") {
  const std::uint64_t seed = GENERATE(range(1U, 11U));
  CAPTURE(seed);
  const auto outcome = run({.damage_header = 0.2, .seed = seed}, 1000, [](std::uint64_t n) { return 8 + n % 300; });
  CHECK(outcome.done.damaged_headers > 0);
  CHECK(dropped(outcome.server, Reason::corrupt) + dropped(outcome.server, Reason::network) ==
        outcome.done.damaged_headers);
  // Only what was damaged last, with nothing but the end behind it, may lack its evidence.
  CHECK(dropped(outcome.server, Reason::corrupt) + 1 >= outcome.done.damaged_headers);
}

TEST_CASE("a message of many datagrams is lost with any of them, and counted as one", "[udp][loss]") {
  const double loss = GENERATE(0.01, 0.1, 0.3);
  const std::uint64_t seed = GENERATE(range(1U, 11U));
  CAPTURE(loss, seed);
  const auto outcome = run({.drop = loss, .duplicate = 0.02, .damage_payload = 0.01, .seed = seed}, 200,
                           [](std::uint64_t n) { return n % 3 == 0 ? 300'000U : 5000U; });
  CHECK(total(outcome.server.dropped) == outcome.done.hit.size());
  CHECK(dropped(outcome.server, Reason::corrupt) == outcome.done.hit_damaged.size());
  CHECK(outcome.server.duplicates == outcome.done.duplicated);
}

TEST_CASE("everything may be lost, the handshake, the acks and the end too: the end is reached and the books close",
          "[udp][loss]") {
  const double loss = GENERATE(0.1, 0.3, 0.5);
  const std::uint64_t seed = GENERATE(range(1U, 5U));
  CAPTURE(loss, seed);
  // More than a window, so that acks matter.
  const auto outcome =
      run({.drop = loss, .duplicate = 0.05, .damage_payload = 0.02, .also_control = true, .seed = seed}, 1500,
          always(700), "window=64KiB");
  CHECK(outcome.server.duplicates == outcome.done.duplicated);
  CHECK(total(outcome.server.dropped) == outcome.done.hit.size());
  CHECK(outcome.done.control_dropped > 0);
}

TEST_CASE("a seed repeats what the network does", "[udp][loss]") {
  const UdpProxy::Faults faults{.drop = 0.2, .duplicate = 0.1, .damage_payload = 0.05, .seed = 42};
  const auto first = run(faults, 500, always(100));
  const auto second = run(faults, 500, always(100));
  CHECK(first.done.dropped == second.done.dropped);
  CHECK(first.done.hit == second.done.hit);
  CHECK(first.received.count == second.received.count);
  CHECK(first.server.duplicates == second.server.duplicates);
}
