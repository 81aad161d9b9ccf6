// tests/tools/common/terminal_text_test.cpp: text for people, cut and wrapped to a width.
#include "tools/common/terminal_text.hpp"

#include <catch2/catch.hpp>
#include <string>

namespace bus::tools {

TEST_CASE("a width counts characters, not bytes", "[tools]") {
  CHECK(width_of("") == 0);
  CHECK(width_of("12 us") == 5);
  CHECK(width_of("naïve…") == 6);
}

TEST_CASE("a text that is too wide is cut between characters and says so", "[tools]") {
  CHECK(shortened("latency", 7) == "latency");
  CHECK(shortened("latency", 6) == "laten…");
  CHECK(shortened("ééééé", 3) == "éé…");
  CHECK(shortened("latency", 1) == "…");
}

TEST_CASE("lines are broken between words, and later ones are indented", "[tools]") {
  CHECK(wrapped("one two three", 20, 2) == "one two three\n");
  CHECK(wrapped("one two three", 13, 2) == "one two three\n");
  CHECK(wrapped("one two three", 12, 2) == "one two\n  three\n");
  CHECK(wrapped("éé éé éé", 5, 0) == "éé éé\néé\n");
  CHECK(wrapped("", 12, 2) == "\n");
}

TEST_CASE("a first line that is begun already has less room", "[tools]") {
  CHECK(wrapped("one two three", 12, 4, 4) == "one two\n    three\n");
  CHECK(wrapped("one two three", 12, 2, 6) == "one\n  two three\n");
}

TEST_CASE("a word that is too long stands alone and in one piece", "[tools]") {
  CHECK(wrapped("a /very/long/path b", 8, 2) == "a\n  /very/long/path\n  b\n");
  CHECK(wrapped("/very/long/path", 8, 2, 2) == "/very/long/path\n");
}

TEST_CASE("blanks at the beginning and between words stay", "[tools]") {
  CHECK(wrapped("  a  b", 12, 4) == "  a  b\n");
}

TEST_CASE("no control character comes through", "[tools]") {
  CHECK(harmless("shm://lab é") == "shm://lab é");
  CHECK(harmless("a\x1b[31mb\tc\n\x7f") == "a?[31mb?c??");
  CHECK(harmless("a\xC2\x9B"
                 "b") == "a?b");  // the escape's other form
}

TEST_CASE("one thing has no s", "[tools]") {
  CHECK(counted(0, "message") == "0 messages");
  CHECK(counted(1, "message") == "1 message");
  CHECK(counted(2, "message") == "2 messages");
}

}  // namespace bus::tools
