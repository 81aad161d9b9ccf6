// tools/common/summary.cpp: see summary.hpp.
#include "tools/common/summary.hpp"

#include <array>
#include <cstdio>

#include "bus/core/units.hpp"
#include "tools/common/json.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {
namespace {

void add_to(ReasonCounts& sum, const ReasonCounts& counts) noexcept {
  for (std::size_t i = 0; i < kReasons; ++i) sum[i] += counts[i];
}

void add_to(std::optional<std::uint64_t>& sum, const std::optional<std::uint64_t>& n) noexcept {
  if (n) sum = sum.value_or(0) + *n;
}

Json reasons_json(const ReasonCounts& counts) {
  Json object = Json::object();
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (counts[i] != 0) object[std::string(name(static_cast<Reason>(i)))] = counts[i];
  }
  return object;
}

Json known(const std::optional<std::uint64_t>& n) { return n ? Json(*n) : Json(nullptr); }

std::string three_digits(double value) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), value >= 100 ? "%.0f" : "%.3g", value);
  return text.data();
}

std::string scaled(double value, double step, std::array<std::string_view, 5> units) {
  std::size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  return three_digits(value).append(units[unit]);
}

std::string bytes_text(double bytes) { return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB"}); }
std::string number_text(double n) { return scaled(n, 1000, {"", " k", " M", " G", " T"}); }

}  // namespace

void BooksSum::add(const Books& books) noexcept {
  ++channels_;
  all_closed_ = all_closed_ && books.closed();
  sum_.offered += books.offered;
  sum_.accepted += books.accepted;
  add_to(sum_.refused, books.refused);
  add_to(sum_.lost, books.lost);
  sum_.bytes_sent += books.bytes_sent;
  sum_.received += books.received;
  add_to(sum_.dropped, books.dropped);
  sum_.duplicates += books.duplicates;
  sum_.reordered += books.reordered;
  sum_.bytes_received += books.bytes_received;
  add_to(sum_.peer_accepted, books.peer_accepted);
  add_to(sum_.peer_received, books.peer_received);
  sum_.peer_dropped += books.peer_dropped;
}

std::uint64_t not_delivered(const Books& books) noexcept { return books.peer_dropped + total(books.lost); }

std::uint64_t missed(const Books& books) noexcept {
  const std::uint64_t by_choice = books.dropped[static_cast<std::size_t>(Reason::closed)];
  const std::uint64_t dropped = total(books.dropped);
  const std::uint64_t accounted = books.received + dropped;
  const std::uint64_t unexplained =
      books.peer_accepted && *books.peer_accepted > accounted ? *books.peer_accepted - accounted : 0;
  return dropped - by_choice + unexplained;
}

std::string reasons_text(const ReasonCounts& counts) {
  std::string text;
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (counts[i] == 0) continue;
    if (!text.empty()) text.append(", ");
    text.append(name(static_cast<Reason>(i))).append(" ").append(std::to_string(counts[i]));
  }
  return text.empty() ? "none" : text;
}

std::string summary_json(const Summary& summary) {
  const Books& sum = summary.books.sum();
  Json object;
  object["type"] = "summary";
  object["address"] = summary.address;
  object["sent"] = summary.sent;
  object["received"] = summary.received;
  object["bytes"] = summary.bytes;
  object["seconds"] = std::chrono::duration<double>(summary.elapsed).count();
  Json& books = object["books"];
  books["offered"] = sum.offered;
  books["accepted"] = sum.accepted;
  books["refused"] = reasons_json(sum.refused);
  books["received"] = sum.received;
  books["dropped"] = reasons_json(sum.dropped);
  books["peer_accepted"] = known(sum.peer_accepted);
  books["closed"] = summary.books.closed();
  // Only where there is something to tell.
  if (total(sum.lost) != 0) books["lost"] = reasons_json(sum.lost);
  if (sum.peer_dropped != 0) books["peer_dropped"] = sum.peer_dropped;
  if (sum.duplicates != 0) books["duplicates"] = sum.duplicates;
  if (sum.reordered != 0) books["reordered"] = sum.reordered;
  if (summary.verified) {
    Json& verified = object["verified"];
    verified["checked"] = summary.verified->checked;
    verified["lost"] = summary.verified->lost;
    verified["duplicated"] = summary.verified->duplicated;
    verified["reordered"] = summary.verified->reordered;
    verified["damaged"] = summary.verified->damaged;
  }
  if (summary.rtt != nullptr) {
    const Histogram& rtt = *summary.rtt;
    object["lost"] = summary.lost;
    Json& ns = object["rtt_ns"];
    ns["min"] = rtt.least();
    ns["p50"] = rtt.quantile(0.5);
    ns["p90"] = rtt.quantile(0.9);
    ns["p99"] = rtt.quantile(0.99);
    ns["p999"] = rtt.quantile(0.999);
    ns["max"] = rtt.greatest();
  }
  return json_line(object);
}

std::string books_text(const BooksSum& books) {
  const Books& sum = books.sum();
  const auto n = [](std::uint64_t number) { return std::to_string(number); };
  const auto told = [](const std::optional<std::uint64_t>& number) { return number ? std::to_string(*number) : "?"; };
  std::string text = "books\n";
  text.append("  sending    offered ").append(n(sum.offered)).append(" = accepted ").append(n(sum.accepted));
  text.append(" + refused ").append(n(total(sum.refused)));
  if (total(sum.refused) != 0) text.append(" (").append(reasons_text(sum.refused)).append(")");
  text.append("\n             accepted ").append(n(sum.accepted)).append(" = peer received ");
  text.append(told(sum.peer_received)).append(" + peer dropped ").append(n(sum.peer_dropped));
  text.append(" + lost ").append(n(total(sum.lost)));
  if (total(sum.lost) != 0) text.append(" (").append(reasons_text(sum.lost)).append(")");
  text.append("\n  receiving  peer accepted ").append(told(sum.peer_accepted)).append(" = received ");
  text.append(n(sum.received)).append(" + dropped ").append(n(total(sum.dropped)));
  if (total(sum.dropped) != 0) text.append(" (").append(reasons_text(sum.dropped)).append(")");
  if (sum.duplicates != 0) text.append("; duplicates ").append(n(sum.duplicates));
  if (sum.reordered != 0) text.append("; reordered ").append(n(sum.reordered));
  text.append(books.closed() ? "\n  closed\n" : "\n  not closed\n");
  return text;
}

std::string amount_text(std::uint64_t messages, std::uint64_t bytes, std::chrono::nanoseconds elapsed) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  std::string text = counted(messages, "message") + ", " + bytes_text(static_cast<double>(bytes));
  if (messages > 1 && seconds > 0) {
    text.append(", in ").append(format_duration(elapsed)).append(" (");
    text.append(number_text(static_cast<double>(messages) / seconds)).append(" messages/s, ");
    text.append(bytes_text(static_cast<double>(bytes) / seconds)).append("/s)");
  }
  return text;
}

}  // namespace bus::tools
