// tests/transports/lane/hostile_test.cpp: a peer that writes anything over every word that it can reach.
#include <atomic>
#include <catch2/catch.hpp>
#include <iostream>
#include <random>
#include <thread>

#include "tests/support/eventually.hpp"
#include "tests/transports/lane/ends.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

/// The memory that a peer may write: its status page and its outgoing ring. Its end of the socket stays open.
struct Adversary {
  lane::Offer offer = lane::Offer::make(4096);
  os::Fd socket;

  /// The other end of the channel, which takes messages of up to 2048 bytes.
  [[nodiscard]] Channel make_victim(WaitMode wait) {
    auto [near, far] = test::socket_pair();
    socket = std::move(far);
    return Channel(std::make_unique<lane::LaneChannel>(lane::Offer::make(4096), lane::view_of(offer),
                                                       test::make_link(std::move(near), 2048)),
                   wait, "victim");
  }

  void scribble(std::mt19937& random) {
    const auto word = [&]() -> std::uint32_t {
      switch (random() % 8) {
        case 0:
          return 0;
        case 1:
          return 1;
        case 2:
          return 2;
        case 3:
          return 0xffffffffU;
        case 4:
          return static_cast<std::uint32_t>(offer.ring.capacity());
        case 5:
          return static_cast<std::uint32_t>(random() % 4096);
        case 6:
          return 0x7fffffffU;
        default:
          return static_cast<std::uint32_t>(random());
      }
    };
    if (random() % 4 == 0) {
      // Past the magic and the version: they are looked at once, before.
      auto* const words = reinterpret_cast<std::atomic<std::uint32_t>*>(&offer.page->status());
      words[4 + random() % 90].store(word());
    } else {
      lane::Record& record = offer.ring.at((random() % 64) * lane::kRecordAlign);
      record.size.store(word());
      record.commit.store(random() % 2 == 0 ? lane::kMessage : word());
    }
  }
};

}  // namespace

TEST_CASE("a peer that scribbles over its memory ends its channel and harms nobody", "[lane][hostile]") {
  const auto rounds = 300U;
  std::uint64_t mutations = 0, messages = 0, ended_corrupt = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    CAPTURE(round);
    Adversary adversary;
    Channel victim = adversary.make_victim(round % 2 == 0 ? WaitMode::hybrid : WaitMode::block);
    std::atomic<bool> done{false};
    std::uint64_t written = 0;
    std::jthread scribbler([&] {
      std::mt19937 random(round);
      while (!done.load()) {
        for (int i = 0; i < 100; ++i) adversary.scribble(random);
        written += 100;
        os::signal_event(adversary.offer.bell.get());
        std::this_thread::yield();
      }
    });
    std::mt19937 random(round + 1000);
    std::vector<Message> held;
    const std::vector<std::byte> payload(300);
    if (round % 3 == 0) static_cast<void>(victim.readable_fd());
    for (int step = 0; step < 200; ++step) {
      Result<Message> message = random() % 8 == 0 ? victim.receive(in(1ms)) : victim.try_receive();
      if (message) {
        ++messages;
        REQUIRE(message->size() <= 2048);
        unsigned sum = 0;  // every byte that is claimed can be read
        for (const std::byte b : message->bytes()) sum += std::to_integer<unsigned>(b);
        if (sum % 2 == 0) held.push_back(std::move(*message));
        if (held.size() > 8) held.erase(held.begin() + static_cast<std::ptrdiff_t>(random() % held.size()));
      } else if (message.error() == Errc::corrupt) {
        ++ended_corrupt;
        break;
      }
      const std::error_code sent = random() % 8 == 0 ? victim.send(payload, in(1ms)) : victim.try_send(payload);
      const bool known = !sent || sent == Errc::would_block || sent == Errc::timed_out || sent == Errc::closed ||
                         sent == Errc::corrupt || sent == Errc::peer_died;
      REQUIRE(known);
    }
    static_cast<void>(victim.close(in(2ms)));
    done = true;
    scribbler.join();
    mutations += written;
    victim = Channel();
    held.clear();
  }
  std::cout << "hostile peer: " << rounds << " channels, " << mutations << " mutations, " << messages
            << " messages read, " << ended_corrupt << " ended as corrupt\n";
  REQUIRE(mutations > 0);
  REQUIRE(ended_corrupt > 0);
}

TEST_CASE("a reader that claims to have released what was never sent is corrupt", "[lane][hostile]") {
  Adversary adversary;
  Channel victim = adversary.make_victim(WaitMode::block);
  const std::vector<std::byte> payload(1000);
  while (!victim.try_send(payload)) {
  }
  adversary.offer.page->status().released.store(std::uint64_t{1} << 40);
  REQUIRE(victim.try_send(payload) == Errc::corrupt);
}

TEST_CASE("a record that claims more than the channel carries is corrupt, and stays so", "[lane][hostile]") {
  Adversary adversary;
  Channel victim = adversary.make_victim(WaitMode::block);
  const auto size = GENERATE(2049U, 4096U, 0x7fffffffU, 0xffffffffU);
  lane::Record& record = adversary.offer.ring.at(0);
  record.size.store(size);
  record.commit.store(lane::kMessage);
  REQUIRE(victim.receive(test::soon()).error() == Errc::corrupt);
  record.size.store(8);
  REQUIRE(victim.try_receive().error() == Errc::corrupt);
}

TEST_CASE("a stream that moves to a ring which was never passed is corrupt", "[lane][hostile]") {
  Adversary adversary;
  Channel victim = adversary.make_victim(WaitMode::block);
  adversary.offer.ring.at(0).commit.store(lane::kMoved);
  REQUIRE(victim.receive(test::soon()).error() == Errc::corrupt);
}
