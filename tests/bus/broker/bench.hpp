// tests/bus/broker/bench.hpp: a broker's core on the bench: says what a client says, and collects what it is told.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/core.hpp"
#include "bus/core/message.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using broker::ClientId;
using protocol::Full;
using protocol::Level;

/// The place of a reason in ReasonCounts.
inline constexpr std::size_t count_of(Reason reason) { return static_cast<std::size_t>(reason); }

class Bench final : public broker::Output {
 public:
  explicit Bench(const broker::Limits& limits = without_gathering())
      : core(limits, protocol::Instance{9}, "bench", *this, now) {}

  /// A broker that has been there for long.
  static broker::Limits without_gathering() {
    broker::Limits limits;
    limits.gather = 0ns;
    return limits;
  }

  Clock::time_point now{1h};
  broker::Core core;
  std::map<ClientId, std::size_t> room;  // frames that a client's channel takes; no entry: any number
  /// Whom the core hung up on, and why. Needs no memory, as the calls that are tested without.
  class HungUp {
   public:
    void emplace(ClientId id, std::string_view why) noexcept { all_.at(id) = why; }
    [[nodiscard]] bool contains(ClientId id) const noexcept { return all_.at(id).has_value(); }
    [[nodiscard]] std::string_view at(ClientId id) const { return all_.at(id).value(); }

   private:
    std::array<std::optional<std::string_view>, 64> all_;  // of texts that live for ever
  } hung_up;

  bool send(ClientId id, protocol::Bytes head, protocol::Bytes tail) noexcept override {
    if (const auto found = room.find(id); found != room.end()) {
      if (found->second == 0) return false;
      --found->second;
    }
    if (!collects) return true;
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    sent_[id].push_back(std::move(bytes));
    return true;
  }
  void hang_up(ClientId id, std::string_view why) noexcept override { hung_up.emplace(id, why); }
  bool collects = true;  // false: keeps nothing of what is sent, which needs memory

  ClientId connect(bool reliable = true) {
    const auto id = core.connected({"bench", reliable, std::size_t{1} << 20}, now);
    return id ? *id : 0;
  }
  /// A client that has said hello, as node `number`.
  ClientId join(std::uint8_t number, bool reliable = true, std::uint64_t sequence = 0) {
    const ClientId id = connect(reliable);
    say(id, protocol::Hello{protocol::kVersion, protocol::Instance{number}, number, sequence, "node"});
    return id;
  }
  void say(ClientId id, const protocol::Frame& frame) {
    std::vector<std::byte> bytes;
    protocol::encode(frame, bytes);
    core.received(id, bytes, now);
  }
  void subscribe(ClientId id, std::uint32_t number, std::string_view pattern, std::uint32_t depth = 100,
                 Full full = Full::block, std::string_view queue = {}, std::uint32_t history = 0) {
    say(id, protocol::Subscribe{number, pattern, queue, depth, full, history, false});
  }
  void publish(ClientId id, std::uint64_t sequence, std::string_view subject, Level level = Level::accepted,
               bool again = false, std::uint32_t history = 0, bool tell = false) {
    say(id, protocol::Publish{sequence, level, tell, again, history, subject, {}, {}, bytes_of("x")});
  }
  /// Messages from `first` on, each with its sequence as payload.
  void publish_batch(ClientId id, std::uint64_t first, std::uint32_t count, std::string_view subject) {
    std::vector<std::byte> items;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::string payload = std::to_string(first + i);
      items.resize(items.size() + protocol::kItemSize);
      os::put_u16(items.data() + items.size() - protocol::kItemSize, static_cast<std::uint16_t>(payload.size()));
      items.insert(items.end(), bytes_of(payload).begin(), bytes_of(payload).end());
    }
    say(id, protocol::PublishBatch{first, count, subject, items});
  }
  void acknowledge(ClientId id, std::uint32_t number, std::uint64_t publisher, std::uint64_t sequence) {
    say(id, protocol::Acknowledge{number, {publisher, sequence}, false});
  }
  void pass(std::chrono::nanoseconds time) {
    const auto until = now + time;
    while (core.next_tick() && *core.next_tick() <= until) {
      now = std::max(now, *core.next_tick());
      core.tick(now);
    }
    now = until;
  }

  /// Those of one kind that a client was sent, in order; views into what is kept here.
  template <class T>
  std::vector<T> told(ClientId id) const {
    std::vector<T> found;
    const auto all = sent_.find(id);
    if (all == sent_.end()) return found;
    for (const auto& bytes : all->second) {
      const auto frame = protocol::decode(bytes);
      if (!frame) continue;
      if (const T* const one = std::get_if<T>(&*frame)) found.push_back(*one);
    }
    return found;
  }
  /// "sequence,sequence,..." of the messages that a subscription was sent, alone or in batches.
  std::string got(ClientId id, std::uint32_t number) const {
    std::string text;
    const auto all = sent_.find(id);
    if (all == sent_.end()) return text;
    const auto add = [&](std::uint64_t sequence) { text += (text.empty() ? "" : ",") + std::to_string(sequence); };
    for (const auto& bytes : all->second) {
      const auto frame = protocol::decode(bytes);
      if (!frame) continue;
      if (const auto* one = std::get_if<protocol::Deliver>(&*frame); one != nullptr && one->subscription == number) {
        add(one->message.sequence);
      }
      const auto* batch = std::get_if<protocol::DeliverBatch>(&*frame);
      if (batch == nullptr || batch->subscription != number) continue;
      for (std::uint64_t i = 0; i < batch->count; ++i) add(batch->message.sequence + i);
    }
    return text;
  }
  std::optional<protocol::Outcome> outcome(ClientId id, std::uint64_t sequence) const {
    std::optional<protocol::Outcome> found;
    for (const auto& one : told<protocol::Outcome>(id)) {
      if (one.sequence == sequence) found = one;
    }
    return found;
  }

 private:
  std::map<ClientId, std::vector<std::vector<std::byte>>> sent_;
};

}  // namespace bus::test
