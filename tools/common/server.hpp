// tools/common/server.hpp: serves any number of clients at once: a thread for each, and one that accepts them.
//
// A thread of its own gives each client what a program would give it that serves nobody else: a blocking receive()
// with the address's wait policy, so the same latency, and a send() that may wait without anybody else noticing.
// A Poller over all channels was the alternative. It keeps a descriptor of each channel armed, which costs a busy
// channel of shared memory two system calls and a barrier a message where a blocking receive() costs none.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/poller.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

struct Client {
  Client(Channel c, std::uint64_t n) : channel(std::move(c)), number(n) {}
  virtual ~Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Channel channel;
  const std::uint64_t number;  // 1, 2, 3 in the order in which they came
  std::string description;     // who it is, for people
};

/// What a verb does with its clients.
class Service {
 public:
  virtual ~Service() = default;
  [[nodiscard]] virtual std::unique_ptr<Client> make_client(Channel channel, std::uint64_t number) {
    return std::make_unique<Client>(std::move(channel), number);
  }
  /// [server's thread] Before serve().
  virtual void came(Client&) {}
  /// [the client's thread] Works until the channel gives an error, which it returns, or done() is true.
  /// What it throws comes out of Server::run().
  [[nodiscard]] virtual std::error_code serve(Client& client) = 0;
  /// [server's thread] `reason` is closed, peer_died or another end that serve() met, or empty when this side
  /// ended it. The channel is closed.
  virtual void went(Client& client, std::error_code reason) = 0;
  /// [any thread]
  [[nodiscard]] virtual bool done() const noexcept { return false; }

  [[nodiscard]] Clock::time_point last_message() const noexcept { return last_message_.load(); }

 protected:
  void note_message() noexcept { last_message_.store(Clock::now(), std::memory_order_relaxed); }  // a statistic

 private:
  std::atomic<Clock::time_point> last_message_{Clock::now()};
};

class Server {
 public:
  struct Options {
    bool once = false;                                // ends when the last client has gone
    std::optional<std::chrono::nanoseconds> timeout;  // ends when nothing came for that long
    int output_fd = -1;                               // ends when this becomes ready: its reader has gone
  };
  enum class End : unsigned char { done, stopped, all_gone, timed_out, output_closed };

  Server(Signals& signals, Service& service, Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void listen(Listener listener);
  void adopt(Channel channel);

  /// Throws what the service throws, and Error.
  [[nodiscard]] End run();
  /// Closes all channels that are left, and waits until their books have closed, or the deadline. Throws as run(), at
  /// its end.
  void close_all(Deadline deadline);

  [[nodiscard]] std::uint64_t clients_ever() const noexcept { return last_number_; }
  /// From the first client to the last message.
  [[nodiscard]] std::chrono::nanoseconds elapsed() const noexcept;

 private:
  struct Session {
    std::unique_ptr<Client> client;
    std::error_code reason;  // with `error`: written by the thread, read once it was joined
    std::exception_ptr error;
    bool dismissed = false;  // by close_all()
    std::thread thread;
  };

  void accept_all();
  void turn_away();
  void room_again();
  void work(Session& session) noexcept;
  void reap();
  void join(Session& session);
  void end(Session& session);
  void throw_error();

  Signals& signals_;
  Service& service_;
  const Options options_;
  Poller poller_;
  Listener listener_;
  bool listening_ = false;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::uint64_t last_number_ = 0;
  Clock::time_point first_{};      // when the first client came
  std::uint64_t turned_away_ = 0;  // connections, in the present want of room
  Clock::time_point last_turned_away_{};
  std::exception_ptr error_;  // what the service has thrown first, and run() or close_all() throws on

  std::mutex mutex_;
  std::vector<std::uint64_t> finished_;  // guarded by mutex_: whose threads have done their work
};

}  // namespace bus::tools
