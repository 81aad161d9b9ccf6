// tools/common/format.hpp: how received messages are written.
//
//   line  the payload and a newline
//   raw   the payload alone
//   hex   two digits a byte, a line a message
//   json  {"type":"message","peer":1,"number":1,"size":5,"text":"hello"}; a payload that is no UTF-8 is in "hex"
//   none  nothing
//
// A message of a bus is written in the same way; as JSON it is
//   {"type":"message","number":1,"subject":"a.b","size":5,"text":"hello","publisher":"0123456789abcdef","sequence":1}
// with "reply", "headers" (an object; a value that is no UTF-8 is {"hex":"ff00"}; a key that comes again has a list),
// "again" and "kept" where they apply. message_line.hpp reads it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "bus/client/node.hpp"
#include "tools/common/output.hpp"

namespace bus::tools {

enum class Format : unsigned char { line, raw, hex, json, none };
inline constexpr std::string_view kFormats = "line|raw|hex|json|none";
/// `name` is one of kFormats.
[[nodiscard]] Format format_of(std::string_view name) noexcept;

class Printer {
 public:
  Printer(Format format, Output& output, std::string_view type = "message")
      : format_(format), output_(output), type_(type) {}

  /// `peer` and `number` count from 1.
  void print(std::uint64_t peer, std::uint64_t number, std::span<const std::byte> payload);
  /// With `subjects`, lines begin with the subject and a blank.
  void print(std::uint64_t number, const Delivery& message, bool subjects);

 private:
  Format format_;
  Output& output_;
  std::string type_;
  std::string line_;  // reused, so that printing allocates nothing in the long run
};

/// A JSON object on a line: what happened to a peer, or to the listener. Empty texts and zeros are left out.
struct Event {
  std::string_view type;  // "listening", "came", "went"
  std::string_view address;
  std::uint64_t peer = 0;
  std::string_view peer_address;
  std::uint64_t pid = 0;
  std::string_view reason;
};
[[nodiscard]] std::string event_json(const Event& event);

}  // namespace bus::tools
