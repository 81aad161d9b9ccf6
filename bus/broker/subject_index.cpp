// bus/broker/subject_index.cpp: the tree, and what is remembered of it.
#include "bus/broker/subject_index.hpp"

#include <algorithm>
#include <utility>

#include "bus/broker/match_cache.hpp"
#include "bus/broker/subject_tree.hpp"

namespace bus::broker {
namespace {

constexpr std::size_t kMostRemembered = 256;  // bytes of the last subject; a longer one is looked up each time

bool by_order(const Route* a, const Route* b) noexcept { return a->membership.order < b->membership.order; }

/// Puts the routes of lists `begin` to `end`, which are in the order of their first, into `to`, in the order of add().
template <class Iterator>
void gather(std::vector<Route*>& to, Iterator begin, Iterator end) {
  std::size_t size = 0;
  for (Iterator list = begin; list != end; ++list) size += (*list)->count;
  to.reserve(size);
  for (Iterator list = begin; list != end; ++list) {
    Route* route = (*list)->first;
    to.push_back(route);
    for (std::uint32_t left = (*list)->count; left > 1; --left) to.push_back(route = route->membership.next);
  }
  const auto lists = static_cast<std::size_t>(end - begin);
  if (lists > 1 && size > lists) std::sort(to.begin(), to.end(), by_order);
}

/// Plain subscriptions first, then those of one queue side by side, the list with the oldest member first.
bool by_queue(const RouteList* a, const RouteList* b) noexcept {
  return a->queue != b->queue ? a->queue < b->queue : a->order < b->order;
}

}  // namespace

bool matches(std::string_view pattern, std::string_view subject) noexcept {
  Tokens wanted(pattern);
  for (Tokens given(subject); given.more();) {
    if (!wanted.more()) return false;
    const std::string_view token = wanted.next();
    if (token == ">" && !wanted.more()) return true;
    if (const std::string_view there = given.next(); token != "*" && token != there) return false;
  }
  return !wanted.more();
}

struct SubjectIndex::Parts {
  SubjectTree tree;
  MatchCache cache;
  using Lists = std::vector<RouteList*>;
  Lists lists;                                                      // of the subject that was looked up last
  std::vector<std::pair<Lists::iterator, Lists::iterator>> groups;  // those in it of one queue
  Match match;                                                      // the last one that was not kept
  std::uint64_t hits = 0, misses = 0;
  // The one that was asked for last, if it is kept: most publishers stay with a subject for a while.
  std::string last_subject;
  Match* last = nullptr;

  void changed(std::string_view pattern) noexcept {
    last = nullptr;
    cache.changed(pattern);
  }
  void find(std::string_view subject);
};

/// From the tree into `match`.
void SubjectIndex::Parts::find(std::string_view subject) {
  match.plain.clear();
  match.groups.clear();
  groups.clear();
  tree.find(subject, lists);
  if (lists.size() > 1) std::sort(lists.begin(), lists.end(), by_queue);
  for (auto begin = lists.begin(); begin != lists.end();) {
    const std::uint32_t queue = (*begin)->queue;
    const auto end = std::find_if(begin, lists.end(), [&](const RouteList* list) { return list->queue != queue; });
    if (queue == 0) {
      gather(match.plain, begin, end);
    } else {
      groups.emplace_back(begin, end);
    }
    begin = end;
  }
  if (groups.size() > 1) {
    std::sort(groups.begin(), groups.end(),
              [](const auto& a, const auto& b) { return (*a.first)->order < (*b.first)->order; });
  }
  for (const auto& [begin, end] : groups) {
    RouteList& oldest = **begin;
    gather(match.groups.emplace_back(Match::Group{oldest.first->queue, {}, oldest.turn}).members, begin, end);
  }
}

SubjectIndex::SubjectIndex() : parts_(std::make_unique<Parts>()) { parts_->last_subject.reserve(kMostRemembered); }
SubjectIndex::~SubjectIndex() = default;

void SubjectIndex::add(Route& route) {
  parts_->tree.add(route);
  parts_->changed(route.pattern);
}

void SubjectIndex::remove(Route& route) noexcept {
  parts_->tree.remove(route);
  parts_->changed(route.pattern);
}

Match& SubjectIndex::match(std::string_view subject) {
  Parts& its = *parts_;
  if (its.last != nullptr && its.last_subject == subject) {
    ++its.hits;
    return *its.last;
  }
  its.last = nullptr;  // who finds or keeps another may drop it
  const MatchCache::Found found = its.cache.find(subject);
  if (found.match != nullptr) {
    ++its.hits;
    if (subject.size() <= its.last_subject.capacity()) {  // needs no memory
      its.last_subject = subject;
      its.last = found.match;
    }
    return *found.match;
  }
  ++its.misses;
  its.find(subject);
  Match* const kept = found.worth_keeping ? its.cache.keep(subject, found, its.match) : nullptr;
  return kept != nullptr ? *kept : its.match;
}

std::size_t SubjectIndex::count(std::string_view subject) {
  std::vector<RouteList*>& lists = parts_->lists;
  parts_->tree.find(subject, lists);
  std::sort(lists.begin(), lists.end(), by_queue);
  std::size_t count = 0;
  std::uint32_t last = 0;
  for (const RouteList* list : lists) {
    if (list->queue == 0) {
      count += list->count;
    } else if (list->queue != last) {
      ++count;
    }
    last = list->queue;
  }
  return count;
}

std::size_t SubjectIndex::size() const noexcept { return parts_->tree.size(); }

SubjectIndex::Remembered SubjectIndex::remembered() const noexcept {
  return {parts_->cache.size(), parts_->hits, parts_->misses};
}

}  // namespace bus::broker
