// bus/core/errc.hpp: what can go wrong, as codes that callers act on, and the exception that setup throws.
//
// Data-path calls return std::error_code and never throw. Setup (parse, listen, connect) throws
// bus::Error, whose text names the operation, the address, the cause and the way out.
// Failures of the system that nobody acts on by name keep their errno (std::system_category).
#pragma once

#include <string>
#include <string_view>
#include <system_error>

namespace bus {

enum class Errc {
  would_block = 1,    // nothing to do right now; wait and call again
  timed_out,          // the deadline passed first
  closed,             // an orderly end: this side closed, or the peer did and all it sent was received
  peer_died,          // the peer vanished without closing, and all that it had published was received
  no_peer,            // nobody listens there (yet)
  refused,            // the peer answered and said no
  message_too_large,  // above the receiver's max_message
  no_room,            // memory or another resource is exhausted
  corrupt,            // the peer broke the format; the channel is closed
  version_mismatch,   // the peer speaks another version of the format
  permission_denied,  // not ours, or not allowed
  address_in_use,     // a living listener has the address
  bad_address,        // the address cannot be understood
  busy,               // a loan is open on this channel
  not_supported,      // this transport cannot do it
  no_subscriber,      // nobody has subscribed to what it was sent to
};

/// The category of Errc, named "ipcbus". message() gives the cause in plain words.
[[nodiscard]] const std::error_category& category() noexcept;

[[nodiscard]] std::error_code make_error_code(Errc) noexcept;

/// What setup throws. what() is one complete line: operation, address, cause, way out.
class Error : public std::system_error {
 public:
  Error(std::error_code code, std::string text);
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

/// "OPERATION ADDRESS: CAUSE", and the way out where there is only one: the text for a code, as tools print it.
[[nodiscard]] std::string describe(std::string_view operation, std::string_view address, std::error_code code);

/// The code of the current errno. Call it before anything else can change errno.
[[nodiscard]] std::error_code last_system_error() noexcept;

}  // namespace bus

template <>
struct std::is_error_code_enum<bus::Errc> : std::true_type {};
