// bus/broker/state.hpp: what the broker's core remembers. Internal to bus/broker.
//
// A message's way: accept.cpp takes it from its publisher, or keeps it back while a subscription that blocks is full;
// deliver.cpp offers it to each subscription, which is sent it at once or queues it; settle.cpp keeps account of those
// whose publisher asked for `delivered`. Nothing leaves an index or a list while a message is on that way: what has
// ended is marked, and State::sweep() removes it when the call is done.
//
// Memory that runs out: what takes something over (a connection, a subscription, a message) allocates first and changes
// afterwards, and throws. What follows from an end needs no memory: the lists that name clients and subscriptions have
// room for all of them from the moment that these exist, and what a lost subscription leaves is moved, not copied. A
// frame that cannot be kept for a client ends that client.
#pragma once

#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "bus/broker/backlog.hpp"
#include "bus/broker/core.hpp"
#include "bus/broker/stored.hpp"
#include "bus/broker/subject_index.hpp"
#include "bus/protocol/frame.hpp"

namespace bus::broker {

using protocol::Full;
using protocol::Level;
using protocol::MessageId;

inline constexpr std::string_view kOutOfMemory = "the broker is out of memory";

/// A message whose publisher wants to know that it was handled. Lives until nobody is `outstanding`.
struct Pending {
  MessageId id;
  Shared message;
  std::uint32_t outstanding = 0;  // subscriptions, and lost ones that may come back
  std::uint32_t reached = 0, failed = 0;
  Reason reason{};
  Time accepted{};
  std::map<std::uint64_t, protocol::Outcome>::node_type outcome;  // room for it, where outcomes are remembered
};

struct Unacknowledged {
  static constexpr std::uint64_t kEntry = 96;  // bytes in a map, rounded up
  Pending* pending = nullptr;
  Charge<kEntry> place;
  Time sent{};  // when; never while it waits in the queue
};
using UnacknowledgedMap = std::map<std::pair<std::uint64_t, std::uint64_t>, Unacknowledged>;  // publisher, sequence

/// What a lost subscription has not acknowledged.
struct Estate {
  protocol::Instance instance{};
  std::uint32_t subscription = 0;
  std::string pattern, queue;
  UnacknowledgedMap left;
  Time since{};
  Time looked{}, look{};  // for heirs: when last, and when again
};

/// Why a subscription is offered a message.
enum class Offer : std::uint8_t {
  first,
  again,      // its publisher has sent it again
  inherited,  // another subscription has had it
  kept,       // from the history
};

struct Client;

struct Subscription : Route {
  Client* client = nullptr;
  std::uint32_t id = 0;
  std::uint32_t depth = 1;
  Full full = Full::block;
  bool ended = false;
  bool again = false;  // it was in force with the broker before
  Time made{};
  bool ready = false;     // it is in its client's list of those with something to send
  bool has_room = false;  // it is in State::with_room
  Subscription* next_ready = nullptr;

  std::uint64_t sent = 0;   // index of the last message sent
  std::uint64_t taken = 0;  // index of the last that the application has taken
  Waiting waiting;
  ReasonCounts dropped{}, told{};  // here; and what of that its node knows
  std::uint64_t dropped_there = 0;
  std::vector<ClientId> publishers;  // that wait for room here, in turn

  UnacknowledgedMap unacknowledged;
  std::list<Estate> estate;  // one, empty: what it leaves goes into State::estates with it

  /// drop_old asks for no leave: its node drops what it has no room for.
  [[nodiscard]] bool has_credit() const noexcept { return full == Full::drop_old || sent - taken < depth; }
};

struct Client {
  ClientId id = 0;
  Connection connection;
  protocol::Instance instance{};
  std::string name;
  std::uint64_t publisher = 0;
  bool greeted = false;
  bool leaving = false;   // said bye
  bool silent = false;    // publishes no more: it knows that this broker is about to stop
  bool again = false;     // has lost a broker before this one
  bool over = false;      // to be removed
  bool to_retry = false;  // it is in State::retry
  bool died = false;
  Time hello_until{};
  Time moved{};  // when it last said something, or its channel had room again
  std::uint32_t window_messages = 0, window_bytes = 0, max_payload = 0;  // what it was told, whatever holds now
  std::uint32_t subscribed = 0;  // the same: what it shall tell a broker after this one
  bool is_told = false;          // of that, whenever it changes

  // Publishing.
  std::uint64_t came = 0;  // highest sequence
  bool began = false;
  std::vector<std::uint64_t> missing;  // lower ones that have not come: only on lossy links
  std::uint64_t accepted = 0, unreached = 0, copies_dropped = 0, lost_coming = 0;
  std::uint64_t plain_accepted = 0, plain_unreached = 0;  // of these, those of level `accepted`: what receipts count
  std::uint64_t receipted = 0;                            // sequence in the last receipt
  std::uint64_t accepted_unreceipted = 0, bytes_unreceipted = 0;
  Backlog held_back;                       // messages that cannot be accepted yet, and what came behind them
  std::uint64_t granted = 0;               // what that may cost: in State::granted
  bool waits_for_memory = false;           // it is in State::for_memory
  std::set<std::uint64_t> held_delivered;  // sequences in it, of level `delivered`: they may be sent again meanwhile

  // Receiving.
  std::map<std::uint32_t, std::unique_ptr<Subscription>> subscriptions;
  std::deque<std::vector<std::byte>> control;  // frames that had no room
  Subscription* first_ready = nullptr;
  Subscription* last_ready = nullptr;
  bool awaited = false;  // publishers may wait for room in its subscriptions
  bool untold = false;   // its subscriptions may have drops that it has not been told of
  std::map<std::uint32_t, std::pair<Errc, std::string_view>> ended;  // and it has not said that it knows: lossy links
  std::uint64_t bytes = 0;                                           // waiting in queues
  std::uint64_t delivered = 0;
  bool blocked = false;             // its channel has no room
  std::uint64_t control_bytes = 0;  // of `control`

  struct WatchFor {
    std::uint32_t token, count;
    std::string subject;
  };
  std::vector<WatchFor> watches;
};

/// What is known of a publisher's `delivered` messages; outlives its connection.
struct Publisher {
  ClientId client = 0;  // 0: not here
  Time left{};
  std::map<std::uint64_t, std::unique_ptr<Pending>> pending;
  std::map<std::uint64_t, protocol::Outcome> settled;  // the latest, for those who ask again
};

struct Core::State {
  State(const Core& its_core, const Limits& its_limits, const protocol::Instance& its_instance, std::string its_name,
        Output& its_output, Time at)
      : core(its_core),
        limits(its_limits),
        widest_window(its_limits.window_messages),
        instance(its_instance),
        name(std::move(its_name)),
        output(its_output),
        started(at),
        gathering_until(at + its_limits.gather),
        gathering_at_most(at + std::max(its_limits.gather, its_limits.gather_longest)) {}

  const Core& core;
  Limits limits;
  std::uint32_t widest_window;  // messages; of all that a welcome has told: who comes back sends that much again
  const protocol::Instance instance;
  const std::string name;
  Output& output;
  const Time started;
  Time now{};  // of the present call

  std::uint64_t held = 0;             // what all Stored cost
  std::uint64_t held_back = 0;        // what all that is held back costs: publishers' windows bound it
  std::uint64_t granted = 0;          // what these windows may cost
  std::uint64_t control_waiting = 0;  // bytes of clients' control frames that have no room
  boost::unordered_flat_map<ClientId, std::unique_ptr<Client>> clients;
  ClientId last_client = 0;
  std::uint32_t strangers = 0;
  SubjectIndex index;  // gone before the subscriptions in it
  Totals totals;
  bool draining = false;

  std::unordered_map<std::uint64_t, Publisher> publishers;  // those who asked for `delivered`
  std::list<Estate> estates;                                // oldest first
  // Before that, what is to be `delivered` waits for the nodes to come back; longer while some subscriptions have not.
  const Time gathering_until, gathering_at_most;
  bool gathering = false;             // something waits
  std::uint32_t expected = 0;         // subscriptions that were in force with the broker before, as far as nodes know
  std::uint32_t back = 0;             // how many of them have come
  std::uint32_t surviving = 0;        // subscriptions of nodes that do not end with this broker's process
  std::optional<Time> tell_at;        // that there are fewer
  std::optional<Time> tell_drops_at;  // to whom nothing is sent meanwhile

  struct Kept {
    std::list<std::pair<std::uint64_t, Shared>> messages;  // with the number of their arrival; never none
  };
  static constexpr std::uint64_t kKeptSubject = 320, kKeptMessage = 48;  // bytes beside the copies, rounded up
  using History = std::map<std::string, Kept, std::less<>>;
  History history;
  std::map<std::uint64_t, History::iterator> history_by_age;  // by the arrival of the oldest of each subject
  std::uint64_t history_cost = 0;
  std::uint64_t arrivals = 0;

  std::vector<Client*> ended;              // for sweep()
  std::vector<Subscription*> ended_alone;  // whose client goes on
  std::vector<Subscription*> with_room;    // and publishers that have waited for it
  std::vector<ClientId> retry;             // publishers whose held back messages may go
  std::vector<ClientId> retrying;
  std::vector<ClientId> for_memory;      // publishers that wait for it, in turn
  bool watches_due = false;              // there was no memory to look at them
  std::vector<Subscription*> targets;    // of the message under way
  std::vector<Subscription*> left_over;  // of these, those that have no room for a batch as such
  std::vector<std::byte> of_a_batch;     // one message of it, as a frame of its own
  std::optional<Time> next;

  void due(Time when) noexcept {
    if (!next || when < *next) next = when;
  }
  [[nodiscard]] Client* find(ClientId) noexcept;

  // core.cpp: connections
  void handle(Client&, Bytes frame);
  void on(Client&, const protocol::Hello&);
  void on(Client&, const protocol::Subscribe&);
  void on(Client&, const protocol::Unsubscribe&);
  void on(Client&, const protocol::Watch&);
  void on(Client&, const protocol::Query&);
  void refuse(Client&, Errc, std::string_view text) noexcept;  // and hang up
  void leave(Client&, bool died) noexcept;
  void look_at_watches(std::string_view pattern) noexcept;
  void farewell_and_stay(Client&) noexcept;
  void sweep() noexcept;
  void forget(Client&) noexcept;

  // accept.cpp: publishing
  void on(Client&, const protocol::Publish&, Bytes frame);
  void on(Client&, const protocol::PublishBatch&, Bytes frame);
  void on(Client&, const protocol::Flush&, Bytes frame);
  void on(Client&, const protocol::Bye&, Bytes frame);
  [[nodiscard]] bool count_arrival(Client&, const protocol::Publish&);
  void count_gap(Client&, std::uint64_t sequence);
  void hold_back(Client&, Backlog::Item, Bytes frame);
  [[nodiscard]] bool is_known(Client&, const protocol::Publish&);
  [[nodiscard]] bool accept(Client&, const protocol::Publish&, Bytes frame);
  [[nodiscard]] std::uint32_t accept(Client&, Batch);
  [[nodiscard]] std::uint32_t accept_at_once(Client&, const Batch&);
  [[nodiscard]] protocol::Publish first_of(const Batch&);
  void offer_each(Client&, const Batch&);
  void retry_later(Client&) noexcept;
  [[nodiscard]] bool retry_held_back(Client&, std::uint64_t most);
  [[nodiscard]] bool take_turn(Client&, std::uint64_t most) noexcept;
  void serve(Subscription&) noexcept;
  void find_targets(std::string_view subject);
  void wait_for_room(Client&, std::string_view subject);
  void keep(Handout&, std::uint32_t depth);
  void forget_oldest(History::iterator) noexcept;
  /// Whether a copy may be made that nothing else bounds.
  [[nodiscard]] bool has_memory() const noexcept {
    return held + std::min(granted, limits.memory / 8 * 3) < limits.memory;
  }
  void wait_for_memory(Client&) noexcept;
  [[nodiscard]] bool memory_is_for_next() noexcept;
  void set_window(Client&, std::uint64_t cost) noexcept;
  void widen_window(Client&) noexcept;
  void welcome(Client&) noexcept;
  void receipt(Client&) noexcept;
  void receipt_if_due(Client&) noexcept;
  void answer(Client&, std::uint32_t token) noexcept;
  void silence(Client&) noexcept;
  void farewell(Client&) noexcept;

  // gather.cpp: nodes that have lost another broker
  [[nodiscard]] bool all_are_back() const noexcept;
  void wait_for_all() noexcept;
  void look_who_is_back() noexcept;
  void count_survivor(const Subscription&) noexcept;
  void uncount_survivor(const Subscription&) noexcept;
  void tell_survivors() noexcept;
  void tell_surviving(Client&) noexcept;
  bool note_surviving(Client&) noexcept;
  [[nodiscard]] std::uint32_t worth_waiting_for() const noexcept;

  // deliver.cpp: subscriptions
  void on(Client&, const protocol::Taken&);
  [[nodiscard]] bool goes_at_once(const Subscription&) const noexcept;
  [[nodiscard]] std::uint64_t room_in(const Subscription&) const noexcept;
  [[nodiscard]] bool is_full(const Subscription& subscription) const noexcept { return room_in(subscription) == 0; }
  [[nodiscard]] bool offer(Subscription&, Handout&, Offer) noexcept;
  [[nodiscard]] bool send(Subscription&, const Parcel&, bool again, bool kept) noexcept;
  [[nodiscard]] bool offer(Subscription&, const Batch&, Shared& copy) noexcept;
  [[nodiscard]] bool send(Subscription&, const Batch&) noexcept;
  void tell_drops(Subscription&) noexcept;
  void tell_all_drops(Client&) noexcept;
  [[nodiscard]] static std::uint64_t left_behind(const Subscription&) noexcept;
  void tell_untold() noexcept;
  [[nodiscard]] bool make_way(Subscription&, std::uint64_t messages, std::uint64_t cost) noexcept;
  void refuse_copy(Subscription&, MessageId, Reason) noexcept;
  void make_ready(Subscription&) noexcept;
  void next_ready(Client&, bool again) noexcept;
  [[nodiscard]] std::uint32_t send_first(Subscription&) noexcept;
  void pump(Client&) noexcept;
  void wake_publishers(Subscription&) noexcept;
  void release_publishers(Subscription&) noexcept;
  void control(Client&, const protocol::Frame&) noexcept;
  void end(Subscription&, Errc, std::string_view why) noexcept;  // `why` lives for ever
  void remove(Subscription&, bool died) noexcept;
  void send_history(Subscription&, std::uint32_t depth);
  [[nodiscard]] bool has_had_it(const Subscription&, std::string_view subject);
  void send_again_on_lossy_links() noexcept;

  // settle.cpp: `delivered`
  void on(Client&, const protocol::Acknowledge&);
  [[nodiscard]] Pending& expect(Publisher&, Handout&, std::uint32_t outstanding);
  void fail(Pending&, Reason) noexcept;
  void succeed(Pending&) noexcept;
  void settle(Pending&) noexcept;
  void abandon(Subscription&, bool died) noexcept;
  void inherit(Subscription&, UnacknowledgedMap::node_type) noexcept;
  void adopt(Subscription&) noexcept;
  struct Heirs {
    Subscription* next = nullptr;  // has room
    bool any = false;              // with room or without
  };
  [[nodiscard]] Heirs heirs_of(const Estate&, const UnacknowledgedMap::value_type&);
  void hand_over_estates() noexcept;
  void forget_publishers() noexcept;
};

}  // namespace bus::broker
