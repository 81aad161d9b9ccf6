// tests/transports/udp/udp_packet_test.cpp: the datagrams' bytes: golden ones, damaged ones, random ones.
#include <catch2/catch.hpp>

#include "bus/core/crc32c.hpp"
#include "tests/transports/udp/udp_datagrams.hpp"
#include "transports/udp/packet.hpp"
#include "transports/udp/siphash.hpp"

using namespace bus;
using namespace bus::udp;
using bus::test::Bytes;
using bus::test::from_hex;
using bus::test::to_vector;

namespace {

const Bytes kHi = from_hex(
    "5a ea d8 10 eb 8d cc 07 01 05 00 00 01 02 03 04 05 00 00 00 00 00 00 00 07 00 00 00 44 33 22 11 02 00 00 00 "
    "00 00 00 00 68 69");
const Header kHiHeader{.kind = Kind::data,
                       .session = 0x04030201,
                       .sequence = 5,
                       .datagram = 7,
                       .position = 0x11223344,
                       .message_bytes = 2,
                       .offset = 0};

Greeting numbered_greeting() {
  Greeting greeting{
      .cookie = 0, .instance = {}, .max_message = 1 << 20, .max_datagram = 65507, .window = 4 << 20, .port = 4660};
  for (std::uint8_t i = 0; i < 16; ++i) greeting.instance[i] = i;
  return greeting;
}

}  // namespace

TEST_CASE("SipHash gives the value of its paper", "[udp]") {
  Bytes input(15);
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<std::byte>(i);
  CHECK(siphash({0x0706050403020100U, 0x0f0e0d0c0b0a0908U}, input) == 0xa129ca6149be45e5U);
}

TEST_CASE("datagrams have the bytes of the tables", "[udp]") {
  std::array<std::byte, kHeaderBytes> header;
  encode(kHiHeader, bytes_of("hi"), header);
  Bytes hi = to_vector(header);
  for (const std::byte byte : bytes_of("hi")) hi.push_back(byte);
  CHECK(hi == kHi);

  Datagram room;
  CHECK(to_vector(make_control({.kind = Kind::ack, .session = 0x04030201, .position = 0x11223344}, room)) ==
        from_hex("cf 58 1d 86 cf 58 1d 86 01 06 00 00 01 02 03 04 00 00 00 00 00 00 00 00 00 00 00 00 44 33 22 11 "
                 "00 00 00 00 00 00 00 00"));
  CHECK(to_vector(make_counts(
            {.kind = Kind::end, .session = 0x04030201, .sequence = 5, .datagram = 7, .position = 0x11223344},
            {.received = 3, .dropped = 1}, room)) ==
        from_hex("aa 7b de ae ed 16 96 a1 01 09 00 00 01 02 03 04 05 00 00 00 00 00 00 00 07 00 00 00 44 33 22 11 "
                 "00 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00"));
  CHECK(to_vector(make_cookie(0x04030201, 0x8877665544332211, room)) ==
        from_hex("6a 2b 31 96 05 a8 b6 97 01 02 00 00 01 02 03 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
                 "00 00 00 00 00 00 00 00 69 70 63 62 75 73 00 00 11 22 33 44 55 66 77 88"));
  CHECK(to_vector(make_refuse(0x04030201, Refusal::version, room)) ==
        from_hex("b5 1e 0e 80 54 0b 7a fc 01 04 00 00 01 02 03 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
                 "00 00 00 00 00 00 00 00 69 70 63 62 75 73 00 00 01 00 00 00 01 00 00 00"));
  CHECK(to_vector(make_welcome(0x04030201, numbered_greeting(), room)) ==
        from_hex("e7 4b 96 ee ac bd e5 0d 01 03 00 00 01 02 03 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
                 "00 00 00 00 00 00 00 00 69 70 63 62 75 73 00 00 00 00 00 00 00 00 00 00 00 01 02 03 04 05 06 07 "
                 "08 09 0a 0b 0c 0d 0e 0f 00 00 10 00 e3 ff 00 00 00 00 40 00 34 12 00 00"));
}

TEST_CASE("what was written is read back", "[udp]") {
  const Packet packet = decode(kHi);
  REQUIRE(packet.soundness == Soundness::sound);
  CHECK(packet.header.kind == Kind::data);
  CHECK(packet.header.session == kHiHeader.session);
  CHECK(packet.header.sequence == kHiHeader.sequence);
  CHECK(packet.header.datagram == kHiHeader.datagram);
  CHECK(packet.header.position == kHiHeader.position);
  CHECK(packet.header.message_bytes == kHiHeader.message_bytes);
  CHECK(packet.header.offset == kHiHeader.offset);
  CHECK(to_vector(packet.payload) == to_vector(bytes_of("hi")));

  Datagram room;
  Greeting greeting = numbered_greeting();
  const auto welcome = read_greeting(decode(make_welcome(1, greeting, room)));
  REQUIRE(welcome);
  CHECK(welcome->instance == greeting.instance);
  CHECK(welcome->max_message == greeting.max_message);
  CHECK(welcome->max_datagram == greeting.max_datagram);
  CHECK(welcome->window == greeting.window);
  CHECK(welcome->port == greeting.port);
  greeting.port = 0;
  greeting.cookie = 99;
  const auto bytes = make_hello(1, greeting, room);
  CHECK(bytes.size() == kHelloBytes);
  const auto hello = read_greeting(decode(bytes));
  REQUIRE(hello);
  CHECK(hello->cookie == 99);
  CHECK(read_cookie(decode(make_cookie(1, 7, room))) == 7U);
  const auto refused = read_refuse(decode(make_refuse(1, Refusal::no_room, room)));
  REQUIRE(refused);
  CHECK(refused->why == Refusal::no_room);
  CHECK(refused->version == kVersion);
}

TEST_CASE("no answer of a listener is longer than the hello", "[udp]") {
  STATIC_REQUIRE(kHeaderBytes + kGreetingBytes <= kHelloBytes);
  STATIC_REQUIRE(kCookieBytes <= kHelloBytes);
  STATIC_REQUIRE(kRefuseBytes <= kHelloBytes);
}

TEST_CASE("every truncation and every turned bit of a datagram is noticed, and where it is in the payload said",
          "[udp]") {
  for (std::size_t size = 0; size < kHi.size(); ++size) {
    const Packet packet = decode(std::span(kHi).first(size));
    CHECK(packet.soundness == (size < kHeaderBytes ? Soundness::bad_header : Soundness::bad_payload));
  }
  for (std::size_t bit = 0; bit < 8 * kHi.size(); ++bit) {
    Bytes damaged = kHi;
    damaged[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
    const Packet packet = decode(damaged);
    const bool beyond_header = bit / 8 >= kHeaderBytes || (bit / 8 >= 4 && bit / 8 < 8);
    CHECK(packet.soundness == (beyond_header ? Soundness::bad_payload : Soundness::bad_header));
    if (beyond_header) CHECK(packet.header.sequence == kHiHeader.sequence);
  }
}

TEST_CASE("greetings that break the format are none", "[udp]") {
  Datagram room;
  const auto reads = [&](const Greeting& greeting) { return read_greeting(decode(make_hello(1, greeting, room))); };
  Greeting good = numbered_greeting();
  good.port = 0;
  REQUIRE(reads(good));
  Greeting bad = good;
  bad.port = 1;
  CHECK_FALSE(reads(bad));
  bad = good;
  bad.max_datagram = kLeastDatagram - 1;
  CHECK_FALSE(reads(bad));
  bad = good;
  bad.max_message = 0;
  CHECK_FALSE(reads(bad));
  // A hello that is not padded would be shorter than its answer.
  const auto hello = make_hello(1, good, room);
  CHECK_FALSE(read_greeting(decode(hello.first(hello.size() - 1))));
  Datagram other;
  const auto welcome = make_welcome(1, good, other);  // without a port
  CHECK_FALSE(read_greeting(decode(welcome)));
}

TEST_CASE("a hello of another version is recognised by what all versions share", "[udp]") {
  Datagram room;
  const auto hello = to_vector(make_hello(0xAABBCCDD, {.max_message = 1, .max_datagram = 1000}, room));
  CHECK_FALSE(other_version(hello));
  Bytes newer = hello;
  newer[8] = std::byte{9};
  const auto other = other_version(newer);
  REQUIRE(other);
  CHECK(other->kind == Kind::hello);
  CHECK(other->version == 9);
  CHECK(other->session == 0xAABBCCDD);
  newer.pop_back();
  CHECK_FALSE(other_version(newer));  // shorter: it would get a longer answer than it sent
}

TEST_CASE("random bytes are no datagrams", "[udp]") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {
    Bytes bytes(random() % 300);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    CHECK(decode(bytes).soundness == Soundness::bad_header);
    CHECK_FALSE(other_version(bytes));
  }
}
