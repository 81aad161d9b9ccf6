// tests/tools/common/message_line_test.cpp: messages that are lines of JSON.
#include "tools/common/message_line.hpp"

#include <random>
#include <string>

#include "tests/support/catch.hpp"
#include "tools/common/arguments.hpp"

namespace bus::tools {
namespace {

using Catch::Matchers::Contains;

std::string payload_of(const MessageLine& message) {
  return {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()};
}

}  // namespace

TEST_CASE("a line of JSON is a message with subject and reply and headers", "[tools]") {
  HeaderBlock given;
  given.add("from", "here");
  const auto message = read_message_line(
      R"({"type":"message","number":3,"subject":"a.b","reply":"r","size":99,"text":"hé","publisher":7,)"
      R"("headers":{"lang":"en","many":["1",{"hex":"fF00"}],"bytes":{"hex":""}},"sequence":"?"})",
      given);
  REQUIRE(message);
  REQUIRE(message->subject == "a.b");
  REQUIRE(message->reply == "r");
  REQUIRE(payload_of(*message) == "hé");
  HeaderBlock expected = given;
  expected.add("lang", "en").add("many", "1").add("many", std::string_view("\xff\0", 2)).add("bytes", "");
  REQUIRE(std::equal(message->headers.bytes().begin(), message->headers.bytes().end(), expected.bytes().begin(),
                     expected.bytes().end()));
}

TEST_CASE("a payload is a text or hexadecimal digits", "[tools]") {
  const auto payload = [](std::string_view line) { return payload_of(*read_message_line(line, {})); };
  REQUIRE(payload(R"({"text":""})").empty());
  REQUIRE(payload(R"({"text":"a\u0000\n"})") == std::string("a\0\n", 3));
  REQUIRE(payload(R"({"hex":""})").empty());
  REQUIRE(payload(R"({"hex":"00fFa0"})") == std::string("\0\xff\xa0", 3));
}

TEST_CASE("lines that tell of something else are no messages", "[tools]") {
  const std::string type = GENERATE("joined", "listening", "came", "went", "summary");
  REQUIRE_FALSE(read_message_line(R"({"type":")" + type + R"(","subject":5})", {}));
  REQUIRE(read_message_line(R"({"type":"answer","text":""})", {}));
  REQUIRE(read_message_line(R"({"type":5,"text":""})", {}));
}

TEST_CASE("what is wrong with a line is said", "[tools]") {
  const auto [line, says] = GENERATE(table<std::string, std::string>({
      {"", "no JSON object"},
      {"hello", "no JSON object"},
      {R"({"text":"x")", "no JSON object"},
      {R"(["text"])", "no JSON object"},
      {"{\"text\":\"\xff\"}", "no JSON object"},
      {"{}", "no payload"},
      {R"({"text":"x","hex":"00"})", "two payloads"},
      {R"({"text":5})", "its \"text\" is no text"},
      {R"({"hex":5})", "its \"hex\" is no text"},
      {R"({"hex":"0"})", "two hexadecimal digits"},
      {R"({"hex":"000"})", "two hexadecimal digits"},
      {R"({"hex":"0g"})", "two hexadecimal digits"},
      {R"({"hex":"-1"})", "two hexadecimal digits"},
      {R"({"hex":" 1"})", "two hexadecimal digits"},
      {R"({"hex":"0x"})", "two hexadecimal digits"},
      {R"({"text":"","subject":"a..b"})", "its \"subject\" is no subject: a..b"},
      {R"({"text":"","subject":""})", "its \"subject\" is no subject"},
      {R"({"text":"","subject":5})", "its \"subject\" is no text"},
      {R"({"text":"","reply":"a.*"})", "its \"reply\" is no subject: a.*"},
      {R"({"text":"","headers":[]})", "its \"headers\" are no object"},
      {R"({"text":"","headers":{"a":5}})", "neither a text nor"},
      {R"({"text":"","headers":{"a":{"hex":"00","x":1}}})", "neither a text nor"},
      {R"({"text":"","headers":{"a":[["b"]]}})", "neither a text nor"},
      {R"({"text":"","headers":{"a":{"hex":"xx"}}})", "two hexadecimal digits"},
      {R"({"text":"","headers":{"":"x"}})", "an empty key"},
      {R"({"text":"","headers":{"a":")" + std::string(70'000, 'x') + R"("}})", "more than 64"},
  }));
  CAPTURE(line.substr(0, 100));
  REQUIRE_THROWS_WITH(read_message_line(line, {}), Contains(says));
  REQUIRE_THROWS_AS(read_message_line(line, {}), UsageError);
}

TEST_CASE("a line that is cut or changed is a message or a mistake and nothing else", "[tools]") {
  const std::string line =
      R"({"type":"message","subject":"a.b","reply":"r","hex":"00ff","headers":{"k":["v",{"hex":"ff"}]}})";
  REQUIRE(read_message_line(line, {}));
  for (std::size_t length = 0; length < line.size(); ++length) {
    REQUIRE_THROWS_AS(read_message_line(line.substr(0, length), {}), UsageError);
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = line;
    for (int n = 0; n < 3; ++n) changed[random() % changed.size()] = static_cast<char>(random());
    try {
      static_cast<void>(read_message_line(changed, {}));
    } catch (const UsageError&) {
      continue;
    }
  }
}

}  // namespace bus::tools
