// tests/bus/simulation/simulation.hpp: one bus from one seed: who is there, what they do, what goes wrong, and whether
// every promise was kept.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/bus/simulation/node.hpp"

namespace bus::simulation {

class Simulation final : public BrokerObserver {
 public:
  Simulation(std::uint64_t seed, bool tracing) : world_(seed, tracing), broker_(world_, choose_limits(), *this) {
    calm_ = world_.random.percent(35);
    const bool all_reliable = world_.random.percent(50);
    active_ = Nanos(200ms) + world_.random.within(1800ms);
    history_ = world_.random.percent(20);
    const std::uint64_t count = world_.random.between(2, 6);
    for (std::uint64_t i = 0; i < count; ++i) {
      LinkKind kind;
      kind.reliable = all_reliable || world_.random.percent(50);
      kind.capacity = world_.random.between(1, 64);
      if (!kind.reliable) {
        kind.loss = static_cast<unsigned>(world_.random.below(31));
        kind.twice = static_cast<unsigned>(world_.random.below(20));
        kind.late = static_cast<unsigned>(world_.random.below(30));
      }
      reliable_ &= kind.reliable;
      nodes_.push_back(std::make_unique<Node>(world_, ledger_, broker_, static_cast<int>(i), kind));
      nodes_.back()->on_outcome = [this](protocol::MessageId id, const Published& message) { look_at(id, message); };
    }
  }

  /// The text of the first violation; empty if there is none.
  const std::string& run() {
    broker_.start();
    for (const auto& node : nodes_) {
      node->start();
      plan(*node);
    }
    if (!calm_) plan_faults();
    world_.run(World::kStart + active_);
    heal();
    world_.run(world_.now() + 30s);
    look_at_the_end();
    return world_.failure();
  }

  [[nodiscard]] const World& world() const noexcept { return world_; }

  void in_force(Link& link, std::uint32_t subscription) override {
    for (const auto& node : nodes_) {
      if (node->owns(link)) node->in_force(subscription);
    }
  }

 private:
  broker::Limits choose_limits() {
    Random& random = world_.random;
    broker::Limits limits;
    const std::vector<std::uint32_t> windows{1, 4, 16, 64, 4096};
    limits.window_messages = random.one_of(windows);
    if (random.percent(20)) limits.window_bytes = random.percent(50) ? 512 : 1;
    if (random.percent(10)) limits.client_bytes = 256;
    if (random.percent(15)) limits.memory = random.one_of(std::vector<std::uint64_t>{512, 4096, 32768});
    if (random.percent(10)) limits.clients = 6;
    return limits;
  }

  std::string some_subject() {
    static const std::vector<std::string> subjects{"a", "a.b", "a.c", "b.x.y", "d"};
    return world_.random.one_of(subjects);
  }

  Feed some_wish() {
    static const std::vector<std::string> patterns{"a", "a.b", "a.c", "b.x.y", "d", "a.*", ">", "a.>", "*.x.*", "b.>"};
    static const std::vector<protocol::Full> rules{protocol::Full::block, protocol::Full::block,
                                                   protocol::Full::drop_new, protocol::Full::drop_old,
                                                   protocol::Full::disconnect};
    Random& random = world_.random;
    Feed wish;
    wish.pattern = random.one_of(patterns);
    wish.options.queue = random.percent(30) ? (random.percent(70) ? "q" : "r") : "";
    wish.options.depth = static_cast<std::uint32_t>(random.percent(50) ? random.between(1, 4) : random.between(1, 64));
    wish.options.full = random.one_of(rules);
    wish.options.history = history_ && random.percent(50) ? static_cast<std::uint32_t>(random.between(1, 5)) : 0;
    wish.pace = random.percent(60) ? Nanos(1ms) : Nanos(50ms);
    wish.hold = random.percent(60) ? Nanos(1ms) : Nanos(300ms);
    wish.never = !healed_ && random.percent(15) ? 20 : 0;
    return wish;
  }

  void later(Node& node, Nanos delay, void (Simulation::*what)(Node&)) {
    world_.after(delay, [this, &node, what] {
      if (node.alive() && !node.stopped()) (this->*what)(node);
    });
  }

  void subscribe(Node& node) { node.subscribe(some_wish()); }
  void unsubscribe(Node& node) {
    if (node.feeds().empty()) return;
    Feed& feed = *node.feeds()[world_.random.below(node.feeds().size())];
    unsubscribed_ = true;
    node.unsubscribe(feed);
    if (world_.random.percent(70)) {
      Feed wish = some_wish();
      wish.pattern = feed.pattern;
      wish.options = feed.options;
      node.subscribe(wish);
    }
  }
  void publish(Node& node) {
    Random& random = world_.random;
    const std::string subject = some_subject();
    client::PublishOptions options;
    options.level = random.percent(50) ? protocol::Level::delivered : protocol::Level::accepted;
    options.tell = random.percent(20);
    if (history_ && random.percent(40)) options.history = static_cast<std::uint32_t>(random.between(1, 4));
    if (random.percent(20)) options.reply = "r.1";
    for (std::uint64_t i = random.percent(20) ? random.between(2, 12) : 1; i > 0; --i) node.publish(subject, options);
  }
  void flush(Node& node) { node.flush(); }
  void query(Node& node) { node.query(); }
  void watch(Node& node) {
    node.watch(some_subject(), static_cast<std::uint32_t>(world_.random.between(0, 3)));
    if (world_.random.percent(30)) later(node, world_.random.within(500ms), &Simulation::forget_watches);
  }
  void forget_watches(Node& node) { node.forget_watches(); }
  void bye(Node& node) {
    left_ = true;
    node.bye();
  }

  /// What one life of a node will do.
  void plan(Node& node) {
    Random& random = world_.random;
    const auto many = [&](std::uint64_t count, Nanos most, void (Simulation::*what)(Node&)) {
      for (std::uint64_t i = 0; i < count; ++i) later(node, random.within(most), what);
    };
    const Nanos left = std::max(Nanos(1ms), World::kStart + active_ - world_.now());
    many(random.between(0, 3), random.percent(70) ? Nanos(1ms) : left, &Simulation::subscribe);
    if (random.percent(65)) many(random.between(3, 50), left, &Simulation::publish);
    if (random.percent(20)) many(random.between(1, 3), left, &Simulation::unsubscribe);
    if (random.percent(20)) many(random.between(1, 3), left, &Simulation::flush);
    if (random.percent(10)) many(1, left, &Simulation::watch);
    if (random.percent(10)) many(1, left, &Simulation::query);
    if (random.percent(5)) many(1, left, &Simulation::bye);
  }

  void plan_faults() {
    Random& random = world_.random;
    for (std::uint64_t i = random.between(1, 6); i > 0; --i) {
      Node& node = *nodes_[random.below(nodes_.size())];
      world_.after(random.within(active_), [this, &node, kind = random.below(9)] {
        switch (kind) {
          case 0:
          case 1:
            node.cut();
            break;
          case 2:
          case 3:
            kill(node);
            break;
          case 4:
          case 5:
            end_broker(&Broker::kill);
            break;
          case 6:
            stop_broker();
            break;
          default:
            node.stop();
            world_.after(world_.random.within(world_.random.percent(20) ? 4s : 300ms), [&node] { node.go_on(); });
        }
      });
    }
  }

  void kill(Node& node) {
    if (!node.alive()) return;
    node.kill();
    if (world_.random.percent(60)) {
      world_.after(world_.random.within(world_.random.percent(30) ? 2s : 100ms), [this, &node] {
        if (node.alive()) return;
        node.start();
        plan(node);
      });
    }
  }

  void stop_broker() {
    if (!broker_.up()) return;
    broker_.drain();
    world_.after(world_.random.percent(20) ? 0ms : world_.random.within(100ms), [this, life = broker_.life()] {
      if (broker_.life() == life) end_broker(&Broker::stop);
    });
  }

  void end_broker(void (Broker::*how)()) {
    if (!broker_.up()) return;
    for (const auto& node : nodes_) node->broker_died();
    (broker_.*how)();
    world_.after(world_.random.within(500ms), [this] {
      if (!broker_.up()) broker_.start();
    });
  }

  void heal() {
    world_.note("---- everything heals ----");
    healed_ = true;
    for (const auto& node : nodes_) node->heal();
  }

  // ---- what has to be so ----

  /// A message that was settled without failure came to everybody who was entitled to it.
  void look_at(protocol::MessageId id, const Published& message) {
    if (message.level != protocol::Level::delivered || message.outcome->failed > 0) return;
    for (const auto& node : nodes_) {
      if (!node->alive() || node->leaving()) continue;
      for (const auto& feed : node->feeds()) {
        if (!feed->since || *feed->since >= message.when || feed->over || !feed->options.queue.empty() ||
            feed->options.full != protocol::Full::block || !protocol::matches(feed->pattern, message.subject) ||
            was_away(*feed, message.when)) {
          continue;
        }
        if (!feed->times.contains({id.publisher, id.sequence})) {
          world_.fail("message " + std::to_string(id.sequence) + " of " + std::to_string(id.publisher) +
                      " is settled without failure, and subscription " + std::to_string(feed->number) + " of node " +
                      std::to_string(node->number()) + " never had it");
        }
      }
    }
  }

  bool was_away(const Feed& feed, Time since) const {
    if (feed.away) return true;
    if (feed.crashed && broker_.up() && world_.now() > broker_.started() + broker_.limits.gather) return true;
    for (const auto& [from, to] : feed.absences) {
      if (to >= since) return true;
    }
    return false;
  }

  void check(bool good, const Node& node, const std::string& text) {
    if (!good) world_.fail("node " + std::to_string(node.number()) + ": " + text);
  }

  void look_at_the_end() {
    if (world_.failed()) return;
    for (const auto& node : nodes_) {
      node->forget_watches();
      node->flush();
    }
    world_.run(world_.now() + 5s);
    for (const auto& node : nodes_) {
      if (!world_.failed() && node->alive()) look_at(*node);
    }
    if (world_.failed()) return;
    if (calm_ && reliable_) {
      look_at_calm_world();
      look_at_groups();
    }
    look_at_memory("while all are there");
    for (const auto& node : nodes_) node->bye();
    world_.run(world_.now() + 30s);
    for (const auto& node : nodes_) {
      if (node->alive()) check(node->gone(), *node, "said bye and heard no farewell");
    }
    look_at_memory("after all have left");
    if (!world_.failed() && broker_.core().totals().clients > 0) world_.fail("clients are left in the broker");
  }

  void look_at(Node& node) {
    const auto books = node.session().books();
    const auto& mine = ledger_.publishers[node.publisher()];
    check(books.published == mine.size(), node, "published is wrong in the books");
    if (node.leaving() && !node.gone()) check(false, node, "its bye was not answered");
    if (node.leaving()) return;
    check(node.session().is_up(), node, "it is not connected");
    check(node.open_questions() == 0, node, "a question was not answered");
    check(node.session().all_accepted(), node, "something was not accepted");
    std::string open;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      if (mine[i].asked && !mine[i].outcome) open += " " + std::to_string(i + 1);
    }
    check(node.session().all_settled(), node, "not settled:" + open);
    const std::string sums = " (published " + std::to_string(books.published) + ", accepted " +
                             std::to_string(books.accepted) + ", lost " + std::to_string(books.lost) + ", unknown " +
                             std::to_string(books.unknown_after_crash) + ")";
    check(books.accepted + books.lost + books.unknown_after_crash == books.published, node,
          "the books of its publishing do not close" + sums);
    if (node.kind().reliable) check(books.lost == 0, node, "lost on a reliable link" + sums);
    if (calm_) check(books.unknown_after_crash == 0, node, "unknown, and nothing has crashed" + sums);
    for (const Published& message : mine) {
      check(!message.asked || message.outcome, node, "an outcome is missing");
    }
    std::uint64_t handed = 0;
    for (const auto& feed : node.feeds()) {
      const std::uint64_t kept = feed->handed - feed->dropped_here;
      handed += kept;
      if (feed->over) continue;
      check(feed->since.has_value(), node, "a subscription never came into force");
      check(feed->waiting.empty(), node, "the program did not take everything");
      const auto its = node.session().books(feed->number);
      check(its.received == kept, node, "received is wrong in the books");
      if (node.kind().reliable) check(its.missing == 0, node, "missing on a reliable link");
      const auto dropped = total(its.dropped);
      if (feed->options.full == protocol::Full::block)
        check(dropped == 0, node, "a subscription that blocks has drops");
    }
    check(books.received == handed, node, "received is wrong in the node's books");
  }

  /// Nobody died and every link is reliable: nothing is lost but by rule, and that is told.
  void look_at_calm_world() {
    for (const auto& node : nodes_) {
      if (!node->alive() || node->leaving()) continue;
      for (const auto& feed : node->feeds()) {
        if (!feed->since || feed->over || !feed->options.queue.empty()) continue;
        std::uint64_t entitled = 0, got = 0;
        for (const auto& [publisher, messages] : ledger_.publishers) {
          for (std::size_t i = 0; i < messages.size(); ++i) {
            if (messages[i].when <= *feed->since || !protocol::matches(feed->pattern, messages[i].subject)) continue;
            ++entitled;
            got += feed->times.contains({publisher, i + 1}) ? 1 : 0;
          }
        }
        const auto books = node->session().books(feed->number);
        const std::uint64_t by_broker = total(books.dropped) - feed->dropped_here;
        check(got + feed->may_come_again + by_broker >= entitled, *node,
              "subscription " + std::to_string(feed->number) + " was entitled to " + std::to_string(entitled) +
                  ", got " + std::to_string(got) + " and was told of " + std::to_string(by_broker) + " drops");
        if (by_broker > 0 && broker_.limits.memory > 32768 && broker_.limits.client_bytes > 256) {
          check(feed->handed + by_broker > feed->options.depth, *node, "a drop, and its depth was not reached");
        }
      }
    }
  }

  /// Nobody died and no member ever left: of a group that blocks exactly one member got each message.
  void look_at_groups() {
    for (const char* const queue : {"q", "r"}) {
      std::vector<const Feed*> members;
      bool steady = true;
      for (const auto& node : nodes_) {
        for (const auto& feed : node->feeds()) {
          if (feed->options.queue != queue) continue;
          steady &= node->alive() && !node->leaving() && !feed->over && feed->options.full == protocol::Full::block;
          members.push_back(feed.get());
        }
      }
      if (!steady) continue;
      for (auto& [publisher, messages] : ledger_.publishers) {
        for (Published& message : messages) {
          const bool entitled = std::any_of(members.begin(), members.end(), [&](const Feed* feed) {
            return feed->since && *feed->since < message.when && protocol::matches(feed->pattern, message.subject);
          });
          if (entitled && message.of_group[queue] != 1) world_.fail("no member of a group got a message");
        }
      }
    }
  }

  void look_at_memory(const std::string& when) {
    if (world_.failed()) return;
    const auto totals = broker_.core().totals();
    if (totals.waiting > 0) world_.fail("messages wait that nobody will ever move, " + when);
    if (!history_ && totals.memory > 0) {
      world_.fail(std::to_string(totals.memory) + " bytes of messages are left in the broker, " + when);
    }
    std::uint64_t dropped = 0;
    for (std::size_t i = 0; i < kReasons; ++i) {
      if (i != static_cast<std::size_t>(Reason::unknown_after_crash)) dropped += totals.dropped[i];
    }
    if (totals.copies != totals.delivered + dropped + totals.waiting) {
      world_.fail("the broker's books do not close, " + when + ": " + std::to_string(totals.copies) + " copies, " +
                  std::to_string(totals.delivered) + " delivered, " + std::to_string(dropped) + " dropped");
    }
  }

  World world_;
  Ledger ledger_;
  Broker broker_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Nanos active_{};
  bool calm_ = false, healed_ = false, history_ = false, reliable_ = true, unsubscribed_ = false, left_ = false;
};

}  // namespace bus::simulation
