// tests/bus/protocol/frame_test.cpp: golden bytes of every frame, and everything that is none.
#include "bus/protocol/frame.hpp"

#include <algorithm>
#include <concepts>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "bus/protocol/headers.hpp"
#include "bus/protocol/subject.hpp"
#include "tests/bus/protocol/hex.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sanitized.hpp"

using namespace bus;
using namespace bus::protocol;
using bus::test::bytes_of_text;
using bus::test::ByteVector;
using bus::test::hex;
using bus::test::join;
using bus::test::number;
using bus::test::random_text;
using bus::test::to_hex;

namespace {

// ---- a frame as text, so that two can be compared ----

std::string to_text(std::string_view text) { return "'" + std::string(text) + "'"; }
std::string to_text(Bytes bytes) { return to_hex({bytes.begin(), bytes.end()}); }
std::string to_text(const Instance& instance) { return to_text(std::as_bytes(std::span(instance))); }
std::string to_text(const MessageId& id) { return std::to_string(id.publisher) + "/" + std::to_string(id.sequence); }
template <std::unsigned_integral Number>
std::string to_text(Number value) {
  return std::to_string(value);
}
std::string to_text(Full full) { return std::string(name(full)); }
std::string to_text(Level level) { return std::string(name(level)); }
std::string to_text(Reason reason) { return std::string(name(reason)); }
std::string to_text(Errc why) { return std::to_string(static_cast<int>(why)); }
template <>
std::string to_text(bool set) {
  return set ? "yes" : "no";
}

template <class... Parts>
std::string line(std::string_view type, const Parts&... parts) {
  std::string text(type);
  ((text += ' ', text += to_text(parts)), ...);
  return text;
}

// Each names every member: a new one does not compile until it is here.
struct Describe {
  std::string operator()(const Hello& f) const {
    const auto& [version, instance, publisher, sequence, called, again, subscribed] = f;
    return line("hello", version, instance, publisher, sequence, called, again, subscribed);
  }
  std::string operator()(const Subscribe& f) const {
    const auto& [subscription, pattern, queue, depth, full, history, again] = f;
    return line("subscribe", subscription, pattern, queue, depth, full, history, again);
  }
  std::string operator()(const Unsubscribe& f) const { return line("unsubscribe", f.subscription); }
  std::string operator()(const Publish& f) const {
    const auto& [sequence, level, tell, again, history, subject, reply, headers, payload] = f;
    return line("publish", sequence, level, tell, again, history, subject, reply, headers, payload);
  }
  std::string operator()(const PublishBatch& f) const {
    const auto& [sequence, count, subject, items] = f;
    return line("publish_batch", sequence, count, subject, items);
  }
  std::string operator()(const DeliverBatch& f) const {
    const auto& [subscription, index, message, count, subject, items] = f;
    return line("deliver_batch", subscription, index, message, count, subject, items);
  }
  std::string operator()(const Taken& f) const {
    const auto& [subscription, index, dropped] = f;
    return line("taken", subscription, index, dropped);
  }
  std::string operator()(const Acknowledge& f) const {
    const auto& [subscription, message, dropped] = f;
    return line("acknowledge", subscription, message, dropped);
  }
  std::string operator()(const Flush& f) const {
    const auto& [token, sequence] = f;
    return line("flush", token, sequence);
  }
  std::string operator()(const Watch& f) const {
    const auto& [token, count, subject] = f;
    return line("watch", token, count, subject);
  }
  std::string operator()(const Query& f) const {
    const auto& [token, what] = f;
    return line("query", token, what);
  }
  std::string operator()(const Bye& f) const { return line("bye", f.sequence, f.stays); }
  std::string operator()(const Welcome& f) const {
    const auto& [version, instance, window_messages, window_bytes, max_payload, subscriptions, called, subscribed] = f;
    return line("welcome", version, instance, window_messages, window_bytes, max_payload, subscriptions, called,
                subscribed);
  }
  std::string operator()(const Refused& f) const {
    const auto& [id, why, text] = f;
    return line("refused", id, why, text);
  }
  std::string operator()(const Subscribed& f) const { return line("subscribed", f.subscription); }
  std::string operator()(const Deliver& f) const {
    const auto& [subscription, index, message, acknowledge, again, kept, subject, reply, headers, payload] = f;
    return line("deliver", subscription, index, message, acknowledge, again, kept, subject, reply, headers, payload);
  }
  std::string operator()(const Progress& f) const {
    const auto& [subscription, index] = f;
    return line("progress", subscription, index);
  }
  std::string operator()(const Dropped& f) const {
    const auto& [subscription, reason, count] = f;
    return line("dropped", subscription, reason, count);
  }
  std::string operator()(const Receipt& f) const {
    const auto& [sequence, accepted, unreached, dropped] = f;
    return line("receipt", sequence, accepted, unreached, dropped);
  }
  std::string operator()(const Outcome& f) const {
    const auto& [sequence, reached, failed, reason] = f;
    return line("outcome", sequence, reached, failed, reason);
  }
  std::string operator()(const Flushed& f) const { return line("flushed", f.token); }
  std::string operator()(const Watched& f) const {
    const auto& [token, count] = f;
    return line("watched", token, count);
  }
  std::string operator()(const Answer& f) const {
    const auto& [token, payload] = f;
    return line("answer", token, payload);
  }
  std::string operator()(const Farewell& f) const {
    const auto& [accepted, delivered, stays] = f;
    return line("farewell", accepted, delivered, stays);
  }
};
std::string describe(const Frame& frame) { return std::visit(Describe{}, frame); }

ByteVector encoded(const Frame& frame) {
  ByteVector bytes;
  encode(frame, bytes);
  return bytes;
}

/// What decoding gives, as text. `bytes` is a vector of just that size: AddressSanitizer sees what is read behind it.
std::string outcome(const ByteVector& bytes) {
  const Result<Frame> frame = decode(bytes);
  if (frame) return describe(*frame);
  if (frame.error() == Errc::corrupt) return "corrupt";
  if (frame.error() == Errc::version_mismatch) return "version_mismatch";
  return frame.error().message();
}

ByteVector first(const ByteVector& bytes, std::size_t size) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

// ---- golden bytes ----

struct Golden {
  std::string name;
  Frame frame;
  ByteVector bytes;
  unsigned flags = 0;       // all that frames of this type may have
  std::size_t payload = 0;  // bytes at the end whose number nothing in the frame says
};

constexpr Instance kNode{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr Instance kBroker{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
constexpr std::uint64_t kPublisher = 0x0807060504030201;
const ByteVector kPair = hex("01 00 01 00 6b 76");
const ByteVector kHi = bytes_of_text("hi");
const ByteVector kItems = hex("02 00 68 69  00 00  01 00 79");
const ByteVector kJson = bytes_of_text("{}");

std::vector<Golden> golden() {
  std::vector<Golden> all;
  all.push_back({"hello", Hello{1, kNode, kPublisher, 9, "cam"},
                 hex("01 00 03 00 69 70 63 62"
                     "01 00"
                     "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
                     "01 02 03 04 05 06 07 08"
                     "09 00 00 00 00 00 00 00  00 00 00 00"
                     "63 61 6d"),
                 0x04});
  all.push_back({"hello_again", Hello{1, kNode, kPublisher, 9, "cam", true, 5},
                 hex("01 04 03 00 69 70 63 62"
                     "01 00"
                     "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
                     "01 02 03 04 05 06 07 08"
                     "09 00 00 00 00 00 00 00  05 00 00 00"
                     "63 61 6d"),
                 0x04});
  all.push_back({"subscribe", Subscribe{7, "a.*", "w", 1024, Full::drop_old, 5, true},
                 hex("02 04 03 00 07 00 00 00"
                     "00 04 00 00  05 00 00 00  02  01 00"
                     "61 2e 2a  77"),
                 0x04});
  all.push_back({"unsubscribe", Unsubscribe{7}, hex("03 00 00 00 07 00 00 00")});
  all.push_back({"publish", Publish{.sequence = 9, .subject = "a.b", .payload = kHi},
                 hex("04 00 03 00 00 00 00 00"
                     "09 00 00 00 00 00 00 00"
                     "61 2e 62  68 69"),
                 0x1f, 2});
  all.push_back({"publish_all",
                 Publish{.sequence = 0x0102030405060708,
                         .level = Level::delivered,
                         .tell = true,
                         .again = true,
                         .history = 3,
                         .subject = "a.b",
                         .reply = "r.1",
                         .headers = kPair,
                         .payload = kHi},
                 hex("04 1f 03 00 03 00 00 00"
                     "08 07 06 05 04 03 02 01"
                     "03 00  06 00 00 00"
                     "61 2e 62  72 2e 31  01 00 01 00 6b 76  68 69"),
                 0x1f, 2});
  all.push_back({"publish_batch", PublishBatch{9, 3, "a.b", kItems},
                 hex("0b 00 03 00 03 00 00 00"
                     "09 00 00 00 00 00 00 00"
                     "61 2e 62  02 00 68 69  00 00  01 00 79")});
  all.push_back({"taken", Taken{7, 16, 2},
                 hex("05 00 00 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00")});
  all.push_back({"acknowledge", Acknowledge{7, {kPublisher, 9}, true},
                 hex("06 40 00 00 07 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"),
                 0x40});
  all.push_back({"flush", Flush{21, 9}, hex("07 00 00 00 15 00 00 00  09 00 00 00 00 00 00 00")});
  all.push_back({"watch", Watch{22, 2, "a.b"}, hex("08 00 03 00 16 00 00 00  02 00 00 00  61 2e 62")});
  all.push_back({"unwatch", Watch{22, 0, "a.b"}, hex("08 00 03 00 16 00 00 00  00 00 00 00  61 2e 62")});
  all.push_back({"query", Query{23, "status"}, hex("09 00 06 00 17 00 00 00  73 74 61 74 75 73")});
  all.push_back({"bye", Bye{9, false}, hex("0a 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"bye_stays", Bye{9, true}, hex("0a 80 00 00 00 00 00 00  09 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"welcome", Welcome{1, kBroker, 4096, 8U << 20, 1U << 20, 512, "lab", 5},
                 hex("81 00 03 00 69 70 63 62"
                     "01 00"
                     "10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f"
                     "00 10 00 00  00 00 80 00  00 00 10 00  00 02 00 00  05 00 00 00"
                     "6c 61 62")});
  all.push_back({"refused", Refused{7, Errc::permission_denied, "no"}, hex("82 00 02 00 07 00 00 00  0b  6e 6f")});
  all.push_back({"subscribed", Subscribed{7}, hex("83 00 00 00 07 00 00 00")});
  all.push_back({"deliver",
                 Deliver{.subscription = 7, .index = 16, .message = {kPublisher, 9}, .subject = "a.b", .payload = kHi},
                 hex("84 00 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "61 2e 62  68 69"),
                 0x2f, 2});
  all.push_back({"deliver_all",
                 Deliver{.subscription = 7,
                         .index = 16,
                         .message = {kPublisher, 9},
                         .acknowledge = true,
                         .again = true,
                         .kept = true,
                         .subject = "a.b",
                         .reply = "r.1",
                         .headers = kPair,
                         .payload = kHi},
                 hex("84 2f 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "03 00  06 00 00 00"
                     "61 2e 62  72 2e 31  01 00 01 00 6b 76  68 69"),
                 0x2f, 2});
  all.push_back({"deliver_batch", DeliverBatch{7, 16, {kPublisher, 9}, 3, "a.b", kItems},
                 hex("8d 00 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "03 00 00 00"
                     "61 2e 62  02 00 68 69  00 00  01 00 79")});
  all.push_back({"progress", Progress{7, 16}, hex("85 00 00 00 07 00 00 00  10 00 00 00 00 00 00 00")});
  all.push_back(
      {"dropped", Dropped{7, Reason::expired, 2}, hex("86 00 00 00 07 00 00 00  02 00 00 00 00 00 00 00  08")});
  all.push_back({"receipt", Receipt{9, 8, 1, 2},
                 hex("87 00 00 00 00 00 00 00"
                     "09 00 00 00 00 00 00 00  08 00 00 00 00 00 00 00"
                     "01 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00")});
  all.push_back({"outcome", Outcome{9, 2, 1, Reason::closed},
                 hex("88 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00  02 00 00 00  01 00 00 00  03")});
  all.push_back({"flushed", Flushed{21}, hex("89 00 00 00 15 00 00 00")});
  all.push_back({"watched", Watched{22, 2}, hex("8a 00 00 00 16 00 00 00  02 00 00 00")});
  all.push_back({"answer", Answer{23, kJson}, hex("8b 00 00 00 17 00 00 00  7b 7d"), 0, 2});
  all.push_back({"farewell", Farewell{9, 16, false},
                 hex("8c 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00  10 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"farewell_stays", Farewell{9, 16, true},
                 hex("8c 80 00 00 00 00 00 00  09 00 00 00 00 00 00 00  10 00 00 00 00 00 00 00"), 0x80});
  return all;
}

const Golden& golden(std::string_view name) {
  static const std::vector<Golden> all = golden();
  return *std::find_if(all.begin(), all.end(), [&](const Golden& one) { return one.name == name; });
}

ByteVector with(ByteVector bytes, std::size_t at, const ByteVector& instead) {
  std::copy(instead.begin(), instead.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

std::string characters(std::size_t size) { return std::string(size, 'a'); }

}  // namespace

TEST_CASE("every frame has these bytes", "[protocol]") {
  for (const Golden& one : golden()) {
    CAPTURE(one.name);
    CHECK(to_hex(encoded(one.frame)) == to_hex(one.bytes));
    CHECK(outcome(one.bytes) == describe(one.frame));
  }
}

TEST_CASE("there is a golden frame of each type", "[protocol]") {
  std::set<std::size_t> types;
  for (const Golden& one : golden()) types.insert(one.frame.index());
  REQUIRE(types.size() == std::variant_size_v<Frame>);
}

TEST_CASE("the README shows the golden frames", "[protocol]") {
  std::ifstream file(std::filesystem::path(test::source_directory()) / "bus/protocol/README.md");
  std::map<std::string, ByteVector> shown;
  std::string line;
  while (std::getline(file, line) && line != "## Examples") {
  }
  for (std::string name; std::getline(file, line) && !line.starts_with("## ");) {
    if (!line.starts_with("    ")) continue;
    std::istringstream words(line);
    if (line[4] != ' ') words >> name;
    std::string rest;
    std::getline(words, rest);
    shown[name] = join(shown[name], hex(rest));
  }
  const std::vector<Golden> all = golden();
  CHECK(shown.size() == all.size());
  for (const Golden& one : all) {
    CAPTURE(one.name);
    CHECK(to_hex(shown[one.name]) == to_hex(one.bytes));
  }
}

TEST_CASE("the fuzzer starts from the golden frames", "[protocol]") {
  for (const Golden& one : golden()) {
    CAPTURE(one.name);
    std::ifstream file(std::filesystem::path(test::source_directory()) / "tests/fuzz/corpus/bus_frame" / one.name,
                       std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    CHECK(to_hex(bytes_of_text(content.str())) == to_hex(one.bytes));
  }
}

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

TEST_CASE("a message passes on with its tail as it is", "[protocol]") {
  for (const char* which : {"publish", "publish_all"}) {
    CAPTURE(which);
    const ByteVector& published = golden(which).bytes;
    const auto publish = std::get<Publish>(*decode(published));
    const Bytes tail = tail_of_publish(published);
    const Deliver deliver{.subscription = 7,
                          .index = 16,
                          .message = {kPublisher, 9},
                          .subject = publish.subject,
                          .reply = publish.reply,
                          .headers = publish.headers,
                          .payload = publish.payload};
    const auto head = deliver_head(deliver);
    const ByteVector delivered = join(ByteVector(head.begin(), head.end()), tail);
    CHECK(outcome(delivered) == describe(deliver));
    CHECK(delivered == encoded(deliver));

    REQUIRE(tail_size(publish.subject, publish.reply, publish.headers, publish.payload) == tail.size());
    ByteVector written(tail.size());
    write_tail(written.data(), publish.subject, publish.reply, publish.headers, publish.payload);
    CHECK(to_hex(written) == to_hex({tail.begin(), tail.end()}));
    const auto again = publish_head(publish);
    CHECK(join(ByteVector(again.begin(), again.end()), written) == published);
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

TEST_CASE("a batch passes on with its items as they are", "[protocol]") {
  const ByteVector& published = golden("publish_batch").bytes;
  const auto batch = std::get<PublishBatch>(*decode(published));
  Front room;
  const Bytes front = front_of(DeliverBatch{7, 16, {kPublisher, 9}, batch.count, batch.subject, {}}, room);
  CHECK(join(ByteVector(front.begin(), front.end()), batch.items) == golden("deliver_batch").bytes);
  Bytes items = batch.items;
  CHECK(to_text(take_item(items)) == to_hex(kHi));
  CHECK(take_item(items).empty());
  CHECK(take_item(items).size() == 1);
  CHECK(items.empty());
}

TEST_CASE("encoding replaces what was there", "[protocol]") {
  ByteVector bytes = golden("publish_all").bytes;
  encode(Flushed{21}, bytes);
  REQUIRE(bytes == golden("flushed").bytes);
}

TEST_CASE("rules and levels have names", "[protocol]") {
  CHECK(name(Full::block) == "block");
  CHECK(name(Full::drop_new) == "drop_new");
  CHECK(name(Full::drop_old) == "drop_old");
  CHECK(name(Full::disconnect) == "disconnect");
  CHECK(name(Level::accepted) == "accepted");
  CHECK(name(Level::delivered) == "delivered");
}

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
