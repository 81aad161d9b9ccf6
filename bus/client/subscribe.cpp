// bus/client/subscribe.cpp: a session's subscriptions: each message once, and what is missing is known.
#include <algorithm>
#include <utility>

#include "bus/client/session.hpp"

namespace bus::client {

namespace {

constexpr std::size_t kRemembered = 8192;  // messages of level `delivered`, for each subscription: twice a window
constexpr std::size_t kMostMissing = 4096;
constexpr int kUnsubscribeAgain = 5;  // there is no answer to it

std::pair<std::uint64_t, std::uint64_t> key(MessageId id) { return {id.publisher, id.sequence}; }

}  // namespace

std::uint32_t Session::subscribe(std::string_view pattern, const SubscribeOptions& options, Time now) {
  now_ = now;
  const std::uint32_t number = ++last_number_;
  Subscription& subscription = subscriptions_[number];
  subscription.pattern = pattern;
  subscription.options = options;
  if (state_ == State::up) send_subscribe(number, subscription);
  return number;
}

void Session::send_subscribe(std::uint32_t number, const Subscription& subscription) {
  const SubscribeOptions& options = subscription.options;
  put(protocol::Subscribe{number, subscription.pattern, options.queue, options.depth, options.full,
                          subscription.in_force ? 0 : options.history, subscription.in_force});
  if (!reliable_) due(now_ + kAgain);
}

void Session::on(const protocol::Subscribed& subscribed) {
  Subscription* const subscription = find_or_stop(subscribed.subscription);
  if (subscription == nullptr) return;
  subscription->confirmed = true;
  if (std::exchange(subscription->in_force, true)) return;
  events_.subscribed(subscribed.subscription);
}

bool Session::unsubscribe(std::uint32_t number, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return false;
  if (state_ == State::up) {
    if (found->second.taken != found->second.told) send_taken(number, found->second);
    put(protocol::Unsubscribe{number});
    if (reliable_) {
      leftovers_[number].known = found->second.dropped_there;
    } else {
      unsubscribed_[number] = kUnsubscribeAgain;
      due(now + kAgain);
    }
  }
  subscriptions_.erase(found);
  return leftovers_.contains(number);
}

/// The subscription that the broker speaks of. Null: it ended while that was on its way; or, on a lossy link, the
/// broker has not heard of the end, or has heard the request for it after the end.
/// `messages` come with that word: nobody takes them any more.
Session::Subscription* Session::find_or_stop(std::uint32_t number, std::uint32_t messages) {
  const auto found = subscriptions_.find(number);
  if (found != subscriptions_.end()) return &found->second;
  if (!reliable_) put(protocol::Unsubscribe{number});
  if (const auto left = leftovers_.find(number); left != leftovers_.end()) {
    left->second.dropped[static_cast<std::size_t>(Reason::closed)] += messages;
    books_.dropped[static_cast<std::size_t>(Reason::closed)] += messages;
  }
  return nullptr;
}

/// Nothing more is heard of it.
void Session::end_leftover(std::uint32_t number) noexcept {
  const auto left = leftovers_.find(number);
  if (left == leftovers_.end()) return;
  const ReasonCounts dropped = left->second.dropped;
  leftovers_.erase(left);
  events_.unsubscribed(number, dropped);
}

/// The broker has sent up to this: what of it did not come is missing, or late.
void Session::count_missing(Subscription& subscription, std::uint64_t index) {
  const std::uint64_t gap = index - subscription.index;
  if (gap > kMostMissing) {
    books_.missing += gap - kMostMissing;
    subscription.books.missing += gap - kMostMissing;
  }
  for (std::uint64_t i = gap > kMostMissing ? index - kMostMissing : subscription.index; i < index; ++i) {
    subscription.missing.insert(i + 1);
  }
  while (subscription.missing.size() > kMostMissing) {
    subscription.missing.erase(subscription.missing.begin());
    ++books_.missing;
    ++subscription.books.missing;
  }
  subscription.index = index;
}

/// What follows the last message that the application was given was lost, or was a duplicate: nobody will take it.
/// The application tells of what it takes by the quarter of a depth, so within that it has taken everything.
void Session::skip_to_last(Subscription& subscription) {
  const std::uint64_t untold = std::max<std::uint64_t>(subscription.options.depth / 4, 1) - 1;
  if (subscription.taken + untold >= subscription.handed) subscription.taken = subscription.index;
}

/// That it was here, as long as not too many others came since.
void Session::remember(Subscription& subscription, MessageId message) {
  subscription.handled_order.push_back(key(message));
  subscription.handled[key(message)] = ++subscription.last_handled;
  if (subscription.handled_order.size() <= kRemembered) return;
  const auto oldest = subscription.handled.find(subscription.handled_order.front());
  if (oldest != subscription.handled.end() && oldest->second + kRemembered == subscription.last_handled) {
    subscription.acknowledged.erase(oldest->first);
    subscription.handled.erase(oldest);
  }
  subscription.handled_order.pop_front();
}

void Session::on(const protocol::Deliver& deliver) {
  Subscription* const found = find_or_stop(deliver.subscription, 1);
  if (found == nullptr) return;
  Subscription& subscription = *found;
  const std::uint64_t index = subscription.offset + deliver.index;
  if (index > subscription.index) {
    if (index - subscription.index > 1) count_missing(subscription, index - 1);
    subscription.index = index;
  } else if (subscription.missing.erase(index) == 0) {
    return;  // the link has doubled it
  }

  if (deliver.acknowledge || deliver.again) {
    if (subscription.handled.contains(key(deliver.message))) {
      ++books_.duplicates;
      ++subscription.books.duplicates;
      if (subscription.acknowledged.contains(key(deliver.message))) {
        put(protocol::Acknowledge{deliver.subscription, deliver.message});
      }
      skip_to_last(subscription);
      tell_taken(deliver.subscription, subscription);
      return;
    }
  }
  if (deliver.acknowledge) {
    remember(subscription, deliver.message);
    if (subscription.options.full == Full::drop_old) {
      subscription.droppable.emplace_back(index, deliver.message);
      // The application's queue is no longer than its depth.
      if (subscription.droppable.size() > std::size_t{subscription.options.depth} + 1) {
        subscription.droppable.pop_front();
      }
    }
  }
  ++books_.received;
  ++subscription.books.received;
  subscription.handed = std::max(subscription.handed, index);
  protocol::Deliver local = deliver;
  local.index = index;
  try {
    events_.deliver(deliver.subscription, local);
  } catch (...) {  // it has not come, and may come again
    subscription.handled.erase(key(deliver.message));
    --books_.received;
    --subscription.books.received;
    throw;
  }
}

void Session::on(const protocol::DeliverBatch& batch) {
  Subscription* const found = find_or_stop(batch.subscription, batch.count);
  if (found == nullptr) return;
  Subscription& subscription = *found;
  const std::uint64_t first = subscription.offset + batch.index;
  if (!reliable_ || first != subscription.index + 1) {
    events_.hang_up(Errc::corrupt, "the broker sent a batch on a link that loses frames, or left something out", false);
    return;
  }
  subscription.index = subscription.handed = first + batch.count - 1;
  books_.received += batch.count;
  subscription.books.received += batch.count;
  protocol::DeliverBatch local = batch;
  local.index = first;
  events_.deliver(batch.subscription, local);
}

void Session::taken(std::uint32_t number, std::uint64_t index, bool dropped, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  Subscription& subscription = found->second;
  if (dropped) {  // it was counted as received when it came
    ++subscription.dropped_here;
    --books_.received;
    --subscription.books.received;
    ++subscription.books.dropped[static_cast<std::size_t>(Reason::queue_full)];
    ++books_.dropped[static_cast<std::size_t>(Reason::queue_full)];
    drop_here(number, subscription, index);
  }
  subscription.taken = std::max(subscription.taken, index);
  if (subscription.handed < subscription.index) skip_to_last(subscription);
  tell_taken(number, subscription);
}

/// A message of level `delivered` that is dropped here has failed.
void Session::drop_here(std::uint32_t number, Subscription& subscription, std::uint64_t index) {
  const auto found = std::find_if(subscription.droppable.begin(), subscription.droppable.end(),
                                  [index](const auto& one) { return one.first == index; });
  if (found == subscription.droppable.end()) return;  // it asked for no acknowledgement
  const MessageId message = found->second;
  subscription.droppable.erase(subscription.droppable.begin(), found + 1);
  refuse(number, message, now_);
}

void Session::tell_taken(std::uint32_t number, Subscription& subscription) {
  const std::uint64_t enough = std::max<std::uint64_t>(subscription.options.depth / 4, 1);
  if (state_ == State::up && subscription.taken - subscription.told >= enough) send_taken(number, subscription);
}

void Session::send_taken(std::uint32_t number, Subscription& subscription) {
  subscription.told = subscription.taken;
  put(protocol::Taken{number, subscription.taken - subscription.offset, subscription.dropped_here});
}

void Session::acknowledge(std::uint32_t number, MessageId message, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  if (found->second.handled.contains(key(message))) found->second.acknowledged.insert(key(message));
  if (state_ == State::up) put(protocol::Acknowledge{number, message});
}

/// If it comes again nevertheless, it is as good as new.
void Session::refuse(std::uint32_t number, MessageId message, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  found->second.handled.erase(key(message));
  if (state_ == State::up) put(protocol::Acknowledge{number, message, true});
}

/// The broker waits for word: what has not come by now was lost.
void Session::on(const protocol::Progress& progress) {
  Subscription* const found = find_or_stop(progress.subscription);
  if (found == nullptr) return end_leftover(progress.subscription);
  Subscription& subscription = *found;
  const std::uint64_t index = subscription.offset + progress.index;
  if (index > subscription.index) count_missing(subscription, index);
  skip_to_last(subscription);
  send_taken(progress.subscription, subscription);
}

void Session::on(const protocol::Dropped& dropped) {
  const auto i = static_cast<std::size_t>(dropped.reason);
  const auto learn = [&](std::uint64_t& known, ReasonCounts& books) {
    if (dropped.count <= known) return;
    books_.dropped[i] += dropped.count - known;
    books[i] += dropped.count - known;
    known = dropped.count;
  };
  if (const auto found = subscriptions_.find(dropped.subscription); found != subscriptions_.end()) {
    learn(found->second.dropped_there[i], found->second.books.dropped);
  } else if (const auto left = leftovers_.find(dropped.subscription); left != leftovers_.end()) {
    learn(left->second.known[i], left->second.dropped);
  }
}

}  // namespace bus::client
