// bus/broker/core.cpp: connections come, say hello, subscribe, and go.
#include "bus/broker/core.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <new>

#include "bus/broker/state.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::broker {

Core::Core(const Limits& limits, const protocol::Instance& instance, std::string name, Output& output, Time now)
    : state_(std::make_unique<State>(*this, limits, instance, std::move(name), output, now)) {}
Core::~Core() = default;

Client* Core::State::find(ClientId id) noexcept {
  const auto found = clients.find(id);
  return found == clients.end() ? nullptr : found->second.get();
}

Result<ClientId> Core::connected(Connection connection, Time now) {
  State& state = *state_;
  state.now = now;
  if (state.clients.size() >= state.limits.clients || state.strangers >= state.limits.strangers || state.draining) {
    return Errc::no_room;
  }
  try {
    auto client = std::make_unique<Client>();
    // It can end, and be waited for, without memory.
    const std::size_t count = std::bit_ceil(state.clients.size() + 1);
    state.ended.reserve(count);
    state.retry.reserve(count);
    state.retrying.reserve(count);
    state.for_memory.reserve(count);
    while (++state.last_client == 0 || state.clients.contains(state.last_client)) {
    }
    const ClientId id = client->id = state.last_client;
    client->connection = std::move(connection);
    client->hello_until = now + state.limits.hello;
    state.due(client->hello_until);
    state.clients.emplace(id, std::move(client));
    ++state.strangers;
    return id;
  } catch (const std::bad_alloc&) {
    return Errc::no_room;
  }
}

void Core::received(ClientId id, Bytes frame, Time now) noexcept {
  State& state = *state_;
  state.now = now;
  Client* const client = state.find(id);
  if (client == nullptr || client->over) return;
  client->moved = now;
  try {
    state.handle(*client, frame);
  } catch (const std::bad_alloc&) {
    state.refuse(*client, Errc::no_room, kOutOfMemory);
  }
  state.sweep();
}

void Core::State::handle(Client& client, Bytes bytes) {
  const Result<protocol::Frame> frame = protocol::decode(bytes);
  if (!frame) {
    refuse(client, static_cast<Errc>(frame.error().value()),
           frame.error() == Errc::version_mismatch ? "this broker speaks version 1 of the protocol"
                                                   : "a frame that is none");
    return;
  }
  if (const auto* publish = std::get_if<protocol::Publish>(&*frame);
      publish != nullptr && client.greeted && !client.leaving) {
    on(client, *publish, bytes);
    return;
  }
  if (const auto* hello = std::get_if<protocol::Hello>(&*frame)) {
    on(client, *hello);
    return;
  }
  if (!client.greeted) {
    refuse(client, Errc::corrupt, "the first frame has to be a hello");
    return;
  }
  if (client.leaving) return;
  std::visit(
      [&](const auto& one) {
        if constexpr (requires { on(client, one); }) {
          on(client, one);
        } else if constexpr (requires { on(client, one, bytes); }) {
          on(client, one, bytes);
        } else {
          refuse(client, Errc::corrupt, "a frame that only brokers send");
        }
      },
      *frame);
}

void Core::State::on(Client& client, const protocol::Hello& hello) {
  if (!client.greeted) {
    // The same node on an older connection: that one is dead, and nobody has noticed yet.
    for (auto& [id, other] : clients) {
      if (!other->greeted || other->over || other->instance != hello.instance) continue;
      output.hang_up(other->id, "its node has connected again");
      leave(*other, true);
    }
    client.name = std::string(hello.name);
    client.greeted = true;
    --strangers;
    client.instance = hello.instance;
    client.again = hello.again;
    if (hello.again) expected = std::max(expected, hello.subscribed);
    if (hello.subscribed > 0) note_surviving(client);
    client.publisher = hello.publisher;
    client.came = client.receipted = hello.sequence;
    set_window(client, limits.memory / 8 / limits.clients);
    client.max_payload = limits.max_payload;
    if (const auto known = publishers.find(hello.publisher); known != publishers.end())
      known->second.client = client.id;
  } else if (client.connection.reliable || client.instance != hello.instance) {
    refuse(client, Errc::corrupt, "a second hello");
    return;
  }
  welcome(client);
  if (draining && client.connection.reliable && !client.over) farewell_and_stay(client);
}

void Core::State::welcome(Client& client) noexcept {
  control(client, protocol::Welcome{protocol::kVersion, instance, client.window_messages, client.window_bytes,
                                    client.max_payload, limits.subscriptions, name, client.subscribed});
}

void Core::State::on(Client& client, const protocol::Subscribe& subscribe) {
  if (const auto known = client.subscriptions.find(subscribe.subscription); known != client.subscriptions.end()) {
    const bool same = known->second->pattern == subscribe.pattern && known->second->queue == subscribe.queue;
    if (same && !known->second->ended) {
      control(client, protocol::Subscribed{subscribe.subscription});
    } else {
      control(client, protocol::Refused{subscribe.subscription, Errc::busy, "that number has a subscription already"});
    }
    return;
  }
  if (const auto known = client.ended.find(subscribe.subscription); known != client.ended.end()) {
    control(client, protocol::Refused{subscribe.subscription, known->second.first, known->second.second});
    return;
  }
  if (client.subscriptions.size() >= limits.subscriptions) {
    control(client, protocol::Refused{subscribe.subscription, Errc::no_room,
                                      "too many subscriptions on one connection; raise the broker's limit"});
    return;
  }
  if (subscribe.depth == 0) {
    control(client, protocol::Refused{subscribe.subscription, Errc::corrupt, "a depth of 0 holds no message"});
    return;
  }
  auto made = std::make_unique<Subscription>();
  Subscription& subscription = *made;
  subscription.pattern = subscribe.pattern;
  subscription.queue = subscribe.queue;
  subscription.client = &client;
  subscription.id = subscribe.subscription;
  subscription.depth = subscribe.depth;
  subscription.full = subscribe.full;
  subscription.made = now;
  subscription.estate.push_back({client.instance, subscription.id, subscription.pattern, subscription.queue, {}, {}});
  for (auto* const list : {&ended_alone, &with_room}) list->reserve(std::bit_ceil(index.size() + 1));
  client.subscriptions.emplace(subscribe.subscription, std::move(made));
  try {
    index.add(subscription);
  } catch (const std::bad_alloc&) {
    client.subscriptions.erase(subscribe.subscription);
    control(client, protocol::Refused{subscribe.subscription, Errc::no_room, kOutOfMemory});
    return;
  }
  ++totals.subscriptions;
  count_survivor(subscription);
  subscription.again = subscribe.again;
  if (subscribe.again) ++back;
  control(client, protocol::Subscribed{subscribe.subscription});
  adopt(subscription);
  if (subscribe.history > 0) send_history(subscription, subscribe.history);
  look_at_watches(watches_due ? std::string_view(">") : subscription.pattern);
  look_who_is_back();
}

void Core::State::on(Client& client, const protocol::Unsubscribe& unsubscribe) {
  client.ended.erase(unsubscribe.subscription);
  const auto found = client.subscriptions.find(unsubscribe.subscription);
  if (found == client.subscriptions.end() || found->second->ended) return;
  Subscription& subscription = *found->second;
  if (client.connection.reliable) {  // the last word on it
    if (subscription.dropped != subscription.told) tell_drops(subscription);
    if (const std::uint64_t left = left_behind(subscription); left > 0) {
      control(client, protocol::Dropped{subscription.id, Reason::closed, left});
    }
    control(client, protocol::Progress{subscription.id, subscription.sent});
    if (client.over) return;
  }
  subscription.ended = true;
  ended_alone.push_back(&subscription);
}

/// One that waits for 0 takes back what waits under its token: its answer is the last.
void Core::State::on(Client& client, const protocol::Watch& watch) {
  const auto same = [&](const Client::WatchFor& other) { return other.token == watch.token; };
  if (watch.count == 0) std::erase_if(client.watches, same);
  const auto count = static_cast<std::uint32_t>(index.count(watch.subject));
  if (count >= watch.count) {
    control(client, protocol::Watched{watch.token, count});
    return;
  }
  constexpr std::size_t kMostWatches = 256;
  if (std::any_of(client.watches.begin(), client.watches.end(), same)) return;
  if (client.watches.size() >= kMostWatches) {
    control(client, protocol::Refused{watch.token, Errc::no_room, "too many waits for subscribers on one connection"});
    return;
  }
  client.watches.push_back({watch.token, watch.count, std::string(watch.subject)});
}

/// Of those whose subjects a pattern matches.
void Core::State::look_at_watches(std::string_view pattern) noexcept {
  watches_due = false;
  for (auto& [id, client] : clients) {
    std::erase_if(client->watches, [&, who = client.get()](const Client::WatchFor& watch) {
      if (!protocol::matches(pattern, watch.subject)) return false;
      try {
        const auto count = static_cast<std::uint32_t>(index.count(watch.subject));
        if (count < watch.count) return false;
        control(*who, protocol::Watched{watch.token, count});
        return true;
      } catch (const std::bad_alloc&) {
        watches_due = true;
        due(now + limits.again);
        return false;
      }
    });
  }
}

/// Says why and hangs up. The client is as good as dead: it may be an attacker.
void Core::State::refuse(Client& client, Errc why, std::string_view text) noexcept {
  if (client.over) return;
  client.control.clear();
  control_waiting -= std::exchange(client.control_bytes, 0);
  try {
    std::vector<std::byte> bytes;
    protocol::encode(protocol::Refused{0, why, text}, bytes);
    static_cast<void>(output.send(client.id, bytes, {}));
  } catch (const std::bad_alloc&) {  // then without a word
  }
  output.hang_up(client.id, text);
  leave(client, true);
}

/// The client is over; sweep() does the rest.
void Core::State::leave(Client& client, bool died) noexcept {
  if (client.over) return;
  if (!died) output.hang_up(client.id, {});
  client.over = true;
  client.died = died;
  ended.push_back(&client);
}

void Core::disconnected(ClientId id, bool died, Time now) noexcept {
  State& state = *state_;
  state.now = now;
  Client* const client = state.find(id);
  if (client == nullptr || client->over) return;
  client->over = true;
  client->died = (died || client->greeted) && !client->leaving;  // who leaves says so before: all others may come back
  state.ended.push_back(client);
  state.sweep();
}

void Core::room(ClientId id, Time now) noexcept {
  State& state = *state_;
  state.now = now;
  Client* const client = state.find(id);
  if (client == nullptr || client->over) return;
  client->moved = now;
  state.pump(*client);
  state.sweep();
}

/// Removes what has ended, and lets held back messages go on, until nothing more follows from it.
void Core::State::sweep() noexcept {
  while (!ended.empty() || !ended_alone.empty() || !with_room.empty() || !retry.empty() || memory_is_for_next()) {
    while (!ended_alone.empty()) {
      Subscription* const subscription = ended_alone.back();
      ended_alone.pop_back();
      Client& client = *subscription->client;
      remove(*subscription, false);
      client.subscriptions.erase(subscription->id);
    }
    while (!ended.empty()) {
      Client* const client = ended.back();
      ended.pop_back();
      forget(*client);
    }
    while (!with_room.empty() && ended.empty() && ended_alone.empty()) {
      Subscription& subscription = *with_room.back();
      with_room.pop_back();
      subscription.has_room = false;
      serve(subscription);
    }
    std::swap(retry, retrying);
    for (const ClientId id : retrying) {
      Client* const client = find(id);
      if (client == nullptr) continue;
      client->to_retry = false;
      static_cast<void>(take_turn(*client, std::numeric_limits<std::uint64_t>::max()));
    }
    retrying.clear();
  }
}

void Core::State::forget(Client& client) noexcept {
  std::erase_if(ended_alone, [&](const Subscription* subscription) { return subscription->client == &client; });
  for (auto& [id, subscription] : client.subscriptions) remove(*subscription, client.died);
  if (!client.greeted) --strangers;
  if (const auto known = publishers.find(client.publisher);
      known != publishers.end() && known->second.client == client.id) {
    known->second.client = 0;
    known->second.left = now;
    due(now + limits.linger);
  }
  std::erase(for_memory, client.id);
  granted -= client.granted;
  control_waiting -= client.control_bytes;
  held_back -= client.held_back.cost();
  // What was published and is held back was not accepted: its publisher knows that, or is gone.
  clients.erase(client.id);
}

std::optional<Time> Core::next_tick() const noexcept { return state_->next; }

void Core::tick(Time now) noexcept {
  State& state = *state_;
  state.now = now;
  if (!state.next || *state.next > now) return;
  state.next.reset();
  for (auto& [id, client] : state.clients) {
    if (client->greeted || client->over) continue;
    if (client->hello_until <= now) {
      state.refuse(*client, Errc::timed_out, "no hello in time");
    } else {
      state.due(client->hello_until);
    }
  }
  state.look_who_is_back();
  state.tell_survivors();
  state.tell_untold();
  if (state.watches_due) state.look_at_watches(">");
  state.hand_over_estates();
  state.forget_publishers();
  state.send_again_on_lossy_links();
  state.sweep();
}

void Core::drain(Time now) noexcept {
  State& state = *state_;
  state.now = now;
  state.draining = true;
  for (auto& [id, client] : state.clients) {
    if (client->over || client->leaving || !client->greeted || !client->connection.reliable) continue;
    state.farewell_and_stay(*client);
  }
  state.sweep();
}

/// It publishes no more then, and goes on to be delivered to.
void Core::State::farewell_and_stay(Client& client) noexcept {
  client.moved = now;
  control(client, protocol::Farewell{client.accepted, client.delivered, true});
}

bool Core::drained(Time now) const noexcept {
  const auto idle = [this, now](const auto& entry) {
    const Client& client = *entry.second;
    if (now - client.moved >= state_->limits.stalled) return true;  // it may never: it does not keep the others
    if (!client.control.empty() || !client.held_back.empty()) return false;
    if (client.greeted && client.connection.reliable && !client.silent && !client.leaving) return false;
    return std::all_of(client.subscriptions.begin(), client.subscriptions.end(), [](const auto& one) {
      return one.second->waiting.empty() && one.second->unacknowledged.empty();
    });
  };
  return std::all_of(state_->clients.begin(), state_->clients.end(), idle);
}

void Core::stop(Time now) noexcept {
  State& state = *state_;
  state.now = now;
  for (auto& [id, client] : state.clients) {
    if (client->over) continue;
    if (client->greeted) {
      state.receipt(*client);
      state.tell_all_drops(*client);
      state.control(*client, protocol::Farewell{client->accepted, client->delivered});
    }
    state.leave(*client, false);
  }
  state.sweep();
}

void Core::set_limits(const Limits& limits, Time now) noexcept {
  State& state = *state_;
  state.now = now;
  state.limits = limits;
  state.widest_window = std::max(state.widest_window, limits.window_messages);
  for (auto& [id, client] : state.clients) {  // there may be room for what had to wait
    if (!client->held_back.empty()) state.retry_later(*client);
  }
  state.sweep();
}

Totals Core::totals() const noexcept {
  Totals totals = state_->totals;
  totals.clients = static_cast<std::uint32_t>(state_->clients.size());
  totals.memory = state_->held + state_->held_back;
  for (const auto& [id, client] : state_->clients) {
    for (const auto& [number, subscription] : client->subscriptions) totals.waiting += subscription->waiting.messages();
  }
  return totals;
}

}  // namespace bus::broker
