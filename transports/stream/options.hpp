// transports/stream/options.hpp: the address options that unix and tcp share.
#pragma once

#include "bus/core/transport.hpp"
#include "transports/stream/stream_channel.hpp"

namespace bus::stream {

inline constexpr OptionSpec kFramingOption{
    "framing", "bus|raw|line", [](std::string_view value) noexcept { return parse_framing(value).has_value(); }};

/// What the options ask for, before a peer is known.
[[nodiscard]] inline StreamChannel::Terms terms_of(const Options& options) {
  StreamChannel::Terms terms;
  terms.framing = parse_framing(options.get("framing", "bus")).value_or(Framing::bus);
  terms.max_message = options.max_message;
  terms.capacity = options.capacity;
  return terms;
}

}  // namespace bus::stream
