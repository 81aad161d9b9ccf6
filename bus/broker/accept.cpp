// bus/broker/accept.cpp: messages from their publisher into the broker, in order, and no more than fit.
#include <algorithm>
#include <cstring>
#include <limits>

#include "bus/broker/state.hpp"

namespace bus::broker {

using protocol::Publish;
using protocol::PublishBatch;

namespace {

Parcel parcel_of(const Client& client, const Publish& publish, Bytes frame) noexcept {
  return {{client.publisher, publish.sequence},
          publish.level,
          publish.subject,
          publish.reply,
          publish.headers,
          publish.payload,
          protocol::tail_of_publish(frame)};
}

Batch batch_of(const Client& client, const PublishBatch& batch) noexcept {
  return {{client.publisher, batch.sequence}, batch.count, batch.subject, batch.items};
}

}  // namespace

/// Those after the last that came and before this one have not come: they may yet, or come again.
void Core::State::count_gap(Client& client, std::uint64_t sequence) {
  constexpr std::size_t kMostMissing = 4096;
  const std::uint64_t gap = sequence - client.came - 1;
  for (std::uint64_t i = gap > kMostMissing ? sequence - kMostMissing : client.came + 1; i < sequence; ++i)
    client.missing.push_back(i);
  client.lost_coming += gap;
  totals.lost_coming += gap;
  client.came = sequence - 1;
  if (client.missing.size() > kMostMissing) {
    client.missing.erase(client.missing.begin(), client.missing.end() - static_cast<std::ptrdiff_t>(kMostMissing));
  }
}

/// False: it was here before, or cannot be.
bool Core::State::count_arrival(Client& client, const Publish& publish) {
  const std::uint64_t sequence = publish.sequence;
  if (sequence > client.came) {
    if (sequence - client.came > 1) {
      if (client.connection.reliable) {
        refuse(client, Errc::corrupt, "a sequence number was left out");
        return false;
      }
      count_gap(client, sequence);
    }
    client.came = sequence;
    return true;
  }
  const bool was_missing = !client.missing.empty() && std::erase(client.missing, sequence) > 0;
  if (was_missing) {  // late, not lost
    --client.lost_coming;
    --totals.lost_coming;
  }
  if (was_missing || publish.again) return true;
  if (client.connection.reliable) refuse(client, Errc::corrupt, "a sequence number came twice");
  return false;
}

void Core::State::on(Client& client, const Publish& publish, Bytes frame) {
  if (publish.subject.size() + publish.reply.size() + publish.headers.size() + publish.payload.size() >
      client.max_payload) {
    refuse(client, Errc::message_too_large, "a message is larger than this broker's max_payload");
    return;
  }
  if (!count_arrival(client, publish)) return;
  if (publish.again && publish.level == Level::delivered &&
      (client.held_delivered.contains(publish.sequence) || is_known(client, publish))) {
    return;
  }
  if (client.held_back.empty() && accept(client, publish, frame)) {
    receipt_if_due(client);
    return;
  }
  if (client.over) return;
  hold_back(client, {Backlog::Kind::message, publish.level, publish.again, publish.sequence, 0}, frame);
}

void Core::State::on(Client& client, const PublishBatch& batch, Bytes frame) {
  if (!client.connection.reliable || batch.sequence != client.came + 1) {
    refuse(client, Errc::corrupt, "a batch on a link that loses frames, or out of its turn");
    return;
  }
  std::size_t largest = batch.items.size();  // at most: the usual case needs no look at each
  if (batch.subject.size() + largest > client.max_payload) {
    largest = 0;
    for (Bytes items = batch.items; !items.empty();) largest = std::max(largest, protocol::take_item(items).size());
  }
  if (batch.subject.size() + largest > client.max_payload) {
    refuse(client, Errc::message_too_large, "a message is larger than this broker's max_payload");
    return;
  }
  client.came += batch.count;
  const std::uint32_t accepted = client.held_back.empty() ? accept(client, batch_of(client, batch)) : 0;
  if (client.over) return;
  if (accepted < batch.count) {
    hold_back(client, {Backlog::Kind::batch, Level::accepted, false, batch.sequence + accepted, 0}, frame);
  }
  if (accepted > 0 && !client.over) receipt_if_due(client);
}

/// Behind what is held back already. A client that sends more than its window is refused: what it sends again after a
/// reconnect is one window, and what it publishes then may be another.
void Core::State::hold_back(Client& client, Backlog::Item item, Bytes frame) {
  Backlog& backlog = client.held_back;
  if (backlog.size() >= 2 * std::size_t{widest_window} + 16 ||
      (backlog.bytes() > 0 &&
       backlog.bytes() + frame.size() > 2 * (std::uint64_t{client.window_bytes} + client.max_payload))) {
    refuse(client, Errc::no_room, "more was published than the window allows");
    return;
  }
  const bool delivered = item.kind == Backlog::Kind::message && item.level == Level::delivered;
  if (delivered) client.held_delivered.insert(item.number);
  const bool publishes = item.kind == Backlog::Kind::message || item.kind == Backlog::Kind::batch;
  item.cost = publishes ? frame.size() + Stored::kOverhead : 0;
  try {
    backlog.push(item, frame);
  } catch (const std::bad_alloc&) {
    if (delivered) client.held_delivered.erase(item.number);
    throw;
  }
  held_back += item.cost;
}

void Core::State::retry_later(Client& client) noexcept {
  if (client.to_retry) return;
  client.to_retry = true;
  retry.push_back(client.id);  // there is room: see connected()
}

/// Its held back messages, at most so many, and what came behind them. True: there are more, which may go as well.
bool Core::State::retry_held_back(Client& client, std::uint64_t most) {
  Backlog& backlog = client.held_back;
  while (!backlog.empty() && !client.over) {
    if (most == 0) return true;
    const Backlog::Item item = backlog.front();
    const protocol::Frame frame = *protocol::decode(backlog.frame());  // it was decoded before
    if (item.kind == Backlog::Kind::message) {
      if (!accept(client, std::get<Publish>(frame), backlog.frame())) return false;
      --most;
      if (item.level == Level::delivered) client.held_delivered.erase(item.number);
    } else if (item.kind == Backlog::Kind::batch) {
      const auto& batch = std::get<PublishBatch>(frame);
      const Batch rest = without_first(batch_of(client, batch), item.number - batch.sequence);
      const Batch share = first_so_many(rest, most);
      const std::uint32_t accepted = accept(client, share);
      most -= accepted;
      if (accepted < rest.count) {
        backlog.advance(accepted);
        if (accepted > 0 && !client.over) receipt_if_due(client);
        return accepted == share.count;
      }
    }
    backlog.pop();
    held_back -= item.cost;
    switch (item.kind) {
      case Backlog::Kind::message:
      case Backlog::Kind::batch:
        receipt_if_due(client);
        break;
      case Backlog::Kind::flush:
        answer(client, static_cast<std::uint32_t>(item.number));
        break;
      case Backlog::Kind::silence:
        silence(client);
        break;
      case Backlog::Kind::bye:
        farewell(client);
        break;
    }
  }
  return false;
}

/// The same, and a client for which there is no memory is lost.
bool Core::State::take_turn(Client& client, std::uint64_t most) noexcept {
  if (client.over) return false;
  try {
    return retry_held_back(client, most);
  } catch (const std::bad_alloc&) {
    refuse(client, Errc::no_room, kOutOfMemory);
    return false;
  }
}

/// There is room in a subscription: those who wait for it have their shares, one after the other.
void Core::State::serve(Subscription& subscription) noexcept {
  auto& waiting = subscription.publishers;
  while (!subscription.ended && !waiting.empty()) {
    const std::uint64_t room = room_in(subscription);
    if (room == 0) return;
    const bool alone = waiting.size() == 1;
    const std::uint64_t share =
        alone ? std::numeric_limits<std::uint64_t>::max() : std::max<std::uint64_t>(room / waiting.size(), 1);
    const ClientId id = waiting.front();
    waiting.erase(waiting.begin());
    Client* const client = find(id);
    if (client != nullptr && take_turn(*client, share)) waiting.push_back(id);  // there is room: it has had a place
  }
}

/// Fills `targets` with the subscriptions that a message on this subject goes to: of a queue group, the next member in
/// turn that has room.
void Core::State::find_targets(std::string_view subject) {
  targets.clear();
  Match& match = index.match(subject);
  for (Route* const route : match.plain) targets.push_back(static_cast<Subscription*>(route));
  for (Match::Group& group : match.groups) {
    const std::size_t count = group.members.size();
    std::size_t chosen = count;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t candidate = (group.next + i) % count;
      auto& member = *static_cast<Subscription*>(group.members[candidate]);
      if (member.ended) continue;
      if (chosen == count) chosen = candidate;  // unless one has room
      if (is_full(member)) continue;
      chosen = candidate;
      break;
    }
    if (chosen == count) continue;
    targets.push_back(static_cast<Subscription*>(group.members[chosen]));
    group.next = static_cast<std::uint32_t>((chosen + 1) % count);
  }
  std::erase_if(targets, [](const Subscription* subscription) { return subscription->ended; });
}

/// Asks all who are full, and for whom it has to wait or who might take it instead, for a word when they are not.
void Core::State::wait_for_room(Client& client, std::string_view subject) {
  const auto ask = [&](Route* route, bool is_member) {
    auto& subscription = *static_cast<Subscription*>(route);
    if (subscription.ended || !is_full(subscription)) return;
    if (!is_member && subscription.full != Full::block) return;
    auto& waiting = subscription.publishers;
    if (std::find(waiting.begin(), waiting.end(), client.id) != waiting.end()) return;
    waiting.push_back(client.id);
    subscription.client->awaited = true;
  };
  Match& match = index.match(subject);
  for (Route* const route : match.plain) ask(route, false);
  for (Match::Group& group : match.groups) {
    for (Route* const route : group.members) ask(route, true);
  }
}

/// Whether this message, which may be sent again, is being delivered already, or was: then its publisher is told.
bool Core::State::is_known(Client& client, const Publish& publish) {
  const auto found = publishers.find(client.publisher);
  if (found == publishers.end()) return false;
  Publisher& publisher = found->second;
  publisher.client = client.id;
  if (publisher.pending.contains(publish.sequence)) return true;
  const auto known = publisher.settled.find(publish.sequence);
  if (known == publisher.settled.end()) return false;
  control(client, known->second);
  return true;
}

/// False: a subscription that blocks is full, or there is no memory to keep the message in, or the nodes are coming
/// back to a broker that has just started. Nothing was done then but to ask for a word when it may be tried again.
/// Throws std::bad_alloc, having done nothing.
bool Core::State::accept(Client& client, const Publish& publish, Bytes frame) {
  const Parcel parcel = parcel_of(client, publish, frame);
  Handout handout(parcel, held);
  const bool delivered = parcel.level == Level::delivered;
  if (delivered && is_known(client, publish)) return true;  // sent again; or two nodes use one publisher's number
  // Who has lost a broker comes before those for whom his messages are, or after them.
  if ((delivered || client.again) && !all_are_back()) {
    wait_for_all();
    return false;
  }

  find_targets(parcel.subject);
  for (const Subscription* const target : targets) {
    if (target->full != Full::block || !is_full(*target)) continue;
    wait_for_room(client, parcel.subject);
    return false;
  }
  if (delivered && !targets.empty() && !has_memory()) {
    wait_for_memory(client);
    return false;
  }

  Pending* pending = nullptr;
  if (publish.history > 0) keep(handout, publish.history);
  if (delivered) {
    Publisher& publisher = publishers[client.publisher];
    publisher.client = client.id;
    if (publisher.pending.size() >= widest_window + std::size_t{16}) {
      refuse(client, Errc::no_room, "more messages wait to be acknowledged than the window allows");
      return false;
    }
    // One more than there are targets: it cannot be settled before all have been offered it.
    pending = &expect(publisher, handout, static_cast<std::uint32_t>(targets.size()) + 1);
    tell_surviving(client);
  }

  // It is accepted; what follows needs no memory, or does without.
  ++client.accepted;
  ++totals.accepted;
  if (!delivered) ++client.plain_accepted;
  ++client.accepted_unreceipted;
  client.bytes_unreceipted += parcel.tail.size() + protocol::kPublishHead;
  std::uint32_t reached = 0;
  for (Subscription* const target : targets) {
    bool taken = false;
    try {
      if (pending != nullptr) {
        target->unacknowledged.try_emplace({parcel.id.publisher, parcel.id.sequence},
                                           Unacknowledged{pending, Charge<Unacknowledged::kEntry>(held), {}});
      }
      taken = offer(*target, handout, publish.again ? Offer::again : Offer::first);
    } catch (const std::bad_alloc&) {
      fail(*pending, Reason::queue_full);
    }
    taken ? ++reached : ++client.copies_dropped;
  }
  if (targets.empty()) {
    ++client.unreached;
    ++totals.unreached;
    if (!delivered) ++client.plain_unreached;
  }
  if (pending != nullptr) {
    if (targets.empty()) pending->reason = Reason::no_subscriber;
    if (--pending->outstanding == 0) settle(*pending);
  } else if (publish.tell) {
    control(client, protocol::Outcome{publish.sequence, reached, static_cast<std::uint32_t>(targets.size()) - reached,
                                      targets.empty() ? Reason::no_subscriber : Reason::queue_full});
  }
  return true;
}

/// As many of them as can be accepted now, from the first on. Fewer than all: as above.
std::uint32_t Core::State::accept(Client& client, Batch batch) {
  const std::uint32_t all = batch.count;
  while (batch.count > 0 && !client.over) {
    std::uint32_t accepted = accept_at_once(client, batch);
    if (accepted == 0) {
      const Publish first = first_of(batch);
      if (!accept(client, first, of_a_batch)) break;
      accepted = 1;
    }
    batch = without_first(batch, accepted);
  }
  return all - batch.count;
}

/// Several at once, if there is nothing to decide about each: nobody shares them in a group, and those who block have
/// room for them. Gives how many, or 0: not now.
std::uint32_t Core::State::accept_at_once(Client& client, const Batch& batch) {
  if (client.again && !all_are_back()) return 0;
  if (!index.match(batch.subject).groups.empty()) return 0;
  find_targets(batch.subject);
  std::uint64_t count = batch.count;
  for (const Subscription* const target : targets) {
    if (target->full == Full::block) count = std::min(count, room_in(*target));
  }
  if (count < 2) return 0;
  const Batch these = first_so_many(batch, count);
  left_over.reserve(targets.size());
  of_a_batch.reserve(protocol::kPublishHead + these.subject.size() + these.items.size());

  // They are accepted; what follows needs no memory, or does without.
  client.accepted += count;
  client.plain_accepted += count;
  totals.accepted += count;
  client.accepted_unreceipted += count;
  client.bytes_unreceipted += these.items.size() + count * (these.subject.size() + protocol::kPublishHead);
  left_over.clear();
  Shared copy;
  for (Subscription* const target : targets) {
    if (!offer(*target, these, copy)) left_over.push_back(target);
  }
  if (!left_over.empty()) offer_each(client, these);
  if (targets.empty()) {
    client.unreached += count;
    client.plain_unreached += count;
    totals.unreached += count;
  }
  return these.count;
}

/// To those who are left over, one by one.
void Core::State::offer_each(Client& client, const Batch& batch) {
  for (Batch rest = batch; rest.count > 0; rest = without_first(rest, 1)) {
    const Publish publish = first_of(rest);
    const Parcel parcel = parcel_of(client, publish, of_a_batch);
    Handout handout(parcel, held);
    for (Subscription* const target : left_over) {
      if (!target->ended && !offer(*target, handout, Offer::first)) ++client.copies_dropped;
    }
  }
}

/// Its first message as a frame of its own, in `of_a_batch`.
Publish Core::State::first_of(const Batch& batch) {
  Bytes items = batch.items;
  Publish publish;
  publish.sequence = batch.first.sequence;
  publish.subject = batch.subject;
  publish.payload = protocol::take_item(items);
  protocol::encode(publish, of_a_batch);
  publish.subject = {reinterpret_cast<const char*>(of_a_batch.data()) + protocol::kPublishHead, batch.subject.size()};
  publish.payload = Bytes(of_a_batch).subspan(protocol::kPublishHead + batch.subject.size());
  return publish;
}

/// When a quarter of the window has been accepted since the last one. Not before the message is off `held_back`: what
/// is on it the receipt leaves out, and its publisher may wait for just that.
void Core::State::receipt_if_due(Client& client) noexcept {
  const std::uint64_t enough = std::max<std::uint32_t>(client.window_messages / 4, 1);
  if (client.accepted_unreceipted >= enough || client.bytes_unreceipted >= client.window_bytes / 4 ||
      (client.held_back.empty() && client.came - client.receipted >= enough)) {
    widen_window(client);
    receipt(client);
  }
}

// Windows: what publishers have under way is held back here when it cannot be accepted, whatever else fills the memory.
// So all windows together cost at most 3/8 of it: every client is told a small one, all of which are 1/8, and who fills
// that gets a quarter of what is left of 1/4, until he leaves.

void Core::State::set_window(Client& client, std::uint64_t cost) noexcept {
  granted += cost - client.granted;
  client.granted = cost;
  const auto within = [](std::uint64_t value, std::uint32_t most) {
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(value, 1, most));
  };
  client.window_bytes = within(cost / 2, limits.window_bytes);
  client.window_messages = within(cost / 2 / Stored::kOverhead, limits.window_messages);
}

void Core::State::widen_window(Client& client) noexcept {
  const bool is_wide = client.window_messages == limits.window_messages && client.window_bytes == limits.window_bytes;
  const std::uint64_t first = limits.memory / 8 / limits.clients;
  if (!is_wide && client.granted <= first) {
    const std::uint64_t all = limits.memory / 4 + first * clients.size();
    const std::uint64_t most =
        2 * std::max<std::uint64_t>(limits.window_bytes, Stored::kOverhead * limits.window_messages);
    const std::uint64_t share = std::min((all - std::min(all, granted)) / 4, most);
    if (share > client.granted) {
      set_window(client, share);
      welcome(client);
      return;
    }
  }
  // Nothing on a lossy link says that it was heard.
  if (!client.connection.reliable && client.granted > first) welcome(client);
}

void Core::State::wait_for_memory(Client& client) noexcept {
  if (client.waits_for_memory) return;
  client.waits_for_memory = true;
  for_memory.push_back(client.id);  // there is room: see connected()
}

/// There is memory again, and somebody waited for it: his turn has come.
bool Core::State::memory_is_for_next() noexcept {
  if (for_memory.empty() || !has_memory()) return false;
  Client* const client = find(for_memory.front());
  for_memory.erase(for_memory.begin());
  if (client == nullptr) return true;
  client->waits_for_memory = false;
  retry_later(*client);
  return true;
}

void Core::State::receipt(Client& client) noexcept {
  // What is held back is not accepted yet; everything before it is.
  std::uint64_t sequence = client.came;
  for (std::size_t i = 0; i < client.held_back.size(); ++i) {
    const Backlog::Item& item = client.held_back[i];
    const bool publishes = item.kind == Backlog::Kind::message || item.kind == Backlog::Kind::batch;
    if (!publishes || item.again) continue;
    sequence = std::min(sequence, item.number - 1);
    if (client.connection.reliable) break;  // the others are later
  }
  client.receipted = sequence;
  client.accepted_unreceipted = client.bytes_unreceipted = 0;
  control(client, protocol::Receipt{sequence, client.plain_accepted, client.plain_unreached, client.copies_dropped});
}

void Core::State::on(Client& client, const protocol::Flush& flush, Bytes frame) {
  if (!client.connection.reliable && flush.sequence > client.came) {  // the last ones were lost, or are late
    count_gap(client, flush.sequence + 1);
  }
  if (!client.held_back.empty()) {
    if (!client.held_back.has(Backlog::Kind::flush, flush.token)) {
      hold_back(client, {Backlog::Kind::flush, {}, false, flush.token, 0}, frame);
    }
    if (!client.over) receipt(client);
    return;
  }
  answer(client, flush.token);
}

void Core::State::answer(Client& client, std::uint32_t token) noexcept {
  receipt(client);
  control(client, protocol::Flushed{token});
}

void Core::State::on(Client& client, const protocol::Bye& bye, Bytes frame) {
  if (!client.connection.reliable && bye.sequence > client.came) count_gap(client, bye.sequence + 1);
  if (!client.held_back.empty()) {
    const auto kind = bye.stays ? Backlog::Kind::silence : Backlog::Kind::bye;
    if (!client.held_back.has(kind, 0)) hold_back(client, {kind, {}, false, 0, 0}, frame);
    return;
  }
  bye.stays ? silence(client) : farewell(client);
}

void Core::State::silence(Client& client) noexcept {
  receipt(client);
  client.silent = true;
}

void Core::State::farewell(Client& client) noexcept {
  receipt(client);
  tell_all_drops(client);
  control(client, protocol::Farewell{client.accepted, client.delivered});
  if (client.over) return;
  client.leaving = true;
  for (auto& [number, subscription] : client.subscriptions) {  // nothing more comes for them
    if (subscription->ended) continue;
    subscription->ended = true;
    ended_alone.push_back(subscription.get());
  }
  if (client.control.empty()) leave(client, false);
}

/// Keeps a message of its subject for those who come late, and no more than `depth` of them. All that is kept takes at
/// most a quarter of the memory: the oldest go.
void Core::State::keep(Handout& handout, std::uint32_t depth) {
  const std::uint64_t number = arrivals + 1;
  const Shared& message = handout.stored();
  auto found = history.find(message->parcel().subject);
  if (found == history.end()) {
    found = history.emplace(std::string(message->parcel().subject), Kept{}).first;
    try {
      history_by_age.emplace(number, found);
      found->second.messages.emplace_back(number, message);
    } catch (const std::bad_alloc&) {
      history_by_age.erase(number);
      history.erase(found);
      throw;
    }
    history_cost += kKeptSubject;
  } else {
    found->second.messages.emplace_back(number, message);
  }
  arrivals = number;
  history_cost += message->cost() + kKeptMessage;
  while (found->second.messages.size() > std::min(depth, limits.history)) forget_oldest(found);
  while (history_cost > limits.memory / 4) forget_oldest(history_by_age.begin()->second);
}

/// The oldest of one subject; needs no memory.
void Core::State::forget_oldest(History::iterator subject) noexcept {
  auto& messages = subject->second.messages;
  auto age = history_by_age.extract(messages.front().first);
  history_cost -= messages.front().second->cost() + kKeptMessage;
  messages.pop_front();
  if (messages.empty()) {
    history_cost -= kKeptSubject;
    history.erase(subject);
    return;
  }
  age.key() = messages.front().first;
  history_by_age.insert(std::move(age));
}

}  // namespace bus::broker
