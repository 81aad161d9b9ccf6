// tools/verbs/audit.cpp: bus audit: do the books of all who took part close?
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "bus/core/errc.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/audit.hpp"
#include "tools/common/input.hpp"
#include "tools/common/json.hpp"
#include "tools/common/log.hpp"
#include "tools/common/output.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/table.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t kLongestLine = std::size_t{16} << 20;

void add(Json& object, const AuditCounts& counts) {
  object["expected"] = counts.expected;
  object["delivered"] = counts.delivered;
  object["dropped"] = counts.dropped;
  object["missing"] = counts.missing;
  object["in_flight"] = counts.in_flight;
  object["unknown"] = counts.unknown;
  object["holes"] = counts.holes;
  object["received"] = counts.received;
  object["again"] = counts.again;
  object["duplicated"] = counts.duplicated;
  object["reordered"] = counts.reordered;
  object["phantom"] = counts.phantom;
  object["corrupt"] = counts.corrupt;
  object["unrecorded"] = counts.unrecorded;
}

std::string result_json(const AuditResult& result) {
  std::string text;
  std::uint64_t published = 0;
  for (const auto& publisher : result.publishers) {
    published += publisher.published;
    text += json_line(Json{{"type", "publisher"},
                           {"publisher", publisher.id},
                           {"name", publisher.name},
                           {"published", publisher.published},
                           {"accepted", publisher.accepted},
                           {"whole", publisher.whole}});
  }
  for (const auto& group : result.groups) {
    Json object{{"type", "subscription"},
                {"who", group.name},
                {"pattern", group.patterns},
                {"members", group.members},
                {"whole", group.whole}};
    add(object, group.counts);
    object["reasons"] = group.dropped;
    if (!group.examples.empty()) object["examples"] = group.examples;
    text += json_line(object);
  }
  Json summary{{"type", "summary"}, {"published", published}};
  add(summary, result.sum);
  summary["closed"] = result.sum.closed();
  return text + json_line(summary);
}

std::string result_text(const AuditResult& result, std::size_t width) {
  const auto n = [](std::uint64_t number) { return number == 0 ? std::string() : std::to_string(number); };
  measure::Table publishers({{"publisher", false}, {"name", false}, {"published"}, {"accepted"}, {"record", false}});
  for (const auto& one : result.publishers) {
    publishers.add({{one.id},
                    {harmless(one.name)},
                    {std::to_string(one.published)},
                    {std::to_string(one.accepted)},
                    {one.whole ? "whole" : "cut"}});
  }
  measure::Table table({{"subscription", false},
                        {"pattern", false},
                        {"expected"},
                        {"delivered"},
                        {"dropped"},
                        {"missing"},
                        {"in flight"},
                        {"unknown"},
                        {"again"},
                        {"duplicated"},
                        {"reordered"},
                        {"phantom"},
                        {"corrupt"},
                        {"unrecorded"},
                        {"HOLES"}});
  for (const auto& group : result.groups) {
    const AuditCounts& c = group.counts;
    table.add({{harmless(group.name)},
               {harmless(group.patterns)},
               {std::to_string(c.expected)},
               {std::to_string(c.delivered)},
               {n(c.dropped)},
               {n(c.missing)},
               {n(c.in_flight)},
               {n(c.unknown)},
               {n(c.again)},
               {n(c.duplicated)},
               {n(c.reordered)},
               {n(c.phantom)},
               {n(c.corrupt)},
               {n(c.unrecorded)},
               {n(c.holes)}});
  }
  std::string text;
  if (!result.publishers.empty()) text += publishers.text(width, false) + "\n";
  if (!result.groups.empty()) text += table.text(width, false);
  for (const auto& group : result.groups) {
    for (const auto& [reason, count] : group.dropped) {
      text += harmless(group.name) + ": dropped " + harmless(reason) + " " + std::to_string(count) + "\n";
    }
    for (const std::string& example : group.examples) {
      text += harmless(group.name) + ": " + harmless(example) + "\n";
    }
  }
  return text;
}

/// False: a signal came meanwhile. What holds nothing is said: a killed program may have left it, or it is another
/// file.
bool read_all(const std::vector<std::string>& paths, Audit& audit, Signals& signals) {
  std::size_t empty = 0;
  for (const std::string& path : paths) {
    Input input(signals, path);
    Audit::Reader reader(audit, path);
    while (const auto lines = input.lines(kLongestLine)) {
      reader.add({reinterpret_cast<const char*>(lines->data()), lines->size()});
    }
    if (input.was_cut_off()) return false;
    if (reader.lines() > 0) continue;
    ++empty;
    if (paths.size() > 1) log::warn(path + " holds no record");
  }
  if (audit.cut_lines() > 0) log::warn(counted(audit.cut_lines(), "last line") + " of killed programs left out");
  if (empty < paths.size()) return true;
  throw UsageError("audit: " + (paths.size() == 1 ? paths.front() + " holds no record"
                                                  : "none of the " + std::to_string(empty) + " files holds a record"));
}

/// None after a signal. Throws UsageError for files that are no records.
std::optional<AuditResult> result_of(const Arguments& arguments, Signals& signals) {
  Audit audit;
  try {
    if (!read_all(arguments.positional(), audit, signals)) return {};
    return audit.close(*arguments.duration("margin"));
  } catch (const Error& error) {
    if (error.code() == Errc::corrupt) throw UsageError(error.what());
    throw;
  }
}

Exit run_audit(const Arguments& arguments, Signals& signals) {
  const std::optional<AuditResult> found = result_of(arguments, signals);
  if (!found) return signals.exit();
  const AuditResult& result = *found;
  Output output(signals);
  if (arguments.flag("json")) {
    output.write(result_json(result));
  } else {
    winsize size{};
    const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    output.write(result_text(result, known ? size.ws_col : 200));
  }
  output.flush();
  const AuditCounts& sum = result.sum;
  if (!sum.closed()) {
    log::error("the books do not close: " + counted(sum.holes, "hole") + ", " + std::to_string(sum.phantom) +
               " never published, " + std::to_string(sum.corrupt) + " damaged, " + std::to_string(sum.duplicated) +
               " duplicated");
    return Exit::loss;
  }
  log::info("the books close: " + std::to_string(sum.expected) + " expected = " + std::to_string(sum.delivered) +
            " delivered + " + std::to_string(sum.dropped) + " dropped + " + std::to_string(sum.missing) +
            " missing + " + std::to_string(sum.in_flight) + " in flight + " + std::to_string(sum.unknown) + " unknown");
  return Exit::ok;
}

}  // namespace

const Verb& audit_verb() noexcept {
  static constexpr std::array<Option, 1> kOptions{{
      {0, "margin", Kind::duration, "D",
       "how long a message may take from the broker to a subscription that waits for it: younger ones count as in "
       "flight "
       "when it left",
       "1s"},
  }};
  static constexpr std::array<Example, 3> kExamples{{
      {"bus audit pub.jsonl sub.jsonl", "after bus pub ... --record pub.jsonl and bus sub ... --record sub.jsonl"},
      {"bus audit request.jsonl reply.jsonl", "questions and answers: the same with bus request and bus reply"},
      {"bus audit *.jsonl --json | jq 'select(.type == \"summary\")'", "the sums as an object"},
  }};
  static constexpr Verb kVerb{
      "audit",
      "closes the books over records: what became of each message",
      "FILE...",
      1,
      100'000,
      "Reads what bus pub, sub, request and reply wrote with --record, and says of each message that a subscription\n"
      "should have had: delivered, dropped by its rule, missing on a lossy link, in flight when it left, or unknown\n"
      "because somebody died. An answer that nobody waited for any more is dropped, too (expired). Exit code 5 on a\n"
      "hole (accepted, owed, and counted nowhere), on a message that nobody published, on a damaged one and on one\n"
      "that came twice; 2 on a file that is no record, or if no file holds one.\n",
      kOptions,
      kExamples,
      run_audit,
  };
  return kVerb;
}

}  // namespace bus::tools
