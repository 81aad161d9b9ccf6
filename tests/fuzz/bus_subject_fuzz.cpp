// tests/fuzz/bus_subject_fuzz.cpp: subjects, patterns and what goes together, against the rules written out naively.
//
// Input: a pattern, a line feed, a subject.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "bus/protocol/subject.hpp"

namespace {

using namespace bus::protocol;

void require(bool ok) {
  if (!ok) std::abort();
}

std::vector<std::string> tokens(std::string_view text) {
  std::vector<std::string> found(1);
  for (const char c : text) {
    if (c == '.') {
      found.emplace_back();
    } else {
      found.back() += c;
    }
  }
  return found;
}

bool is_plain(const std::string& token) {
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f || byte == '*' || byte == '>') return false;
  }
  return !token.empty();
}

bool is_subject(std::string_view text) {
  bool all = text.size() <= kMaxSubject;
  for (const std::string& token : tokens(text)) all = all && is_plain(token);
  return all;
}

bool is_pattern(std::string_view text) {
  std::vector<std::string> all = tokens(text);
  if (all.back() == ">") all.back() = "*";  // may stand where a star may, but only here
  bool good = text.size() <= kMaxSubject;
  for (const std::string& token : all) good = good && (token == "*" || is_plain(token));
  return good;
}

using Tokens = std::vector<std::string>;

bool goes_with(const Tokens& pattern, std::size_t p, const Tokens& subject, std::size_t s) {
  if (p == pattern.size() || s == subject.size()) return p == pattern.size() && s == subject.size();
  // An arrow takes this token and then nothing more, or goes on with the next.
  if (pattern[p] == ">") return s + 1 == subject.size() || goes_with(pattern, p, subject, s + 1);
  return (pattern[p] == "*" || pattern[p] == subject[s]) && goes_with(pattern, p + 1, subject, s + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\n'), size);
  // Copies of their own: reading behind their ends is seen by AddressSanitizer.
  const std::vector<char> first(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(end));
  const std::vector<char> second(input.begin() + static_cast<std::ptrdiff_t>(std::min(end + 1, size)), input.end());
  const std::string_view pattern(first.data(), first.size());
  const std::string_view subject(second.data(), second.size());
  for (const std::string_view text : {pattern, subject}) {
    require(valid_subject(text) == is_subject(text));
    require(valid_pattern(text) == is_pattern(text));
    if (valid_subject(text)) require(valid_pattern(text) && matches(text, text) && matches(">", text));
  }
  if (!valid_pattern(pattern) || !valid_subject(subject)) return 0;
  require(matches(pattern, subject) == goes_with(tokens(pattern), 0, tokens(subject), 0));
  return 0;
}
