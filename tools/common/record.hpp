// tools/common/record.hpp: what a program published and received, as JSON lines; `bus audit` closes the books over the
// records of all. tools/README.md has the format.
//
// Lines go to the file whole, in pieces that end with a newline: what a killed program leaves is whole but for, at the
// very worst, the last line, which a reader knows by its missing newline. Each piece is written when 32 KiB have come
// together, when 20 ms have passed, and before the program waits or acknowledges what it received.
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bus/client/node.hpp"
#include "bus/core/os/fd.hpp"
#include "tools/common/arguments.hpp"

namespace bus::tools {

inline constexpr Option kRecordOption{0, "record", Kind::text, "FILE",
                                      "write what was published and received there, for bus audit (else a file of its "
                                      "own in the folder that the environment's BUS_RECORD names)"};

class Record {
 public:
  /// Makes the file, or empties it. Throws Error.
  explicit Record(const std::string& path);
  ~Record();
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  // Times are UNIX time in nanoseconds. All of these throw Error (a full disk).
  void joined(const Node& node, std::string_view name);
  /// `time` is of before the call of publish().
  void published(std::uint64_t sequence, std::string_view subject, std::span<const std::byte> payload, Level level,
                 std::int64_t time);
  /// The broker has accepted everything up to this number; if one was lost meanwhile, what was published since then.
  void accepted(std::uint64_t up_to);
  /// Looks now and then at what the node knows to be accepted, and says so.
  void watch(const Node& node);
  /// The same at once.
  void look(const Node& node) { look(node, now()); }
  void subscribed(std::uint64_t subscription, std::string_view pattern, const SubscribeOptions& options);
  void received(std::uint64_t subscription, const Delivery& message);
  /// What was dropped since this was last called. Before the message that came after it, so that also the record of a
  /// killed program says it.
  void dropped(std::uint64_t subscription, const ReasonCounts& dropped);
  /// The subscription is over. `idle`: nothing waited, and all that was accepted a while ago had come.
  void unsubscribed(std::uint64_t subscription, const SubscriptionBooks& books, bool idle);
  void left(const NodeBooks& books);

  void flush();
  [[nodiscard]] static std::int64_t now() noexcept;

 private:
  void look(const Node& node, std::int64_t time);
  void begin(std::string_view event);
  void add(std::string_view key, std::uint64_t value);
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, bool value);
  void end(std::int64_t time);

  const std::string path_;
  os::Fd file_;
  std::string who_;
  std::string buffer_;
  std::int64_t written_ = 0, watched_ = 0;
  std::map<std::uint64_t, ReasonCounts> dropped_;  // said so far, by subscription
  std::uint64_t accepted_ = 0;
  std::uint64_t reconnects_ = 0;
  std::uint64_t published_ = 0;  // the last number
  std::uint64_t from_ = 0;       // up to which nobody knows, since a broker was lost
};

/// The record of this node, begun, where --record or BUS_RECORD asks for one; else none. In the folder of BUS_RECORD,
/// which is made if it is not there, the file is VERB-NODE.jsonl: one for each node. Throws Error.
[[nodiscard]] std::unique_ptr<Record> record_of(const Arguments& arguments, const Node& node);

}  // namespace bus::tools
