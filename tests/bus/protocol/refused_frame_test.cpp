// tests/bus/protocol/refused_frame_test.cpp: everything that is no frame.
#include "bus/protocol/frame.hpp"

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "bus/protocol/headers.hpp"
#include "tests/bus/protocol/golden.hpp"
#include "tests/support/catch.hpp"

using namespace bus;
using namespace bus::protocol;
using namespace bus::test;
using namespace bus::test::frames;

namespace {

std::string characters(std::size_t size) { return std::string(size, 'a'); }

}  // namespace

TEST_CASE("every truncation of a frame is corrupt, or has a shorter payload", "[protocol]") {
  for (const Golden& one : golden()) {
    for (std::size_t size = 0; size < one.bytes.size(); ++size) {
      CAPTURE(one.name, size);
      const ByteVector part = first(one.bytes, size);
      if (size < one.bytes.size() - one.payload) {
        CHECK(outcome(part) == "corrupt");
      } else {
        // The message that carries the frame says how long it is.
        const Result<Frame> frame = decode(part);
        REQUIRE(frame);
        CHECK(encoded(*frame) == part);
      }
    }
  }
}

TEST_CASE("bytes behind a frame are corrupt", "[protocol]") {
  for (const Golden& one : golden()) {
    if (one.payload > 0) continue;
    CAPTURE(one.name);
    CHECK(outcome(join(one.bytes, hex("00"))) == "corrupt");
    CHECK(outcome(join(one.bytes, one.bytes)) == "corrupt");
  }
}

TEST_CASE("an unknown flag is corrupt", "[protocol]") {
  for (const Golden& one : golden()) {
    for (unsigned bit = 1; bit < 256; bit <<= 1) {
      if ((one.flags & bit) != 0) continue;
      CAPTURE(one.name, bit);
      ByteVector bytes = one.bytes;
      bytes[1] |= static_cast<std::byte>(bit);
      CHECK(outcome(bytes) == "corrupt");
    }
  }
}

TEST_CASE("an unknown type is corrupt", "[protocol]") {
  std::set<std::byte> known;
  for (const Golden& one : golden()) known.insert(one.bytes[0]);
  for (unsigned type = 0; type < 256; ++type) {
    if (known.contains(static_cast<std::byte>(type))) continue;
    CAPTURE(type);
    for (const Golden& one : golden()) CHECK(outcome(with(one.bytes, 0, number(type, 1))) == "corrupt");
  }
}

TEST_CASE("what a type does not use in the head is zero", "[protocol]") {
  for (const char* name : {"unsubscribe", "taken", "acknowledge", "flush", "bye", "subscribed", "progress", "dropped",
                           "receipt", "outcome", "flushed", "watched", "answer", "farewell"}) {
    CAPTURE(name);
    CHECK(outcome(with(golden(name).bytes, 2, hex("01 00"))) == "corrupt");
    CHECK(outcome(with(golden(name).bytes, 2, hex("00 01"))) == "corrupt");
  }
  for (const char* name : {"bye", "receipt", "outcome", "farewell"}) {
    CAPTURE(name);
    CHECK(outcome(with(golden(name).bytes, 4, hex("01 00 00 00"))) == "corrupt");
    CHECK(outcome(with(golden(name).bytes, 4, hex("00 00 00 80"))) == "corrupt");
  }
}

TEST_CASE("another version is told from damage", "[protocol]") {
  for (const char* name : {"hello", "welcome"}) {
    CAPTURE(name);
    const ByteVector& bytes = golden(name).bytes;
    for (const char* version : {"00 00", "02 00", "00 01", "01 01", "ff ff"}) {
      const ByteVector other = with(bytes, 8, hex(version));
      CHECK(outcome(other) == "version_mismatch");
      CHECK(outcome(first(other, 10)) == "version_mismatch");  // whatever it looks like from there on
      CHECK(outcome(join(with(other, 1, hex("ff ff ff")), other)) == "version_mismatch");
      CHECK(outcome(first(other, 9)) == "corrupt");
    }
    for (std::size_t at = 4; at < 8; ++at) {
      CHECK(outcome(with(bytes, at, hex("00"))) == "corrupt");
      CHECK(outcome(with(with(bytes, at, hex("00")), 8, hex("02 00"))) == "corrupt");
    }
  }
}

TEST_CASE("an unknown rule, reason or code is corrupt", "[protocol]") {
  struct Place {
    const char* name;
    std::size_t at;
    unsigned from, to;  // the values that are known
  };
  for (const Place& place : {Place{"subscribe", 16, 0, 3}, Place{"dropped", 16, 0, 11}, Place{"outcome", 24, 0, 11},
                             Place{"refused", 8, 1, 16}}) {
    for (unsigned value = 0; value < 256; ++value) {
      CAPTURE(place.name, value);
      const bool known = value >= place.from && value <= place.to;
      CHECK((outcome(with(golden(place.name).bytes, place.at, number(value, 1))) != "corrupt") == known);
    }
  }
}

TEST_CASE("strings have limits, and nothing beyond them is believed", "[protocol]") {
  struct Text {
    const char* name;
    std::size_t limit;
    ByteVector before;  // up to the size
    ByteVector behind;  // from there to the string
    ByteVector end;     // behind the string
  };
  const ByteVector publish = golden("publish").bytes;
  const ByteVector deliver = golden("deliver").bytes;
  const ByteVector hello = golden("hello").bytes;
  const ByteVector welcome = golden("welcome").bytes;
  const auto slice = [](const ByteVector& bytes, std::size_t from, std::size_t to) {
    return ByteVector(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                      bytes.begin() + static_cast<std::ptrdiff_t>(to));
  };
  const std::vector<Text> texts{
      {"hello name", 1024, hex("01 00"), slice(hello, 4, 46), {}},
      {"welcome name", 1024, hex("81 00"), slice(welcome, 4, 46), {}},
      {"pattern", 256, hex("02 00"), hex("07 00 00 00  00 00 00 00  00 00 00 00  00  00 00"), {}},
      {"queue", 1024, hex("02 00 01 00 07 00 00 00  00 00 00 00  00 00 00 00  00"), hex("61"), {}},
      {"publish subject", 256, hex("04 00"), slice(publish, 4, 16), kHi},
      {"publish reply", 256, join(hex("04 01"), slice(publish, 2, 16)), hex("61 2e 62"), kHi},
      {"publish_batch subject", 256, hex("0b 00"), hex("03 00 00 00  01 00 00 00 00 00 00 00"), kItems},
      {"deliver_batch subject", 256, hex("8d 00"), join(slice(deliver, 4, 32), hex("03 00 00 00")), kItems},
      {"deliver subject", 256, hex("84 00"), slice(deliver, 4, 32), kHi},
      {"deliver reply", 256, join(hex("84 01"), slice(deliver, 2, 32)), hex("61 2e 62"), kHi},
      {"watch subject", 256, hex("08 00"), hex("16 00 00 00  02 00 00 00"), {}},
      {"query", 1024, hex("09 00"), hex("17 00 00 00"), {}},
      {"refusal", 1024, hex("82 00"), hex("07 00 00 00  0b"), {}},
  };
  for (const Text& text : texts) {
    CAPTURE(text.name);
    const auto frame = [&](std::size_t said, std::size_t there) {
      return outcome(join(text.before, number(said, 2), text.behind, bytes_of_text(characters(there)), text.end));
    };
    CHECK(frame(1, 1) != "corrupt");
    CHECK(frame(text.limit, text.limit) != "corrupt");
    CHECK(frame(text.limit + 1, text.limit + 1) == "corrupt");
    CHECK(frame(0xffff, 0xffff) == "corrupt");
    CHECK(frame(0xffff, 1) == "corrupt");
    CHECK(frame(0x8000, 1) == "corrupt");
    CHECK(frame(text.limit, 1) == "corrupt");
    if (text.end.empty()) CHECK(frame(1, 2) == "corrupt");
  }
}

TEST_CASE("headers have a limit, and nothing beyond it is believed", "[protocol]") {
  for (const char* name : {"publish", "deliver"}) {
    const ByteVector& bytes = golden(name).bytes;
    const ByteVector head = with(first(bytes, bytes.size() - 5), 1, hex("02"));
    const auto frame = [&](std::uint64_t said, const ByteVector& block) {
      return outcome(join(head, number(said, 4), hex("61 2e 62"), block, kHi));
    };
    const auto block = [](std::size_t size) {  // of two pairs
      const ByteVector one = join(hex("01 00 00 80 6b"), bytes_of_text(characters(0x8000)));
      const std::size_t rest = size - one.size() - 5;
      return join(one, hex("01 00"), number(rest, 2), hex("6b"), bytes_of_text(characters(rest)));
    };
    CAPTURE(name);
    CHECK(frame(6, kPair) != "corrupt");
    REQUIRE(block(65536).size() == 65536);
    REQUIRE(Headers(block(65536)).valid());
    CHECK(frame(65536, block(65536)) != "corrupt");
    CHECK(frame(65537, block(65537)) == "corrupt");
    CHECK(frame(65536, kPair) == "corrupt");
    for (const std::uint64_t size : {0x7fffffffU, 0x80000000U, 0xfffffff0U, 0xffffffffU}) {
      CAPTURE(size);
      CHECK(frame(size, kPair) == "corrupt");
      CHECK(frame(size, block(65536)) == "corrupt");
    }
    // A block that is none.
    CHECK(frame(5, kPair) == "corrupt");  // cut off
    CHECK(frame(7, kPair) == "corrupt");  // with a byte of the payload
    CHECK(frame(6, hex("02 00 01 00 6b 76")) == "corrupt");
    CHECK(frame(6, hex("00 00 02 00 6b 76")) == "corrupt");
    CHECK(frame(6, hex("01 00 ff ff 6b 76")) == "corrupt");
  }
}

TEST_CASE("a flag for a reply or headers that are empty is corrupt", "[protocol]") {
  CHECK(outcome(hex("04 00 01 00 00 00 00 00  01 00 00 00 00 00 00 00  61")) != "corrupt");
  CHECK(outcome(hex("04 01 01 00 00 00 00 00  01 00 00 00 00 00 00 00  00 00  61")) == "corrupt");
  CHECK(outcome(hex("04 02 01 00 00 00 00 00  01 00 00 00 00 00 00 00  00 00 00 00  61")) == "corrupt");
  CHECK(outcome(join(hex("84 01 01 00 00 00 00 00"), ByteVector(24), hex("00 00  61"))) == "corrupt");
}

TEST_CASE("a frame has a subject where it needs one, and a valid one", "[protocol]") {
  const auto publish = [](std::string_view subject) {
    return outcome(join(hex("04 00"), number(subject.size(), 2), hex("00 00 00 00  01 00 00 00 00 00 00 00"),
                        bytes_of_text(subject), kHi));
  };
  const auto deliver = [](std::string_view subject) {
    return outcome(
        join(hex("84 00"), number(subject.size(), 2), hex("07 00 00 00"), ByteVector(24), bytes_of_text(subject), kHi));
  };
  const auto watch = [](std::string_view subject) {
    return outcome(
        join(hex("08 00"), number(subject.size(), 2), hex("16 00 00 00  02 00 00 00"), bytes_of_text(subject)));
  };
  const auto reply = [](std::string_view subject) {
    return outcome(join(hex("04 01 01 00 00 00 00 00  01 00 00 00 00 00 00 00"), number(subject.size(), 2), hex("61"),
                        bytes_of_text(subject), kHi));
  };
  const auto subscribe = [](std::string_view pattern) {
    return outcome(join(hex("02 00"), number(pattern.size(), 2),
                        hex("07 00 00 00  00 00 00 00  00 00 00 00  00  00 00"), bytes_of_text(pattern)));
  };
  for (const char* good : {"a", "a.b", "sensors.kitchen.temp"}) {
    CAPTURE(good);
    for (const auto& text : {publish(good), deliver(good), watch(good), reply(good), subscribe(good)}) {
      CHECK(text != "corrupt");
    }
  }
  for (const char* bad : {"", ".", "a.", ".a", "a..b", "a b", "a*", "a.>b", "a\n", "sensors.kitchen..temp"}) {
    CAPTURE(bad);
    for (const auto& text : {publish(bad), deliver(bad), watch(bad), reply(bad), subscribe(bad)}) {
      CHECK(text == "corrupt");
    }
  }
  for (const char* pattern : {"*", ">", "a.*", "a.>", "*.b"}) {
    CAPTURE(pattern);
    CHECK(subscribe(pattern) != "corrupt");
    for (const auto& text : {publish(pattern), deliver(pattern), watch(pattern), reply(pattern)}) {
      CHECK(text == "corrupt");
    }
  }
}

TEST_CASE("a batch is exactly as many items as it says, and no more than the most", "[protocol]") {
  const auto publish = [](std::uint64_t count, const ByteVector& items) {
    return outcome(join(hex("0b 00 01 00"), number(count, 4), hex("09 00 00 00 00 00 00 00  61"), items));
  };
  const auto deliver = [](std::uint64_t count, const ByteVector& items) {
    return outcome(join(hex("8d 00 01 00 07 00 00 00"), ByteVector(24), number(count, 4), hex("61"), items));
  };
  const ByteVector none(2 * kMostInBatch), one_more(2 * kMostInBatch + 2);  // all of them empty
  for (const auto& batch : {std::function<std::string(std::uint64_t, const ByteVector&)>(publish),
                            std::function<std::string(std::uint64_t, const ByteVector&)>(deliver)}) {
    CHECK(batch(3, kItems) != "corrupt");
    CHECK(batch(kMostInBatch, none) != "corrupt");
    CHECK(batch(kMostInBatch + 1, one_more) == "corrupt");
    CHECK(batch(0, {}) == "corrupt");
    CHECK(batch(0, kItems) == "corrupt");
    CHECK(batch(2, kItems) == "corrupt");
    CHECK(batch(4, kItems) == "corrupt");
    CHECK(batch(0xffffffff, kItems) == "corrupt");
    CHECK(batch(1, hex("02 00 68")) == "corrupt");
    CHECK(batch(1, hex("ff ff 68")) == "corrupt");
    CHECK(batch(1, hex("02")) == "corrupt");
  }
}
