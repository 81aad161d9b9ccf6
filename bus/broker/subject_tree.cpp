// bus/broker/subject_tree.cpp: building, pruning and walking the tree.
//
// What may throw comes first in each function, and what it leaves behind then is room that the next call uses.
#include "bus/broker/subject_tree.hpp"

#include <limits>
#include <new>

namespace bus::broker {
namespace {

constexpr std::size_t kMostNumbers = std::numeric_limits<std::uint32_t>::max();

}  // namespace

SubjectTree::SubjectTree()
    : nodes_(1), texts_(1), children_(0, NumberHash{hash_}), groups_(0, NumberHash{hash_}) {}  // number 0 of each

SubjectTree::~SubjectTree() {
  for (const RouteList& list : lists_) {
    for (Route* route = list.count > 0 ? list.first : nullptr; route != nullptr; route = route->membership.next) {
      route->membership.list = nullptr;
    }
  }
}

// ---- texts ----

std::uint32_t SubjectTree::text_of(std::string_view text) const noexcept {
  const auto found = texts_by_name_.find(text_key(text));
  return found == texts_by_name_.end() ? kNone : found->second;
}

std::uint32_t SubjectTree::use_text(std::string_view text) {
  TextKey named = text_key(text);
  if (const auto found = texts_by_name_.find(named); found != texts_by_name_.end()) {
    ++texts_[found->second].uses;
    return found->second;
  }
  if (free_text_ == 0) {
    if (texts_.size() >= kMostNumbers) throw std::bad_alloc();
    texts_.emplace_back();
    free_text_ = static_cast<std::uint32_t>(texts_.size() - 1);
  }
  const std::uint32_t number = free_text_;
  Text& entry = texts_[number];
  entry.text = text;
  named.text = entry.text;
  texts_by_name_.emplace(named, number);
  free_text_ = entry.uses;
  entry.uses = 1;
  return number;
}

void SubjectTree::drop_text(std::uint32_t number) noexcept {
  if (number == kNone) return;
  Text& entry = texts_[number];
  if (--entry.uses > 0) return;
  texts_by_name_.erase(text_key(entry.text));
  std::string().swap(entry.text);
  entry.uses = free_text_;
  free_text_ = number;
}

// ---- nodes ----

void SubjectTree::make_room_for_node() {
  if (free_node_ != 0) return;
  if (nodes_.size() >= kMostNumbers) throw std::bad_alloc();
  nodes_.emplace_back();
  free_node_ = static_cast<std::uint32_t>(nodes_.size() - 1);
}

std::uint32_t SubjectTree::take_node(std::uint32_t parent, std::uint32_t token) noexcept {
  const std::uint32_t number = free_node_;
  free_node_ = nodes_[number].parent;
  nodes_[number] = Node{};
  nodes_[number].parent = parent;
  nodes_[number].token = token;
  return number;
}

std::uint32_t SubjectTree::child(std::uint32_t node, std::string_view token) {
  if (const std::uint32_t text = text_of(token); text != kNone) {
    if (const auto found = children_.find(key(node, text)); found != children_.end()) return found->second;
  }
  make_room_for_node();
  const std::uint32_t text = use_text(token);
  try {
    children_.emplace(key(node, text), free_node_);
  } catch (...) {
    drop_text(text);
    throw;
  }
  ++nodes_[node].plain;
  return take_node(node, text);
}

std::uint32_t SubjectTree::wildcard_child(std::uint32_t node, std::uint32_t Node::*which) {
  if (const std::uint32_t found = nodes_[node].*which; found != 0) return found;
  make_room_for_node();
  const std::uint32_t made = take_node(node, kNone);
  nodes_[node].*which = made;
  return made;
}

/// Takes away the node and those above it, as far as nothing hangs on them.
void SubjectTree::prune(std::uint32_t node) noexcept {
  while (node != kRoot) {
    const Node& gone = nodes_[node];
    if (gone.lists != nullptr || gone.plain > 0 || gone.any != 0 || gone.rest != 0) return;
    const std::uint32_t above = gone.parent;
    Node& parent = nodes_[above];
    if (parent.any == node) {
      parent.any = 0;
    } else if (parent.rest == node) {
      parent.rest = 0;
    } else {
      children_.erase(key(above, gone.token));
      drop_text(gone.token);
      --parent.plain;
    }
    nodes_[node].parent = free_node_;
    free_node_ = node;
    node = above;
  }
}

// ---- lists ----

RouteList& SubjectTree::list(std::uint32_t node, std::string_view queue) {
  RouteList* const first = nodes_[node].lists;
  if (queue.empty()) {
    if (first != nullptr && first->queue == kNone) return *first;
  } else if (const std::uint32_t text = text_of(queue); text != kNone) {
    if (const auto found = groups_.find(key(node, text)); found != groups_.end()) return *found->second;
  }
  if (free_list_ == nullptr) free_list_ = &lists_.emplace_back();
  RouteList* const made = free_list_;
  std::uint32_t text = kNone;
  if (!queue.empty()) {
    text = use_text(queue);
    try {
      groups_.emplace(key(node, text), made);
    } catch (...) {
      drop_text(text);
      throw;
    }
  }
  free_list_ = made->next;
  *made = RouteList{};
  made->queue = text;
  made->node = node;
  if (first != nullptr && first->queue == kNone) {  // second: the plain one stays first
    made->previous = first;
    made->next = first->next;
    first->next = made;
  } else {
    made->next = first;
    nodes_[node].lists = made;
  }
  if (made->next != nullptr) made->next->previous = made;
  return *made;
}

void SubjectTree::drop_list(RouteList& gone) noexcept {
  if (gone.next != nullptr) gone.next->previous = gone.previous;
  (gone.previous != nullptr ? gone.previous->next : nodes_[gone.node].lists) = gone.next;
  if (gone.queue != kNone) {
    groups_.erase(key(gone.node, gone.queue));
    drop_text(gone.queue);
  }
  gone.next = free_list_;
  free_list_ = &gone;
}

// ---- what callers see ----

void SubjectTree::add(Route& route) {
  assert(route.membership.list == nullptr);
  std::uint32_t node = kRoot;
  RouteList* to = nullptr;
  try {
    for (Tokens tokens(route.pattern); tokens.more();) {
      const std::string_view token = tokens.next();
      if (token == "*") {
        node = wildcard_child(node, &Node::any);
      } else if (token == ">" && !tokens.more()) {
        node = wildcard_child(node, &Node::rest);
      } else {
        node = child(node, token);
      }
    }
    to = &list(node, route.queue);
  } catch (...) {
    prune(node);
    throw;
  }
  Membership& its = route.membership;
  its.list = to;
  its.next = nullptr;
  its.order = ++added_;
  if (to->count++ == 0) {
    to->first = its.previous = &route;
    to->order = its.order;
  } else {
    Membership& first = to->first->membership;
    its.previous = first.previous;
    first.previous->membership.next = &route;
    first.previous = &route;
  }
  ++size_;
}

void SubjectTree::remove(Route& route) noexcept {
  Membership& its = route.membership;
  assert(its.list != nullptr);
  RouteList& from = *its.list;
  if (from.first == &route) {
    from.first = its.next;
    if (its.next != nullptr) from.order = its.next->membership.order;
  } else {
    its.previous->membership.next = its.next;
  }
  if (its.next != nullptr) {
    its.next->membership.previous = its.previous;
  } else if (from.first != nullptr) {
    from.first->membership.previous = its.previous;
  }
  its.list = nullptr;
  its.previous = its.next = nullptr;
  --size_;
  if (--from.count > 0) return;
  const std::uint32_t node = from.node;
  drop_list(from);
  prune(node);
}

void SubjectTree::find(std::string_view subject, std::vector<RouteList*>& found) {
  found.clear();
  const auto take = [&](const Node& node) {
    for (RouteList* list = node.lists; list != nullptr; list = list->next) found.push_back(list);
  };
  here_.assign(1, kRoot);
  for (Tokens tokens(subject); tokens.more() && !here_.empty();) {
    const std::string_view token = tokens.next();
    std::uint32_t text = kNone;
    bool looked_up = false;
    below_.clear();
    for (const std::uint32_t number : here_) {
      const Node& node = nodes_[number];
      if (node.rest != 0) take(nodes_[node.rest]);
      if (node.any != 0) below_.push_back(node.any);
      if (node.plain == 0) continue;
      if (!looked_up) text = text_of(token);
      looked_up = true;
      if (text == kNone) continue;
      if (const auto child = children_.find(key(number, text)); child != children_.end()) {
        below_.push_back(child->second);
      }
    }
    here_.swap(below_);
  }
  for (const std::uint32_t number : here_) take(nodes_[number]);
}

}  // namespace bus::broker
