// tests/system/json_lines_test.cpp: messages as lines of JSON, out of sub and into pub.
#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

std::vector<std::string> json_pub(const std::string& bus, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words{"pub"};
  for (const std::string& word : more) words.push_back(word);
  return with(words, {"--bus", bus + "?embed=never", "--input", "json", "--json"});
}

/// What sub prints of the messages, without what only it knows.
std::vector<Json> messages_in(const std::string& out) {
  std::vector<Json> messages;
  for (Json line : objects(out)) {
    if (line.at("type") != "message") continue;
    line.erase("publisher");
    line.erase("sequence");
    messages.push_back(line);
  }
  return messages;
}

}  // namespace

TEST_CASE("what sub prints as JSON is what pub publishes on another bus", "[system]") {
  const std::string from = fixed_bus("unix"), to = fixed_bus("shm");
  const Polite broker = broker_on(from), other = broker_on(to);
  Polite first = sub_on(from, "a.>", {"--json", "--count", "4"});
  const auto pub = [&](std::vector<std::string> more, std::string_view input = {}) {
    more.insert(more.begin(), "pub");
    REQUIRE(run_bus(with(more, {"--bus", from + "?embed=never"}), input).status == exited(0));
  };
  pub({"a.text", "h\xc3\xa9 \"x\"", "-H", "lang:en", "-H", "n:1", "-H", "n:2", "--reply", "r.s"});
  pub({"a.bytes", "--whole", "-H", "raw:\xff\x01", "-H", "n:text", "-H", "n:\xfe"}, std::string_view("\xff\0\n", 3));
  pub({"a.empty", ""});
  pub({"a.long", "--whole"}, std::string(100'000, 'x'));
  REQUIRE(first.wait() == exited(0));
  const auto messages = messages_in(first.out());
  REQUIRE(messages.size() == 4);
  REQUIRE(messages[0].at("headers") == Json{{"lang", "en"}, {"n", {"1", "2"}}});
  REQUIRE(messages[1].at("headers") == Json{{"raw", {{"hex", "ff01"}}}, {"n", {"text", {{"hex", "fe"}}}}});
  REQUIRE(messages[1].at("hex") == "ff000a");

  Polite second = sub_on(to, ">", {"--json", "--count", "4"});
  const Finished carried = run_bus(json_pub(to), first.out());  // with its first line and its summary
  INFO(carried.err);
  REQUIRE(carried.status == exited(0));
  REQUIRE(summary_of(carried.out).at("sent") == 4);
  REQUIRE(second.wait() == exited(0));
  REQUIRE(messages_in(second.out()) == messages);
}

TEST_CASE("what the command line of pub says stands for all lines of JSON", "[system]") {
  const std::string bus = fixed_bus("unix");
  const Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, ">", {"--json", "--count", "2"});
  const Finished pub = run_bus(json_pub(bus, {"b", "-H", "from:here", "--reply", "r", "--wait-subs", "1"}),
                               R"({"subject":"a","text":"1","reply":"q","headers":{"x":"y"}})"
                               "\n"
                               R"({"text":"2"})");
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  REQUIRE(sub.wait() == exited(0));
  const auto messages = messages_in(sub.out());
  REQUIRE(messages.size() == 2);
  for (const Json& message : messages) {
    REQUIRE(message.at("subject") == "b");
    REQUIRE(message.at("reply") == "r");
    REQUIRE(message.at("headers").at("from") == "here");
  }
  REQUIRE(messages[0].at("headers").at("x") == "y");
}

TEST_CASE("a wrong line of JSON is said with its number and what was before it is published", "[system]") {
  const auto [line, says] = GENERATE(table<std::string, std::string>({
      {"hello", "it is no JSON object"},
      {R"({"text":"x"})", "it has no \"subject\", and the command line has no SUBJECT"},
      {R"({"subject":"a"})", "it has no payload"},
      {R"({"subject":"a","hex":"0g"})", "its \"hex\" is not two hexadecimal digits"},
      {R"({"subject":"a","text":"","headers":{"":"x"}})", "its \"headers\" have an empty key"},
  }));
  CAPTURE(line);
  const std::string bus = fixed_bus("unix");
  const Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, "a", {"--count", "1"});
  const std::string good = R"({"subject":"a","text":"good"})";
  const Finished pub = run_bus(json_pub(bus), good + "\n{\"type\":\"joined\"}\n" + line + "\n" + good + "\n");
  INFO(pub.err);
  REQUIRE(pub.status == exited(2));
  REQUIRE_THAT(pub.err, Contains("bus: pub: stdin, line 3: " + says));
  const Json summary = summary_of(pub.out);
  REQUIRE(summary.at("sent") == 1);
  REQUIRE(summary.at("books").at("accepted") == 1);
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(sub.out() == "good\n");
}

TEST_CASE("pub says which options do not go with lines of JSON", "[system]") {
  const auto [words, says] = GENERATE(table<std::vector<std::string>, std::string>({
      {{"pub"}, "an argument is missing: write bus pub SUBJECT [DATA...]"},
      {{"pub", "a", "x", "--input", "json"}, "--input and DATA exclude each other"},
      {{"pub", "a", "--input", "json", "--whole"}, "exclude each other"},
      {{"pub", "a", "--input", "json", "--file", "x"}, "exclude each other"},
      {{"pub", "a", "--input", "json", "--size", "5"}, "exclude each other"},
      {{"pub", "a", "--input", "json", "--count", "5"}, "--count is for DATA"},
      {{"pub", "--input", "json", "--wait-subs", "1"}, "--wait-subs needs a SUBJECT"},
      {{"pub", "a", "--input", "jsn"}, "did you mean json?"},
  }));
  const Finished pub = run_bus(words);
  INFO(pub.err);
  REQUIRE(pub.status == exited(2));
  REQUIRE_THAT(pub.err, Contains(says));
}

}  // namespace bus::test
