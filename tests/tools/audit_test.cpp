// tests/tools/audit_test.cpp: what bus audit makes of records.
#include "tools/common/audit.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "bus/core/errc.hpp"

namespace bus::tools {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kSecond = 1'000'000'000;

/// Lines of one record, with times in seconds.
class Lines {
 public:
  explicit Lines(std::string who, const std::string& name = "n") : who_(std::move(who)) {
    add("joined", R"("name":")" + name + '"', 0);
  }
  Lines& add(const std::string& event, const std::string& rest, double at) {
    text_ += R"({"event":")" + event + R"(","who":")" + who_ + "\"," + (rest.empty() ? "" : rest + ",") +
             R"("time_ns":)" + std::to_string(static_cast<std::int64_t>(at * kSecond)) + "}\n";
    return *this;
  }
  Lines& published(int from, int to, double at, const std::string& more = "") {
    for (int i = from; i <= to; ++i) {
      add("published",
          R"("publisher":")" + who_ + R"(","sequence":)" + std::to_string(i) + R"(,"subject":"a.b","crc":7,"size":3)" +
              more,
          at);
    }
    return *this;
  }
  Lines& accepted(int up_to, double at) {
    return add("accepted", R"("publisher":")" + who_ + R"(","sequence":)" + std::to_string(up_to), at);
  }
  Lines& left(double at) { return add("left", R"("reconnects":0)", at); }
  Lines& subscribed(double at, const std::string& more = "", const std::string& pattern = "a.*") {
    return add("subscribed", R"("subscription":1,"pattern":")" + pattern + "\"" + more, at);
  }
  Lines& received(int from, int to, double at, const std::string& more = "") {
    for (int i = from; i <= to; ++i) {
      add("received",
          R"("subscription":1,"publisher":"p","sequence":)" + std::to_string(i) +
              R"(,"subject":"a.b","crc":7,"size":3)" + more,
          at);
    }
    return *this;
  }
  Lines& dropped(const std::string& reason, int count, double at) {
    return add("dropped", R"("subscription":1,"reason":")" + reason + R"(","count":)" + std::to_string(count), at);
  }
  Lines& unsubscribed(bool idle, double at, int missing = 0) {
    return add("unsubscribed",
               R"("subscription":1,"missing":)" + std::to_string(missing) + R"(,"idle":)" + (idle ? "true" : "false"),
               at);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string who_, text_;
};

AuditResult audit(std::initializer_list<const Lines*> records) {
  Audit audit;
  for (const Lines* const lines : records) audit.read(lines->text(), "record");
  return audit.close(1s);
}

Lines ten_published() { return Lines("p").published(1, 10, 2).accepted(10, 3).left(4); }

}  // namespace

TEST_CASE("books close when all that was owed has come", "[tools][audit]") {
  const Lines pub = ten_published(), sub = Lines("s").subscribed(1).received(1, 10, 3).unsubscribed(false, 4).left(4);
  const AuditResult result = audit({&pub, &sub});
  REQUIRE(result.sum.closed());
  REQUIRE(result.sum.expected == 10);
  REQUIRE(result.sum.delivered == 10);
  REQUIRE(result.publishers.at(0).published == 10);
  REQUIRE(result.publishers.at(0).accepted == 10);
}

TEST_CASE("a message that did not come between others is a hole unless a drop accounts for it", "[tools][audit]") {
  const Lines pub = ten_published();
  Lines sub = Lines("s").subscribed(1).received(1, 3, 3).received(6, 10, 3);
  SECTION("nothing") {
    sub.unsubscribed(false, 4);
    const AuditResult result = audit({&pub, &sub});
    REQUIRE_FALSE(result.sum.closed());
    REQUIRE(result.sum.holes == 2);
    REQUIRE(result.groups.at(0).examples.at(0) == "hole: message 4 of n p");
  }
  SECTION("a drop") {
    sub.dropped("queue_full", 2, 4).unsubscribed(false, 4);
    const AuditResult result = audit({&pub, &sub});
    REQUIRE(result.sum.closed());
    REQUIRE(result.sum.dropped == 2);
    REQUIRE(result.groups.at(0).dropped.at("queue_full") == 2);
  }
  SECTION("answers that nobody waited for any more, said one after the other") {
    sub.dropped("expired", 1, 3).dropped("expired", 1, 4).unsubscribed(true, 4);
    REQUIRE(audit({&pub, &sub}).groups.at(0).dropped.at("expired") == 2);
    REQUIRE(audit({&pub, &sub}).sum.closed());
  }
  SECTION("what it left behind when it ended is none") {
    sub.dropped("closed", 2, 4).unsubscribed(false, 4);
    REQUIRE(audit({&pub, &sub}).sum.holes == 2);
  }
  SECTION("a gap on a lossy link") {
    sub.unsubscribed(false, 4, 1);
    const AuditResult result = audit({&pub, &sub});
    REQUIRE(result.sum.missing == 1);
    REQUIRE(result.sum.holes == 1);
  }
  SECTION("a broker that was lost, but not with `delivered`") {
    sub.add("reconnected", "", 3).unsubscribed(false, 4);
    REQUIRE(audit({&pub, &sub}).sum.unknown == 2);
    const Lines promised = Lines("p").published(1, 10, 2, R"(,"level":"delivered")").accepted(10, 3).left(4);
    REQUIRE(audit({&promised, &sub}).sum.holes == 2);
  }
}

TEST_CASE("the last messages are owed only to who was still waiting for them", "[tools][audit]") {
  const Lines pub = ten_published();
  const Lines busy = Lines("s").subscribed(1).received(1, 6, 3).unsubscribed(false, 10).left(10);
  REQUIRE(audit({&pub, &busy}).sum.in_flight == 4);
  const Lines idle = Lines("s").subscribed(1).received(1, 6, 3).unsubscribed(true, 10).left(10);
  REQUIRE(audit({&pub, &idle}).sum.holes == 4);
  const Lines soon = Lines("s").subscribed(1).received(1, 6, 3).unsubscribed(true, 3.5).left(10);
  REQUIRE(audit({&pub, &soon}).sum.in_flight == 4);
  const Lines killed = Lines("s").subscribed(1).received(1, 6, 3);
  REQUIRE(audit({&pub, &killed}).sum.unknown == 4);
}

TEST_CASE("what is not known to be accepted, or was published before or elsewhere, is not owed", "[tools][audit]") {
  const Lines sub = Lines("s").subscribed(1).unsubscribed(true, 10).left(10);
  const Lines unsure = Lines("p").published(1, 10, 2).accepted(4, 3);
  const AuditResult result = audit({&unsure, &sub});
  REQUIRE(result.sum.holes == 4);
  REQUIRE(result.sum.unknown == 6);
  const Lines since = Lines("p").published(1, 10, 2).add("accepted", R"("publisher":"p","from":7,"sequence":10)", 3);
  REQUIRE(audit({&since, &sub}).sum.holes == 3);
  REQUIRE(audit({&since, &sub}).sum.unknown == 7);
  const Lines before = Lines("p").published(1, 10, 0.5).accepted(10, 3).left(4);
  REQUIRE(audit({&before, &sub}).sum.expected == 0);
  const Lines elsewhere = Lines("s").subscribed(1, "", "b.*").unsubscribed(true, 10).left(10);
  const Lines pub = ten_published();
  REQUIRE(audit({&pub, &elsewhere}).sum.expected == 0);
}

TEST_CASE("what has come was to come, also before the subscriber had written that it was there", "[tools][audit]") {
  const Lines pub = ten_published();
  const Lines sub = Lines("s").subscribed(5).received(1, 10, 6).unsubscribed(true, 10).left(10);
  const AuditResult result = audit({&pub, &sub});
  REQUIRE(result.sum.closed());
  REQUIRE(result.sum.expected == 10);
  REQUIRE(result.sum.delivered == 10);
}

TEST_CASE("a queue group is owed each message once, whoever gets it", "[tools][audit]") {
  const std::string queue = R"(,"queue":"q")";
  const Lines pub = ten_published();
  const Lines one = Lines("s").subscribed(1, queue).received(1, 4, 3).unsubscribed(true, 10).left(10);
  Lines two = Lines("t").subscribed(1, queue).received(5, 9, 3);
  SECTION("a hole") {
    two.unsubscribed(true, 10).left(10);
    const AuditResult result = audit({&pub, &one, &two});
    REQUIRE(result.groups.size() == 1);
    REQUIRE(result.sum.expected == 10);
    REQUIRE(result.sum.holes == 1);
  }
  SECTION("to two of them") {
    two.received(4, 4, 3).received(10, 10, 3).unsubscribed(true, 10).left(10);
    REQUIRE(audit({&pub, &one, &two}).sum.duplicated == 1);
  }
  SECTION("to a second one because the first did not acknowledge it, whichever record is read first") {
    two.received(4, 4, 3, R"(,"again":true)").received(10, 10, 3).unsubscribed(true, 10).left(10);
    const bool turned = GENERATE(false, true);
    const AuditResult result = turned ? audit({&pub, &two, &one}) : audit({&pub, &one, &two});
    REQUIRE(result.sum.closed());
    REQUIRE(result.sum.again == 1);
  }
  SECTION("what a member that left had not taken is dropped, if nobody else was to have it") {
    const Lines early =
        Lines("s").subscribed(1, queue).received(1, 4, 3).unsubscribed(true, 8).dropped("closed", 5, 8.1);
    two.unsubscribed(true, 20).left(20);
    const AuditResult result = audit({&pub, &early, &two});
    REQUIRE(result.sum.closed());
    REQUIRE(result.sum.dropped == 1);
    const Lines later = Lines("p").published(1, 9, 2).published(10, 10, 9).accepted(10, 10).left(11);
    REQUIRE(audit({&later, &early, &two}).sum.holes == 1);
    const Lines promised = Lines("p").published(1, 10, 2, R"(,"level":"delivered")").accepted(10, 3).left(4);
    REQUIRE(audit({&promised, &early, &two}).sum.holes == 1);
  }
  SECTION("one was killed") { REQUIRE(audit({&pub, &one, &two}).sum.unknown == 1); }
}

TEST_CASE("what nobody published, what was changed, what came twice and out of order is found", "[tools][audit]") {
  const Lines pub = ten_published();
  const auto with = [&pub](const auto& change) {
    Lines sub = Lines("s").subscribed(1).received(1, 9, 3);
    change(sub);
    sub.received(10, 10, 3).unsubscribed(false, 10).left(10);
    return audit({&pub, &sub}).sum;
  };
  REQUIRE(with([](Lines& sub) { sub.received(11, 11, 3); }).phantom == 1);
  REQUIRE(with([](Lines& sub) { sub.received(9, 9, 3); }).duplicated == 1);
  REQUIRE(with([](Lines& sub) {
            sub.add("received", R"("subscription":1,"publisher":"p","sequence":10,"subject":"a.b","crc":8,"size":3)",
                    3);
          }).corrupt == 1);
  REQUIRE(with([](Lines& sub) {
            sub.add("received", R"("subscription":1,"publisher":"x","sequence":1,"subject":"a.b","crc":8,"size":3)", 3);
          }).unrecorded == 1);
  const Lines swapped = Lines("s").subscribed(1).received(2, 10, 3).received(1, 1, 3).unsubscribed(false, 10).left(10);
  const AuditCounts sum = audit({&pub, &swapped}).sum;
  REQUIRE(sum.reordered == 1);
  REQUIRE(sum.closed());
}

TEST_CASE("a message beyond a publisher's cut record is no phantom", "[tools][audit]") {
  const Lines pub = Lines("p").published(1, 5, 2).accepted(5, 3);
  const Lines sub = Lines("s").subscribed(1).received(1, 8, 3).unsubscribed(false, 10).left(10);
  const AuditResult result = audit({&pub, &sub});
  REQUIRE(result.sum.closed());
  REQUIRE(result.sum.unrecorded == 3);
}

TEST_CASE("a last line without its end is left out, any other that is none is an error", "[tools][audit]") {
  Audit records;
  const std::string text = ten_published().text();
  records.read(text.substr(0, text.size() - 5), "p");
  REQUIRE(records.cut_lines() == 1);
  for (const char* const bad : {"no json\n", "{}\n", "{\"event\":\"surprise\",\"who\":\"p\",\"time_ns\":1}\n",
                                "{\"event\":\"received\",\"who\":\"p\",\"subscription\":9,\"time_ns\":1}\n", "[1]\n",
                                "{\"event\":3,\"who\":[],\"time_ns\":1}\n"}) {
    CAPTURE(bad);
    REQUIRE_THROWS_AS(Audit().read(bad, "bad"), Error);
  }
}

TEST_CASE("fields of a line come in any order, and what is not known is passed over", "[tools][audit]") {
  const Lines pub = ten_published();
  const Lines sub = Lines("s").subscribed(1).received(1, 9, 3);
  Audit records;
  records.read(pub.text(), "pub");
  records.read(sub.text() +
                   R"({ "size":3, "crc":7, "time_ns":3000000000, "more":{"who":"x","sequence":[1]}, "kept":false,)"
                   R"( "subject":"a.b", "sequence":10, "publisher":"p", "subscription":1, "who":"s",)"
                   R"( "event":"received" })"
                   "\n"
                   R"({"idle":false,"time_ns":4e9,"missing":0,"subscription":1,"who":"s","event":"unsubscribed"})"
                   "\n",
               "sub");
  const AuditResult result = records.close(1s);
  REQUIRE(result.sum.closed());
  REQUIRE(result.sum.delivered == 10);
  REQUIRE(result.groups.at(0).whole);
}

TEST_CASE("names and subjects may hold escapes", "[tools][audit]") {
  Lines pub("p", R"(a \"b\" \\ \u00e4\n)"), sub("s");
  const std::string message = R"("publisher":"p","sequence":1,"crc":7,"size":3,"subject":)";
  pub.add("published", message + R"("a.\"\u00e4\"")", 2).accepted(1, 3).left(4);
  sub.subscribed(1, "", R"(a.\"\u00E4\")");
  sub.add("received", R"("subscription":1,)" + message + "\"a.\\\"\xc3\xa4\\u0022\"", 3).unsubscribed(true, 4).left(4);
  const AuditResult result = audit({&pub, &sub});
  REQUIRE(result.publishers.at(0).name == "a \"b\" \\ \xc3\xa4\n");
  REQUIRE(result.groups.at(0).patterns == "a.\"\xc3\xa4\"");
  REQUIRE(result.sum.delivered == 1);
  REQUIRE(result.sum.closed());
}

TEST_CASE("a line that is no event says in which file it stands, and where", "[tools][audit]") {
  const std::string begin = R"({"event":"published","who":"p","time_ns":1,"subject":"a","crc":7,)";
  const auto [bad, why] = GENERATE_COPY(table<std::string, std::string>({
      {begin + R"("size":3,"sequence":18446744073709551616})", ""},
      {begin + R"("size":3,"sequence":1e30})", "sequence"},
      {begin + R"("size":3,"sequence":-1})", "sequence"},
      {begin + R"("size":4294967296,"sequence":1})", "size"},
      {begin + R"("size":3,"sequence":"1"})", "sequence"},
      {begin + R"("size":3})", "sequence"},
      {begin + R"("size":3,"sequence":1)", ""},
      {begin + R"("size":3,"sequence":1}})", ""},
      {begin + R"("size":3,"sequence":1} {})", ""},
      {begin + R"("size":3,"sequence":1,"level":tru})", ""},
      {begin + R"("size":3,"sequence":1,"level":true})", "level"},
      {begin + "\"size\":3,\"sequence\":1,\"level\":\"\xff\"}", ""},
      {R"({"event":"published","who":"p","sequence":1})", "time_ns"},
      {R"({"event":"surprise","who":"p","time_ns":1})", "unknown event surprise"},
      {R"({"event":"dropped","who":"p","time_ns":1,"subscription":1,"reason":"expired","count":1})", "subscribed"},
      {R"("event")", "object"},
      {"[1]", "object"},
      {"", ""},
  }));
  CAPTURE(bad);
  const std::string good = ten_published().text();  // 13 lines
  REQUIRE_THROWS_WITH(Audit().read(good + bad + "\n" + good, "pub.jsonl"),
                      Catch::StartsWith("audit: pub.jsonl, line 14: not a line of a record: ") && Catch::Contains(why));
}

TEST_CASE("a record may be read in pieces", "[tools][audit]") {
  const std::string text = ten_published().text();
  const std::size_t half = text.find('\n', text.size() / 2) + 1;
  Audit records;
  Audit::Reader reader(records, "pub");
  reader.add(text.substr(0, half));
  SECTION("all of it") {
    reader.add(text.substr(half));
    REQUIRE(records.close(1s).publishers.at(0).published == 10);
    REQUIRE(records.cut_lines() == 0);
  }
  SECTION("without its end") {
    reader.add(text.substr(half, text.size() - half - 1));
    REQUIRE(records.cut_lines() == 1);
    REQUIRE_FALSE(records.close(1s).publishers.at(0).whole);
  }
  SECTION("with a bad line, whose number counts from the first piece") {
    const auto lines = std::ranges::count(std::string_view(text).substr(0, half), '\n');
    const std::string line = "line " + std::to_string(lines + 1) + ":";
    REQUIRE_THROWS_WITH(reader.add("x\n"), Catch::Contains(line));
  }
}

TEST_CASE("a record that is given twice is refused", "[tools][audit]") {
  const Lines pub = Lines("p").published(1, 3, 2).left(4);
  REQUIRE_THROWS_WITH(audit({&pub, &pub}), Catch::Contains("joined before"));
}

TEST_CASE("a message that was published twice is refused with its name", "[tools][audit]") {
  const auto [from, to] = GENERATE(table<int, int>({{5, 5}, {1, 5}, {3, 9}}));
  CAPTURE(from, to);
  Lines pub("p", "the-pub");
  pub.published(1, 5, 2).published(from, to, 3).accepted(9, 4).left(5);
  REQUIRE_THROWS_WITH(audit({&pub}), "audit: message " + std::to_string(from) + " of the-pub p was published twice");
}

TEST_CASE("what a publisher did not number in a row is found all the same", "[tools][audit]") {
  const Lines pub =
      Lines("p").published(5, 6, 2).published(1, 2, 2).published(1'000, 1'002, 2).accepted(1'002, 3).left(4);
  const auto sum = [&pub](const Lines& sub) { return audit({&pub, &sub}).sum; };
  const Lines all =
      Lines("s").subscribed(1).received(1, 2, 3).received(5, 6, 3).received(1'000, 1'002, 3).unsubscribed(true, 10);
  REQUIRE(sum(all).delivered == 7);
  REQUIRE(sum(all).closed());
  const Lines turned =
      Lines("s").subscribed(1).received(1'001, 1'001, 3).received(2, 2, 3).received(6, 6, 3).unsubscribed(true, 10);
  REQUIRE(sum(turned).delivered == 3);
  REQUIRE(sum(turned).phantom == 0);
  const Lines made_up = Lines("s").subscribed(1).received(2, 3, 3).received(999, 1'000, 3).unsubscribed(true, 10);
  REQUIRE(sum(made_up).phantom == 2);
  REQUIRE(sum(made_up).delivered == 2);
}

}  // namespace bus::tools
