// bus/client/session.hpp: a node's side of the protocol, without channels, threads and clock: frames and time in,
// frames out. It outlives connections: what was subscribed is subscribed again, and what was promised is sent again.
//
// Threads: one at a time. Memory: throws std::bad_alloc where it says so; what was done then is undone.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "bus/protocol/frame.hpp"

namespace bus::client {

using protocol::Bytes;
using protocol::Full;
using protocol::Level;
using protocol::MessageId;
using Time = Clock::time_point;

/// What a subscription asks for.
struct SubscribeOptions {
  std::string queue{};         // members of a queue group share the messages; empty: none
  std::uint32_t depth = 4096;  // messages that may be on the way and not taken yet
  Full full = Full::block;     // what happens when there are as many
  std::uint32_t history = 0;   // how many kept messages of each subject to send first; a group gets them once
};

/// What a message asks for.
struct PublishOptions {
  std::string_view reply{};  // subject for answers
  Bytes headers{};           // a block as of protocol/headers.hpp
  Level level = Level::accepted;
  bool tell = false;          // an outcome is wanted
  std::uint32_t history = 0;  // keep so many messages of this subject for late joiners
};

/// The counts that account for every message of a node.
struct NodeBooks {
  // Publishing.
  std::uint64_t published = 0;            // taken over by the node
  std::uint64_t accepted = 0;             // by a broker
  std::uint64_t settled = 0;              // of those that asked for an outcome: it is known
  std::uint64_t unreached = 0;            // accepted, and no subscription matched
  ReasonCounts undelivered{};             // settled, level `delivered`: not acknowledged by all who should; by reason
  std::uint64_t copies_dropped = 0;       // that full subscriptions refused
  std::uint64_t unknown_after_crash = 0;  // in flight when a broker died: accepted or not, nobody can tell
  std::uint64_t lost = 0;                 // on a lossy link, between node and broker
  // Subscribing.
  std::uint64_t received = 0;    // handed to subscriptions, and not dropped here
  std::uint64_t duplicates = 0;  // sent again, and known here already
  std::uint64_t missing = 0;     // gaps in what the broker sent: lossy links, and crashes
  ReasonCounts dropped{};        // by the broker for full subscriptions, and here
  std::uint64_t reconnects = 0;

  friend bool operator==(const NodeBooks&, const NodeBooks&) = default;
};

/// What one subscription has seen.
struct SubscriptionBooks {
  std::uint64_t received = 0, duplicates = 0, missing = 0;
  ReasonCounts dropped{};
};

/// Where the session's frames go, and whom it tells what came. Called from inside its calls; must not call back into it
/// but where said.
class SessionEvents {
 public:
  /// Sends one frame. False: no room now, nothing was sent; call Session::room() when there is.
  [[nodiscard]] virtual bool send(Bytes head, Bytes tail) noexcept = 0;
  /// A message for a subscription; its views end with the call. The receiver calls taken() when it is the
  /// application's. What throws has not taken it: then the connection has to end.
  virtual void deliver(std::uint32_t subscription, const protocol::Deliver&) = 0;
  /// The same for several.
  virtual void deliver(std::uint32_t subscription, const protocol::DeliverBatch&) = 0;
  /// The subscription is in force; not said again after a reconnect.
  virtual void subscribed(std::uint32_t subscription) noexcept = 0;
  /// The last word on a subscription that was unsubscribed: what was dropped of it that was not known then.
  virtual void unsubscribed(std::uint32_t subscription, const ReasonCounts& dropped) noexcept = 0;
  /// The broker has refused or ended it: it is gone.
  virtual void ended(std::uint32_t subscription, Errc why, std::string_view text) = 0;
  virtual void outcome(const protocol::Outcome&) noexcept = 0;
  virtual void flushed(std::uint32_t token) noexcept = 0;
  virtual void watched(std::uint32_t token, std::uint32_t count) noexcept = 0;
  virtual void answer(std::uint32_t token, Bytes payload) = 0;
  /// A request that has a token cannot be fulfilled.
  virtual void failed(std::uint32_t token, Errc why) noexcept = 0;
  /// The broker's welcome has come: publishing is possible.
  virtual void up(const protocol::Welcome&) noexcept = 0;
  /// The broker has refused this node, or breaks the protocol: end the connection. With `for_good`, do not come back.
  virtual void hang_up(Errc why, std::string_view text, bool for_good) = 0;
  /// There is room in the window again.
  virtual void window_open() noexcept = 0;

 protected:
  ~SessionEvents() = default;
};

class Session {
 public:
  struct Identity {
    protocol::Instance instance{};
    std::uint64_t publisher = 0;
    std::string name;
  };
  Session(Identity, SessionEvents&);

  // The connection.
  /// `max_frame`: bytes that the channel takes.
  void connected(bool reliable, std::size_t max_frame, Time now);
  void received(Bytes frame, Time now);
  void room(Time now);
  void disconnected() noexcept;
  /// On the present connection; where nothing is lost no call looks at its `now`.
  [[nodiscard]] bool is_reliable() const noexcept { return reliable_; }
  [[nodiscard]] bool is_up() const noexcept { return state_ == State::up; }
  [[nodiscard]] std::optional<Time> next_tick() const noexcept { return next_; }
  void tick(Time now);

  /// Whether the present channel takes that frame: one that it does not take is not sent, and ended() or failed() says
  /// so when there is a connection again. Throws std::bad_alloc.
  [[nodiscard]] bool takes(const protocol::Frame&) const;

  [[nodiscard]] std::uint64_t publisher() const noexcept { return identity_.publisher; }

  // Publishing. `subject` and all else have been checked by the caller.
  /// Gives the message's sequence. Errors: would_block (not connected, or the window is full), message_too_large.
  /// With `more_follow` it may be gathered, to share a frame with those that follow at once. It leaves with them when
  /// they are many, before any other frame, and with send_gathered().
  [[nodiscard]] Result<std::uint64_t> publish(std::string_view subject, Bytes payload, const PublishOptions&, Time now,
                                              bool more_follow = false);
  [[nodiscard]] bool is_gathering_on(std::string_view subject) const noexcept {
    const std::size_t size = batch_front_ - protocol::kPublishHead;
    return gathered_ > 0 && subject.size() == size &&
           std::memcmp(batch_.data() + protocol::kPublishHead, subject.data(), size) == 0;
  }
  /// How many frames of gathered messages were sent.
  [[nodiscard]] std::uint64_t batches() const noexcept { return batches_; }
  [[nodiscard]] bool has_gathered() const noexcept { return gathered_ > 0; }
  /// False: no room now; room() sends it.
  bool send_gathered() noexcept;
  /// Everything that was published and needs an outcome has one.
  [[nodiscard]] bool all_settled() const noexcept { return retained_.empty(); }
  /// Of some of it nobody knows whether a broker had accepted it before it died, and no flush has said so yet.
  [[nodiscard]] bool has_untold_loss() const noexcept { return untold_loss_ != 0; }
  /// Everything published so far has been accepted.
  [[nodiscard]] bool all_accepted() const noexcept { return receipted_ >= sequence_; }

  // Subscribing. Gives the number of the subscription; subscribed() or ended() follows.
  std::uint32_t subscribe(std::string_view pattern, const SubscribeOptions&, Time now);
  /// What still comes for it is dropped. True: unsubscribed() follows.
  bool unsubscribe(std::uint32_t subscription, Time now);
  /// The application has this message now, or this node has dropped it: `index` as of Deliver.
  void taken(std::uint32_t subscription, std::uint64_t index, bool dropped, Time now);
  void acknowledge(std::uint32_t subscription, MessageId, Time now);
  /// This message of level `delivered` has failed here: its publisher shall not wait for it.
  void refuse(std::uint32_t subscription, MessageId, Time now);

  // Questions; each gives its token. Answered by flushed(), watched(), answer() or failed().
  /// Fails with peer_died, once what can be sent again is accepted, if a message before it was lost with a broker, or
  /// may have been, and no flush has told so before.
  std::uint32_t flush(Time now);
  std::uint32_t watch(std::string_view subject, std::uint32_t count, Time now);
  std::uint32_t query(std::string_view what, Time now);
  /// Nobody waits for the answer any more. A watch that the broker still keeps is taken back.
  void forget(std::uint32_t token) noexcept;

  /// Whether publish() would look at the message at all: there is a broker, and room in the window.
  [[nodiscard]] bool may_publish() const noexcept {
    return leaving_ || (state_ == State::up && !moving_ && again_from_ == 0 && waiting_.empty() && !window_is_full());
  }

  /// The last words. Nothing is published after this; the broker's farewell shows as said_farewell().
  void bye(Time now);
  [[nodiscard]] bool said_farewell() const noexcept { return farewell_; }

  [[nodiscard]] NodeBooks books() const noexcept;
  [[nodiscard]] SubscriptionBooks books(std::uint32_t subscription) const noexcept;

 private:
  enum class State : unsigned char { down, greeting, up };
  static constexpr std::chrono::milliseconds kAgain{200};  // an unanswered frame on a lossy link is sent again

  struct Subscription {
    std::string pattern;
    SubscribeOptions options;
    bool in_force = false;   // the broker has confirmed it, on whichever connection
    bool confirmed = false;  // on this one
    // Indices count on over connections; the broker's begin anew with each: ours are theirs plus `offset`.
    std::uint64_t offset = 0;
    std::uint64_t index = 0;          // highest that the broker has sent, as far as is known here
    std::uint64_t handed = 0;         // highest that the application was given
    std::uint64_t taken = 0;          // highest that the application has taken
    std::uint64_t told = 0;           // of that, what the broker knows
    std::set<std::uint64_t> missing;  // lower indices that have not come: lossy links
    std::uint64_t dropped_here = 0;
    ReasonCounts dropped_there_before{};  // by brokers of earlier connections
    ReasonCounts dropped_there{};         // by the present one
    // Messages of level `delivered` that were here, and in which order they came: as the how-manieth. One that was
    // refused stands in the order alone.
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> handled;
    std::deque<std::pair<std::uint64_t, std::uint64_t>> handled_order;
    std::uint64_t last_handled = 0;
    std::set<std::pair<std::uint64_t, std::uint64_t>>
        acknowledged;  // of these, those that the application is done with
    // drop_old: the latest, by index, as they came; the application has those that it has not taken in that order.
    std::deque<std::pair<std::uint64_t, MessageId>> droppable;
    SubscriptionBooks books;
  };

  struct Retained {
    std::vector<std::byte> frame;  // as it is sent again
    Level level = Level::accepted;
    Time sent{};
    std::uint32_t bytes = 0, content = 0;  // of the frame, and of what counts against the broker's limit
    bool counted = false;                  // as accepted
    bool is_again = false;                 // on its way once more, to this broker
  };

  struct Question {
    protocol::Frame frame;
    std::string text;  // what the frame's view points to
    Time sent{};
    bool tells_loss = false;  // a flush that fails
    bool forgotten = false;   // asks the broker to forget it, too: lossy links, until that is answered
  };

  void greet();
  void say_bye(bool stays);
  void put(const protocol::Frame&);
  void put(std::vector<std::byte> frame);
  /// Sent on this connection, and no receipt yet.
  struct Unreceipted {
    std::uint64_t sequence;
    std::uint32_t bytes;
    Level level;
  };

  void on(const protocol::Welcome&);
  void on(const protocol::Refused&);
  void on(const protocol::Subscribed&);
  void on(const protocol::Deliver&);
  void on(const protocol::DeliverBatch&);
  void on(const protocol::Progress&);
  void on(const protocol::Dropped&);
  void on(const protocol::Receipt&);
  void on(const protocol::Outcome&);
  void on(const protocol::Flushed&);
  void on(const protocol::Watched&);
  void on(const protocol::Answer&);
  void on(const protocol::Farewell&);
  void subscribe_again();
  void ask_again();
  void send_subscribe(std::uint32_t, const Subscription&);
  void send_taken(std::uint32_t, Subscription&);
  void tell_taken(std::uint32_t, Subscription&);
  static void remember(Subscription&, MessageId);
  void drop_here(std::uint32_t, Subscription&, std::uint64_t index);
  void count_missing(Subscription&, std::uint64_t index);
  void skip_to_last(Subscription&);
  [[nodiscard]] Subscription* find_or_stop(std::uint32_t subscription, std::uint32_t messages = 0);
  void end_leftover(std::uint32_t subscription) noexcept;
  [[nodiscard]] bool fits(std::size_t size, std::size_t content) const noexcept;
  [[nodiscard]] bool goes_with_gathered(std::string_view subject, Bytes payload) const noexcept;
  [[nodiscard]] std::uint64_t gather(std::string_view subject, Bytes payload);
  void send_retained(Retained&);
  void begin_again() noexcept;
  void send_again();
  void fail_too_large();
  void give_up_unreceipted() noexcept;
  [[nodiscard]] bool window_is_full() const noexcept;
  void after_window(bool was_full) noexcept;
  std::uint32_t ask(protocol::Frame, std::string text);
  /// A flush comes after everything that is sent again.
  [[nodiscard]] bool may_ask(const protocol::Frame& frame) const noexcept {
    return again_from_ == 0 || !std::holds_alternative<protocol::Flush>(frame);
  }
  [[nodiscard]] bool answered(std::uint32_t token) noexcept;
  void due(Time when) noexcept {
    if (!next_ || when < *next_) next_ = when;
  }

  const Identity identity_;
  SessionEvents& events_;
  State state_ = State::down;
  bool reliable_ = true;
  std::size_t max_frame_ = 0;  // of the present connection
  Time now_{};
  std::optional<Time> next_;
  std::deque<std::vector<std::byte>> waiting_;  // frames that had no room

  protocol::Welcome limits_{};
  std::uint64_t sequence_ = 0;     // of the last message published
  std::uint64_t receipted_ = 0;    // up to which the broker has accepted
  std::uint64_t untold_loss_ = 0;  // of the last message of level `accepted` that was in flight when a broker died
  std::deque<Unreceipted> unreceipted_;
  std::uint64_t unreceipted_bytes_ = 0;
  std::uint64_t receipted_plain_ = 0;           // of level `accepted`, on this connection: accepted, or lost on the way
  protocol::Receipt receipt_{};                 // the latest on this connection
  std::map<std::uint64_t, Retained> retained_;  // by sequence: those that need an outcome
  std::uint64_t retained_bytes_ = 0;
  // After a reconnect: where to go on sending again, 0 when all is on its way; and what of that is not settled.
  std::uint64_t again_from_ = 0, again_open_ = 0, again_bytes_ = 0;
  Time window_asked_{};
  std::vector<std::byte> front_;  // of the message being published: all before its payload
  std::vector<std::byte> batch_;  // a PublishBatch of so many, but for its count
  std::uint32_t gathered_ = 0;
  std::uint64_t batches_ = 0;
  std::size_t batch_front_ = 0;  // bytes of it before its items

  std::uint32_t last_number_ = 0;  // of subscriptions and tokens
  std::map<std::uint32_t, Subscription> subscriptions_;
  std::map<std::uint32_t, Question> questions_;
  /// Unsubscribed, and the broker's last word on it has not come.
  struct Leftover {
    ReasonCounts known{};  // dropped there, of which the application has heard
    ReasonCounts dropped{};
  };
  std::map<std::uint32_t, Leftover> leftovers_;
  std::map<std::uint32_t, int> unsubscribed_;  // lossy links: how often to say it again
  bool leaving_ = false, farewell_ = false;
  bool was_up_ = false;  // on any connection
  bool moving_ = false;  // the broker is about to stop: nothing is published there any more
  NodeBooks books_;
};

}  // namespace bus::client
