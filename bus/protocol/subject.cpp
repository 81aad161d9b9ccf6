// bus/protocol/subject.cpp: subjects eight bytes at a time, patterns token by token.
#include "bus/protocol/subject.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace bus::protocol {
namespace {

constexpr char kSeparator = '.';
constexpr std::string_view kAny = "*";
constexpr std::string_view kRest = ">";

bool fits(std::string_view text) noexcept { return !text.empty() && text.size() <= kMaxSubject; }

// Eight bytes in one word. Source of the tests for zero bytes and for bytes less than n: Sean Eron Anderson, Bit
// Twiddling Hacks.
constexpr std::uint64_t each(std::uint64_t byte) noexcept { return byte * 0x0101010101010101; }
constexpr std::uint64_t kHighest = each(0x80);

/// The highest bit of each byte that is zero.
constexpr std::uint64_t zeros(std::uint64_t word) noexcept {
  return ~(((word & ~kHighest) + ~kHighest) | word | ~kHighest);
}

/// Not 0 if one of eight bytes stands in no subject, or two separators stand next to each other.
constexpr std::uint64_t wrong(std::uint64_t word) noexcept {
  // For a byte below 0x80, x - n has its highest bit set if x < n. A borrow can reach the next byte only from one that
  // is found itself, so whether there is any is exact.
  const std::uint64_t blank_or_control = word - each(' ' + 1);
  const std::uint64_t any = (word ^ each('*')) - each(1);
  const std::uint64_t rest = (word ^ each('>')) - each(1);
  const std::uint64_t del = (word ^ each(0x7f)) - each(1);
  const std::uint64_t separators = zeros(word ^ each(kSeparator));
  return ((blank_or_control | any | rest | del) & ~word & kHighest) | (separators & (separators >> 8));
}

std::uint64_t load(const char* from) noexcept {  // in either byte order: neighbours stay neighbours
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

/// The first token, without its separator; takes both off `text`.
std::string_view take_token(std::string_view& text) noexcept {
  const std::string_view token = text.substr(0, text.find(kSeparator));
  text.remove_prefix(std::min(text.size(), token.size() + 1));
  return token;
}

}  // namespace

bool valid_subject(std::string_view subject) noexcept {
  if (!fits(subject) || subject.front() == kSeparator || subject.back() == kSeparator) return false;
  if (subject.size() < sizeof(std::uint64_t)) {
    char padded[sizeof(std::uint64_t)] = {'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'};
    for (std::size_t i = 0; i < subject.size(); ++i) padded[i] = subject[i];
    return wrong(load(padded)) == 0;
  }
  // Each word begins with the byte that the one before ended with, so that all neighbours meet in one of them.
  const std::size_t last = subject.size() - sizeof(std::uint64_t);
  std::uint64_t found = wrong(load(subject.data() + last));
  for (std::size_t at = 0; at < last; at += sizeof(std::uint64_t) - 1) found |= wrong(load(subject.data() + at));
  return found == 0;
}

bool valid_pattern(std::string_view pattern) noexcept {
  if (!fits(pattern) || pattern.back() == kSeparator) return false;
  while (!pattern.empty()) {
    const std::string_view token = take_token(pattern);
    if (token == kRest) return pattern.empty();
    if (token != kAny && !valid_subject(token)) return false;
  }
  return true;
}

bool matches(std::string_view pattern, std::string_view subject) noexcept {
  while (!pattern.empty() && !subject.empty()) {
    const std::string_view wanted = take_token(pattern);
    if (wanted == kRest) return true;
    const std::string_view token = take_token(subject);
    if (wanted != kAny && wanted != token) return false;
  }
  return pattern.empty() && subject.empty();
}

}  // namespace bus::protocol
