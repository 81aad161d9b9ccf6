// bus/client/node.hpp: one participant of a bus: publishes, subscribes, asks and answers.
//
//     auto node = bus::Node::join("shm://lab");
//     auto sub = node.subscribe("sensors.*.temp");
//     node.publish("sensors.kitchen.temp", bus::bytes_of("21.5"));
//     bus::Result<bus::Delivery> message = sub.receive(bus::in(1s));
//
// The bus is an address of any channel transport. On inproc, shm and unix nobody has to start a broker: the first node
// hosts one in a thread of its own, and when it goes another takes over; `?embed=never` refuses that. A node that loses
// its broker connects again by itself and subscribes again. README.md says what each level of delivery promises on
// which transport.
//
// Threads: every call is safe from any thread. A Subscription is for one receiving thread at a time.
// A node has one thread of its own, which connects, and reads from the broker while no caller waits for anything.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "bus/client/session.hpp"
#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/message.hpp"
#include "bus/protocol/headers.hpp"

namespace bus {

using client::NodeBooks;
using client::SubscribeOptions;
using client::SubscriptionBooks;
using protocol::Full;
using protocol::HeaderBlock;
using protocol::Headers;
using protocol::Level;
using protocol::MessageId;

namespace client {
struct NodeState;
struct Feed;
struct Arrival;
}  // namespace client

/// One message that a subscription received. Destroying it acknowledges it, if its publisher asked for `delivered`:
/// keep it until it is handled, and reject() it if it was not. Those of a burst share their memory, up to 40 KiB: one
/// that is kept for long keeps it all.
class Delivery {
 public:
  Delivery(Delivery&&) noexcept = default;
  Delivery& operator=(Delivery&&) noexcept;
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;
  ~Delivery() { acknowledge(); }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return payload_; }
  [[nodiscard]] std::size_t size() const noexcept { return payload_.size(); }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload_.data()), payload_.size()};
  }
  [[nodiscard]] std::string_view subject() const noexcept { return subject_; }
  [[nodiscard]] std::string_view reply() const noexcept { return reply_; }  // subject for answers; empty: none wanted
  [[nodiscard]] Headers headers() const noexcept { return Headers(headers_); }
  /// Who published it, as his how-manieth: the same when it is sent again.
  [[nodiscard]] MessageId id() const noexcept { return id_; }
  [[nodiscard]] bool again() const noexcept { return again_; }  // it may have been here before
  [[nodiscard]] bool kept() const noexcept { return kept_; }    // from the history

  /// It is handled: its publisher need not keep it any longer. The destructor does it, too.
  void acknowledge() noexcept {
    if (feed_) acknowledge_there();
  }
  /// It was not handled: leaves it unacknowledged. It comes again, to another member of the group, when this
  /// subscription ends.
  void reject() noexcept { wanted_ = false; }

 private:
  friend struct client::NodeState;
  friend struct client::Feed;
  friend struct client::Arrival;
  friend class Subscription;
  Delivery() = default;
  void acknowledge_there() noexcept;
  std::shared_ptr<const std::byte[]> memory_;  // shared with others that came in the same frame
  std::span<const std::byte> payload_, headers_;
  std::string_view subject_, reply_;
  MessageId id_;
  std::uint64_t index_ = 0;
  bool again_ = false, kept_ = false, wanted_ = false;
  std::shared_ptr<client::Feed> feed_;  // where an acknowledgement goes
};

/// Messages on a pattern of subjects. Destroying it ends it.
class Subscription {
 public:
  Subscription() = default;  // not there: every call gives `closed`
  Subscription(Subscription&&) noexcept = default;
  Subscription& operator=(Subscription&&) noexcept;
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;
  ~Subscription();

  /// The next message, or until the deadline. Errors: timed_out; closed (the node was); why the broker has ended this
  /// subscription, or refuses the node for good: why() says it in words.
  [[nodiscard]] Result<Delivery> receive(Deadline = forever);
  /// The same without waiting. Adds: would_block.
  [[nodiscard]] Result<Delivery> try_receive();
  /// Hands up to `limit` waiting messages to `on_message(Delivery&&)`, without waiting. Returns how many.
  template <class F>
  std::size_t poll(F&& on_message, std::size_t limit) {
    std::size_t count = 0;
    for (; count < limit; ++count) {
      Result<Delivery> message = try_receive();
      if (!message) break;
      on_message(std::move(*message));
    }
    return count;
  }
  /// Level-triggered: readable while a message waits or the subscription is over. Owned by the subscription. Throws
  /// Error.
  [[nodiscard]] int readable_fd();

  [[nodiscard]] std::string_view pattern() const noexcept;
  [[nodiscard]] SubscriptionBooks books() const;
  [[nodiscard]] std::string why() const;
  /// Ends it now. What was not received is dropped, or comes to others if it was to be `delivered`.
  void close() noexcept;

 private:
  friend class Node;
  explicit Subscription(std::shared_ptr<client::Feed> feed) : feed_(std::move(feed)) {}
  std::shared_ptr<client::Feed> feed_;
};

/// A question that a service has to answer.
class Request {
 public:
  [[nodiscard]] const Delivery& message() const noexcept { return message_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return message_.bytes(); }
  [[nodiscard]] std::string_view text() const noexcept { return message_.text(); }
  [[nodiscard]] std::string_view subject() const noexcept { return message_.subject(); }
  /// Sends an answer; there may be several. Errors: as Node::publish(); not_supported (it wants none).
  std::error_code reply(std::span<const std::byte> payload, const HeaderBlock* headers = nullptr);

 private:
  friend class Node;
  Request(client::NodeState& node, Delivery& message) : node_(node), message_(message) {}
  client::NodeState& node_;
  Delivery& message_;
};

/// Answers questions in a thread of its own, until it is destroyed.
class Service {
 public:
  Service(Service&&) noexcept;
  Service& operator=(Service&&) noexcept;
  ~Service();  // finishes the request at hand

 private:
  friend class Node;
  struct State;
  explicit Service(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

struct JoinOptions {
  std::string name{};                                         // for people: in lists and logs
  std::chrono::nanoseconds within = std::chrono::seconds(5);  // for a broker to be there
};

struct PublishOptions {
  Level level = Level::accepted;
  std::string_view reply{};  // subject for answers
  const HeaderBlock* headers = nullptr;
  std::uint32_t history = 0;           // the broker keeps so many of this subject for those who come late
  std::uint32_t wait_subscribers = 0;  // until so many would get it
  std::uint64_t* sequence = nullptr;   // gets the message's number, as of MessageId
};

/// What a question asks for.
struct RequestOptions {
  const HeaderBlock* headers = nullptr;
  /// Called in the caller's thread when the broker's channel has the question, before an answer is waited for; gets the
  /// question's number, as of MessageId. Never called for a question that was not published. May call the node; what it
  /// throws ends the question.
  std::function<void(std::uint64_t sequence)> on_asked{};
};

/// The one subscription to which the answers to all questions of a node come.
struct Inbox {
  std::string pattern;
  SubscribeOptions options;
  /// `received`: handed to who had asked. `dropped` by `expired`: came when their question was over (after its
  /// deadline, or more than it wanted). An answer that waits for its question's caller is in neither.
  SubscriptionBooks books;
};

/// In a forked child its parent's nodes, and all that they gave, are closed: calls give `closed`, and destroying them
/// leaves the parent's as they are. A child joins with a node of its own.
class Node {
 public:
  /// Connects to the bus's broker, waiting for it; or hosts one. Throws Error: as bus::connect().
  [[nodiscard]] static Node join(std::string_view bus, const JoinOptions& = {});
  Node(Node&&) noexcept;
  Node& operator=(Node&&) noexcept;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();  // close(in(5s))

  /// Returns when it is in force: nothing published after that is missed. Throws Error: bad_address (a pattern that is
  /// none), timed_out, no_room (too many), closed, message_too_large (for a message of the channel).
  [[nodiscard]] Subscription subscribe(std::string_view pattern, const SubscribeOptions& = {},
                                       Deadline = in(std::chrono::seconds(5)));

  /// Hands a message to the broker. Waits while a subscription that blocks is full, or there is no broker. A message
  /// that follows another within about 1 us may leave together with those that follow, 0.2 ms later at most; any call
  /// that waits sends them at once. Errors: timed_out, closed, message_too_large, bad_address (a subject that is none).
  /// What became of it is in books(), and in settled() for `delivered`.
  [[nodiscard]] std::error_code publish(std::string_view subject, std::span<const std::byte> payload,
                                        const PublishOptions& = {}, Deadline = forever);
  /// Waits until the broker has accepted everything published so far. Errors: timed_out, closed; peer_died, once: a
  /// broker died since the last flush, and of some messages of level `accepted` nobody knows whether it had accepted
  /// them. books() say of how many; all others are accepted. What a link lost that loses frames shows in books() alone.
  [[nodiscard]] std::error_code flush(Deadline = forever);
  /// Waits until everything published with `delivered` was acknowledged, or has failed (see books()).
  /// Errors: timed_out, closed.
  [[nodiscard]] std::error_code settled(Deadline = forever);
  /// Waits until a message on this subject would reach so many. Errors: timed_out, closed, message_too_large.
  [[nodiscard]] std::error_code wait_subscribers(std::string_view subject, std::uint32_t count, Deadline = forever);

  /// Asks, and waits for one answer; what comes after that is in the inbox's books. Errors: no_subscriber (at once),
  /// timed_out, closed, no_room (who would answer has none, or the broker none for this node's inbox), and those of
  /// publish().
  [[nodiscard]] Result<Delivery> request(std::string_view subject, std::span<const std::byte> payload,
                                         Deadline = in(std::chrono::seconds(5)), const RequestOptions& = {});
  /// Asks, and hands every answer until the deadline to `on_answer`, which returns false to have no more.
  /// Errors: no_subscriber, closed, and those of publish(); a deadline that passes is none.
  [[nodiscard]] std::error_code request_many(std::string_view subject, std::span<const std::byte> payload,
                                             const std::function<bool(Delivery&&)>& on_answer, Deadline,
                                             const RequestOptions& = {});
  /// Where answers to this node's questions come, and what came there so far. In force since the first question, or
  /// since the first call of this; there still after close(). Errors: timed_out, closed, no_room (too many
  /// subscriptions), only if it is not there yet.
  [[nodiscard]] Result<Inbox> inbox(Deadline = in(std::chrono::seconds(5)));
  /// Answers what is asked on a pattern of subjects, in a thread of its own; several with the same `queue` share the
  /// work. Throws Error: as subscribe().
  [[nodiscard]] Service serve(std::string_view pattern, std::function<void(Request&)> handler,
                              std::string_view queue = "service");

  /// What the broker says of itself, as JSON: "status" or "subscriptions". Errors: timed_out, closed,
  /// message_too_large.
  [[nodiscard]] Result<std::string> query(std::string_view what, Deadline = in(std::chrono::seconds(5)));

  [[nodiscard]] NodeBooks books() const;
  [[nodiscard]] std::uint64_t publisher() const noexcept;  // as of MessageId, of what this node publishes
  [[nodiscard]] bool hosts_broker() const;                 // this node's process is the one at this moment
  [[nodiscard]] bool has_broker() const;                   // at this moment: else it looks for one
  [[nodiscard]] std::string_view bus() const noexcept;

  /// Leaves in good order: everything published is accepted, and what was to be delivered is settled, or the deadline
  /// passes. Errors: timed_out; peer_died, as of flush(). Of threads that close at once one does it, and the
  /// others wait for it.
  std::error_code close(Deadline deadline) noexcept;

 private:
  explicit Node(std::shared_ptr<client::NodeState>);
  void leave() noexcept;
  [[nodiscard]] bool is_inherited() const noexcept;
  std::shared_ptr<client::NodeState> state_;
};

}  // namespace bus
