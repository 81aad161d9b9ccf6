// bus/core/errc.cpp: the texts behind the codes.
#include "bus/core/errc.hpp"

#include <cerrno>

namespace bus {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "ipcbus"; }

  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<Errc>(code)) {
      case Errc::would_block:
        return "it would have to wait";
      case Errc::timed_out:
        return "the deadline passed";
      case Errc::closed:
        return "the channel is closed";
      case Errc::peer_died:
        return "the peer died without closing";
      case Errc::no_peer:
        return "nobody is listening there";
      case Errc::refused:
        return "the peer refused";
      case Errc::message_too_large:
        return "the message is larger than the receiver accepts; raise max_message there";
      case Errc::no_room:
        return "out of memory or descriptors";
      case Errc::corrupt:
        return "the peer sent bytes that break the format";
      case Errc::version_mismatch:
        return "the peer speaks another version of the protocol";
      case Errc::permission_denied:
        return "permission denied";
      case Errc::address_in_use:
        return "the address is in use";
      case Errc::bad_address:
        return "the address cannot be understood";
      case Errc::busy:
        return "a loan is open on this channel; publish or drop it first";
      case Errc::not_supported:
        return "this transport cannot do that";
      case Errc::no_subscriber:
        return "nobody has subscribed to that subject";
    }
    return "unknown error " + std::to_string(code);
  }

  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<Errc>(code)) {
      case Errc::would_block:
        return std::errc::operation_would_block;
      case Errc::timed_out:
        return std::errc::timed_out;
      case Errc::closed:
        return std::errc::not_connected;
      case Errc::peer_died:
        return std::errc::connection_reset;
      case Errc::no_peer:
      case Errc::refused:
        return std::errc::connection_refused;
      case Errc::message_too_large:
        return std::errc::message_size;
      case Errc::no_room:
        return std::errc::not_enough_memory;
      case Errc::corrupt:
      case Errc::version_mismatch:
        return std::errc::protocol_error;
      case Errc::permission_denied:
        return std::errc::permission_denied;
      case Errc::address_in_use:
        return std::errc::address_in_use;
      case Errc::bad_address:
        return std::errc::invalid_argument;
      case Errc::busy:
        return std::errc::device_or_resource_busy;
      case Errc::not_supported:
        return std::errc::operation_not_supported;
      case Errc::no_subscriber:
        return std::errc::destination_address_required;
    }
    return {code, *this};
  }
};

constinit const Category kCategory;

}  // namespace

const std::error_category& category() noexcept { return kCategory; }

std::error_code make_error_code(Errc code) noexcept { return {static_cast<int>(code), kCategory}; }

Error::Error(std::error_code code, std::string text) : std::system_error(code), text_(std::move(text)) {}

std::string describe(std::string_view operation, std::string_view address, std::error_code code) {
  std::string text(operation);
  if (!address.empty()) text.append(" ").append(address);
  text.append(": ").append(code.message());
  if (code == std::errc::too_many_files_open) text.append("; raise the limit of open files (ulimit -n)");
  return text;
}

std::error_code last_system_error() noexcept { return {errno, std::system_category()}; }

}  // namespace bus
