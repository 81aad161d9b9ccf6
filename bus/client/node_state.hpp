// bus/client/node_state.hpp: a node's connection, its thread and those who wait for something. Internal to bus/client.
//
// One mutex guards the session and the sending side of the channel. Who waits, drives: one thread at a time reads from
// the channel and tells the session, and that is a caller who waits for something whenever there is one, so that what
// comes is his without a hand-over to another thread. Others who wait meanwhile follow: they sleep until they have
// what they wait for, or are the next to drive. The node's thread makes connections, and drives when no caller has done
// so for a lease of some milliseconds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bus/client/feed.hpp"
#include "bus/client/host.hpp"
#include "bus/client/session.hpp"
#include "bus/core/channel.hpp"
#include "bus/core/flusher.hpp"
#include "bus/core/poller.hpp"
#include "bus/core/wait.hpp"

namespace bus::client {

struct NodeState final : SessionEvents, private FlusherClient, std::enable_shared_from_this<NodeState> {
  NodeState(std::string_view bus, const JoinOptions&);
  ~NodeState() override;
  void start();
  /// Ends the thread and everything that waits. A broker that is hosted here delivers until `drain_until`. Of several
  /// callers one does it, and the others wait until it is done.
  void stop(Deadline drain_until = Deadline{}) noexcept;

  // Session's events: with the mutex held.
  [[nodiscard]] bool send(Bytes head, Bytes tail) noexcept override;
  void deliver(std::uint32_t subscription, const protocol::Deliver&) override;
  void deliver(std::uint32_t subscription, const protocol::DeliverBatch&) override;
  void subscribed(std::uint32_t subscription) noexcept override;
  void unsubscribed(std::uint32_t subscription, const ReasonCounts& dropped) noexcept override;
  void ended(std::uint32_t subscription, Errc why, std::string_view text) override;
  void outcome(const protocol::Outcome&) noexcept override;
  void flushed(std::uint32_t token) noexcept override;
  void watched(std::uint32_t token, std::uint32_t count) noexcept override;
  void answer(std::uint32_t token, Bytes payload) override;
  void failed(std::uint32_t token, Errc why) noexcept override;
  void up(const protocol::Welcome&) noexcept override;
  void hang_up(Errc why, std::string_view text, bool for_good) override;
  void window_open() noexcept override { changed.notify_all(); }

  // For the interface.
  [[nodiscard]] std::shared_ptr<Feed> subscribe(std::string_view pattern, const SubscribeOptions&, Deadline);
  void unsubscribe(Feed&) noexcept;
  [[nodiscard]] Result<Delivery> receive(Feed&, Deadline);
  [[nodiscard]] Result<Delivery> try_receive(Feed&);
  [[nodiscard]] Result<Delivery> take(Feed&);
  /// For the session, which asks for the time on lossy links alone.
  [[nodiscard]] Time time() const noexcept { return session.is_reliable() ? Time{} : Clock::now(); }
  void acknowledge(const Feed&, MessageId) noexcept;
  /// Nobody waits for these answers any more: they have failed, where their publishers want to know.
  void give_up(Feed& answers) noexcept;
  [[nodiscard]] Result<std::uint64_t> publish(std::string_view subject, std::span<const std::byte> payload,
                                              const client::PublishOptions&, Deadline);
  /// Waits for the answer to a question that the session was just asked.
  struct Answered {
    bool done = false;
    std::error_code error;
    std::string text;
  };
  [[nodiscard]] Result<Answered> wait_answer(std::unique_lock<std::mutex>&, std::uint32_t token, Deadline);

  /// Subscribes to the answers to this node's questions, once.
  [[nodiscard]] std::error_code open_inbox(Deadline);
  /// What came there. Once it is open; with the mutex held.
  [[nodiscard]] SubscriptionBooks inbox_books() const;
  /// Until it is known that the message reached somebody, or that nobody can tell, or something came for its
  /// `question`. Errors: no_subscriber, no_room (he has no room), message_too_large (for him), peer_died (the broker
  /// did, and nobody knows), timed_out, closed.
  [[nodiscard]] std::error_code wait_outcome(std::uint64_t sequence, const Feed& question, Deadline);

  using Condition = std::function<bool()>;
  /// Drives or follows until `done` or the deadline; called and left with the mutex held. Returns what `done` says.
  [[nodiscard]] bool wait(std::unique_lock<std::mutex>&, Deadline, const Condition& done);
  [[nodiscard]] bool wait(std::unique_lock<std::mutex>&, Deadline, const Condition& done,
                          std::condition_variable& signal);
  /// What `changed` is for: waits that only the node's thread ends.
  [[nodiscard]] bool is_over() const noexcept { return closed_for_good || stopping; }

  void on_due() noexcept override;
  void see_to_gathered() noexcept;
  void work();
  [[nodiscard]] bool connect_once();
  void host_anew();
  void serve_connection();
  void drive(std::unique_lock<std::mutex>&, Deadline, const Condition& done);
  void read_until(std::unique_lock<std::mutex>&, Deadline, const Condition& done);
  [[nodiscard]] bool read_frames();
  void look_for_room(Time now);
  void stand_by(std::unique_lock<std::mutex>&);
  void pass_on() noexcept;
  void tell() noexcept;
  void look_at_clock() noexcept;
  /// From now on: somebody waits for descriptors, not in calls.
  void leave_driving_to_the_thread() noexcept;
  [[nodiscard]] bool connection_is_over() const noexcept { return stopping || hang_up_asked || lost; }
  [[nodiscard]] bool lose_connection() noexcept;
  void end_feed(Feed&, Errc why, std::string_view text);
  void close_for_good(Errc why, std::string_view text);
  void count_taken(Feed&, std::uint64_t index) noexcept;
  void pause(std::chrono::nanoseconds);

  const os::Origin origin;
  const std::string bus;
  const BusAddress address;
  const std::chrono::nanoseconds within;

  std::mutex ending;  // of who stops the node; taken before the other
  std::mutex mutex;
  std::condition_variable changed;  // whatever somebody may wait for
  Session session;
  Channel channel;
  bool open = false;                  // the channel is there
  bool lost = false;                  // and has ended: the node's thread takes it away
  bool driving = false;               // somebody reads from it
  Patience patience;                  // of who does
  std::uint64_t last_publish = 0;     // ticks
  std::uint64_t gathering_since = 0;  // ticks
  std::uint64_t seen_batches = 0;     // sent when the flusher last looked
  bool flusher_watches = false;       // it sends what is gathered, if nobody else does so before
  bool standing_by = false;           // the node's thread sleeps until it is told to drive
  bool callers_drive = true;          // not where a program waits for descriptors: then the node's thread always does
  bool thread_wanted = false;         // a caller would rather drive himself
  std::uint64_t drives = 0;           // of callers, so far
  std::condition_variable hand_over;  // to the node's thread
  std::vector<std::condition_variable*> followers;  // of callers who wait while another drives
  std::size_t room_wanted = 0;                      // bytes of the frame that it refused; 0: none
  bool armed = false;                               // it is waited for in the poller: nobody sends meanwhile
  Time asleep_until{};                              // who drives sleeps; else Time{}
  Time welcome_until{};
  bool stopping = false;
  bool hang_up_asked = false;
  bool closed_for_good = false;
  std::error_code last_error;  // of connecting
  std::string last_text;
  std::map<std::uint32_t, std::shared_ptr<Feed>> feeds;
  std::map<std::uint32_t, std::shared_ptr<Feed>> unsubscribing;  // the last word on them has not come
  std::shared_ptr<Feed> replies;  // one subscription for the answers to all our questions
  std::string inbox;              // its subject, without the last token
  bool opening_inbox = false;
  std::uint64_t last_question = 0;
  std::uint64_t answers_taken = 0;                                     // by who had asked
  std::map<std::uint64_t, std::shared_ptr<Feed>> questions;            // asked, and not over
  std::map<std::uint32_t, Answered> answers;                           // to questions under way
  std::map<std::uint64_t, std::optional<protocol::Outcome>> outcomes;  // that somebody waits for

  Poller poller;
  std::unique_ptr<Host> host;
  std::thread thread;
};

}  // namespace bus::client
