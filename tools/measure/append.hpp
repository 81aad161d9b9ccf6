// tools/measure/append.hpp: printf(3) into a string, where columns and digits have to be exact.
#pragma once

#include <array>
#include <cstdio>
#include <string>

namespace bus::tools::measure {

/// Appends one line of at most 511 bytes; what is longer is cut there.
template <class... Values>
void append(std::string& to, const char* format, Values... values) {
  std::array<char, 512> line{};
  std::snprintf(line.data(), line.size(), format, values...);
  to.append(line.data());
}

}  // namespace bus::tools::measure
