// tools/measure/schedule.cpp: the four kinds of arrival.
#include "tools/measure/schedule.hpp"

#include <charconv>
#include <cmath>

#include "bus/core/errc.hpp"
#include "bus/core/units.hpp"

namespace bus::tools::measure {
namespace {

constexpr double kSecond = 1e9;

[[noreturn]] void bad_line(std::size_t number, std::string_view why) {
  throw Error(Errc::corrupt, "trace, line " + std::to_string(number) + ": " + std::string(why));
}

TraceEntry parse_entry(std::string_view line, std::size_t number) {
  const auto gap = line.find_first_of(" \t,");
  if (gap == std::string_view::npos) bad_line(number, "it is \"SECONDS SIZE\"");
  double seconds = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + gap, seconds);
  if (error != std::errc{} || end != line.data() + gap || !(seconds >= 0) || seconds > 1e6) {
    bad_line(number, "the time is seconds from 0 to 1000000");
  }
  const auto from = line.find_first_not_of(" \t,", gap);
  const auto size = from == std::string_view::npos ? std::nullopt : parse_size(line.substr(from));
  if (!size || *size == 0) bad_line(number, "the size is bytes, as 64 or 4KiB");
  return {static_cast<std::uint64_t>(std::llround(seconds * kSecond)), *size};
}

}  // namespace

std::string_view name(Arrivals::Kind kind) noexcept {
  switch (kind) {
    case Arrivals::Kind::constant:
      return "constant";
    case Arrivals::Kind::poisson:
      return "poisson";
    case Arrivals::Kind::burst:
      return "burst";
    case Arrivals::Kind::trace:
      return "trace";
  }
  return "";
}

std::optional<Arrivals> parse_arrivals(std::string_view text) {
  Arrivals arrivals;
  if (text == "constant") return arrivals;
  if (text == "poisson") {
    arrivals.kind = Arrivals::Kind::poisson;
    return arrivals;
  }
  constexpr std::string_view kBurst = "burst";
  if (!text.starts_with(kBurst)) return {};
  arrivals.kind = Arrivals::Kind::burst;
  text.remove_prefix(kBurst.size());
  if (text.empty()) return arrivals;
  const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), arrivals.burst);
  if (text.front() != ':' || error != std::errc{} || end != text.data() + text.size() || arrivals.burst == 0) return {};
  return arrivals;
}

std::vector<TraceEntry> parse_trace(std::string_view text) {
  std::vector<TraceEntry> trace;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line = line.substr(0, line.find('#'));
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const TraceEntry entry = parse_entry(line, number);
    if (!trace.empty() && entry.at < trace.back().at) bad_line(number, "its time is before the one above");
    trace.push_back(entry);
  }
  if (trace.empty()) throw Error(Errc::corrupt, "trace: no entry; a line is \"SECONDS SIZE\"");
  return trace;
}

Schedule::Due Schedule::next() noexcept {
  const Arrivals& how = *arrivals_;
  const std::uint64_t i = index_++;
  switch (how.kind) {
    case Arrivals::Kind::constant:
      // By multiplication: a sum of rounded periods would drift.
      return {static_cast<std::uint64_t>(static_cast<double>(i) * kSecond / how.rate), 0};
    case Arrivals::Kind::burst: {
      const std::uint64_t first = i - i % how.burst;
      return {static_cast<std::uint64_t>(static_cast<double>(first) * kSecond / how.rate), 0};
    }
    case Arrivals::Kind::poisson: {
      // Gaps of a Poisson process are exponential. 53 bits give (0, 1].
      const double uniform = (static_cast<double>(random_() >> 11) + 1) * 0x1p-53;
      at_ -= std::log(uniform) / how.rate * kSecond;
      return {static_cast<std::uint64_t>(at_), 0};
    }
    case Arrivals::Kind::trace: {
      const TraceEntry& entry = how.trace[i % how.trace.size()];
      if (i > 0 && i % how.trace.size() == 0) round_at_ += how.trace.back().at + 1;
      return {round_at_ + entry.at, entry.size};
    }
  }
  return {};
}

}  // namespace bus::tools::measure
