// tools/common/inherited.cpp: see inherited.hpp.
#include "tools/common/inherited.hpp"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "tools/common/arguments.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {
namespace {

constexpr int kFirstInherited = 3;     // SD_LISTEN_FDS_START
constexpr int kMostInherited = 65536;  // more is a mistake

std::optional<std::string> take(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return {};
  std::string text = value;
  ::unsetenv(name);
  return text;
}

int count_of(const char* name, const std::string& text, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 0 || number > most) {
    throw UsageError("the environment's " + std::string(name) + "=" + harmless(text) +
                     ": allowed is a number from 0 to " + std::to_string(most));
  }
  return number;
}

}  // namespace

std::vector<InheritedSocket> inherited_sockets() {
  const auto pid = take("LISTEN_PID"), count = take("LISTEN_FDS"), names = take("LISTEN_FDNAMES");
  if (!pid || !count || *pid != std::to_string(::getpid())) return {};
  std::string_view rest = names ? std::string_view(*names) : std::string_view();
  std::vector<InheritedSocket> sockets;
  const int number = count_of("LISTEN_FDS", *count, kMostInherited);
  for (int i = 0; i < number; ++i) {
    const std::size_t colon = rest.find(':');
    sockets.push_back({kFirstInherited + i, std::string(rest.substr(0, colon))});
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  }
  return sockets;
}

std::string describe_inherited(const InheritedSocket& socket) {
  std::string text = "descriptor " + std::to_string(socket.descriptor);
  if (!socket.name.empty()) text += " (" + harmless(socket.name) + ")";
  return text;
}

}  // namespace bus::tools
