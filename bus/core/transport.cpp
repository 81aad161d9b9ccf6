// bus/core/transport.cpp: finding transports, checking options.
#include "bus/core/transport.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "bus/core/units.hpp"

namespace bus {
namespace {

constexpr std::string_view kMaxMessage = "max_message";
constexpr std::string_view kCapacity = "capacity";
constexpr std::string_view kWait = "wait";

[[noreturn]] void bad_option(const Address& address, std::string_view key, std::string_view value,
                             std::string_view allowed) {
  throw Error(Errc::bad_address, std::string(address.text())
                                     .append(": option ")
                                     .append(key)
                                     .append("=")
                                     .append(value)
                                     .append(": allowed is ")
                                     .append(allowed));
}

std::size_t size_option(const Address& address, std::string_view key, std::string_view value, std::size_t least,
                        std::size_t most) {
  const auto size = parse_size(value);
  if (!size || *size < least || *size > most) {
    bad_option(address, key, value,
               "a size from " + format_size(least) + " to " + format_size(most) + ", such as 1MiB");
  }
  return static_cast<std::size_t>(*size);
}

}  // namespace

const Transport& find_transport(const Address& address) {
  std::vector<std::string_view> schemes;
  for (const Transport* transport : transports()) {
    if (transport->scheme() == address.scheme()) return *transport;
    schemes.push_back(transport->scheme());
  }
  throw Error(Errc::bad_address, address.text() + ": " + unknown_word("scheme", address.scheme(), schemes));
}

Options read_options(const Transport& transport, const Address& address, std::size_t max_message) {
  Options options;
  if (max_message > 0) options.max_message = std::min(max_message, Options::kMostMaxMessage);
  for (const auto& [key, value] : address.options()) {
    if (key == kMaxMessage) {
      options.max_message = size_option(address, key, value, 1, Options::kMostMaxMessage);
    } else if (key == kCapacity) {
      options.capacity = size_option(address, key, value, Options::kLeastCapacity, Options::kMostCapacity);
    } else if (key == kWait) {
      const auto mode = parse_wait_mode(value);
      if (!mode) bad_option(address, key, value, "spin|hybrid|block");
      options.wait = *mode;
    } else {
      const auto known = transport.options();
      const auto spec = std::find_if(known.begin(), known.end(), [&k = key](const auto& s) { return s.name == k; });
      if (spec == known.end()) {
        std::vector<std::string_view> names{kMaxMessage, kCapacity, kWait};
        for (const OptionSpec& s : known) names.push_back(s.name);
        throw Error(Errc::bad_address, address.text() + ": " + unknown_word("option", key, names));
      }
      if (!spec->valid(value)) bad_option(address, key, value, spec->allowed);
      options.own.emplace(key, value);
    }
  }
  return options;
}

std::error_code ChannelImpl::try_send_pieces(std::span<const std::byte> head,
                                             std::span<const std::byte> tail) noexcept {
  const Result<std::span<std::byte>> room = try_loan(head.size() + tail.size());
  if (!room) return room.error();
  std::byte* to = room->data();
  for (const std::span<const std::byte> piece : {head, tail}) {
    if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  return publish(head.size() + tail.size());
}

}  // namespace bus
