// bus/broker/core.hpp: the broker without channels, threads and clock: frames and time in, frames out.
//
// Whoever drives it tells it of connections and hands it their frames one by one; it answers through Output. The
// program, the tests and the simulator drive the same code.
//
// Promises, for each publisher and each subscription: messages come in the order in which they were published (a
// message that is sent again comes later); each has an index without gaps; what is not delivered is counted with a
// reason. Threads: one at a time. Errors: a client that breaks the protocol is refused and hung up on; the others
// notice nothing. Memory that runs out ends the client whose frame needed it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "bus/protocol/frame.hpp"

namespace bus::broker {

using protocol::Bytes;
using ClientId = std::uint32_t;
using Time = Clock::time_point;

/// What one client, or all together, may ask of a broker. The figures are those of the field's brokers where they have
/// one; see README.md.
struct Limits {
  std::uint32_t clients = 1024;
  std::uint32_t strangers = 64;                              // connected, and no hello yet
  std::chrono::nanoseconds hello = std::chrono::seconds(2);  // the time that a stranger has for it
  std::uint32_t window_messages = 4096;   // published and not accepted yet, or not settled; per client
  std::uint32_t window_bytes = 8U << 20;  // the same, in bytes
  std::uint32_t subscriptions = 512;      // per client
  std::uint32_t max_payload = 1U << 20;   // bytes of subject, reply, headers and payload of a message
  std::uint32_t client_bytes = 8U << 20;  // waiting for one client
  std::uint64_t memory = 256U << 20;      // bytes of messages in all
  std::uint32_t history = 10'000;         // messages kept of one subject, at most
  std::chrono::nanoseconds gone =
      std::chrono::seconds(1);  // after that others get what a lost client left unacknowledged
  std::chrono::nanoseconds linger = std::chrono::seconds(10);  // after that nobody does
  std::chrono::nanoseconds gather =
      std::chrono::milliseconds(300);  // what a broker that starts gives nodes to come back
  std::chrono::nanoseconds gather_longest =
      std::chrono::seconds(1);  // and while subscriptions are not back that its nodes know of
  std::chrono::nanoseconds stalled =
      std::chrono::hours(24);  // who says and takes nothing for so long is not waited for when the broker stops
  std::chrono::nanoseconds again = std::chrono::milliseconds(200);  // an unanswered frame on a lossy link is sent again
};

/// Where the core's frames go. Called from inside the core's calls; must not call back.
class Output {
 public:
  /// Sends one frame, `head` and `tail` together, and keeps nothing of them. False: no room now, nothing was sent; call
  /// Core::room() when there is.
  [[nodiscard]] virtual bool send(ClientId, Bytes head, Bytes tail) noexcept = 0;
  /// Nothing more will come from this client or go to it: close its channel once what was sent is out. The core has
  /// forgotten it: no disconnected() follows. `why` is for the log, empty for a good end.
  virtual void hang_up(ClientId, std::string_view why) noexcept = 0;

 protected:
  ~Output() = default;
};

/// What is known of a connection before its first frame.
struct Connection {
  std::string peer;                              // for people
  bool reliable = true;                          // the channel's traits(): nothing is lost while both ends live
  std::size_t max_frame = std::size_t{1} << 30;  // bytes; its max_message
  bool own = false;                              // from the broker's own process, with which it ends
};

/// Counts over all clients since the start. Each accepted message makes a copy for each subscription that it reaches.
struct Totals {
  std::uint64_t accepted = 0;     // messages
  std::uint64_t unreached = 0;    // of these, how many matched no subscription
  std::uint64_t lost_coming = 0;  // gaps in what publishers sent, on lossy links
  std::uint64_t copies = 0;       // accepted, times subscriptions that matched; and those from the history
  std::uint64_t delivered = 0;    // copies sent
  std::uint64_t again = 0;        // sent once more
  ReasonCounts dropped{};         // copies that were not sent
  std::uint64_t waiting = 0;      // copies that wait now
  std::uint64_t memory = 0;       // bytes of messages held now, and of what is known of them
  std::uint32_t clients = 0, subscriptions = 0;
};

class Core {
 public:
  /// `instance` is the broker's name for itself; `name` for people.
  Core(const Limits&, const protocol::Instance&, std::string name, Output&, Time now);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core();

  /// A channel was accepted. Errors: no_room (too many; say so to nobody and close it).
  [[nodiscard]] Result<ClientId> connected(Connection, Time now);
  /// One frame from it. Only for clients that have neither been hung up on nor disconnected.
  void received(ClientId, Bytes frame, Time now) noexcept;
  /// After Output::send() gave false: there may be room now.
  void room(ClientId, Time now) noexcept;
  /// Its channel is over. `died`: without a farewell that the channel knew of. One that has said hello and no bye may
  /// come back in either case.
  void disconnected(ClientId, bool died, Time now) noexcept;

  /// When tick() is wanted next; nothing when no time matters.
  [[nodiscard]] std::optional<Time> next_tick() const noexcept;
  void tick(Time now) noexcept;

  /// The broker is about to stop: takes no new clients and asks those that it has to publish no more; goes on
  /// accepting what they sent before they heard of that, and delivering. drained() says when all have answered and
  /// everything that can be delivered was; but for those who have not moved for as long as `stalled` says.
  void drain(Time now) noexcept;
  [[nodiscard]] bool drained(Time now) const noexcept;
  /// Says farewell to all and forgets them.
  void stop(Time now) noexcept;

  /// Other limits for what is decided from now on. Nobody who is here goes, no subscription ends, and what a client's
  /// welcome has told it (its window, the size of a message) goes on to hold for it.
  void set_limits(const Limits&, Time now) noexcept;

  [[nodiscard]] Totals totals() const noexcept;
  /// What `status` and `subscriptions` answer: a JSON document; of its list as much as so many bytes hold, and how many
  /// are `left_out`. Throws std::bad_alloc.
  [[nodiscard]] std::string describe(std::string_view what, std::size_t most, Time now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bus::broker
