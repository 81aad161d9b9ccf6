// bus/broker/server.hpp: a broker that listens: one loop over listeners and channels of any transports.
//
//     bus::broker::Server server({.listen = {"shm://lab", "tcp://127.0.0.1:4222"}});
//     server.run();                     // until stop()
//
// Threads: run() in one; all else from any, and change() not from within run().
// Cost: a message is copied once for each subscription that it reaches, into that subscriber's channel. No system call
// and no allocation for it while nobody has to wait. A broker that has nothing to do sleeps.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/broker/core.hpp"
#include "bus/core/deadline.hpp"
#include "bus/core/listener.hpp"
#include "bus/protocol/frame.hpp"

namespace bus::broker {

/// Bytes; what a listener takes where its address does not say it: these limits' largest message, and the default's.
[[nodiscard]] inline std::size_t largest_frame(const Limits& limits) noexcept {
  return std::max(limits.max_payload, Limits{}.max_payload) + protocol::kMostAround;
}

/// Those of a broker that nobody gave any: `memory` is at most a quarter of what this process may use.
[[nodiscard]] Limits default_limits();

class Server {
 public:
  struct Options {
    std::vector<std::string> listen;  // addresses of any channel transports
    Limits limits;
    std::string name;                      // for people; empty: "bus", the host's name and the pid
    std::vector<Listener> listeners = {};  // that are there already: listen_on(); they stay, whatever change() says
  };

  /// Listens. Throws Error: as bus::listen().
  explicit Server(Options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// After run() has returned.
  ~Server();

  /// Works until stop(), or until drain() and everything that could be delivered was. Throws Error only if waiting
  /// itself fails.
  void run();
  /// run() says farewell to all and returns soon. Safe in signal handlers.
  void stop() noexcept;
  /// Takes no new clients and no new messages, goes on delivering until `deadline` at the most, then stops.
  void drain(Deadline deadline) noexcept;

  /// Other limits (see Core::set_limits()), and other addresses in place of those that were given: what is new is
  /// opened, what is no longer there takes no new clients; those who came by it stay. Waits for run() to do it. All or
  /// nothing: it throws Error as bus::listen() does, and bad_address where options of an address that is listened on
  /// would change; then everything is as it was. False: nothing was done, the broker is stopping.
  bool change(const Limits&, const std::vector<std::string>& listen);

  /// What reaches it: with the real ports.
  [[nodiscard]] std::vector<std::string> addresses() const;
  [[nodiscard]] Totals totals() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bus::broker
