// tests/transports/lane/lane_test.cpp: one writer and one reader on two mappings of one ring.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <thread>

#include "tests/support/eventually.hpp"
#include "tests/support/payload.hpp"
#include "tests/transports/lane/ends.hpp"

using namespace bus;
using bus::test::Payloads;

namespace {

struct Lane {
  explicit Lane(std::size_t capacity, std::size_t max_message = 1 << 20)
      : sender(std::make_shared<lane::Page>(lane::Page::make())),
        receiver(std::make_shared<lane::Page>(lane::Page::make())),
        bell(os::make_event()),
        room_bell(os::make_event()) {
    lane::Ring ring = lane::Ring::make(capacity);
    lane::Ring view = lane::Ring::map(ring.memfd(), capacity);
    reader = lane::Reader::make(std::move(view), receiver, sender, {bell.get(), room_bell.get()}, max_message);
    writer = std::make_unique<lane::Writer>(std::move(ring), receiver->status());
  }

  bool push(std::span<const std::byte> payload) const {
    std::byte* const place = writer->reserve(payload.size());
    if (place == nullptr) return false;
    std::copy(payload.begin(), payload.end(), place);
    writer->commit(payload.size());
    return true;
  }
  Message pop() const {
    REQUIRE(reader->peek() == lane::Reader::State::message);
    Result<Message> message = reader->take();
    REQUIRE(message);
    return std::move(*message);
  }

  std::shared_ptr<lane::Page> sender, receiver;
  os::Fd bell, room_bell;
  std::unique_ptr<lane::Writer> writer;
  lane::Reader::Handle reader;
};

}  // namespace

TEST_CASE("messages of all sizes go round a ring many times and stay whole", "[lane]") {
  const Lane lane(4096);
  const Payloads payloads(7);
  std::mt19937 random(11);
  std::uint64_t pushed = 0, popped = 0;
  std::vector<std::size_t> sizes;
  while (popped < 5000) {
    const std::size_t size = random() % 900;
    if (pushed < 5000 && lane.push(payloads.make(pushed, size))) {
      ++pushed;
      sizes.push_back(size);
      continue;
    }
    for (auto burst = random() % 4 + 1; burst > 0 && popped < pushed; --burst, ++popped) {
      const Message message = lane.pop();
      REQUIRE(message.size() == sizes[popped]);
      REQUIRE(payloads.matches(message.bytes(), popped));
    }
    if (popped == pushed) lane.reader->publish_released();
  }
  REQUIRE(lane.reader->peek() == lane::Reader::State::empty);
}

TEST_CASE("a full ring refuses, and takes again when the reader has given room back", "[lane]") {
  const Lane lane(4096);
  const std::vector<std::byte> payload(100);
  std::size_t count = 0;
  while (lane.push(payload)) ++count;
  REQUIRE(count == (4096 - 64) / 128);
  {
    const Message held = lane.pop();
    lane.reader->publish_released();
    REQUIRE_FALSE(lane.push(payload));  // it is still held
  }
  lane.reader->publish_released();
  REQUIRE(lane.push(payload));
  REQUIRE_FALSE(lane.push(payload));
}

TEST_CASE("room goes back in the order of the ring, whatever the order of release", "[lane]") {
  const Lane lane(4096);
  const std::vector<std::byte> payload(100);
  while (lane.push(payload)) {
  }
  std::vector<Message> held;
  for (int i = 0; i < 10; ++i) held.push_back(lane.pop());
  for (std::size_t i = 9; i > 0; --i) held[i].reset();
  lane.reader->publish_released();
  REQUIRE_FALSE(lane.push(payload));  // the oldest is held: nothing before it can be given back
  held[0].reset();
  lane.reader->publish_released();
  for (int i = 0; i < 10; ++i) REQUIRE(lane.push(payload));
  REQUIRE_FALSE(lane.push(payload));
}

TEST_CASE("any number of messages can be held, and released in random order on another thread", "[lane]") {
  const Lane lane(std::size_t{1} << 20);
  const Payloads payloads(3);
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::uint64_t count = 0;
    while (count < 2000 && lane.push(payloads.make(count, 50))) ++count;
    REQUIRE(count == 2000);
    std::vector<Message> held;
    for (std::uint64_t i = 0; i < count; ++i) held.push_back(lane.pop());
    for (std::uint64_t i = 0; i < count; ++i) REQUIRE(payloads.matches(held[i].bytes(), i));
    std::shuffle(held.begin(), held.end(), random);
    std::jthread other([mine = std::move(held)]() mutable { mine.clear(); });
    other.join();
    lane.reader->publish_released();
  }
}

TEST_CASE("messages outlive the reader and the memory goes with the last of them", "[lane]") {
  std::vector<Message> held;
  const Payloads payloads(9);
  {
    const Lane lane(8192);
    for (std::uint64_t i = 0; i < 5; ++i) REQUIRE(lane.push(payloads.make(i, 200)));
    for (int i = 0; i < 5; ++i) held.push_back(lane.pop());
  }
  for (std::uint64_t i = 0; i < 5; ++i) REQUIRE(payloads.matches(held[i].bytes(), i));
  std::swap(held[0], held[4]);
  held.clear();
}

TEST_CASE("readers may go while other threads release their messages", "[lane]") {
  const Payloads payloads(9);
  for (int round = 0; round < 200; ++round) {
    auto lane = std::make_unique<Lane>(8192);
    std::vector<Message> one, two;
    for (std::uint64_t i = 0; i < 20; ++i) REQUIRE(lane->push(payloads.make(i, 100)));
    for (int i = 0; i < 10; ++i) one.push_back(lane->pop());
    for (int i = 0; i < 10; ++i) two.push_back(lane->pop());
    const std::jthread first([mine = std::move(one)]() mutable { mine.clear(); });
    const std::jthread second([mine = std::move(two)]() mutable { mine.clear(); });
    lane.reset();
  }
}

TEST_CASE("a stream goes on in a larger ring, in order, while messages of the old one are held", "[lane]") {
  const Lane lane(4096);
  const Payloads payloads(21);
  REQUIRE(lane.push(payloads.make(0, 100)));
  REQUIRE(lane.writer->can_move());
  REQUIRE(lane.writer->wants_growth(3000));
  lane::Ring larger = lane::Ring::make(lane::Writer::grown_capacity(3000));
  lane::Ring view = lane::Ring::map(larger.memfd(), larger.capacity());
  lane.writer->move_to(std::move(larger));
  REQUIRE(lane.push(payloads.make(1, 3000)));

  Message old = lane.pop();
  REQUIRE(lane.reader->peek() == lane::Reader::State::moved);
  lane.reader->move_to(std::move(view));
  const Message young = lane.pop();
  REQUIRE(payloads.matches(old.bytes(), 0));
  REQUIRE(payloads.matches(young.bytes(), 1));
  old.reset();
  lane.reader->publish_released();
  REQUIRE(lane.push(payloads.make(2, 3000)));
}

TEST_CASE("two threads on two mappings pass a long stream", "[lane]") {
  const Lane lane(4096);
  const Payloads payloads(13);
  constexpr std::uint64_t kCount = 100000;
  const std::jthread sender([&] {
    for (std::uint64_t i = 0; i < kCount;) {
      if (lane.push(payloads.make(i, test::mixed_size(i) % 1500))) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (std::uint64_t i = 0; i < kCount;) {
    if (lane.reader->peek() == lane::Reader::State::empty) {
      lane.reader->publish_released();
      std::this_thread::yield();
      continue;
    }
    const Message message = lane.pop();
    REQUIRE(message.size() == test::mixed_size(i) % 1500);
    REQUIRE(payloads.matches(message.bytes(), i));
    ++i;
  }
}

TEST_CASE("counters of sleeps and rings may pass their highest value", "[lane]") {
  lane::Offer one = lane::Offer::make(4096), other = lane::Offer::make(4096);
  for (const lane::Offer* offer : {&one, &other}) {
    offer->page->status().asleep.store(0xfffffffe);
    offer->page->status().waiting.store(0xfffffffe);
    offer->page->status().rung.store(0xfffffffe);
  }
  lane::Offer one_view = lane::view_of(one), other_view = lane::view_of(other);
  auto [near, far] = test::socket_pair();
  Channel a(std::make_unique<lane::LaneChannel>(std::move(one), std::move(other_view),
                                                test::make_link(std::move(near), 1024)),
            WaitMode::block, "test");
  Channel b(
      std::make_unique<lane::LaneChannel>(std::move(other), std::move(one_view), test::make_link(std::move(far), 1024)),
      WaitMode::block, "test");
  const Payloads payloads(17);
  std::jthread echo([&b = b] {
    for (;;) {
      const Result<Message> message = b.receive();
      if (!message || b.send(message->bytes())) return;
    }
  });
  for (std::uint64_t i = 0; i < 50; ++i) {
    REQUIRE_FALSE(a.send(payloads.make(i, 700), test::soon()));
    const Result<Message> answer = a.receive(test::soon());
    REQUIRE(answer);
    REQUIRE(payloads.matches(answer->bytes(), i));
  }
  a.close();
}

TEST_CASE("a peer that closed and hung up has closed, whatever a sender without room sees first", "[lane]") {
  // The end becomes visible exactly between the sender's two looks: at the end, and at the connection.
  const std::size_t size = GENERATE(100U, 3000U);  // one that the ring has no room for; one that wants a larger ring
  CAPTURE(size);
  auto [near, far] = test::socket_pair();
  lane::Offer peer = lane::Offer::make(4096);
  lane::Link link = test::make_link(std::move(near), 1 << 20);
  link.on_peer_death = [&peer] { peer.page->status().ended.store(1); };
  lane::LaneChannel channel(lane::Offer::make(4096), lane::view_of(peer), std::move(link));
  const std::vector<std::byte> next(size);
  for (const std::size_t filling : {100U, 1U}) {
    const std::vector<std::byte> message(filling);
    while (!channel.try_send(message)) {
    }
  }
  far.reset();
  std::error_code error;
  REQUIRE(test::eventually([&] {
    error = channel.try_send(next);
    return error != Errc::would_block;
  }));
  REQUIRE(error == Errc::closed);
}
