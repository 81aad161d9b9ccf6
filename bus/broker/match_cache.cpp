// bus/broker/match_cache.cpp: keeping, checking and dropping.
#include "bus/broker/match_cache.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace bus::broker {
namespace {

/// The largest match that is kept: 32 fit, each of some 16,000 subscriptions. Above that the messages themselves cost
/// far more than to find whom they are for.
constexpr std::size_t kMostBytesOfOne = MatchCache::kMostBytes / 32;

constexpr std::string_view kInbox = "_INBOX.";
constexpr std::size_t kRouteBytes = sizeof(void*);  // of a pointer to it

std::size_t bytes_of(const Match& match) noexcept {
  std::size_t bytes = match.plain.size() * kRouteBytes + match.groups.size() * sizeof(Match::Group);
  for (const Match::Group& group : match.groups) bytes += group.members.size() * kRouteBytes;
  return bytes;
}

}  // namespace

MatchCache::Found MatchCache::find(std::string_view subject) noexcept {
  Found found;
  if (subject.starts_with(kInbox)) return found;
  found.hash = hash_(subject);
  const auto kept = by_subject_.find(Key{subject, found.hash});
  if (kept == by_subject_.end()) {
    found.worth_keeping = came_before(found.hash);
    return found;
  }
  Entry& entry = *kept->second;
  if (right(entry)) {
    entry.seen = changes_;
    entry.asked_for = true;
    found.match = &entry.match;
  } else {
    drop(entry);
    found.worth_keeping = true;
  }
  return found;
}

Match* MatchCache::keep(std::string_view subject, const Found& found, const Match& match) noexcept {
  const std::size_t bytes = sizeof(Entry) + sizeof(Key) + subject.size() + bytes_of(match);
  if (bytes > kMostBytesOfOne) return nullptr;
  make_room(bytes);
  try {
    std::unique_ptr<Entry> entry(new Entry{std::string(subject), match, found.hash, changes_, bytes, entries_.size()});
    entries_.reserve(std::min(kMostSubjects, std::bit_ceil(entries_.size() + 1)));
    by_subject_.emplace(Key{entry->subject, entry->hash}, entry.get());
    entries_.push_back(std::move(entry));
  } catch (const std::bad_alloc&) {
    return nullptr;  // it is found again in the tree
  }
  bytes_ += bytes;
  return &entries_.back()->match;
}

void MatchCache::changed(std::string_view pattern) noexcept {
  if (entries_.empty() || pattern.starts_with(kInbox)) return;
  if (pattern.find_first_of("*>") == std::string_view::npos) {
    if (const auto kept = by_subject_.find(Key{pattern, hash_(pattern)}); kept != by_subject_.end()) {
      drop(*kept->second);
    }
    return;
  }
  if (pattern.size() > kMostPattern) {
    changes_ += kChanges + 1;
    return;
  }
  Change& change = log_[changes_ % kChanges];
  change.size = static_cast<std::uint16_t>(pattern.size());
  std::copy(pattern.begin(), pattern.end(), change.pattern.begin());
  ++changes_;
}

bool MatchCache::right(const Entry& entry) const noexcept {
  if (changes_ - entry.seen > kChanges) return false;
  for (std::uint64_t number = entry.seen; number < changes_; ++number) {
    const Change& change = log_[number % kChanges];
    if (matches({change.pattern.data(), change.size}, entry.subject)) return false;
  }
  return true;
}

/// Whether a subject with this hash came since the last wipe; it has come now. A few others pass for it.
bool MatchCache::came_before(std::uint64_t hash) noexcept {
  const std::size_t bit = hash % kSeenBits;
  if (seen_[bit]) return true;
  if (seen_count_ == kMostSeen) {
    seen_.reset();
    seen_count_ = 0;
  }
  seen_[bit] = true;
  ++seen_count_;
  return false;
}

void MatchCache::drop(Entry& entry) noexcept {
  by_subject_.erase(Key{entry.subject, entry.hash});
  bytes_ -= entry.bytes;
  const std::size_t place = entry.place;
  if (place + 1 < entries_.size()) {
    entries_[place].swap(entries_.back());
    entries_[place]->place = place;
  }
  entries_.pop_back();
}

void MatchCache::make_room(std::size_t bytes) noexcept {
  while (!entries_.empty() && (entries_.size() >= kMostSubjects || bytes_ + bytes > kMostBytes)) {
    if (hand_ >= entries_.size()) hand_ = 0;
    Entry& entry = *entries_[hand_];
    if (entry.asked_for) {
      entry.asked_for = false;
      ++hand_;
    } else {
      drop(entry);
    }
  }
}

}  // namespace bus::broker
