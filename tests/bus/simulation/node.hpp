// tests/bus/simulation/node.hpp: a node's session in the simulated world, and a program that uses it: takes messages in
// its own time, acknowledges them or not, is stopped, is killed and comes back as another.
//
// It keeps to what bus/client does around a session: a feed for each subscription, credit told by the quarter of a
// depth, connecting again after a pause.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bus/client/session.hpp"
#include "bus/protocol/subject.hpp"
#include "tests/bus/simulation/broker.hpp"

namespace bus::simulation {

/// What the application did with one subscription.
struct Feed {
  std::uint32_t number = 0;
  std::string pattern;
  client::SubscribeOptions options;
  Nanos pace{};        // at most so long between two messages that it takes
  Nanos hold{};        // at most so long until it acknowledges
  unsigned never = 0;  // percent that it never acknowledges
  bool over = false, closed_by_application = false;
  std::optional<Time> since;          // when it came into force
  std::optional<Time> away, crashed;  // from when on the broker has not known it: a lost link; a lost broker
  std::vector<std::pair<Time, Time>> absences;

  struct Item {
    std::uint64_t index;
    protocol::MessageId id;
    bool wanted;
  };
  std::deque<Item> waiting;
  std::vector<protocol::MessageId> unacknowledged;  // taken, and kept for now
  std::uint64_t told = 0, index = 0;
  bool taking = false;
  std::map<std::uint64_t, std::uint64_t> latest;                 // sequence, for each publisher
  std::map<std::pair<std::uint64_t, std::uint64_t>, int> times;  // received, each message
  std::uint64_t handed = 0, dropped_here = 0, may_come_again = 0;
};

class Node final : public client::SessionEvents {
 public:
  Node(World& world, Ledger& ledger, Broker& broker, int number, const LinkKind& kind)
      : world_(world), ledger_(ledger), broker_(broker), number_(number), kind_(kind) {}

  // ---- its life ----

  void start() {
    ++life_;
    client::Session::Identity identity;
    for (auto& byte : identity.instance) byte = static_cast<std::uint8_t>(world_.random.next());
    identity.publisher = publisher_ = world_.random.next();
    identity.name = "node " + std::to_string(number_);
    note("starts as " + std::to_string(publisher_));
    ledger_.publishers[publisher_];
    session_ = std::make_unique<client::Session>(identity, *this);
    feeds_.clear();
    questions_.clear();
    deferred_.clear();
    stopped_ = leaving_ = said_goodbye_ = hang_up_asked_ = connecting_ = false;
    armed_.reset();
    connect_later(world_.random.within(5ms));
  }

  void kill() {
    if (!session_) return;
    note("dies");
    ++life_;
    if (link_) {
      if (world_.random.percent(50)) {
        link_->cut(0us, world_.random.within(30ms));
      } else {
        link_->close(Link::node, true);
      }
    }
    link_.reset();
    session_.reset();
    stopped_ = false;
    deferred_.clear();
  }

  void stop() {
    if (!session_ || stopped_) return;
    note("is stopped");
    stopped_ = true;
  }

  void go_on() {
    if (!stopped_) return;
    note("goes on");
    stopped_ = false;
    for (auto& what : std::exchange(deferred_, {})) soon(0us, std::move(what));
    if (link_) link_->go_on(Link::node);
  }

  void cut() {
    if (!link_) return;
    note("loses its link");
    link_->cut(world_.random.within(50ms), world_.random.within(50ms));
    absent();
  }

  [[nodiscard]] bool alive() const noexcept { return session_ != nullptr; }
  [[nodiscard]] bool leaving() const noexcept { return leaving_; }
  [[nodiscard]] bool gone() const noexcept { return said_goodbye_; }
  [[nodiscard]] client::Session& session() noexcept { return *session_; }
  [[nodiscard]] const LinkKind& kind() const noexcept { return kind_; }
  [[nodiscard]] std::uint64_t publisher() const noexcept { return publisher_; }
  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] std::vector<std::unique_ptr<Feed>>& feeds() noexcept { return feeds_; }
  [[nodiscard]] std::size_t open_questions() const noexcept { return questions_.size(); }
  [[nodiscard]] bool owns(const Link& link) const noexcept { return link_.get() == &link; }
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }

  /// The network is good from now on, and the program acknowledges everything.
  void heal() {
    kind_.loss = kind_.twice = kind_.late = 0;
    if (link_) link_->kind = kind_;
    go_on();
    if (!session_) return;
    for (const auto& feed : feeds_) {
      feed->never = 0;
      feed->pace = 1ms;
      feed->hold = 1ms;
      for (const auto id : std::exchange(feed->unacknowledged, {})) acknowledge_later(*feed, id);
    }
  }

  // ---- what its program does ----

  void publish(const std::string& subject, const client::PublishOptions& options) {
    if (!session_ || leaving_) return;
    auto& mine = ledger_.publishers[publisher_];
    const protocol::MessageId id{publisher_, mine.size() + 1};
    const auto payload = payload_of(id);
    // It is in the ledger before the call: the call hands it out.
    mine.push_back({subject,
                    options.level,
                    options.level == protocol::Level::delivered || options.tell,
                    kind_.reliable,
                    world_.now(),
                    {},
                    0,
                    0,
                    {}});
    const bool more_follow = world_.random.percent(60);
    const auto sequence = session_->publish(subject, payload, options, world_.now(), more_follow);
    if (!sequence) {
      mine.pop_back();
      if (sequence.error() != Errc::would_block) {
        world_.fail("publish failed: " + sequence.error().message());
        return;
      }
      soon(world_.random.within(20ms) + 1us, [this, subject, options] { publish(subject, options); });
      return;
    }
    if (*sequence != id.sequence) world_.fail("a sequence number was left out");
    if (world_.tracing()) {
      note("publishes " + std::to_string(*sequence) + " on " + subject + " " + std::string(name(options.level)));
    }
    if (session_->has_gathered()) {
      soon(world_.random.within(1ms), [this] {
        session_->send_gathered();
        after_call();
      });
    }
    after_call();
  }

  void subscribe(const Feed& wish) {
    if (!session_ || leaving_) return;
    feeds_.push_back(std::make_unique<Feed>(wish));
    Feed& feed = *feeds_.back();
    feed.number = session_->subscribe(feed.pattern, feed.options, world_.now());
    if (world_.tracing()) {
      note("subscribes " + std::to_string(feed.number) + " to " + feed.pattern + " queue '" + feed.options.queue +
           "' depth " + std::to_string(feed.options.depth) + " " + std::string(name(feed.options.full)));
    }
    after_call();
  }

  void unsubscribe(Feed& feed) {
    if (!session_ || feed.over) return;
    note("unsubscribes " + std::to_string(feed.number));
    feed.over = feed.closed_by_application = true;
    feed.waiting.clear();
    session_->unsubscribe(feed.number, world_.now());
    after_call();
  }

  void flush() {
    if (!session_ || leaving_) return;
    questions_[session_->flush(world_.now())] = "flush";
    after_call();
  }
  void watch(const std::string& subject, std::uint32_t count) {
    if (!session_ || leaving_) return;
    questions_[session_->watch(subject, count, world_.now())] = "watch";
    after_call();
  }
  void query() {
    if (!session_ || leaving_) return;
    questions_[session_->query("status", world_.now())] = "query";
    after_call();
  }
  /// Gives up what may never be answered.
  void forget_watches() {
    for (auto it = questions_.begin(); it != questions_.end();) {
      if (it->second == "watch") {
        if (session_) session_->forget(it->first);
        it = questions_.erase(it);
      } else {
        ++it;
      }
    }
    after_call();
  }

  void bye() {
    if (!session_ || leaving_) return;
    note("says bye");
    leaving_ = true;
    session_->bye(world_.now());
    after_call();
  }

  // ---- what the broker's side sees ----

  void in_force(std::uint32_t number) {
    for (const auto& feed : feeds_) {
      if (feed->number != number || feed->over) continue;
      if (feed->away) feed->absences.emplace_back(*feed->away, world_.now());
      if (feed->crashed && world_.now() > broker_.started() + broker_.limits.gather) {
        feed->absences.emplace_back(*feed->crashed, world_.now());
      }
      feed->away.reset();
      feed->crashed.reset();
    }
  }
  void broker_died() {
    for (const auto& feed : feeds_) {
      if (feed->since && !feed->crashed) feed->crashed = world_.now();
    }
  }

  // ---- SessionEvents ----

  bool send(protocol::Bytes head, protocol::Bytes tail) noexcept override {
    return !link_ || link_->send(Link::node, head, tail);
  }

  void deliver(std::uint32_t number, const protocol::Deliver& message) override {
    Feed* const feed = find(number);
    if (feed == nullptr || feed->over) {
      world_.fail("a message for a subscription that is over");
      return;
    }
    if (world_.tracing()) {
      note("receives " + text_of(message.message) + " for " + std::to_string(number) + (message.again ? " again" : "") +
           (message.kept ? " kept" : ""));
    }
    Published* const published = ledger_.find(message.message);
    if (published == nullptr || published->subject != message.subject) {
      world_.fail("a message that was never published");
      return;
    }
    const auto payload = payload_of(message.message);
    if (!std::equal(payload.begin(), payload.end(), message.payload.begin(), message.payload.end())) {
      world_.fail("a damaged message");
      return;
    }
    if (!protocol::matches(feed->pattern, message.subject))
      world_.fail("a message on a subject that was not asked for");
    const auto [publisher, sequence] = message.message;
    if (!message.kept && ++feed->times[{publisher, sequence}] > 1) {
      world_.fail("a message was received twice: " + std::to_string(sequence) + " of " + std::to_string(publisher));
    }
    if (!feed->options.queue.empty() && !message.again && !message.kept &&
        ++published->of_group[feed->options.queue] > 1) {
      world_.fail("two members of a group got a message");
    }
    if (kind_.reliable && published->reliable && !message.again && !message.kept) {
      auto& latest = feed->latest[publisher];
      if (sequence < latest) world_.fail("a message was overtaken by a later one of its publisher");
      latest = std::max(latest, sequence);
    }
    if (kind_.reliable && message.index <= feed->index) world_.fail("indices go back");
    feed->index = std::max(feed->index, message.index);
    ++feed->handed;

    if (feed->options.full == protocol::Full::drop_old && feed->waiting.size() >= feed->options.depth) {
      const Feed::Item oldest = feed->waiting.front();
      feed->waiting.pop_front();
      ++feed->dropped_here;
      drop(*feed, oldest);
    }
    feed->waiting.push_back({message.index, message.message, message.acknowledge});
    take_later(*feed);
  }

  void deliver(std::uint32_t number, const protocol::DeliverBatch& batch) override {
    protocol::Deliver one{number, batch.index, batch.message, false, false, false, batch.subject, {}, {}, {}};
    std::uint32_t count = 0;
    for (protocol::Bytes items = batch.items; !items.empty(); ++one.index, ++one.message.sequence, ++count) {
      one.payload = protocol::take_item(items);
      deliver(number, one);
    }
    if (count != batch.count) world_.fail("a batch has another number of messages than it says");
  }

  void subscribed(std::uint32_t number) noexcept override {
    Feed* const feed = find(number);
    if (feed == nullptr || feed->over) return world_.fail("a subscription that is over came into force");
    if (feed->since) world_.fail("a subscription came into force twice");
    feed->since = world_.now();
  }

  void unsubscribed(std::uint32_t number, const ReasonCounts&) noexcept override {
    const Feed* const feed = find(number);
    if (feed == nullptr || !feed->closed_by_application) world_.fail("a last word on a subscription that goes on");
  }

  void ended(std::uint32_t number, Errc why, std::string_view text) override {
    note("is told that " + std::to_string(number) + " ended: " + std::string(text));
    Feed* const feed = find(number);
    if (feed == nullptr || feed->over) return world_.fail("a subscription ended that was over");
    if (feed->options.full != protocol::Full::disconnect || why != Errc::no_room) {
      world_.fail("the broker ended a subscription without a reason: " + std::string(text));
    }
    feed->over = true;
    feed->waiting.clear();
  }

  void outcome(const protocol::Outcome& outcome) noexcept override {
    Published* const published = ledger_.find({publisher_, outcome.sequence});
    if (world_.tracing()) {
      note("learns of " + std::to_string(outcome.sequence) + ": reached " + std::to_string(outcome.reached) +
           ", failed " + std::to_string(outcome.failed) + " " + std::string(name(outcome.reason)));
    }
    if (published == nullptr || !published->asked) return world_.fail("an outcome that nobody asked for");
    if (published->outcome) return world_.fail("a second outcome of one message");
    published->outcome = outcome;
    if (published->level == protocol::Level::delivered && outcome.reached > 0 && published->acknowledged == 0) {
      world_.fail("a message is said to have been acknowledged, and nobody had it");
    }
    if (on_outcome) on_outcome({publisher_, outcome.sequence}, *published);
  }

  void flushed(std::uint32_t token) noexcept override { answered(token, "flush"); }
  void watched(std::uint32_t token, std::uint32_t) noexcept override { answered(token, "watch"); }
  void answer(std::uint32_t token, protocol::Bytes) override { answered(token, "query"); }
  /// A flush after which it is not known what became of messages, and nothing else.
  void failed(std::uint32_t token, Errc why) noexcept override {
    if (why != Errc::peer_died || session_->books().unknown_after_crash == 0) world_.fail("a question was refused");
    answered(token, "flush");
  }
  void up(const protocol::Welcome&) noexcept override { note("is welcome"); }
  void hang_up(Errc why, std::string_view text, bool) override {
    note("hangs up: " + std::string(text));
    if (why != Errc::closed && why != Errc::timed_out) world_.fail("the session gives up: " + std::string(text));
    hang_up_asked_ = true;
  }
  void window_open() noexcept override {}

  std::function<void(protocol::MessageId, const Published&)> on_outcome;

 private:
  [[nodiscard]] bool has(std::uint64_t connection) const { return session_ && link_ && connection_ == connection; }

  void note(const std::string& text) {
    if (world_.tracing()) world_.note("node " + std::to_string(number_) + " " + text);
  }

  Feed* find(std::uint32_t number) {
    for (const auto& feed : feeds_) {
      if (feed->number == number) return feed.get();
    }
    return nullptr;
  }

  /// In this life, and not while it is stopped.
  void soon(Nanos delay, std::function<void()> what) {
    world_.after(delay, [this, life = life_, what = std::move(what)]() mutable {
      if (life != life_) return;
      if (stopped_) {
        deferred_.push_back(std::move(what));
      } else {
        what();
      }
    });
  }

  void absent() {
    for (const auto& feed : feeds_) {
      if (feed->since && !feed->away) feed->away = world_.now();
    }
  }

  void connect_later(Nanos delay) {
    if (connecting_) return;
    connecting_ = true;
    soon(delay, [this] {
      connecting_ = false;
      if (link_) return;
      auto link = std::make_shared<Link>(world_, kind_);
      const std::uint64_t connection = ++connection_;  // this link, and no later one
      link->ends[Link::node] = {[this, connection](protocol::Bytes frame) {
                                  if (has(connection)) receive(frame);
                                },
                                [this, connection](bool) {
                                  if (has(connection)) lose_link();
                                },
                                [this, connection] {
                                  soon(0us, [this, connection] {
                                    if (!has(connection)) return;
                                    session_->room(world_.now());
                                    after_call();
                                  });
                                },
                                [this, life = life_] { return life == life_ && stopped_; }};
      if (!broker_.up() || !broker_.connect(link)) {
        connect_later(5ms + world_.random.within(60ms));
        return;
      }
      link_ = link;
      session_->connected(kind_.reliable, kMaxFrame, world_.now());
      soon(5s, [this, connection] {
        if (has(connection) && !session_->is_up()) hang_up();
      });
      after_call();
    });
  }

  void receive(protocol::Bytes frame) {
    world_.mix(static_cast<std::uint64_t>(number_));
    world_.mix(frame);
    session_->received(frame, world_.now());
    after_call();
  }

  void hang_up() {
    link_->close(Link::node, false);
    lose_link();
  }

  void lose_link() {
    note("has lost the broker");
    if (broker_.up() || !link_->is_cut()) absent_unless_crashed();
    link_.reset();
    hang_up_asked_ = false;
    session_->disconnected();
    armed_.reset();
    if (leaving_) {
      said_goodbye_ = true;
      return;
    }
    connect_later(world_.random.within(5ms));
  }

  /// A link that ends is an absence, but for the death of the broker itself.
  void absent_unless_crashed() {
    for (const auto& feed : feeds_) {
      if (feed->since && !feed->away && !feed->crashed) feed->away = world_.now();
    }
  }

  void after_call() {
    if (!session_) return;
    if (hang_up_asked_ && link_) {
      soon(0us, [this] {
        if (hang_up_asked_ && link_) hang_up();
      });
      return;
    }
    const auto next = session_->next_tick();
    if (!next || !link_ || (armed_ && *armed_ <= *next)) return;
    armed_ = next;
    soon(std::max(Nanos(0), *next - world_.now()), [this, when = *next, connection = connection_] {
      if (!has(connection) || !armed_) return;
      if (*armed_ <= when) armed_.reset();
      session_->tick(world_.now());
      after_call();
    });
  }

  void take_later(Feed& feed) {
    if (feed.taking || feed.waiting.empty()) return;
    feed.taking = true;
    soon(world_.random.within(feed.pace), [this, &feed] {
      feed.taking = false;
      if (feed.over || feed.waiting.empty()) return;
      const Feed::Item item = feed.waiting.front();
      feed.waiting.pop_front();
      if (Published* const published = ledger_.find(item.id)) ++published->handed;
      const std::uint64_t enough = std::max<std::uint64_t>(feed.options.depth / 4, 1);
      if (item.index - feed.told >= enough || item.index <= feed.told) {
        feed.told = item.index;
        session_->taken(feed.number, item.index, false, world_.now());
      }
      if (item.wanted) {
        if (world_.random.percent(feed.never)) {
          feed.unacknowledged.push_back(item.id);
        } else {
          acknowledge_later(feed, item.id);
        }
      }
      take_later(feed);
      after_call();
    });
  }

  void acknowledge_later(Feed& feed, protocol::MessageId id) {
    soon(world_.random.within(feed.hold), [this, &feed, id] {
      if (feed.over) return;
      if (Published* const published = ledger_.find(id)) ++published->acknowledged;
      if (world_.tracing()) note("acknowledges " + text_of(id) + " of " + std::to_string(feed.number));
      session_->acknowledge(feed.number, id, world_.now());
      after_call();
    });
  }

  void drop(Feed& feed, const Feed::Item& item) {
    if (item.wanted) {  // nobody has had it
      feed.times.erase({item.id.publisher, item.id.sequence});
      ++feed.may_come_again;
    }
    if (world_.tracing()) note("drops " + text_of(item.id) + " of " + std::to_string(feed.number));
    session_->taken(feed.number, item.index, true, world_.now());
  }

  static std::string text_of(protocol::MessageId id) {
    return std::to_string(id.publisher) + ":" + std::to_string(id.sequence);
  }

  void answered(std::uint32_t token, const std::string& what) {
    const auto found = questions_.find(token);
    if (found == questions_.end() || found->second != what) {
      world_.fail("an answer that nobody asked for");
      return;
    }
    questions_.erase(found);
  }

  World& world_;
  Ledger& ledger_;
  Broker& broker_;
  const int number_;
  LinkKind kind_;
  std::uint64_t life_ = 0, connection_ = 0, publisher_ = 0;
  std::unique_ptr<client::Session> session_;
  std::shared_ptr<Link> link_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::map<std::uint32_t, std::string> questions_;
  std::vector<std::function<void()>> deferred_;
  bool stopped_ = false, leaving_ = false, said_goodbye_ = false, hang_up_asked_ = false, connecting_ = false;
  std::optional<Time> armed_;
};

}  // namespace bus::simulation
