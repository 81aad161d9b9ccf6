// bus/broker/subject_tree.hpp: patterns as a tree of tokens; what is not remembered is found here.
//
// A node is a pattern's beginning. Its children by plain tokens are in one hash table over all nodes, keyed by node and
// token, so a node costs as much with one child as with a hundred thousand; those by `*` and `>` are fields. Texts are
// kept once, as numbers: a subject's token is hashed once, however many nodes it is looked up in.
//
// Limits: 2^32 - 1 nodes and as many different texts; no recursion, so any depth is safe.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/keyed_hash.hpp"
#include "bus/broker/subject_index.hpp"

namespace bus::broker {

/// Takes a subject or pattern apart.
class Tokens {
 public:
  explicit Tokens(std::string_view text) noexcept : rest_(text) {}
  [[nodiscard]] bool more() const noexcept { return more_; }
  std::string_view next() noexcept {
    const std::size_t size = rest_.find('.');
    const std::string_view token = rest_.substr(0, size);
    more_ = size != std::string_view::npos;
    if (more_) rest_.remove_prefix(size + 1);
    return token;
  }

 private:
  std::string_view rest_;
  bool more_ = true;  // an empty text is one empty token
};

/// The routes with one pattern and one queue, in the order of add(). Stays where it is.
struct RouteList {
  Route* first = nullptr;
  RouteList* next = nullptr;  // of the same pattern; of those in no use, the next such
  RouteList* previous = nullptr;
  std::uint64_t order = 0;  // the first's: with one route, as most have, it need not be looked at
  std::uint32_t count = 0;
  std::uint32_t turn = 0;   // Match::Group::next
  std::uint32_t queue = 0;  // 0: none. A node has that list first.
  std::uint32_t node = 0;
};

class SubjectTree {
 public:
  SubjectTree();
  SubjectTree(const SubjectTree&) = delete;
  SubjectTree& operator=(const SubjectTree&) = delete;
  ~SubjectTree();

  void add(Route&);  // throws std::bad_alloc, leaving the tree as it was
  void remove(Route&) noexcept;
  /// Fills `found` with the lists of all patterns that match, in no order. Throws std::bad_alloc.
  void find(std::string_view subject, std::vector<RouteList*>& found);
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::uint32_t kRoot = 0, kNone = 0;  // no node has the root as a child, no text is number 0

  struct Node {
    std::uint32_t parent = 0;  // of those in no use: the next such
    std::uint32_t token = 0;   // 0: the root, or a wildcard
    std::uint32_t any = 0;     // the child by `*`
    std::uint32_t rest = 0;    // the child by `>`
    std::uint32_t plain = 0;   // how many children by plain tokens
    RouteList* lists = nullptr;
  };
  struct Text {
    std::string text;
    std::uint32_t uses = 0;  // of those in no use: the next such
  };
  struct TextKey {
    std::string_view text;
    std::uint64_t hash;
    friend bool operator==(const TextKey& a, const TextKey& b) noexcept { return a.text == b.text; }
  };
  struct TextHash {
    using is_avalanching = void;  // boost: takes it as it is
    std::size_t operator()(const TextKey& key) const noexcept { return key.hash; }
  };
  struct NumberHash {
    using is_avalanching = void;
    KeyedHash hash;
    std::size_t operator()(std::uint64_t number) const noexcept { return hash(number); }
  };
  template <class T>
  using NumberMap = boost::unordered_flat_map<std::uint64_t, T, NumberHash>;

  static std::uint64_t key(std::uint32_t node, std::uint32_t text) noexcept { return std::uint64_t{node} << 32 | text; }

  [[nodiscard]] TextKey text_key(std::string_view text) const noexcept { return {text, hash_(text)}; }
  [[nodiscard]] std::uint32_t text_of(std::string_view text) const noexcept;
  std::uint32_t use_text(std::string_view text);
  void drop_text(std::uint32_t) noexcept;

  void make_room_for_node();
  std::uint32_t take_node(std::uint32_t parent, std::uint32_t token) noexcept;
  std::uint32_t child(std::uint32_t node, std::string_view token);
  std::uint32_t wildcard_child(std::uint32_t node, std::uint32_t Node::*which);
  void prune(std::uint32_t node) noexcept;

  RouteList& list(std::uint32_t node, std::string_view queue);
  void drop_list(RouteList&) noexcept;

  KeyedHash hash_;
  std::vector<Node> nodes_;
  std::deque<Text> texts_;       // in place: texts_by_name_ has views of them
  std::deque<RouteList> lists_;  // in place: routes and matches point to them
  std::uint32_t free_node_ = 0;  // 0: none
  std::uint32_t free_text_ = 0;  // 0: none
  RouteList* free_list_ = nullptr;
  boost::unordered_flat_map<TextKey, std::uint32_t, TextHash> texts_by_name_;
  NumberMap<std::uint32_t> children_;        // by node and token
  NumberMap<RouteList*> groups_;             // by node and queue
  std::vector<std::uint32_t> here_, below_;  // find(): the nodes reached by as many tokens
  std::size_t size_ = 0;
  std::uint64_t added_ = 0;
};

}  // namespace bus::broker
