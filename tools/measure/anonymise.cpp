// tools/measure/anonymise.cpp: see anonymise.hpp.
#include "tools/measure/anonymise.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

namespace bus::tools::measure {
namespace {

bool is_letter(char c) noexcept { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// "localhost", "127.0.0.1", "[::1]", with or without a port: every machine has that.
bool is_loopback(std::string_view host) noexcept {
  return host.starts_with("127.") || host == "localhost" || host.starts_with("localhost:") || host.starts_with("[::1]");
}

std::string address(std::string_view text, std::size_t separator) {
  const std::size_t name = separator + 3;
  const std::size_t query = std::min(text.find('?', name), text.size());
  std::string result(text.substr(0, name));
  const std::string_view place = text.substr(name, query - name);
  if (is_loopback(place) || place.empty()) {
    result.append(place);
  } else {
    result.append(kAnonymised);
  }
  return result.append(text.substr(query));
}

/// A dot and a letter behind a letter or digit: lab.json, host.example. Not 1.5ms, p99.9 or 10.0.0.1.
bool has_ending(std::string_view word) noexcept {
  for (std::size_t i = 1; i + 1 < word.size(); ++i) {
    if (word[i] == '.' && is_letter(word[i + 1])) return true;
  }
  return false;
}

bool is_ipv4(std::string_view word) noexcept {
  return std::count(word.begin(), word.end(), '.') == 3 &&
         std::all_of(word.begin(), word.end(), [](char c) { return is_digit(c) || c == '.'; });
}

bool names_us(std::string_view word) {
  constexpr std::size_t kLeast = 3;  // a host called "a" does not blacken every word
  for (const std::string& name : {host_name(), user_name()}) {
    if (name.size() >= kLeast && name != "root" && word.find(name) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return name.data();
}

std::string user_name() {
  for (const char* const variable : {"USER", "LOGNAME"}) {
    if (const char* const name = std::getenv(variable); name != nullptr && *name != '\0') return name;
  }
  return std::to_string(::geteuid());
}

std::string anonymised(std::string_view word) {
  if (word.starts_with("-")) {
    const std::size_t equals = word.find('=');
    if (equals != std::string_view::npos) {
      return std::string(word.substr(0, equals + 1)).append(anonymised(word.substr(equals + 1)));
    }
    // A short option with a path behind it, -I/home/me, and a negative number stays as it is.
    return word.find('/') == std::string_view::npos ? std::string(word)
                                                    : std::string(word.substr(0, 2)).append(kAnonymised);
  }
  if (const std::size_t separator = word.find("://"); separator != std::string_view::npos) {
    return address(word, separator);
  }
  const bool tells = word.find('/') != std::string_view::npos || has_ending(word) || is_ipv4(word) ||
                     (word.find(':') != std::string_view::npos && !is_loopback(word)) || names_us(word);
  return tells ? std::string(kAnonymised) : std::string(word);
}

std::vector<std::string> anonymised_command(const std::vector<std::string>& command) {
  std::vector<std::string> result;
  result.reserve(command.size());
  for (const std::string& word : command) {
    if (result.empty()) {
      const std::size_t slash = word.rfind('/');
      result.push_back(slash == std::string::npos ? word : word.substr(slash + 1));
    } else {
      result.push_back(anonymised(word));
    }
  }
  return result;
}

}  // namespace bus::tools::measure
