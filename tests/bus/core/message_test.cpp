// tests/bus/core/message_test.cpp: a message gives its room back once, wherever it ends.
#include "bus/core/message.hpp"

#include <vector>
#include "tests/support/catch.hpp"

namespace {

class Room final : public bus::Message::Owner {
 public:
  void release(void* token) noexcept override { released.push_back(token); }
  std::vector<void*> released;
};

}  // namespace

TEST_CASE("a message is released once, at its end", "[message]") {
  Room room;
  int token = 0;
  {
    const bus::Message message(bus::bytes_of("text"), &room, &token);
    REQUIRE(message.text() == "text");
    REQUIRE(message.size() == 4);
    REQUIRE_FALSE(message.empty());
    REQUIRE(room.released.empty());
  }
  REQUIRE(room.released == std::vector<void*>{&token});
}

TEST_CASE("moving a message moves its room", "[message]") {
  Room room;
  int one = 0, two = 0;
  bus::Message first(bus::bytes_of("first"), &room, &one);
  bus::Message second(bus::bytes_of("second"), &room, &two);
  bus::Message moved = std::move(first);
  REQUIRE(first.empty());
  REQUIRE(moved.text() == "first");
  moved = std::move(second);
  REQUIRE(room.released == std::vector<void*>{&one});
  REQUIRE(moved.text() == "second");
  bus::Message& same = moved;
  moved = std::move(same);
  REQUIRE(moved.text() == "second");
  moved.reset();
  moved.reset();
  REQUIRE(moved.empty());
  REQUIRE(room.released == std::vector<void*>{&one, &two});
}

TEST_CASE("a copy has bytes of its own", "[message]") {
  Room room;
  std::string text = "original";
  bus::Message message(bus::bytes_of(text), &room, nullptr);
  const bus::Message copy = message.copy();
  message.reset();
  text = "scribble";
  REQUIRE(copy.text() == "original");
  REQUIRE(room.released.size() == 1);
  REQUIRE(bus::Message().copy().empty());
  REQUIRE(bus::Message({}, &room, nullptr).copy().empty());
}
