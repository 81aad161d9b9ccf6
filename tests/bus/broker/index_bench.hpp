// tests/bus/broker/index_bench.hpp: an index of subscriptions on the bench, and matches as text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/subject_index.hpp"

namespace bus::test {

using broker::Match;
using broker::Route;
using broker::SubjectIndex;
using Strings = std::vector<std::string>;
inline std::unique_ptr<Route> route(std::string pattern, std::string queue = "") {
  return std::unique_ptr<Route>(new Route{std::move(pattern), std::move(queue)});
}

/// A match as text: plain patterns, then "queue: patterns" of each group.
inline Strings text(const Match& match) {
  Strings found;
  for (const Route* route : match.plain) found.push_back(route->pattern);
  for (const Match::Group& group : match.groups) {
    std::string line(group.queue);
    line += ":";
    for (const Route* route : group.members) line += " " + route->pattern;
    found.push_back(line);
  }
  return found;
}

/// An index with routes of its own.
struct IndexBench {
  SubjectIndex index;
  std::vector<std::unique_ptr<Route>> routes;

  ~IndexBench() {
    for (const auto& route : routes) {
      if (route->membership.list != nullptr) index.remove(*route);
    }
  }
  Route& add(std::string pattern, std::string queue = "") {
    routes.push_back(route(std::move(pattern), std::move(queue)));
    index.add(*routes.back());
    return *routes.back();
  }
  Strings match(std::string_view subject) { return text(index.match(subject)); }
  std::uint64_t hits() const { return index.remembered().hits; }
  /// Asks until the answer is remembered.
  void warm(std::string_view subject) {
    for (int i = 0; i < 3; ++i) (void)index.match(subject);
  }
};

}  // namespace bus::test
