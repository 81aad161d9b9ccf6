// tests/fuzz/audit_fuzz.cpp: bus audit on records that anybody may have written.
//
// Input: a record. Read whole and line by line it says the same, and its books add up whatever is in it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "bus/core/errc.hpp"
#include "tools/common/audit.hpp"

namespace {

using namespace bus::tools;

void require(bool ok) {
  if (!ok) std::abort();
}

std::uint64_t all_of(const AuditCounts& counts) {
  return counts.delivered + counts.dropped + counts.missing + counts.in_flight + counts.unknown + counts.holes;
}

bool equal(const AuditCounts& a, const AuditCounts& b) {
  return a.expected == b.expected && a.received == b.received && a.unrecorded == b.unrecorded &&
         a.duplicated == b.duplicated && a.reordered == b.reordered && a.phantom == b.phantom &&
         a.corrupt == b.corrupt && a.holes == b.holes && all_of(a) == all_of(b);
}

/// Nothing: it is no record.
template <typename Read>
std::optional<AuditResult> audited(Read read) {
  Audit audit;
  try {
    read(audit);
    return audit.close(std::chrono::seconds(1));
  } catch (const bus::Error& error) {
    require(error.code() == bus::Errc::corrupt);
    return {};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view record(reinterpret_cast<const char*>(data), size);
  const auto whole = audited([&](Audit& audit) { audit.read(record, "record"); });
  const auto lines = audited([&](Audit& audit) {
    Audit::Reader reader(audit, "record");
    for (std::string_view left = record; !left.empty();) {
      const std::size_t line = std::min(left.find('\n'), left.size() - 1) + 1;
      reader.add(std::string(left.substr(0, line)));  // of its own: reading behind its end is seen
      left.remove_prefix(line);
    }
  });
  require(whole.has_value() == lines.has_value());
  if (!whole) return 0;
  require(equal(whole->sum, lines->sum));
  for (const AuditResult::Group& group : whole->groups) require(all_of(group.counts) == group.counts.expected);
  return 0;
}
