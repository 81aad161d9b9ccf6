// bus/broker/deliver.cpp: messages from the broker to its subscriptions, and what happens when one has no room.
#include <algorithm>

#include "bus/broker/state.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::broker {

namespace {

constexpr std::array<Reason, 2> kDropReasons{Reason::queue_full, Reason::too_large};
constexpr auto kTellDrops = std::chrono::milliseconds(100);           // at the latest
constexpr std::uint64_t kControlOfAnyone = std::uint64_t{256} << 10;  // bytes that may wait whatever others have
constexpr std::size_t kControlOverhead = 64;                          // what it costs to keep one

}  // namespace

/// Whether its next message need not wait here.
bool Core::State::goes_at_once(const Subscription& subscription) const noexcept {
  const Client& client = *subscription.client;
  return subscription.waiting.empty() && subscription.has_credit() && !client.blocked && client.control.empty();
}

/// How many further messages it may get: fewer than its depth, and none that has to wait if more wait than may.
std::uint64_t Core::State::room_in(const Subscription& subscription) const noexcept {
  const bool may_wait = subscription.client->bytes < limits.client_bytes && has_memory();
  if (!may_wait && !goes_at_once(subscription)) return 0;
  const std::uint64_t on_the_way = subscription.full == Full::drop_old ? 0 : subscription.sent - subscription.taken;
  const std::uint64_t used = subscription.waiting.messages() + on_the_way;
  return subscription.depth - std::min<std::uint64_t>(used, subscription.depth);
}

/// Sends it, or queues it, or does what the subscription's rule says. False: this message was dropped.
bool Core::State::offer(Subscription& subscription, Handout& handout, Offer why) noexcept {
  const bool again = why == Offer::again || why == Offer::inherited, kept = why == Offer::kept;
  const Parcel& parcel = handout.parcel();
  ++totals.copies;
  if (again) ++totals.again;
  Client& client = *subscription.client;
  if (parcel.tail.size() + protocol::kDeliverHead > client.connection.max_frame) {
    refuse_copy(subscription, parcel.id, Reason::too_large);
    if (!client.blocked) tell_drops(subscription);
    return false;
  }
  if (goes_at_once(subscription) && send(subscription, parcel, again, kept)) return true;
  if (is_full(subscription) && why != Offer::inherited) {  // what it gets back may be more than its depth
    switch (subscription.full) {
      case Full::block:  // its publishers were asked to wait before; this is from the history, or sent again
        break;
      case Full::drop_old:
        if (make_way(subscription, 1, parcel.tail.size() + Stored::kOverhead)) break;
        [[fallthrough]];
      case Full::disconnect:
      case Full::drop_new:
        refuse_copy(subscription, parcel.id, Reason::queue_full);
        if (subscription.full == Full::disconnect) {
          end(subscription, Errc::no_room, "more messages waited than its depth, and its rule is to end then");
        }
        return false;
    }
  }
  try {
    subscription.waiting.push({handout.stored(), Charge<Waiting::kEntry>(held), again, kept});
  } catch (const std::bad_alloc&) {
    refuse_copy(subscription, parcel.id, Reason::queue_full);
    if (subscription.full == Full::block) end(subscription, Errc::no_room, kOutOfMemory);
    return false;
  }
  client.bytes += handout.stored()->size();
  make_ready(subscription);
  return true;
}

/// False: no room in the channel.
bool Core::State::send(Subscription& subscription, const Parcel& parcel, bool again, bool kept) noexcept {
  Client& client = *subscription.client;
  if (subscription.dropped != subscription.told) {
    tell_drops(subscription);
    if (!client.control.empty() || client.over) return false;
  }
  protocol::Deliver frame{subscription.id, subscription.sent + 1, parcel.id,      false,         again, kept,
                          parcel.subject,  parcel.reply,          parcel.headers, parcel.payload};
  auto unacknowledged = subscription.unacknowledged.end();
  if (parcel.level == Level::delivered && !subscription.unacknowledged.empty()) {
    unacknowledged = subscription.unacknowledged.find({parcel.id.publisher, parcel.id.sequence});
    frame.acknowledge = unacknowledged != subscription.unacknowledged.end();
  }
  const auto head = protocol::deliver_head(frame);
  if (!output.send(client.id, head, parcel.tail)) {
    client.blocked = true;
    return false;
  }
  ++subscription.sent;
  ++client.delivered;
  ++totals.delivered;
  if (frame.acknowledge) unacknowledged->second.sent = now;
  if (!client.connection.reliable) due(now + limits.again);
  return true;
}

/// Sends all of it in one frame, or queues it, with `copy` for all who do. False: one by one, please.
bool Core::State::offer(Subscription& subscription, const Batch& batch, Shared& copy) noexcept {
  Client& client = *subscription.client;
  const std::size_t most = protocol::kLongestFront + batch.items.size();
  if (!client.connection.reliable || most > client.connection.max_frame) return false;
  const bool has_room = subscription.full == Full::drop_old || room_in(subscription) >= batch.count;
  if (has_room && goes_at_once(subscription) && send(subscription, batch)) {
    totals.copies += batch.count;
    return true;
  }
  if (room_in(subscription) < batch.count) {
    const std::uint64_t cost = batch.subject.size() + batch.items.size() + Stored::kOverhead;
    if (subscription.full != Full::drop_old || !make_way(subscription, batch.count, cost)) return false;
  }
  try {
    if (!copy) copy = std::make_shared<const Stored>(batch, held);
    subscription.waiting.push({copy, Charge<Waiting::kEntry>(held)});
  } catch (const std::bad_alloc&) {
    return false;
  }
  totals.copies += batch.count;
  client.bytes += copy->size();
  make_ready(subscription);
  return true;
}

/// False: no room in the channel.
bool Core::State::send(Subscription& subscription, const Batch& batch) noexcept {
  Client& client = *subscription.client;
  if (subscription.dropped != subscription.told) {
    tell_drops(subscription);
    if (!client.control.empty() || client.over) return false;
  }
  const protocol::DeliverBatch frame{subscription.id, subscription.sent + 1, batch.first,
                                     batch.count,     batch.subject,         batch.items};
  protocol::Front room;
  if (!output.send(client.id, front_of(frame, room), batch.items)) {
    client.blocked = true;
    return false;
  }
  subscription.sent += batch.count;
  client.delivered += batch.count;
  totals.delivered += batch.count;
  return true;
}

/// Where the rule is drop_old: those that have waited longest are dropped, as many as come, and where bytes or memory
/// are short as much as comes. False: that is not enough.
bool Core::State::make_way(Subscription& subscription, std::uint64_t messages, std::uint64_t cost) noexcept {
  std::uint64_t gone = 0;
  while (room_in(subscription) < messages) {
    const bool too_many = subscription.waiting.messages() + messages > subscription.depth;
    if (!too_many && gone >= cost) return true;
    if (subscription.waiting.empty()) return false;
    const MessageId oldest = subscription.waiting.front().id();
    if (const std::size_t bytes = subscription.waiting.pop(1); bytes > 0) {
      subscription.client->bytes -= bytes;
      gone += bytes + Stored::kOverhead;
    }
    refuse_copy(subscription, oldest, Reason::queue_full);
  }
  return true;
}

/// Counts a copy that this subscription will not get.
void Core::State::refuse_copy(Subscription& subscription, MessageId id, Reason reason) noexcept {
  ++subscription.dropped[static_cast<std::size_t>(reason)];
  ++totals.dropped[static_cast<std::size_t>(reason)];
  subscription.client->untold = true;
  if (!tell_drops_at) {
    tell_drops_at = now + kTellDrops;
    due(*tell_drops_at);
  }
  if (const auto it = subscription.unacknowledged.find({id.publisher, id.sequence});
      it != subscription.unacknowledged.end()) {
    Pending& pending = *it->second.pending;
    subscription.unacknowledged.erase(it);
    fail(pending, reason);
  }
}

void Core::State::tell_drops(Subscription& subscription) noexcept {
  for (const Reason reason : kDropReasons) {
    const auto i = static_cast<std::size_t>(reason);
    if (subscription.dropped[i] == subscription.told[i]) continue;
    control(*subscription.client, protocol::Dropped{subscription.id, reason, subscription.dropped[i]});
  }
  subscription.told = subscription.dropped;
}

void Core::State::tell_all_drops(Client& client) noexcept {
  client.untold = false;
  for (auto& [number, subscription] : client.subscriptions) {
    if (!subscription->ended && subscription->dropped != subscription->told) tell_drops(*subscription);
  }
}

/// Those to whom nothing was sent since, before which it would have been told.
void Core::State::tell_untold() noexcept {
  if (!tell_drops_at) return;
  if (now < *tell_drops_at) return due(*tell_drops_at);
  tell_drops_at.reset();
  for (auto& [id, client] : clients) {
    if (client->untold && !client->blocked && !client->over) tell_all_drops(*client);
  }
}

void Core::State::make_ready(Subscription& subscription) noexcept {
  if (subscription.ready) return;
  Client& client = *subscription.client;
  (client.last_ready != nullptr ? client.last_ready->next_ready : client.first_ready) = &subscription;
  client.last_ready = &subscription;
  subscription.next_ready = nullptr;
  subscription.ready = true;
}

/// The turn of the first that is ready is over. `again`: it goes to the end.
void Core::State::next_ready(Client& client, bool again) noexcept {
  Subscription& first = *client.first_ready;
  client.first_ready = first.next_ready;
  if (client.first_ready == nullptr) client.last_ready = nullptr;
  first.ready = false;
  if (again) make_ready(first);
}

/// What waits in front: of a batch, what credit there is for. Gives how many messages, or 0: no room in the channel.
std::uint32_t Core::State::send_first(Subscription& subscription) noexcept {
  const Waiting::Entry& first = subscription.waiting.front();
  if (first.copy->count() == 0) {
    return send(subscription, first.copy->parcel(), first.again, first.kept) ? 1 : 0;
  }
  Batch rest = without_first(first.copy->batch(), first.gone);
  if (subscription.full != Full::drop_old) {
    rest = first_so_many(rest, subscription.depth - (subscription.sent - subscription.taken));
  }
  return send(subscription, rest) ? rest.count : 0;
}

/// Sends what waits for a client, its subscriptions in turn, until its channel is full or none has credit.
void Core::State::pump(Client& client) noexcept {
  client.blocked = false;
  while (!client.control.empty()) {
    if (!output.send(client.id, client.control.front(), {})) {
      client.blocked = true;
      return;
    }
    const std::size_t cost = client.control.front().size() + kControlOverhead;
    client.control_bytes -= cost;
    control_waiting -= cost;
    client.control.pop_front();
  }
  if (client.leaving) {
    leave(client, false);
    return;
  }
  while (client.first_ready != nullptr && !client.over) {
    Subscription& subscription = *client.first_ready;
    if (subscription.ended || subscription.waiting.empty() || !subscription.has_credit()) {
      next_ready(client, false);
      continue;
    }
    const std::uint32_t sent = send_first(subscription);
    if (sent == 0) break;
    client.bytes -= subscription.waiting.pop(sent);
    next_ready(client, true);
  }
  if (client.untold && !client.blocked) tell_all_drops(client);
  if (!client.awaited) return;
  client.awaited = false;  // room in the channel, or fewer bytes that wait, may be room for any of them
  for (auto& [number, subscription] : client.subscriptions) {
    wake_publishers(*subscription);
    client.awaited |= !subscription->publishers.empty();
  }
}

/// Those who wait for room here, if there is any: sweep() serves them.
void Core::State::wake_publishers(Subscription& subscription) noexcept {
  if (subscription.publishers.empty() || subscription.has_room || is_full(subscription)) return;
  subscription.has_room = true;
  with_room.push_back(&subscription);  // there is room: see Subscribe
}

/// They need not wait for it any more: it is over.
void Core::State::release_publishers(Subscription& subscription) noexcept {
  if (std::exchange(subscription.has_room, false)) std::erase(with_room, &subscription);
  for (const ClientId id : subscription.publishers) {
    if (Client* const publisher = find(id)) retry_later(*publisher);
  }
  subscription.publishers.clear();
}

/// Sends a frame, or keeps it until there is room: before all messages. Without memory for it the client is lost; so is
/// one that takes nothing and goes on asking.
void Core::State::control(Client& client, const protocol::Frame& frame) noexcept {
  if (client.over) return;
  try {
    std::vector<std::byte> bytes;
    protocol::encode(frame, bytes);
    if (client.control.empty() && !client.blocked && output.send(client.id, bytes, {})) return;
    client.blocked = true;
    const bool too_much = client.control_bytes > kControlOfAnyone &&
                          (client.control_bytes > limits.client_bytes || control_waiting > limits.memory / 8);
    if (too_much) return refuse(client, Errc::no_room, "it takes nothing of what it is told");
    const std::size_t cost = bytes.size() + kControlOverhead;
    client.control.push_back(std::move(bytes));
    client.control_bytes += cost;
    control_waiting += cost;
  } catch (const std::bad_alloc&) {
    output.hang_up(client.id, kOutOfMemory);
    leave(client, true);
  }
}

void Core::State::on(Client& client, const protocol::Taken& taken) {
  const auto found = client.subscriptions.find(taken.subscription);
  if (found == client.subscriptions.end()) return;  // it ended while this was on its way
  Subscription& subscription = *found->second;
  if (taken.index > subscription.sent) {
    refuse(client, Errc::corrupt, "it has taken a message that was not sent");
    return;
  }
  subscription.taken = std::max(subscription.taken, taken.index);
  subscription.dropped_there = std::max(subscription.dropped_there, taken.dropped);
  if (!subscription.waiting.empty()) {
    make_ready(subscription);
    if (!client.blocked) pump(client);
  }
  if (client.over || subscription.ended) return;
  if (subscription.dropped != subscription.told) tell_drops(subscription);
  wake_publishers(subscription);
}

/// The broker ends a subscription; its client goes on.
void Core::State::end(Subscription& subscription, Errc why, std::string_view text) noexcept {
  constexpr std::size_t kMostUnheard = 512;
  if (subscription.ended) return;
  Client& client = *subscription.client;
  if (subscription.dropped != subscription.told) tell_drops(subscription);
  control(client, protocol::Refused{subscription.id, why, text});
  subscription.ended = true;
  ended_alone.push_back(&subscription);  // there is room: see Subscribe
  if (client.connection.reliable) return;
  try {
    if (client.ended.size() >= kMostUnheard) client.ended.erase(client.ended.begin());
    client.ended.emplace(subscription.id, std::pair(why, text));
    due(now + limits.again);
  } catch (const std::bad_alloc&) {  // it was told once
  }
}

static bool may_be_offered_to_others(const Subscription& subscription, const Waiting::Entry& one) noexcept {
  const MessageId id = one.id();
  return subscription.unacknowledged.contains({id.publisher, id.sequence});
}

/// How many messages wait for it here that nobody gets if it ends.
std::uint64_t Core::State::left_behind(const Subscription& subscription) noexcept {
  std::uint64_t count = 0;
  for (const Waiting::Entry& one : subscription.waiting) {
    if (!may_be_offered_to_others(subscription, one)) count += one.left();
  }
  return count;
}

/// The rest of a subscription that has ended, for whatever reason. Frees nothing but its place in the index.
void Core::State::remove(Subscription& subscription, bool died) noexcept {
  index.remove(subscription);
  --totals.subscriptions;
  subscription.ended = true;
  Client& client = *subscription.client;
  uncount_survivor(subscription);
  if (died && subscription.again && !all_are_back()) --back;  // it may come once more
  if (subscription.ready) {
    while (client.first_ready != &subscription) next_ready(client, true);
    next_ready(client, false);
  }
  const auto reason = static_cast<std::size_t>(died ? Reason::peer_died : Reason::closed);
  totals.dropped[reason] += left_behind(subscription);
  for (const Waiting::Entry& one : subscription.waiting) {
    client.bytes -= one.copy->size();
    if (may_be_offered_to_others(subscription, one)) --totals.copies;
  }
  subscription.waiting.clear();
  if (died && subscription.full != Full::drop_old) {
    totals.dropped[static_cast<std::size_t>(Reason::unknown_after_crash)] += subscription.sent - subscription.taken;
  }
  abandon(subscription, died);
  release_publishers(subscription);
}

/// Whether a message on that subject has gone to another member of its group.
bool Core::State::has_had_it(const Subscription& subscription, std::string_view subject) {
  if (subscription.queue.empty()) return false;
  const auto& groups = index.match(subject).groups;
  return std::any_of(groups.begin(), groups.end(), [&](const Match::Group& group) {
    return group.queue == subscription.queue && group.members.size() > 1;
  });
}

/// The kept messages of each subject that it matches, oldest first; of those of a group, once for all members.
void Core::State::send_history(Subscription& subscription, std::uint32_t depth) {
  std::vector<std::pair<std::uint64_t, Shared>> found;
  for (const auto& [subject, kept] : history) {
    if (!protocol::matches(subscription.pattern, subject)) continue;
    const std::size_t count = std::min<std::size_t>(depth, kept.messages.size());
    found.insert(found.end(), std::prev(kept.messages.end(), static_cast<std::ptrdiff_t>(count)), kept.messages.end());
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [number, message] : found) {
    Handout handout(std::move(message));
    const MessageId id = handout.parcel().id;
    if (subscription.unacknowledged.contains({id.publisher, id.sequence})) continue;  // it has just inherited this one
    if (has_had_it(subscription, handout.parcel().subject)) continue;
    static_cast<void>(offer(subscription, handout, Offer::kept));
    if (subscription.ended) return;
  }
}

/// On a link that loses frames: what was not answered in time goes out once more.
void Core::State::send_again_on_lossy_links() noexcept {
  for (auto& [id, client] : clients) {
    if (client->connection.reliable || client->over || !client->greeted) continue;
    if (!client->ended.empty()) due(now + limits.again);
    for (const auto& [number, why] : client->ended) {
      if (!client->blocked) control(*client, protocol::Refused{number, why.first, why.second});
    }
    for (auto& [number, subscription] : client->subscriptions) {
      if (subscription->ended || client->blocked) continue;
      bool open = subscription->sent > subscription->taken;
      if (open) {  // the last ones may be lost, or its word of them
        control(*client, protocol::Progress{subscription->id, subscription->sent});
        subscription->told = {};
        tell_drops(*subscription);
      }
      for (auto& [message, entry] : subscription->unacknowledged) {
        if (entry.sent == Time{}) continue;
        open = true;
        if (entry.sent + limits.again > now || client->blocked) continue;
        if (!send(*subscription, entry.pending->message->parcel(), true, false)) break;
        ++totals.copies;
        ++totals.again;
      }
      if (open) due(now + limits.again);
    }
  }
}

}  // namespace bus::broker
