// tests/conformance/code_names.hpp: error codes as single words, for the text that two test processes exchange.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include "bus/core/errc.hpp"

namespace bus::test {

[[nodiscard]] inline std::string code_name(std::error_code code) {
  static constexpr std::array<std::string_view, 16> kNames{"0",
                                                           "would_block",
                                                           "timed_out",
                                                           "closed",
                                                           "peer_died",
                                                           "no_peer",
                                                           "refused",
                                                           "message_too_large",
                                                           "no_room",
                                                           "corrupt",
                                                           "version_mismatch",
                                                           "permission_denied",
                                                           "address_in_use",
                                                           "bad_address",
                                                           "busy",
                                                           "not_supported"};
  if (!code) return "0";
  if (code.category() != category()) return "errno-" + std::to_string(code.value());
  const auto at = static_cast<std::size_t>(code.value());
  return at < kNames.size() ? std::string(kNames[at]) : "unknown-" + std::to_string(code.value());
}

}  // namespace bus::test
