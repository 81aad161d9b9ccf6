// tests/fuzz/broker_config_fuzz.cpp: a broker's configuration that anybody may have written.
//
// Input: the file. It is refused in one line that names it, or each of its limits is one that a broker takes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/core.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/broker_config.hpp"

namespace {

using namespace bus::tools;

void require(bool ok) {
  if (!ok) std::abort();
}

void check(const BrokerConfig& config) {
  bus::broker::Limits limits;
  for (const auto& [name, value] : config.limits) require(set_limit(limits, name, value).empty());
  if (config.name) require(!config.name->empty());
  for (const BrokerConfig::Entry& entry : config.listen) require(entry.where.starts_with("file:"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of its own: reading behind its end is seen by AddressSanitizer.
  const std::vector<char> text(data, data + size);
  try {
    check(parse_broker_config({text.data(), text.size()}, "file"));
  } catch (const UsageError& error) {
    const std::string_view line = error.what();
    require(line.starts_with("file:") && line.find('\n') == line.npos);
  }
  return 0;
}
