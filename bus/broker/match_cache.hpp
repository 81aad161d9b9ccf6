// bus/broker/match_cache.hpp: the matches of subjects that come again and again.
//
// What it keeps is bounded in subjects and in memory. A subject is kept when it comes for the second time within some
// thousand others, so those that never come again push nothing out; of those kept, the one that has not been asked for
// lately goes (second chance). Subjects under `_INBOX.` are not kept at all.
//
// When a subscription comes or goes, a pattern without wildcards takes one subject out. One with wildcards is written
// down, and each subject, when it is next asked for, is compared with what was written down since: it goes if one of
// those patterns matches, or if they were more than kChanges. So a change costs the same however much is kept, a
// subject pays for at most kChanges comparisons, and is found anew only if the change was about it or it was not asked
// for between so many changes.
#pragma once

#include <array>
#include <bitset>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/keyed_hash.hpp"
#include "bus/broker/subject_index.hpp"

namespace bus::broker {

class MatchCache {
 public:
  static constexpr std::size_t kMostSubjects = 4096;
  static constexpr std::size_t kMostBytes = std::size_t{4} << 20;  // of all that is kept
  static constexpr std::size_t kChanges = 16;
  static constexpr std::size_t kMostPattern = 256;  // bytes; a longer one makes everything be found anew

  /// What became of a question.
  struct Found {
    Match* match = nullptr;      // null: to be found in the tree
    std::uint64_t hash = 0;      // for keep()
    bool worth_keeping = false;  // to be given to keep()
  };
  [[nodiscard]] Found find(std::string_view subject) noexcept;

  /// Keeps a copy of the match of a subject that find() found worth it: where that is, or null if there is no memory or
  /// the match is too large.
  [[nodiscard]] Match* keep(std::string_view subject, const Found& found, const Match& match) noexcept;

  /// A subscription with this pattern came or went.
  void changed(std::string_view pattern) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    std::string subject;
    Match match;
    std::uint64_t hash;
    std::uint64_t seen;      // changes up to here are in `match`
    std::size_t bytes;       // what it counts for
    std::size_t place;       // in entries_
    bool asked_for = false;  // since the hand came by
  };
  struct Key {
    std::string_view text;
    std::uint64_t hash;
    friend bool operator==(const Key& a, const Key& b) noexcept { return a.text == b.text; }
  };
  struct KeyHash {
    using is_avalanching = void;
    std::size_t operator()(const Key& key) const noexcept { return key.hash; }
  };
  struct Change {
    std::uint16_t size;
    std::array<char, kMostPattern> pattern;
  };

  [[nodiscard]] bool right(const Entry&) const noexcept;
  [[nodiscard]] bool came_before(std::uint64_t hash) noexcept;
  void drop(Entry&) noexcept;
  void make_room(std::size_t bytes) noexcept;

  KeyedHash hash_;
  boost::unordered_flat_map<Key, Entry*, KeyHash> by_subject_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::size_t hand_ = 0;  // second chance: the next to be looked at
  std::size_t bytes_ = 0;

  static constexpr std::size_t kSeenBits = 32768;  // 4 KiB
  static constexpr std::size_t kMostSeen = 4096;   // an eighth: at most so many of those that are new pass for known
  std::bitset<kSeenBits> seen_;
  std::size_t seen_count_ = 0;

  std::uint64_t changes_ = 0;  // with wildcards, so far
  std::array<Change, kChanges> log_;
};

}  // namespace bus::broker
