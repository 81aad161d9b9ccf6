// transports/inproc/inproc_transport.cpp: two threads of one process, joined by the lanes that shm uses.
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>

#include "bus/core/os/barrier.hpp"
#include "bus/core/os/fork.hpp"
#include "transports/all.hpp"
#include "transports/lane/lane_channel.hpp"

namespace bus {
namespace {

using lane::LaneChannel;

/// A listener as connecting threads see it. Shared: a connector may hold it while the listener goes.
struct Meeting {
  std::mutex mutex;
  std::deque<std::unique_ptr<ChannelImpl>> waiting;  // guarded by mutex: the accepting ends
  os::Fd bell = os::make_event();                    // readable while one is waiting
  Options options;
  std::array<std::uint8_t, 16> instance{};
  bool open = true;  // guarded by mutex
};

constexpr std::size_t kBacklog = 4096;  // as the kernel's for sockets: net.core.somaxconn

/// The names of this process. Locked before any Meeting.
struct Names {
  explicit Names(const Names* of_parent) : parents(of_parent) {}
  const os::Origin origin;
  const Names* const parents;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Meeting>, std::less<>> meetings;
};

/// A forked child begins without any: those of its parent lead to threads that are not here, and share their bells with
/// the parent's; one of them may hold the lock.
Names& names() {
  static std::atomic<Names*> all{new Names(nullptr)};  // outlive static listeners
  Names* known = all.load(std::memory_order_acquire);
  while (known->origin.inherited()) {
    auto made = std::make_unique<Names>(known);
    if (all.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) known = made.release();
  }
  return *known;
}

std::array<std::uint8_t, 16> random_instance() {
  std::array<std::uint8_t, 16> instance{};
  if (getrandom(instance.data(), instance.size(), 0) < 0) {
    throw Error(last_system_error(), describe("getrandom", "", last_system_error()));
  }
  return instance;
}

lane::Link make_link(os::Fd socket, const Options& mine, const Options& theirs, const std::string& name,
                     const std::array<std::uint8_t, 16>& instance) {
  lane::Link link;
  link.socket = std::move(socket);
  link.max_send = theirs.max_message;
  link.max_receive = mine.max_message;
  link.fenced = !os::has_heavy_barrier();
  link.linger = time_awake(mine.wait);
  link.traits.crosses_processes = false;
  link.traits.tells_death = false;
  link.peer.address = "inproc://" + name;
  link.peer.uid = geteuid();
  link.peer.gid = getegid();
  link.peer.pid = getpid();
  link.peer.instance = instance;
  return link;
}

class InprocListener final : public ListenerImpl {
 public:
  InprocListener(const Address& address, const Options& options)
      : address_(address.text()), name_(address.host()), meeting_(std::make_shared<Meeting>()) {
    meeting_->options = options;
    meeting_->instance = random_instance();
    Names& all = names();
    const std::lock_guard lock(all.mutex);
    if (!all.meetings.emplace(name_, meeting_).second) {
      throw Error(Errc::address_in_use, "listen " + address_ + ": in use by this process (" + std::to_string(getpid()) +
                                            "); choose another name");
    }
  }

  ~InprocListener() override {
    {
      Names& all = names();
      const std::lock_guard lock(all.mutex);
      const auto found = all.meetings.find(name_);
      if (found != all.meetings.end() && found->second == meeting_) all.meetings.erase(found);
    }
    std::deque<std::unique_ptr<ChannelImpl>> unwanted;
    {
      const std::lock_guard lock(meeting_->mutex);
      meeting_->open = false;
      unwanted.swap(meeting_->waiting);
    }
    // Connected and never accepted: an orderly end, so that the other side's books can close.
    for (const auto& channel : unwanted) static_cast<void>(channel->try_close(false));
  }

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_accept() noexcept override {
    const std::lock_guard lock(meeting_->mutex);
    if (meeting_->waiting.empty()) return Errc::would_block;
    auto channel = std::move(meeting_->waiting.front());
    meeting_->waiting.pop_front();
    if (meeting_->waiting.empty()) os::clear_event(meeting_->bell.get());
    return channel;
  }
  [[nodiscard]] bool arm(WaitSet& set) noexcept override {
    set.add(meeting_->bell.get(), POLLIN);
    return false;
  }
  [[nodiscard]] int readable_fd() override { return meeting_->bell.get(); }
  [[nodiscard]] std::string address() const override { return address_; }

 private:
  const std::string address_, name_;
  const std::shared_ptr<Meeting> meeting_;
};

/// Makes both ends at once: connecting does not wait for accept().
class InprocConnector final : public ConnectorImpl {
 public:
  InprocConnector(const Address& address, const Options& options) : name_(address.host()), options_(options) {}

  [[nodiscard]] Result<std::unique_ptr<ChannelImpl>> try_connect() noexcept override {
    try {
      std::shared_ptr<Meeting> meeting;
      {
        Names& all = names();
        const std::lock_guard lock(all.mutex);
        const auto it = all.meetings.find(name_);
        if (it == all.meetings.end()) return Errc::no_peer;
        meeting = it->second;
      }
      const Options& theirs = meeting->options;
      lane::Offer near = lane::Offer::make(options_.capacity);
      lane::Offer far = lane::Offer::make(theirs.capacity);
      lane::Offer near_view = view_of(near);
      lane::Offer far_view = view_of(far);
      near.ring.drop_memfd();
      far.ring.drop_memfd();
      std::array<int, 2> pair{-1, -1};
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
        return last_system_error();
      }
      os::Fd near_socket(pair[0]), far_socket(pair[1]);
      auto accepted =
          std::make_unique<LaneChannel>(std::move(far), std::move(near_view),
                                        make_link(std::move(far_socket), theirs, options_, name_, random_instance()));
      auto connected =
          std::make_unique<LaneChannel>(std::move(near), std::move(far_view),
                                        make_link(std::move(near_socket), options_, theirs, name_, meeting->instance));
      const std::lock_guard lock(meeting->mutex);
      if (!meeting->open) return Errc::no_peer;
      queue_full_ = meeting->waiting.size() >= kBacklog;
      if (queue_full_) return Errc::would_block;
      meeting->waiting.push_back(std::move(accepted));
      os::signal_event(meeting->bell.get());
      return std::unique_ptr<ChannelImpl>(std::move(connected));
    } catch (const Error& e) {
      detail_ = e.what();
      return e.code();
    } catch (const std::bad_alloc&) {
      return Errc::no_room;
    }
  }
  void arm(WaitSet& set) noexcept override { set.at_most(std::chrono::milliseconds(5)); }
  [[nodiscard]] std::string detail() const override {
    return queue_full_ ? "somebody listens there, but does not accept" : detail_;
  }

 private:
  const std::string name_;
  const Options options_;
  std::string detail_;
  bool queue_full_ = false;
};

class InprocTransport final : public Transport {
 public:
  [[nodiscard]] std::string_view scheme() const noexcept override { return "inproc"; }
  [[nodiscard]] std::string_view summary() const noexcept override { return "threads of one process"; }
  void check(const Address& address) const override {
    if (address.port() || !address.path().empty() || address.host().empty()) {
      throw Error(Errc::bad_address, address.text() + ": an inproc address is inproc://NAME, without port or path");
    }
  }
  [[nodiscard]] std::unique_ptr<ListenerImpl> listen(const Address& address, const Options& options) const override {
    return std::make_unique<InprocListener>(address, options);
  }
  [[nodiscard]] std::unique_ptr<ConnectorImpl> connector(const Address& address,
                                                         const Options& options) const override {
    return std::make_unique<InprocConnector>(address, options);
  }
};

}  // namespace

const Transport& inproc_transport() noexcept {
  static const InprocTransport transport;
  return transport;
}

}  // namespace bus
