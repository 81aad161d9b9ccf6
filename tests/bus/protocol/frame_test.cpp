// tests/bus/protocol/frame_test.cpp: golden bytes of every frame, and how frames are made.
#include "bus/protocol/frame.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <variant>

#include "tests/bus/protocol/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/process.hpp"

using namespace bus;
using namespace bus::protocol;
using namespace bus::test;
using namespace bus::test::frames;

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

TEST_CASE("a batch passes on with its items as they are", "[protocol]") {
  const ByteVector& published = golden("publish_batch").bytes;
  const auto batch = std::get<PublishBatch>(*decode(published));
  Front room;
  const Bytes front = front_of(DeliverBatch{7, 16, {kPublisher, 9}, batch.count, batch.subject, {}}, room);
  CHECK(join(ByteVector(front.begin(), front.end()), batch.items) == golden("deliver_batch").bytes);
  Bytes items = batch.items;
  const Bytes taken = take_item(items);
  CHECK(to_hex({taken.begin(), taken.end()}) == to_hex(kHi));
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
