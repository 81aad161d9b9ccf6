// tools/common/audit.hpp: closes the books over the records of all who took part in a bus: what became of each message.
//
// A message is expected by a subscription that was in force before it was published, and by a queue group if one of its
// members was. Each expected message is then one of: delivered; dropped (its subscription counted it, with a reason);
// missing (counted as a gap: a lossy link); in flight (its subscription left before it had to be there); unknown (not
// known to be accepted, or a program or broker died around it); or it is a hole: accepted, owed, and nowhere counted.
// Drops have counts and no names, so among the messages that did not come they are told apart by number only.
//
// Times of records are compared, so those of different machines need clocks that agree better than the margin.
// Pure: lines in, counts out. Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/common/record_line.hpp"

namespace bus::tools {

struct AuditCounts {
  std::uint64_t expected = 0, delivered = 0;
  std::uint64_t dropped = 0, missing = 0, in_flight = 0, unknown = 0, holes = 0;
  std::uint64_t received = 0;    // all that came, also what was not expected: kept, or published before
  std::uint64_t unrecorded = 0;  // of publishers that have no record
  std::uint64_t again = 0;       // came again because they had to be `delivered`
  std::uint64_t duplicated = 0, reordered = 0, phantom = 0, corrupt = 0;
  AuditCounts& operator+=(const AuditCounts& other) noexcept;
  /// Nothing that no rule allows.
  [[nodiscard]] bool closed() const noexcept { return holes == 0 && phantom == 0 && corrupt == 0 && duplicated == 0; }
};

struct AuditResult {
  struct Publisher {
    std::string id, name;
    std::uint64_t published = 0, accepted = 0;
    bool whole = false;  // its record has an end
  };
  struct Group {
    std::string name;      // of the node, or "queue NAME"
    std::string patterns;  // separated by blanks
    std::uint64_t members = 0;
    bool whole = false;  // the records of all members have an end
    AuditCounts counts;
    std::map<std::string, std::uint64_t> dropped;  // by reason
    std::vector<std::string> examples;             // the first holes, phantoms and damaged ones
  };
  std::vector<Publisher> publishers;
  std::vector<Group> groups;
  AuditCounts sum;
};

class Audit {
 public:
  Audit();
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  /// One record: all of a file. A last line without its newline is left out. Throws Error(corrupt) that names the line.
  void read(std::string_view text, std::string_view name);
  /// The same, piece by piece.
  class Reader;
  /// Last lines that were left out.
  [[nodiscard]] std::uint64_t cut_lines() const noexcept { return cut_lines_; }
  /// `margin`: how long a broker may take from accepting a message to delivering it to who waits for it. Throws
  /// Error(corrupt) if somebody says that he published a message twice.
  [[nodiscard]] AuditResult close(std::chrono::nanoseconds margin) const;

 private:
  struct Published;
  struct Received;
  struct Publisher;
  struct Subscriber;
  struct Checking;

  Publisher& publisher(std::string_view id);
  std::uint32_t subject(std::string_view text);
  static void put_in_order(Publisher& publisher);
  void check_received(const std::vector<const Subscriber*>& members, Checking& checking) const;
  void check_expected(const std::vector<const Subscriber*>& members, std::chrono::nanoseconds margin,
                      Checking& checking) const;

  std::deque<std::string> subjects_;
  std::unordered_map<std::string_view, std::uint32_t> subject_numbers_;        // views of subjects_
  std::map<std::string, std::unique_ptr<Publisher>, std::less<>> publishers_;  // nodes, by id
  std::vector<Publisher*> numbered_;                                           // the same, by number
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  std::uint64_t cut_lines_ = 0;
};

class Audit::Reader {
 public:
  Reader(Audit& audit, std::string name) : audit_(audit), name_(std::move(name)) {}

  /// Whole lines; only the last piece may end without a newline. Throws as read() does.
  void add(std::string_view lines);
  /// Whole lines so far.
  [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }

 private:
  void take();

  Audit& audit_;
  const std::string name_;
  std::uint64_t number_ = 0;  // of the line
  std::uint64_t lines_ = 0;
  RecordLine line_;
  std::map<std::pair<const Publisher*, std::uint64_t>, Subscriber*> subscribers_;  // of this record
};

}  // namespace bus::tools
