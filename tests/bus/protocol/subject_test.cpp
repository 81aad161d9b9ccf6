// tests/bus/protocol/subject_test.cpp: what is a subject, what is a pattern, and which go together.
#include "bus/protocol/subject.hpp"

#include <random>
#include <string>
#include <vector>

#include "tests/bus/protocol/hex.hpp"
#include "tests/support/catch.hpp"

using namespace bus::protocol;

namespace {

std::vector<std::string> tokens(std::string_view text) {
  std::vector<std::string> found{""};
  for (const char c : text) {
    if (c == '.') {
      found.emplace_back();
    } else {
      found.back() += c;
    }
  }
  return found;
}

bool plain(const std::string& token) {
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f || c == '*' || c == '>') return false;
  }
  return !token.empty();
}

/// "aaa.*", of that size.
std::string ending_in_star(std::size_t size) {
  std::string text(size, 'a');
  text[size - 2] = '.';
  text[size - 1] = '*';
  return text;
}

// The rules once more, without any haste.

bool is_subject(std::string_view text) {
  if (text.size() > 256) return false;
  for (const std::string& token : tokens(text)) {
    if (!plain(token)) return false;
  }
  return true;
}

bool is_pattern(std::string_view text) {
  if (text.size() > 256) return false;
  const auto all = tokens(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool last = i + 1 == all.size();
    if (!plain(all[i]) && all[i] != "*" && !(all[i] == ">" && last)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a subject is tokens with dots in between", "[protocol]") {
  for (const char* good : {"a", "a.b", "sensors.kitchen.temp", "A-b_c.1.$x", "caf\xc3\xa9.\xff", "/slash.#.!",
                           "1234567", "12345678", "123456789", "1234567.90123456.8901234"}) {
    CAPTURE(good);
    CHECK(valid_subject(good));
    CHECK(valid_pattern(good));
  }
  for (const char* bad : {"", ".", "..", ".a", "a.", "a..b", "abcdefg..hijklmnopq", "abcdefgh..ijklmnopq", "abcdef..",
                          "a b", " a", "a ", "a\tb", "a\nb", "a\rb", "\x01", "a\x7f", "abcdefghijk\x1flmnop"}) {
    CAPTURE(bad);
    CHECK_FALSE(valid_subject(bad));
    CHECK_FALSE(valid_pattern(bad));
  }
  CHECK_FALSE(valid_subject(std::string_view("a\0b", 3)));
  CHECK_FALSE(valid_pattern(std::string_view("a\0b", 3)));
}

TEST_CASE("wildcards are whole tokens of patterns", "[protocol]") {
  for (const char* good : {"*", ">", "*.*", "*.>", "a.*", "*.a", "a.*.b", "a.>", "a.*.>"}) {
    CAPTURE(good);
    CHECK(valid_pattern(good));
    CHECK_FALSE(valid_subject(good));
  }
  for (const char* bad : {"a*", "*a", "**", "a.b*", ">>", "a>", ">a", ">.a", "a.>.b", ">.>", "*>", ">*", "*.", ".>",
                          ">.", "a..>", "a.* .b"}) {
    CAPTURE(bad);
    CHECK_FALSE(valid_pattern(bad));
    CHECK_FALSE(valid_subject(bad));
  }
}

TEST_CASE("subjects and patterns have at most 256 bytes", "[protocol]") {
  REQUIRE(kMaxSubject == 256);
  CHECK(valid_subject(std::string(256, 'a')));
  CHECK_FALSE(valid_subject(std::string(257, 'a')));
  CHECK(valid_pattern(ending_in_star(256)));
  CHECK_FALSE(valid_pattern(ending_in_star(257)));
  CHECK_FALSE(valid_pattern(std::string(1U << 16, 'a')));
}

TEST_CASE("every byte at every place of a subject is looked at", "[protocol]") {
  for (std::size_t size = 1; size <= 40; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, 'x');
        text[at] = static_cast<char>(byte);
        if (valid_subject(text) != is_subject(text)) FAIL("byte " << byte << " at " << at << " of " << size);
        if (at == 0) continue;
        text[at - 1] = '.';
        if (valid_subject(text) != is_subject(text))
          FAIL("byte " << byte << " behind a dot at " << at << " of " << size);
      }
    }
  }
}

TEST_CASE("random texts are subjects and patterns by the rules", "[protocol]") {
  const unsigned seed = Catch::rngSeed();
  CAPTURE(seed);
  std::mt19937 random(seed);
  int subjects = 0;
  int patterns = 0;
  for (int round = 0; round < 100000; ++round) {
    const std::string text =
        bus::test::random_text(random, random() % 24, random() % 2 == 0 ? "ab.*>" : "abcdefgh.*\x80 ");
    CAPTURE(text);
    if (valid_subject(text) != is_subject(text)) FAIL("subject");
    if (valid_pattern(text) != is_pattern(text)) FAIL("pattern");
    subjects += valid_subject(text) ? 1 : 0;
    patterns += valid_pattern(text) ? 1 : 0;
  }
  REQUIRE(subjects > 1000);
  REQUIRE(patterns > subjects);
}

TEST_CASE("a star stands for one token, an arrow for the rest", "[protocol]") {
  struct Case {
    const char* pattern;
    std::vector<const char*> subjects, others;
  };
  const std::vector<Case> cases{
      {"a", {"a"}, {"A", "b", "aa", "a.a", "a.b"}},
      {"a.b", {"a.b"}, {"a", "b", "a.c", "a.b.c", "a.bb", "ab", "a.B"}},
      {"*", {"a", "abc"}, {"a.b", "a.b.c"}},
      {"*.*", {"a.b", "b.b"}, {"a", "a.b.c"}},
      {"a.*", {"a.b", "a.c"}, {"a", "b.a", "a.b.c"}},
      {"*.b", {"a.b", "b.b"}, {"b", "a.c", "a.b.b"}},
      {"a.*.c", {"a.b.c", "a.c.c"}, {"a.c", "a.b.b", "a.b.c.d", "a.b.b.c"}},
      {">", {"a", "a.b", "a.b.c.d"}, {}},
      {"a.>", {"a.b", "a.b.c", "a.b.c.d"}, {"a", "b", "b.a", "aa.b"}},
      {"*.>", {"a.b", "a.b.c"}, {"a"}},
      {"a.*.>", {"a.b.c", "a.b.c.d"}, {"a", "a.b", "b.b.c"}},
  };
  for (const Case& c : cases) {
    for (const char* subject : c.subjects) {
      CAPTURE(c.pattern, subject);
      CHECK(matches(c.pattern, subject));
    }
    for (const char* subject : c.others) {
      CAPTURE(c.pattern, subject);
      CHECK_FALSE(matches(c.pattern, subject));
    }
  }
}
