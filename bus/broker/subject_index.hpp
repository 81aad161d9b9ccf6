// bus/broker/subject_index.hpp: who gets a message on a subject.
//
// Subjects and patterns are NATS's: tokens between '.'; in a pattern `*` is any one token and `>`, as the last, one or
// more. Of the strings nothing else is required: an empty token is a token, and a wildcard in a subject is plain text.
// Whoever adds a Route has checked that it is a pattern (protocol/).
//
// Threads: one at a time.
// Cost: README.md has the figures. What add(), remove() and match() cost does not grow with the number of
// subscriptions, except that a message costs something for each that gets it, and match() for each wildcard on the way
// to them.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bus::broker {

struct Route;
struct RouteList;

/// Where a Route is in the index. The index's business alone.
struct Membership {
  Membership() = default;
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  ~Membership() { assert(list == nullptr); }  // remove() comes first, or the end of the index

  RouteList* list = nullptr;  // null: in no index
  Route* previous = nullptr;  // of the same pattern and queue; the first's is the last
  Route* next = nullptr;
  std::uint64_t order = 0;  // of add()
};

/// What the index holds: embedded in the broker's subscription, which outlives its membership.
/// Neither pattern nor queue may change while it is in an index.
struct Route {
  std::string pattern;
  std::string queue;  // empty: none
  Membership membership{};
};

/// Who matches: plain subscriptions each get the message, of each group one member does.
struct Match {
  struct Group {
    std::string_view queue;
    std::vector<Route*> members;  // at least one, in the order of add()
    /// For round robin: the caller's to read and write. It outlives the match, and is one for all subjects for which
    /// the oldest member has the same pattern and queue.
    std::uint32_t& next;
  };
  std::vector<Route*> plain;  // in the order of add()
  std::vector<Group> groups;  // one for each queue name, over all patterns that match; in the order of oldest members
};

/// Whether a message on `subject` is for `pattern`.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view subject) noexcept;

class SubjectIndex {
 public:
  SubjectIndex();  // throws std::bad_alloc, std::system_error
  SubjectIndex(const SubjectIndex&) = delete;
  SubjectIndex& operator=(const SubjectIndex&) = delete;
  ~SubjectIndex();  // lets go of the routes in it

  /// `route` is in no index. Throws std::bad_alloc, leaving the index as it was.
  void add(Route& route);
  /// `route` is in this index.
  void remove(Route& route) noexcept;

  /// Valid until the next add() or remove(), or the next match(). Throws std::bad_alloc; the index is none the worse.
  [[nodiscard]] Match& match(std::string_view subject);

  /// How many would get a message: each plain subscription, and one for each group. Leaves a Match valid.
  /// Throws std::bad_alloc. Cost: that of a match() that is not remembered, without a part for each subscription.
  [[nodiscard]] std::size_t count(std::string_view subject);

  [[nodiscard]] std::size_t size() const noexcept;

  /// What is remembered of matches. For tests and for the broker's status.
  struct Remembered {
    std::size_t subjects = 0;
    std::uint64_t hits = 0, misses = 0;  // calls of match()
  };
  [[nodiscard]] Remembered remembered() const noexcept;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace bus::broker
