// tests/fuzz/address_fuzz.cpp: any text as an address: it is understood or refused with bad_address, nothing else.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bus/core/address.hpp"
#include "bus/core/transport.hpp"
#include "bus/core/units.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

/// What was understood is understood again, with the same meaning.
void round_trip(const bus::Address& address) {
  const bus::Address again = bus::Address::parse(address.text());
  require(again.scheme() == address.scheme() && again.host() == address.host() && again.path() == address.path());
  require(again.port() == address.port() && again.options() == address.options());
  const bus::Address moved = address.with_port(4711);
  require(moved.port() == 4711);
  const bus::Address parsed = bus::Address::parse(moved.text());
  require(parsed.port() == 4711 && parsed.host() == address.host() && parsed.options() == address.options());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = bus::parse_size(text)) require(bus::parse_size(bus::format_size(*bytes)) == bytes);
  static_cast<void>(bus::parse_duration(text));
  static_cast<void>(bus::parse_rate(text));
  try {
    const bus::Address address = bus::Address::parse(text);
    round_trip(address);
    const bus::Transport& transport = bus::find_transport(address);
    const bus::Options options = bus::read_options(transport, address);
    require(options.max_message >= 1 && options.max_message <= bus::Options::kMostMaxMessage);
    require(options.capacity >= bus::Options::kLeastCapacity && options.capacity <= bus::Options::kMostCapacity);
    transport.check(address);
  } catch (const bus::Error& error) {
    require(error.code() == bus::Errc::bad_address);
    require(error.what()[0] != '\0');
  }
  return 0;
}
