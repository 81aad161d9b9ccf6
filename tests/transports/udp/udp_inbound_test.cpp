// tests/transports/udp/udp_inbound_test.cpp: order, parts and counts of one direction: exact, whatever arrives how.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>

#include "tests/support/payload.hpp"
#include "tests/transports/udp/udp_datagrams.hpp"

using namespace bus;
using namespace bus::test;
using bus::udp::Inbound;
using bus::udp::Kind;
using bus::udp::Start;
using Taken = Inbound::Taken;

namespace {

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

const Start kNear32{.sequence = (1ULL << 32) - 3, .datagram = (1ULL << 32) - 3, .position = (1ULL << 32) - 3};
const Start kNear64{.sequence = ~0ULL - 2, .datagram = ~0ULL - 2, .position = ~0ULL - 2};

}  // namespace

TEST_CASE("messages in order are delivered as they come", "[udp]") {
  const Start start = GENERATE(Start{}, kNear32, kNear64);
  Sender sender(start);
  Receiver receiver(start);
  for (int i = 0; i < 10; ++i) {
    CHECK(receiver.take(sender.single(std::to_string(i))) == Taken::data);
    CHECK(receiver.delivered.back() == std::to_string(i));
    CHECK_FALSE(receiver.inbound.has_gap());
    CHECK(receiver.inbound.position() == sender.position());
  }
  CHECK(receiver.take(sender.single("")) == Taken::data);
  CHECK(receiver.delivered.back().empty());
  CHECK(receiver.end(sender));
  CHECK(receiver.inbound.complete());
  CHECK(receiver.inbound.accepted() == 11);
  CHECK(receiver.accounted() == 11);
}

TEST_CASE("a missing message holds later ones until nothing more can be on its way", "[udp]") {
  const Start start = GENERATE(Start{}, kNear32, kNear64);
  Sender sender(start);
  Receiver receiver(start);
  receiver.take(sender.single("a"));
  const Bytes b = sender.single("b");
  receiver.take(sender.single("c"));
  receiver.take(sender.single("d"));
  CHECK(receiver.delivered == std::vector<std::string>{"a"});
  CHECK(receiver.inbound.has_gap());

  SECTION("it comes late, and is put in its place") {
    receiver.take(b);
    CHECK(receiver.delivered == std::vector<std::string>{"a", "b", "c", "d"});
    CHECK_FALSE(receiver.inbound.has_gap());
    CHECK(receiver.ledger.reordered.get() == 1);
    CHECK(receiver.ledger.dropped_total() == 0);
  }
  SECTION("it does not come, and is dropped") {
    receiver.settle();
    CHECK(receiver.delivered == std::vector<std::string>{"a", "c", "d"});
    CHECK(receiver.dropped(Reason::network) == 1);
    SECTION("and when it comes after all, it is counted as late and dropped once") {
      receiver.take(b);
      receiver.take(b);
      CHECK(receiver.delivered.size() == 3);
      CHECK(receiver.ledger.reordered.get() == 1);
      CHECK(receiver.ledger.duplicates.get() == 1);
      CHECK(receiver.ledger.dropped_total() == 1);
    }
  }
  CHECK(receiver.end(sender));
  CHECK(receiver.accounted() == 4);
}

TEST_CASE("a duplicate is counted and not delivered", "[udp]") {
  Sender sender;
  Receiver receiver;
  const Bytes a = sender.single("a");
  receiver.take(a);
  receiver.take(a);
  receiver.take(sender.single("b"));
  receiver.take(a);
  CHECK(receiver.delivered == std::vector<std::string>{"a", "b"});
  CHECK(receiver.ledger.duplicates.get() == 2);
  CHECK(receiver.ledger.reordered.get() == 0);
}

TEST_CASE("a gap wider than the receiver waits for is dropped at once, to the message", "[udp]") {
  const Start start = GENERATE(Start{}, kNear32, kNear64);
  const std::uint64_t missing = GENERATE(1U, 63U, 64U, 65U, 1000U, 100'000U);
  CAPTURE(missing);
  Sender sender(start);
  Receiver receiver(start);
  receiver.take(sender.single("first"));
  for (std::uint64_t i = 0; i < missing; ++i) static_cast<void>(sender.single("lost"));
  receiver.take(sender.single("last"));
  CHECK(receiver.accounted() == (missing >= Inbound::kAhead ? missing + 1 - (Inbound::kAhead - 1) : 1));
  receiver.settle();
  CHECK(receiver.delivered == std::vector<std::string>{"first", "last"});
  CHECK(receiver.dropped(Reason::network) == missing);
}

TEST_CASE("messages missing at the end are dropped when the sender says that it has sent them", "[udp]") {
  Sender sender;
  Receiver receiver;
  receiver.take(sender.single("a"));
  static_cast<void>(sender.single("lost"));
  SECTION("in a probe") {
    CHECK(receiver.inbound.announce(sender.mark(Kind::probe)));
    CHECK(receiver.inbound.position() == sender.position());
    CHECK(receiver.inbound.has_gap());
    receiver.settle();
    receiver.take(sender.single("b"));
    CHECK(receiver.delivered == std::vector<std::string>{"a", "b"});
  }
  SECTION("at its end") {
    CHECK(receiver.end(sender));
    CHECK(receiver.inbound.complete());
    CHECK(receiver.end(sender));  // again
  }
  CHECK(receiver.dropped(Reason::network) == 1);
}

TEST_CASE("messages larger than a datagram are put together, whatever the order of their parts", "[udp]") {
  const std::size_t size = GENERATE(kMostPayload + 1, 2 * kMostPayload, 10 * kMostPayload + 17, std::size_t{64} << 10);
  const std::uint64_t seed = GENERATE(1U, 2U);
  CAPTURE(size, seed);
  Sender sender;
  Receiver receiver;
  const Payloads payloads(7);
  const Bytes message = payloads.make(0, size);
  auto parts = sender.message(message);
  CHECK(parts.size() == (size + kMostPayload - 1) / kMostPayload);
  std::shuffle(parts.begin(), parts.end(), std::mt19937_64(seed));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    CHECK(receiver.delivered.empty());
    CHECK(receiver.take(parts[i]) == Taken::data);
    if (i + 1 < parts.size()) receiver.take(parts[i]);  // twice
  }
  REQUIRE(receiver.delivered.size() == 1);
  CHECK(receiver.delivered[0] == text_of(message));
  CHECK(receiver.ledger.duplicates.get() == parts.size() - 1);
}

TEST_CASE("a message with a missing part is dropped once, and its neighbours are delivered", "[udp]") {
  Sender sender;
  Receiver receiver;
  const Payloads payloads(7);
  receiver.take(sender.single("before"));
  auto parts = sender.message(payloads.make(1, 5 * kMostPayload));
  const std::size_t lost = GENERATE(0U, 2U, 4U);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i != lost) receiver.take(parts[i]);
  }
  receiver.take(sender.single("after"));
  CHECK(receiver.delivered.size() == 1);
  receiver.settle();
  CHECK(receiver.delivered == std::vector<std::string>{"before", "after"});
  CHECK(receiver.ledger.dropped_total() == 1);
  receiver.take(parts[lost]);  // too late
  CHECK(receiver.ledger.dropped_total() == 1);
  CHECK(receiver.ledger.reordered.get() == 1);
  CHECK(receiver.end(sender));
  CHECK(receiver.accounted() == 3);
}

TEST_CASE("few messages are put together at a time, and the oldest gives way", "[udp]") {
  Sender sender;
  Receiver receiver;
  const Payloads payloads(7);
  std::vector<std::vector<Bytes>> messages;
  for (std::uint64_t n = 0; n < Inbound::kPartial + 2; ++n) {
    messages.push_back(sender.message(payloads.make(n, 2 * kMostPayload)));
    receiver.take(messages.back()[0]);
  }
  CHECK(receiver.ledger.dropped_total() == 2);
  for (auto& parts : messages) receiver.take(parts[1]);
  CHECK(receiver.delivered.size() == Inbound::kPartial);
  CHECK(receiver.ledger.dropped_total() == 2);
  CHECK(receiver.end(sender));
  CHECK(receiver.accounted() == messages.size());
}

TEST_CASE("damage is booked on its message when the header is sound, and on the gap when it is not", "[udp]") {
  Sender sender;
  Receiver receiver;
  receiver.take(sender.single("a"));
  Bytes b = sender.single("b");
  const std::size_t where = GENERATE(10U, 40U);  // header, payload
  Bytes damaged = b;
  damaged[where] ^= std::byte{4};
  receiver.take(damaged);
  SECTION("it stays missing") {
    receiver.take(sender.single("c"));
    receiver.settle();
    CHECK(receiver.delivered == std::vector<std::string>{"a", "c"});
    CHECK(receiver.dropped(Reason::corrupt) == 1);
    CHECK(receiver.ledger.dropped_total() == 1);
    static_cast<void>(sender.single("d"));
    receiver.take(sender.single("e"));
    receiver.settle();
    CHECK(receiver.dropped(Reason::network) == 1);  // that one has no such excuse
  }
  SECTION("a sound copy follows") {
    receiver.take(b);
    receiver.take(sender.single("c"));
    CHECK(receiver.delivered == std::vector<std::string>{"a", "b", "c"});
    CHECK(receiver.ledger.dropped_total() == 0);
    CHECK(receiver.ledger.reordered.get() == 0);
  }
}

TEST_CASE("a gap in which the kernel's count of drops went up is the kernel's, up to that count", "[udp]") {
  Sender sender;
  Receiver receiver;
  receiver.take(sender.single("a"));
  for (int i = 0; i < 200; ++i) static_cast<void>(sender.single("lost"));
  receiver.inbound.kernel_drops(1);  // one run of datagrams
  receiver.take(sender.single("b"));
  receiver.settle();
  CHECK(receiver.dropped(Reason::kernel_buffer) == udp::kMostSegments);
  CHECK(receiver.dropped(Reason::network) == 200 - udp::kMostSegments);
  static_cast<void>(sender.single("lost"));
  receiver.inbound.kernel_drops(1);  // has not gone up
  receiver.take(sender.single("c"));
  receiver.settle();
  CHECK(receiver.dropped(Reason::network) == 201 - udp::kMostSegments);
  receiver.inbound.kernel_drops(2);  // something else than a message of ours
  receiver.take(sender.single("d"));
  static_cast<void>(sender.single("lost"));
  receiver.take(sender.single("e"));
  receiver.settle();
  CHECK(receiver.dropped(Reason::network) == 202 - udp::kMostSegments);
}

TEST_CASE("datagrams of another session, version or kind leave no trace", "[udp]") {
  Sender sender;
  Receiver receiver;
  const Bytes good = sender.single("a");
  const auto header = udp::decode(good).header;
  udp::Header other = header;
  other.session = 77;
  CHECK(receiver.take(Sender::make(other, bytes_of("a"))) == Taken::nothing);
  CHECK(receiver.take(good) == Taken::data);
  CHECK(receiver.delivered.size() == 1);
  CHECK(receiver.ledger.duplicates.get() == 0);
}

TEST_CASE("a sound datagram against the format ends the channel", "[udp]") {
  Sender sender;
  Receiver receiver({}, 1000);
  receiver.take(sender.single("a"));
  udp::Header header{.kind = Kind::data,
                     .session = kSession,
                     .sequence = 1,
                     .datagram = 1,
                     .position = 5000,
                     .message_bytes = 5,
                     .offset = 0};
  Bytes payload = to_vector(bytes_of("12345"));
  SECTION("a size that its payload contradicts") { header.message_bytes = 6; }
  SECTION("a size above the limit") {
    header.message_bytes = 1001;
    payload.resize(kMostPayload);
  }
  SECTION("an offset that is no multiple") { header.offset = 3; }
  SECTION("an offset behind the end") { header.offset = static_cast<std::uint32_t>(kMostPayload); }
  SECTION("an empty part of a message that is not empty") { payload.clear(); }
  SECTION("the next message after the end") { REQUIRE(receiver.end(sender)); }
  CHECK(receiver.take(Sender::make(header, payload)) == Taken::corrupt);
}

TEST_CASE("parts that contradict each other end the channel", "[udp]") {
  Sender sender;
  Receiver receiver;
  const Bytes message(3 * kMostPayload);
  const auto parts = sender.message(message);
  receiver.take(parts[0]);
  udp::Packet second = udp::decode(parts[1]);
  SECTION("another size") { second.header.message_bytes += 1; }
  SECTION("the same part under another number") {
    second.header.offset = 0;
    second.header.datagram = 1;
  }
  CHECK(receiver.take(Sender::make(second.header, second.payload)) == Taken::corrupt);
}

TEST_CASE("an end below what was received, or two that differ, are refused", "[udp]") {
  Sender sender;
  Receiver receiver;
  const auto early = sender.mark(Kind::end);
  receiver.take(sender.single("a"));
  CHECK_FALSE(receiver.inbound.end(early));
  CHECK(receiver.end(sender));
  static_cast<void>(sender.single("b"));
  CHECK_FALSE(receiver.inbound.end(sender.mark(Kind::end)));
}

TEST_CASE("whatever is lost, repeated, reordered and damaged, every message is counted once", "[udp]") {
  const Start start = GENERATE(Start{}, kNear32, kNear64);
  const std::uint64_t seed = GENERATE(range(1U, 21U));
  CAPTURE(seed, start.sequence);
  std::mt19937_64 random(seed);
  Sender sender(start);
  Receiver receiver(start);
  const Payloads payloads(seed);
  const double loss = static_cast<double>(random() % 50) / 100;
  const auto chance = [&](double share) { return static_cast<double>(random() % 10'000) < share * 10'000; };

  std::deque<Bytes> network;
  std::uint64_t duplicated = 0;
  constexpr std::uint64_t kMessages = 3000;
  const auto arrive = [&] {
    const std::size_t at = random() % std::min<std::size_t>(network.size(), 1 + random() % 8);
    const Bytes datagram = network[at];
    network.erase(network.begin() + static_cast<std::ptrdiff_t>(at));
    REQUIRE(receiver.take(datagram) != Taken::corrupt);
  };
  for (std::uint64_t n = 0; n < kMessages; ++n) {
    const std::size_t size = random() % 10 == 0 ? random() % (6 * kMostPayload) : 8 + random() % 100;
    for (Bytes& datagram : sender.message(payloads.make(n, size))) {
      if (chance(loss)) continue;
      if (chance(0.02)) datagram[random() % datagram.size()] ^= std::byte{1};
      if (chance(0.05)) {
        network.push_back(datagram);
        if (udp::decode(datagram).soundness == udp::Soundness::sound) ++duplicated;
      }
      network.push_back(std::move(datagram));
    }
    while (network.size() > 10) arrive();
    if (chance(0.05)) receiver.settle();
  }
  while (!network.empty()) arrive();
  REQUIRE(receiver.end(sender));
  CHECK(receiver.inbound.complete());
  CHECK(sender.accepted() == kMessages);
  CHECK(receiver.inbound.accepted() == kMessages);
  CHECK(receiver.accounted() == kMessages);
  CHECK(receiver.ledger.duplicates.get() == duplicated);
  // What was delivered is whole, and in order.
  std::uint64_t next = 0;
  for (const std::string& text : receiver.delivered) {
    const auto bytes = bytes_of(text);
    if (bytes.size() < Payloads::kSequenceBytes) continue;
    const auto n = Payloads::sequence_of(bytes);
    REQUIRE(n);
    REQUIRE(*n >= next);
    next = *n + 1;
    REQUIRE(payloads.matches(bytes, *n));
  }
}

TEST_CASE("a sender that ignores its window fills no memory", "[udp]") {
  Ledger ledger;
  udp::Intake intake;
  constexpr std::size_t kWindow = 64 << 10;
  Inbound inbound({.session = kSession, .max_message = 1 << 10, .max_datagram = kMaxDatagram, .window = kWindow},
                  ledger);
  Sender sender;
  const std::string text(500, 'x');
  for (int i = 0; i < 10'000; ++i) {
    const Bytes datagram = sender.single(text);
    const auto room = intake.room();
    std::copy(datagram.begin(), datagram.end(), room.begin());
    static_cast<void>(inbound.take(std::span<const std::byte>(room).first(datagram.size()), intake));
    intake.received(datagram.size());
  }
  CHECK(inbound.waiting() * text.size() <= 2 * kWindow + (1 << 10) + text.size());
  CHECK(inbound.waiting() + ledger.dropped[static_cast<std::size_t>(Reason::queue_full)].get() == 10'000);
}
