// tests/bus/protocol/random_frame_test.cpp: made-up frames, whole and damaged.
#include "bus/protocol/frame.hpp"

#include <algorithm>
#include <deque>
#include <random>
#include <set>
#include <string>
#include <variant>

#include "bus/protocol/headers.hpp"
#include "bus/protocol/subject.hpp"
#include "tests/bus/protocol/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

using namespace bus;
using namespace bus::protocol;
using namespace bus::test;
using namespace bus::test::frames;

namespace {

/// Random frames. Their strings live as long as it does.
class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  Frame make() {
    switch (random_() % std::variant_size_v<Frame>) {
      case 0:
        return Hello{1, instance(), u64(), u64(), text(), yes(), u32()};
      case 1:
        return Subscribe{u32(), pattern(), text(), u32(), static_cast<Full>(random_() % 4), u32(), yes()};
      case 2:
        return Unsubscribe{u32()};
      case 3:
        return Publish{
            u64(),    yes() ? Level::delivered : Level::accepted, yes(), yes(), u32(), subject(), reply(), headers(),
            payload()};
      case 4:
        return Taken{u32(), u64(), u64()};
      case 5:
        return Acknowledge{u32(), {u64(), u64()}, yes()};
      case 6:
        return Flush{u32(), u64()};
      case 7:
        return Watch{u32(), u32(), subject()};
      case 8:
        return Query{u32(), text()};
      case 9:
        return Bye{u64(), yes()};
      case 10:
        return Welcome{1, instance(), u32(), u32(), u32(), u32(), text(), u32()};
      case 11:
        return Refused{u32(), static_cast<Errc>(1 + random_() % 15), text()};
      case 12:
        return Subscribed{u32()};
      case 13:
        return Deliver{u32(), u64(), {u64(), u64()}, yes(), yes(), yes(), subject(), reply(), headers(), payload()};
      case 14:
        return Progress{u32(), u64()};
      case 15:
        return Dropped{u32(), reason(), u64()};
      case 16:
        return Receipt{u64(), u64(), u64(), u64()};
      case 17:
        return Outcome{u64(), u32(), u32(), reason()};
      case 18:
        return Flushed{u32()};
      case 19:
        return Watched{u32(), u32()};
      case 20:
        return Answer{u32(), payload()};
      case 21: {
        const auto count = static_cast<std::uint32_t>(1 + random_() % kMostInBatch);
        return PublishBatch{u64(), count, subject(), items(count)};
      }
      case 22: {
        const auto count = static_cast<std::uint32_t>(1 + random_() % 9);
        return DeliverBatch{u32(), u64(), {u64(), u64()}, count, subject(), items(count)};
      }
      default:
        return Farewell{u64(), u64(), yes()};
    }
  }
  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  bool yes() { return random_() % 2 == 0; }
  std::uint64_t u64() {
    // Small ones, those around the wrap of 32 and 64 bits, and any.
    const std::uint64_t any = std::uint64_t{random_()} << 32 | random_();
    switch (random_() % 4) {
      case 0:
        return any % 16;
      case 1:
        return (std::uint64_t{1} << 32) - 8 + any % 16;
      case 2:
        return std::uint64_t{0} - any % 16;
      default:
        return any;
    }
  }
  std::uint32_t u32() { return static_cast<std::uint32_t>(u64()); }
  Reason reason() { return static_cast<Reason>(random_() % kReasons); }
  Instance instance() {
    Instance made{};
    for (auto& byte : made) byte = static_cast<std::uint8_t>(random_());
    return made;
  }
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  std::size_t size(std::size_t limit) {
    return random_() % 8 == 0 ? limit : random_() % std::min<std::size_t>(limit, 20);
  }
  std::string_view text() { return keep(random_text(random_, size(kMaxText), "abc \n.*>\xff")); }
  std::string_view subject() {
    std::string made = random_text(random_, 1 + size(kMaxSubject - 1), "abcdefg\xc3.");
    for (std::size_t i = 0; i < made.size(); ++i) {
      if (made[i] == '.' && (i == 0 || i + 1 == made.size() || made[i - 1] == '.')) made[i] = 'x';
    }
    return keep(std::move(made));
  }
  std::string_view pattern() {
    std::string made(subject());
    if (made.size() > 2 && yes()) made.replace(made.size() - 2, 2, yes() ? ".*" : ".>");
    if (made.size() > 2 && made[made.size() - 3] == '.') made[made.size() - 3] = 'x';
    return keep(std::move(made));
  }
  std::string_view reply() { return yes() ? subject() : std::string_view(); }
  Bytes headers() {
    HeaderBlock& block = blocks_.emplace_back();
    for (std::size_t n = random_() % 4; n > 0; --n) {
      block.add(random_text(random_, 1 + random_() % 9, "key\n"), random_text(random_, random_() % 20, "value"));
    }
    return block.bytes();
  }
  Bytes items(std::uint32_t count) {
    std::string made;
    for (; count > 0; --count) {
      const std::string payload = random_text(random_, random_() % 300, "payload");
      made += {static_cast<char>(payload.size() & 0xff), static_cast<char>(payload.size() >> 8)};
      made += payload;
    }
    return std::as_bytes(std::span(keep(std::move(made))));
  }
  Bytes payload() { return std::as_bytes(std::span(keep(random_text(random_, size(5000), "payload")))); }

  std::mt19937 random_;
  std::deque<std::string> texts_;
  std::deque<HeaderBlock> blocks_;
};

}  // namespace

TEST_CASE("random frames come back as they were", "[protocol]") {
  const unsigned seed = Catch::rngSeed();
  CAPTURE(seed);
  std::set<std::size_t> types;
  for (unsigned round = 0; round < bus::test::repetitions(5000); ++round) {
    CAPTURE(round);
    Maker maker(seed + round);
    const Frame frame = maker.make();
    types.insert(frame.index());
    const ByteVector bytes = encoded(frame);
    REQUIRE(outcome(bytes) == describe(frame));
    const Result<Frame> back = decode(bytes);
    REQUIRE(encoded(*back) == bytes);
  }
  REQUIRE(types.size() == std::variant_size_v<Frame>);
}

TEST_CASE("damaged frames are corrupt, or frames that say so in the same bytes", "[protocol]") {
  const unsigned seed = Catch::rngSeed();
  CAPTURE(seed);
  constexpr unsigned kRounds = bus::test::repetitions(20000);
  unsigned refused = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    Maker maker(seed + round);
    ByteVector bytes = encoded(maker.make());
    for (std::size_t n = 1 + maker.below(3); n > 0; --n) {
      // Mostly in the fixed fields.
      const std::size_t at = maker.below(maker.below(4) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 24));
      bytes[at] = static_cast<std::byte>(maker.below(2) == 0 ? maker.below(256) : maker.below(8) * 255 / 7);
    }
    if (maker.below(4) == 0) bytes.resize(maker.below(bytes.size() + 1));
    const Result<Frame> frame = decode(bytes);
    if (frame) {
      REQUIRE(encoded(*frame) == bytes);
    } else {
      ++refused;
      REQUIRE((frame.error() == Errc::corrupt || frame.error() == Errc::version_mismatch));
    }
  }
  REQUIRE(refused > kRounds / 4);
  REQUIRE(refused < kRounds);
}
