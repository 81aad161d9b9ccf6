// tests/bus/simulation/broker.hpp: the broker's core in the simulated world, which dies and starts anew; and what can
// be seen of its promises on the wire.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "bus/broker/core.hpp"
#include "tests/bus/simulation/ledger.hpp"
#include "tests/bus/simulation/link.hpp"

namespace bus::simulation {

inline constexpr std::size_t kMaxFrame = std::size_t{1} << 20;

/// What the checks of nodes want to know of the broker.
class BrokerObserver {
 public:
  virtual void in_force(Link&, std::uint32_t subscription) = 0;

 protected:
  ~BrokerObserver() = default;
};

class Broker final : public broker::Output {
 public:
  Broker(World& world, const broker::Limits& its_limits, BrokerObserver& observer)
      : limits(its_limits), world_(world), observer_(observer) {}

  const broker::Limits limits;
  [[nodiscard]] bool up() const noexcept { return core_ != nullptr; }
  [[nodiscard]] std::uint64_t life() const noexcept { return life_; }
  [[nodiscard]] Time started() const noexcept { return started_; }
  [[nodiscard]] broker::Core& core() noexcept { return *core_; }

  void start() {
    protocol::Instance instance;
    for (auto& byte : instance) byte = static_cast<std::uint8_t>(world_.random.next());
    world_.note("broker starts");
    started_ = world_.now();
    core_ = std::make_unique<broker::Core>(limits, instance, "sim", *this, world_.now());
    armed_.reset();
  }

  /// Its memory is gone. What it had sent arrives, or does not.
  void kill() {
    world_.note("broker dies");
    core_.reset();
    ++life_;
    // What is not cut off is closed by the system.
    for (auto& [id, peer] : std::exchange(peers_, {})) {
      if (world_.random.percent(50)) {
        peer.link->cut(world_.random.within(20ms), 0us);
      } else {
        peer.link->close(Link::broker, true);
      }
    }
  }

  /// In good order: drain(), and after a while stop().
  void drain() {
    world_.note("broker is about to stop");
    core_->drain(world_.now());
    after_call();
  }
  void stop() {
    world_.note("broker stops");
    core_->stop(world_.now());
    core_.reset();
    ++life_;
    if (!peers_.empty()) world_.fail("the core has stopped and not hung up on everybody");
    peers_.clear();
  }

  /// False: it does not want this one.
  bool connect(const std::shared_ptr<Link>& link) {
    const auto id = core_->connected({"sim", link->kind.reliable, kMaxFrame}, world_.now());
    if (!id) return false;
    peers_.emplace(*id, Peer{link, {}, {}});
    link->ends[Link::broker] = {[this, id = *id, life = life_](protocol::Bytes frame) {
                                  if (alive(id, life)) receive(id, frame);
                                },
                                [this, id = *id, life = life_](bool died) {
                                  if (!alive(id, life)) return;
                                  world_.note("broker hears the end of client " + std::to_string(id));
                                  peers_.erase(id);
                                  core_->disconnected(id, died, world_.now());
                                  after_call();
                                },
                                [this, id = *id, life = life_] {
                                  if (!alive(id, life)) return;
                                  core_->room(id, world_.now());
                                  after_call();
                                },
                                [] { return false; }};
    after_call();
    return true;
  }

  // Output
  bool send(broker::ClientId id, protocol::Bytes head, protocol::Bytes tail) noexcept override {
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      world_.fail("the core sends to a client that it was told is gone, or hung up on");
      return true;
    }
    Peer& peer = found->second;
    if (!peer.link->send(Link::broker, head, tail)) return false;
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    const auto frame = protocol::decode(bytes);
    if (!frame) {
      world_.fail("the core sends a frame that is none");
      return true;
    }
    if (const auto* one = std::get_if<protocol::Deliver>(&*frame)) look_at(id, peer, one->subscription, one->index, 1);
    if (const auto* batch = std::get_if<protocol::DeliverBatch>(&*frame)) {
      look_at(id, peer, batch->subscription, batch->index, batch->count);
    }
    if (const auto* subscribed = std::get_if<protocol::Subscribed>(&*frame)) {
      observer_.in_force(*peer.link, subscribed->subscription);
    }
    if (const auto* refused = std::get_if<protocol::Refused>(&*frame)) peer.subscriptions.erase(refused->id);
    if (const auto* progress = std::get_if<protocol::Progress>(&*frame);
        progress != nullptr && peer.left.erase(progress->subscription) > 0) {
      peer.subscriptions.erase(progress->subscription);
    }
    if (const auto* dropped = std::get_if<protocol::Dropped>(&*frame)) {
      const bool left_behind = dropped->reason == Reason::closed && peer.left.contains(dropped->subscription);
      if (peer.subscriptions[dropped->subscription].full == protocol::Full::block && !left_behind) {
        world_.fail("a subscription that blocks was told of a drop");
      }
    }
    return true;
  }

  void hang_up(broker::ClientId id, std::string_view why) noexcept override {
    world_.note("broker hangs up on client " + std::to_string(id) + ": " + std::string(why));
    const auto found = peers_.find(id);
    if (found == peers_.end()) {
      world_.fail("the core hangs up on a client that is gone");
      return;
    }
    if (!why.empty() && why != "its node has connected again" && why != "no hello in time") {
      world_.fail("the core refuses a session that keeps to the protocol: " + std::string(why));
    }
    found->second.link->close(Link::broker, !why.empty());
    peers_.erase(found);
  }

 private:
  struct Subscription {
    std::uint32_t depth = 0;
    protocol::Full full{};
    std::uint64_t index = 0, taken = 0;
  };
  struct Peer {
    std::shared_ptr<Link> link;
    std::map<std::uint32_t, Subscription> subscriptions;
    std::set<std::uint32_t> left;  // of these, and the last word on them has not gone out
  };

  [[nodiscard]] bool alive(broker::ClientId id, std::uint64_t life) const {
    return life == life_ && core_ && peers_.contains(id);
  }

  void receive(broker::ClientId id, protocol::Bytes bytes) {
    world_.mix(id);
    world_.mix(bytes);
    const auto frame = protocol::decode(bytes);
    if (!frame) {
      world_.fail("a session sends a frame that is none");
      return;
    }
    Peer& peer = peers_.find(id)->second;
    if (world_.tracing()) world_.note("broker takes " + text_of(*frame) + " from client " + std::to_string(id));
    if (const auto* subscribe = std::get_if<protocol::Subscribe>(&*frame)) {
      auto& its = peer.subscriptions[subscribe->subscription];
      its.depth = subscribe->depth;
      its.full = subscribe->full;
    }
    if (const auto* unsubscribe = std::get_if<protocol::Unsubscribe>(&*frame)) {
      if (peer.link->kind.reliable) {
        peer.left.insert(unsubscribe->subscription);  // until the last word on it
      } else {
        peer.subscriptions.erase(unsubscribe->subscription);
      }
    }
    if (const auto* taken = std::get_if<protocol::Taken>(&*frame)) {
      auto& its = peer.subscriptions[taken->subscription];
      its.taken = std::max(its.taken, taken->index);
    }
    core_->received(id, bytes, world_.now());
    after_call();
  }

  /// For the trace.
  static std::string text_of(const protocol::Frame& frame) {
    const auto name = [](protocol::MessageId id) {
      return std::to_string(id.publisher) + ":" + std::to_string(id.sequence);
    };
    std::string text = "frame of kind " + std::to_string(frame.index());
    if (const auto* publish = std::get_if<protocol::Publish>(&frame)) {
      text = std::string(publish->again ? "again " : "") + "publish " + std::to_string(publish->sequence);
    } else if (const auto* batch = std::get_if<protocol::PublishBatch>(&frame)) {
      text = "publish " + std::to_string(batch->sequence) + " and " + std::to_string(batch->count - 1) + " more";
    } else if (const auto* taken = std::get_if<protocol::Taken>(&frame)) {
      text = "taken " + std::to_string(taken->subscription) + " up to " + std::to_string(taken->index);
    } else if (const auto* acknowledge = std::get_if<protocol::Acknowledge>(&frame)) {
      text = std::string(acknowledge->dropped ? "dropped " : "acknowledge ") + name(acknowledge->message) + " of " +
             std::to_string(acknowledge->subscription);
    } else if (const auto* subscribe = std::get_if<protocol::Subscribe>(&frame)) {
      text = "subscribe " + std::to_string(subscribe->subscription);
    }
    return text;
  }

  void look_at(broker::ClientId id, Peer& peer, std::uint32_t subscription, std::uint64_t index, std::uint32_t count) {
    auto& its = peer.subscriptions[subscription];
    if (index != its.index + 1) world_.fail("the index of client " + std::to_string(id) + "'s subscription has a gap");
    its.index += count;
    if (its.full != protocol::Full::drop_old && peer.link->kind.reliable && its.index - its.taken > its.depth) {
      world_.fail("more messages on the way than the subscription's depth");
    }
  }

  void after_call() {
    if (!core_) return;
    const auto next = core_->next_tick();
    if (!next || (armed_ && *armed_ <= *next)) return;
    armed_ = next;
    world_.at(*next, [this, life = life_, when = *next] {
      if (life != life_ || !core_) return;
      if (armed_ && *armed_ <= when) armed_.reset();
      core_->tick(world_.now());
      after_call();
    });
  }

  World& world_;
  BrokerObserver& observer_;
  std::unique_ptr<broker::Core> core_;
  std::uint64_t life_ = 0;
  Time started_{};
  std::map<broker::ClientId, Peer> peers_;
  std::optional<Time> armed_;
};

}  // namespace bus::simulation
