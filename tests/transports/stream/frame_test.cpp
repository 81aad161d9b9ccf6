// tests/transports/stream/frame_test.cpp: the codec: golden bytes, and everything that is wrong.
#include "transports/stream/frame.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "tests/transports/stream/sockets.hpp"

using namespace bus;
using namespace bus::stream;
using bus::test::append;
using bus::test::bytes_from;
using bus::test::framed;
using bus::test::vector_of;

namespace {

using Bytes = std::vector<std::byte>;

/// What a receiver makes of a stream: its messages and counts as text, and how it ended.
struct Decoded {
  std::vector<std::string> frames;
  Errc error{};
  std::size_t left = 0;  // bytes that are in no frame
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Feeds the stream in pieces that end at `ends` (the last one is the end of the stream).
Decoded decode(Cutter cutter, std::span<const std::byte> stream, const std::vector<std::size_t>& ends) {
  Decoded decoded;
  std::size_t begin = 0;
  for (std::size_t piece = 0; piece < ends.size(); ++piece) {
    const bool at_end = piece + 1 == ends.size();
    for (;;) {
      const auto there = stream.subspan(begin, ends[piece] - begin);
      const Cut cut = cutter.next(there, at_end);
      const Cut again = cutter.next(there, at_end);  // asking changes nothing
      REQUIRE(cut.what == again.what);
      REQUIRE(cut.whole == again.whole);
      if (cut.what == Cut::What::more) {
        REQUIRE(cut.whole > there.size());
        break;
      }
      if (cut.what == Cut::What::bad) {
        decoded.error = cut.error;
        return decoded;
      }
      REQUIRE(cut.whole <= there.size());
      REQUIRE(cut.skip + cut.size <= cut.whole);
      REQUIRE(cut.whole > 0);
      const char* kind = cut.what == Cut::What::message ? "m:" : cut.what == Cut::What::end ? "e:" : "a:";
      decoded.frames.push_back(kind + text(there.subspan(cut.skip, cut.size)));
      begin += cut.whole;
    }
  }
  decoded.left = stream.size() - begin;
  return decoded;
}

Decoded decode(Cutter cutter, std::span<const std::byte> stream) { return decode(cutter, stream, {stream.size()}); }

constexpr std::size_t kMostBytes = 1000;

}  // namespace

TEST_CASE("a message, an end and an ack have these bytes", "[stream]") {
  REQUIRE(framed(vector_of("hi")) == bytes_from({2, 0, 0, 0, 1, 1, 0, 0, 'h', 'i'}));
  REQUIRE(framed({}) == bytes_from({0, 0, 0, 0, 1, 1, 0, 0}));
  const Counts counts{0x0807060504030201, 2, 0xff00000000000000};
  REQUIRE(framed(Kind::end, counts) == bytes_from({24, 0, 0, 0, 1, 2, 0, 0,  //
                                                   1,  2, 3, 4, 5, 6, 7, 8,  //
                                                   2,  0, 0, 0, 0, 0, 0, 0,  //
                                                   0,  0, 0, 0, 0, 0, 0, 0xff}));
  REQUIRE(framed(Kind::ack, {}) == bytes_from({24, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                               0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  const Bytes end = framed(Kind::end, counts);
  REQUIRE(decode_counts(std::span(end).subspan<8, 24>()) == counts);
}

TEST_CASE("every truncation of a stream gives the whole frames in it and nothing else", "[stream]") {
  Bytes stream = framed(vector_of("first"));
  append(stream, framed({}));
  append(stream, framed(Kind::ack, {1, 2, 3}));
  append(stream, framed(vector_of(std::string(300, 'x'))));
  append(stream, framed(Kind::end, {4, 5, 6}));
  const Decoded whole = decode(Cutter(Framing::bus, kMostBytes), stream);
  REQUIRE(whole.frames.size() == 5);
  REQUIRE(whole.left == 0);
  std::size_t most = 0;
  for (std::size_t size = 0; size < stream.size(); ++size) {
    const Decoded part = decode(Cutter(Framing::bus, kMostBytes), std::span(stream).first(size));
    REQUIRE(part.error == Errc{});
    REQUIRE(part.frames.size() >= most);
    most = part.frames.size();
    REQUIRE(std::equal(part.frames.begin(), part.frames.end(), whole.frames.begin()));
  }
  REQUIRE(most == 4);
}

TEST_CASE("a header is refused as soon as it is there", "[stream]") {
  struct Case {
    Bytes header;
    Errc error;
  };
  const std::vector<Case> cases{
      {bytes_from({0xe9, 3, 0, 0, 1, 1, 0, 0}), Errc::corrupt},              // 1001 bytes
      {bytes_from({0, 0, 0, 0x80, 1, 1, 0, 0}), Errc::corrupt},              // 2^31
      {bytes_from({0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0}), Errc::corrupt},     // 2^32 - 1
      {bytes_from({0, 0, 0, 0, 0, 1, 0, 0}), Errc::version_mismatch},        // version 0
      {bytes_from({0, 0, 0, 0, 2, 1, 0, 0}), Errc::version_mismatch},        // version 2
      {bytes_from({0xff, 0xff, 0, 0, 2, 9, 1, 1}), Errc::version_mismatch},  // of another version nothing else counts
      {bytes_from({0, 0, 0, 0, 1, 0, 0, 0}), Errc::corrupt},                 // kind 0
      {bytes_from({0, 0, 0, 0, 1, 4, 0, 0}), Errc::corrupt},                 // kind 4
      {bytes_from({0, 0, 0, 0, 1, 0xff, 0, 0}), Errc::corrupt},
      {bytes_from({0, 0, 0, 0, 1, 1, 1, 0}), Errc::corrupt},  // reserved
      {bytes_from({0, 0, 0, 0, 1, 1, 0, 0x80}), Errc::corrupt},
      {bytes_from({23, 0, 0, 0, 1, 2, 0, 0}), Errc::corrupt},  // an end of another size
      {bytes_from({25, 0, 0, 0, 1, 2, 0, 0}), Errc::corrupt},
      {bytes_from({0, 0, 0, 0, 1, 3, 0, 0}), Errc::corrupt},
  };
  for (const Case& c : cases) {
    CAPTURE(text(c.header));
    const Cut cut = Cutter(Framing::bus, kMostBytes).next(c.header, false);
    REQUIRE(cut.what == Cut::What::bad);
    REQUIRE(cut.error == c.error);
  }
  const Bytes limit = bytes_from({0xe8, 3, 0, 0, 1, 1, 0, 0});
  const Cut cut = Cutter(Framing::bus, kMostBytes).next(limit, false);
  REQUIRE(cut.what == Cut::What::more);
  REQUIRE(cut.whole == 1008);
}

TEST_CASE("lines end with a newline, or with the stream", "[stream]") {
  const auto lines = [](std::string_view stream) { return decode(Cutter(Framing::line, 10), vector_of(stream)); };
  REQUIRE(lines("one\ntwo\r\n\n\r\nlast").frames == std::vector<std::string>{"m:one", "m:two", "m:", "m:", "m:last"});
  REQUIRE(lines("a\rb\n").frames == std::vector<std::string>{"m:a\rb"});
  REQUIRE(lines("").frames.empty());
  REQUIRE(lines("0123456789\r\n").frames == std::vector<std::string>{"m:0123456789"});
  REQUIRE(lines("0123456789a\n").error == Errc::message_too_large);
  REQUIRE(lines("0123456789a").error == Errc::message_too_large);
  // Refused before its end has come, too, but not while a '\r' may still belong to the delimiter.
  Cutter cutter(Framing::line, 10);
  REQUIRE(cutter.next(vector_of("0123456789\r"), false).what == Cut::What::more);
  REQUIRE(cutter.next(vector_of("0123456789\rx"), false).error == Errc::message_too_large);
}

TEST_CASE("a line carries what it can give back unchanged", "[stream]") {
  REQUIRE(can_carry(Framing::line, vector_of("")));
  REQUIRE(can_carry(Framing::line, vector_of("a\rb")));
  REQUIRE_FALSE(can_carry(Framing::line, vector_of("a\nb")));
  REQUIRE_FALSE(can_carry(Framing::line, vector_of("a\n")));
  REQUIRE_FALSE(can_carry(Framing::line, vector_of("a\r")));
  REQUIRE(can_carry(Framing::bus, vector_of("a\n\r")));
  REQUIRE(can_carry(Framing::raw, vector_of("a\n\r")));
}

TEST_CASE("raw bytes are messages of at most the limit", "[stream]") {
  const Decoded decoded = decode(Cutter(Framing::raw, 4), vector_of("0123456789"));
  REQUIRE(decoded.frames == std::vector<std::string>{"m:0123", "m:4567", "m:89"});
}

TEST_CASE("the pieces in which a stream arrives make no difference", "[stream]") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    Bytes stream;
    const auto framing = round % 2 == 0 ? Framing::bus : Framing::line;
    for (std::size_t n = random() % 12; n > 0; --n) {
      const std::string payload(random() % (random() % 4 == 0 ? 900 : 9), static_cast<char>('a' + random() % 20));
      append(stream, framing == Framing::bus ? framed(vector_of(payload))
                                             : vector_of(payload + (random() % 2 == 0 ? "\r\n" : "\n")));
    }
    if (framing == Framing::bus && random() % 2 == 0) append(stream, framed(Kind::end, {1, 2, 3}));
    // Half of them are damaged somewhere.
    if (!stream.empty() && random() % 2 == 0) stream[random() % stream.size()] = static_cast<std::byte>(random());
    std::vector<std::size_t> ends;
    for (std::size_t at = 0; at < stream.size();) {
      at = std::min(stream.size(), at + 1 + random() % (random() % 3 == 0 ? 200 : 3));
      ends.push_back(at);
    }
    if (ends.empty()) ends.push_back(0);
    REQUIRE(decode(Cutter(framing, kMostBytes), stream, ends) == decode(Cutter(framing, kMostBytes), stream));
  }
}

TEST_CASE("random bytes never give a message that was not sent whole", "[stream]") {
  std::mt19937 random(8);
  for (int round = 0; round < 20000; ++round) {
    Bytes stream(random() % 64);
    for (std::byte& b : stream) b = static_cast<std::byte>(random() % 3 == 0 ? random() % 4 : random());
    const Decoded decoded =
        decode(Cutter(Framing::bus, kMostBytes), stream);  // requires in itself that all is in bounds
    REQUIRE(decoded.frames.size() <= stream.size() / kHeaderBytes);
  }
}
