// tools/verbs/all.cpp: the one table of verbs.
#include "tools/verbs/all.hpp"

#include <array>

namespace bus::tools {

std::span<const Verb* const> verbs() noexcept {
  static const std::array<const Verb*, 4> table{&send_verb(), &recv_verb(), &echo_verb(), &ping_verb()};
  return table;
}

}  // namespace bus::tools
