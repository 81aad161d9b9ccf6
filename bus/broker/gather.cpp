// bus/broker/gather.cpp: what a broker that starts waits for, and what the one after it shall.
#include <utility>

#include "bus/broker/state.hpp"

namespace bus::broker {

namespace {

constexpr auto kTell = std::chrono::milliseconds(100);  // one word for all that end in so long

}  // namespace

/// Whether what waited for those who come back may go.
bool Core::State::all_are_back() const noexcept {
  return now >= gathering_at_most || (now >= gathering_until && back >= expected);
}

void Core::State::wait_for_all() noexcept {
  gathering = true;
  due(now < gathering_until ? gathering_until : gathering_at_most);
}

void Core::State::look_who_is_back() noexcept {
  if (!gathering) return;
  if (!all_are_back()) return wait_for_all();
  gathering = false;
  for (auto& [id, client] : clients) {
    if (!client->held_back.empty()) retry_later(*client);
  }
}

/// One more: those who publish know it before its node knows that it is in force.
void Core::State::count_survivor(const Subscription& subscription) noexcept {
  if (subscription.client->connection.own) return;
  ++surviving;
  for (auto& [id, client] : clients) {
    if (client->is_told && !client->over && client->subscribed < worth_waiting_for()) tell_surviving(*client);
  }
}

/// One fewer: there is no hurry.
void Core::State::uncount_survivor(const Subscription& subscription) noexcept {
  if (subscription.client->connection.own) return;
  --surviving;
  if (tell_at) return;
  tell_at = now + kTell;
  due(*tell_at);
}

void Core::State::tell_survivors() noexcept {
  if (!tell_at) return;
  if (now < *tell_at) return due(*tell_at);
  tell_at.reset();
  for (auto& [id, client] : clients) {
    if (client->is_told && !client->over) tell_surviving(*client);
  }
}

/// Who publishes what is to be `delivered` knows how many subscriptions the next broker has to wait for.
void Core::State::tell_surviving(Client& client) noexcept {
  if (note_surviving(client)) welcome(client);
}

/// For its next welcome. False: that would be nothing new.
bool Core::State::note_surviving(Client& client) noexcept {
  client.is_told = true;
  const std::uint32_t number = worth_waiting_for();
  if (number > surviving && !tell_at) {  // those who are late may never come
    tell_at = gathering_at_most;
    due(*tell_at);
  }
  return std::exchange(client.subscribed, number) != number;
}

std::uint32_t Core::State::worth_waiting_for() const noexcept {
  return all_are_back() ? surviving : std::max(surviving, expected);
}

}  // namespace bus::broker
