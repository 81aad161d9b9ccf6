// bus/broker/settle.cpp: `delivered`: each message is somebody's until a handler has acknowledged it.
#include <algorithm>

#include "bus/broker/state.hpp"

namespace bus::broker {

namespace {
constexpr std::size_t kSettledRemembered = 8192;            // outcomes for each publisher: twice its window
constexpr auto kLookAgain = std::chrono::milliseconds(20);  // for heirs with room
}  // namespace

Pending& Core::State::expect(Publisher& publisher, Handout& handout, std::uint32_t outstanding) {
  auto pending = std::make_unique<Pending>();
  pending->id = handout.parcel().id;
  pending->message = handout.stored();
  pending->outstanding = outstanding;
  pending->accepted = now;
  decltype(publisher.settled) room;
  room.try_emplace(pending->id.sequence);
  pending->outcome = room.extract(room.begin());
  return *publisher.pending.emplace(pending->id.sequence, std::move(pending)).first->second;
}

void Core::State::on(Client& client, const protocol::Acknowledge& acknowledge) {
  const auto found = client.subscriptions.find(acknowledge.subscription);
  if (found == client.subscriptions.end()) return;
  auto& unacknowledged = found->second->unacknowledged;
  const auto it = unacknowledged.find({acknowledge.message.publisher, acknowledge.message.sequence});
  if (it == unacknowledged.end()) return;  // it was acknowledged before, and sent again meanwhile
  Pending& pending = *it->second.pending;
  unacknowledged.erase(it);
  acknowledge.dropped ? fail(pending, Reason::queue_full) : succeed(pending);
}

void Core::State::succeed(Pending& pending) noexcept {
  ++pending.reached;
  if (--pending.outstanding == 0) settle(pending);
}

void Core::State::fail(Pending& pending, Reason reason) noexcept {
  ++pending.failed;
  pending.reason = reason;
  if (--pending.outstanding == 0) settle(pending);
}

/// Nobody is outstanding: tells the publisher, and remembers it for the case that he asks again.
void Core::State::settle(Pending& pending) noexcept {
  const auto found = publishers.find(pending.id.publisher);
  if (found == publishers.end()) return;
  Publisher& publisher = found->second;
  const protocol::Outcome outcome{pending.id.sequence, pending.reached, pending.failed, pending.reason};
  pending.outcome.mapped() = outcome;
  publisher.settled.insert(std::move(pending.outcome));
  if (publisher.settled.size() > kSettledRemembered) publisher.settled.erase(publisher.settled.begin());
  publisher.pending.erase(outcome.sequence);  // `pending` is gone
  if (Client* const client = find(publisher.client)) {
    control(*client, outcome);
  } else {
    due(now + limits.linger);
  }
}

/// What a subscription that has ended leaves unacknowledged goes to another of its group; or it waits for the node to
/// come back, if that may be; or it has failed.
void Core::State::abandon(Subscription& subscription, bool died) noexcept {
  if (subscription.unacknowledged.empty()) return;
  if (died || !subscription.queue.empty()) {
    Estate& estate = subscription.estate.front();
    estate.left.swap(subscription.unacknowledged);
    estate.since = now;
    estate.look = subscription.queue.empty() ? now + limits.gone : now;
    due(estate.look);
    estates.splice(estates.end(), subscription.estate);
    return;
  }
  UnacknowledgedMap left;
  left.swap(subscription.unacknowledged);
  for (auto& [key, entry] : left) fail(*entry.pending, Reason::closed);
}

/// One message of an estate is this subscription's now.
void Core::State::inherit(Subscription& subscription, UnacknowledgedMap::node_type message) noexcept {
  message.mapped().sent = {};
  Pending& pending = *message.mapped().pending;
  const auto inserted = subscription.unacknowledged.insert(std::move(message));
  if (!inserted.inserted) {  // it has this very message already: one acknowledgement will do
    fail(pending, Reason::peer_died);
    return;
  }
  Handout handout(pending.message);
  static_cast<void>(offer(subscription, handout, Offer::inherited));
}

/// A subscription that is new or was in force before gets what its predecessor left: all that was its own, of the rest
/// what it has room for.
void Core::State::adopt(Subscription& subscription) noexcept {
  for (auto estate = estates.begin(); estate != estates.end();) {
    const bool itself = estate->instance == subscription.client->instance && estate->subscription == subscription.id;
    const bool same = estate->pattern == subscription.pattern && estate->queue == subscription.queue;
    const bool may_go = itself || !estate->queue.empty() || estate->since + limits.gone <= now;
    while (same && may_go && !estate->left.empty() && !subscription.ended && (itself || !is_full(subscription))) {
      inherit(subscription, estate->left.extract(estate->left.begin()));
    }
    if (estate->left.empty()) {
      estate = estates.erase(estate);
      continue;
    }
    const bool is_plain = estate->queue.empty();
    if (is_plain ? same : estate->queue == subscription.queue) {
      const Time soon = std::max(now, estate->looked + kLookAgain);
      estate->look = std::min(estate->look, is_plain ? std::max(soon, estate->since + limits.gone) : soon);
      due(estate->look);
    }
    ++estate;
  }
}

/// Who may have one message of an estate: another subscription with the same pattern, if it was made since and so has
/// not had the message itself; or any other member of the group.
Core::State::Heirs Core::State::heirs_of(const Estate& estate, const UnacknowledgedMap::value_type& message) {
  const Pending& pending = *message.second.pending;
  Match& match = index.match(pending.message->parcel().subject);
  Heirs heirs;
  const auto is_next = [&](Route* route) {
    auto& other = *static_cast<Subscription*>(route);
    if (other.ended || other.client->leaving || other.unacknowledged.contains(message.first)) return false;
    if (estate.queue.empty() && (other.pattern != estate.pattern || other.made <= pending.accepted)) return false;
    heirs.any = true;
    if (is_full(other)) return false;
    heirs.next = &other;
    return true;
  };
  if (estate.queue.empty()) {
    static_cast<void>(std::any_of(match.plain.begin(), match.plain.end(), is_next));
    return heirs;
  }
  for (Match::Group& group : match.groups) {
    if (group.queue != estate.queue) continue;
    const std::size_t first = group.next++;
    for (std::size_t i = 0; i < group.members.size(); ++i) {
      if (is_next(group.members[(first + i) % group.members.size()])) return heirs;
    }
  }
  return heirs;
}

/// Estates to whoever may have them now; those that nobody wanted for too long have failed. Heirs without room are
/// waited for.
void Core::State::hand_over_estates() noexcept {
  for (auto estate = estates.begin(); estate != estates.end();) {
    if (estate->look > now) {
      due(estate->look);
      ++estate;
      continue;
    }
    estate->looked = now;
    bool are_full = false;
    try {
      for (auto it = estate->left.begin(); it != estate->left.end();) {
        const auto message = it++;
        const Heirs heirs = heirs_of(*estate, *message);
        are_full |= heirs.any && heirs.next == nullptr;
        if (heirs.next != nullptr) {
          inherit(*heirs.next, estate->left.extract(message));
        } else if (!heirs.any && estate->since + limits.linger <= now) {
          Pending& pending = *message->second.pending;
          estate->left.erase(message);
          fail(pending, Reason::peer_died);
        }
      }
    } catch (const std::bad_alloc&) {  // no memory to look for heirs: later
      are_full = true;
    }
    if (estate->left.empty()) {
      estate = estates.erase(estate);
      continue;
    }
    estate->look = are_full ? now + kLookAgain : std::max(estate->since + limits.linger, now + kLookAgain);
    due(estate->look);
    ++estate;
  }
}

void Core::State::forget_publishers() noexcept {
  std::erase_if(publishers, [&](const auto& entry) {
    const Publisher& publisher = entry.second;
    if (publisher.client != 0 || !publisher.pending.empty()) return false;
    if (publisher.left + limits.linger <= now) return true;
    due(publisher.left + limits.linger);
    return false;
  });
}

}  // namespace bus::broker
