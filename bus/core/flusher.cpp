// bus/core/flusher.cpp: the thread and its two lists: by time, by writability.
#include "bus/core/flusher.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <climits>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "bus/core/errc.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"

namespace bus {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10;  // on_due() writes from buffers that exist
constexpr unsigned long kTimerSlackNs = 1000;                // the default lets a sleep last 50 us longer

}  // namespace

// One for a process and never destroyed: channels may outlive every static object.
struct FlusherCore {
  std::mutex mutex;
  std::condition_variable wake;  // for a sleep by time alone
  std::condition_variable idle;  // on_due() begins or has returned, or the descriptors are closed
  std::uint32_t forks = 0;       // as of its making

  // guarded by mutex
  FlusherClient* first = nullptr;    // watched, in no order: there are few at a time
  FlusherClient* current = nullptr;  // inside on_due()
  std::uint64_t next_id = 1;
  std::size_t writable = 0;  // clients that wait for their socket
  os::Fd event, epoll;       // only while there are such clients: an idle process holds no descriptor
  bool polls = false;        // it sleeps on event and epoll, else on `wake`
  Clock::time_point sleeps_until = Clock::time_point::min();  // min: it is awake
};

namespace {

constinit std::atomic<FlusherCore*> instance{nullptr};
// Who starts the thread: forks_so_far() of his process, plus 1; 0: nobody. So a child that was forked in the midst of
// it does not wait for a thread that it has not got.
constinit std::atomic<std::uint32_t> starting{0};

FlusherCore* running() noexcept {
  FlusherCore* core = instance.load(std::memory_order_acquire);
  return core != nullptr && core->forks == os::forks_so_far() ? core : nullptr;
}

}  // namespace

struct FlusherThread {
  static void link(FlusherCore& core, FlusherClient& client) noexcept {
    client.previous_ = nullptr;
    client.next_ = core.first;
    if (core.first != nullptr) core.first->previous_ = &client;
    core.first = &client;
  }

  static void unlink(FlusherCore& core, FlusherClient& client) noexcept {
    (client.previous_ != nullptr ? client.previous_->next_ : core.first) = client.next_;
    if (client.next_ != nullptr) client.next_->previous_ = client.previous_;
    client.previous_ = client.next_ = nullptr;
  }

  static void call(FlusherCore& core, std::unique_lock<std::mutex>& lock, FlusherClient& client) noexcept {
    unwatch(core, client);
    core.current = &client;
    core.idle.notify_all();
    lock.unlock();
    client.on_due();
    lock.lock();
    core.current = nullptr;
    core.idle.notify_all();
  }

  static void unwatch(FlusherCore& core, FlusherClient& client) noexcept {
    if (client.state_ == FlusherClient::State::idle) return;
    if (client.state_ == FlusherClient::State::writable) {
      os::epoll_remove(core.epoll.get(), client.fd_);
      --core.writable;
    }
    unlink(core, client);
    client.state_ = FlusherClient::State::idle;
  }

  /// Sleeps until `until`, a wake() or, if sockets are waited for, until one of them can be written.
  static void sleep(FlusherCore& core, std::unique_lock<std::mutex>& lock, Clock::time_point until) noexcept {
    core.sleeps_until = until;
    if (core.writable > 0) {
      core.polls = true;
      poll_sockets(core, lock, until);
    } else {
      if (std::exchange(core.polls, false)) core.idle.notify_all();
      core.event.reset();
      core.epoll.reset();
      if (until == Clock::time_point::max()) {
        core.wake.wait(lock);
      } else {
        core.wake.wait_until(lock, until);
      }
    }
    core.sleeps_until = Clock::time_point::min();
  }

  static void poll_sockets(FlusherCore& core, std::unique_lock<std::mutex>& lock, Clock::time_point until) noexcept {
    std::array<pollfd, 2> fds{pollfd{core.event.get(), POLLIN, 0}, pollfd{core.epoll.get(), POLLIN, 0}};
    const int epoll = core.epoll.get();  // only this thread closes it
    const bool limited = until != Clock::time_point::max();
    timespec limit{};
    if (limited) {
      const auto rest = std::max<Clock::duration>(until - Clock::now(), Clock::duration::zero());
      limit.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(rest).count();
      limit.tv_nsec = static_cast<long>((rest % std::chrono::seconds(1)).count());
    }
    lock.unlock();
    // A failure ends the sleep early; the loop looks again.
    if (::ppoll(fds.data(), fds.size(), limited ? &limit : nullptr, nullptr) < 0) fds = {};
    if (fds[0].revents != 0) os::clear_event(fds[0].fd);
    std::array<epoll_event, 16> ready;
    const int count = ::epoll_wait(epoll, ready.data(), static_cast<int>(ready.size()), 0);
    lock.lock();
    for (int i = 0; i < count; ++i) {
      // By its number: the client may be gone since.
      const std::uint64_t id = ready[static_cast<std::size_t>(i)].data.u64;
      FlusherClient* client = core.first;
      while (client != nullptr && (client->id_ != id || client->state_ != FlusherClient::State::writable)) {
        client = client->next_;
      }
      if (client != nullptr) call(core, lock, *client);
    }
  }

  static void wake(FlusherCore& core) noexcept {
    core.sleeps_until = Clock::time_point::min();  // one wake is enough
    if (core.polls) {
      os::signal_event(core.event.get());
    } else {
      core.wake.notify_one();
    }
  }

  static void run(FlusherCore& core) noexcept {
    std::unique_lock lock(core.mutex);
    for (;;) {
      // Those whose time has come, one at a time: the list may change during each call.
      const Clock::time_point now = Clock::now();
      Clock::time_point earliest = Clock::time_point::max();
      FlusherClient* due = nullptr;
      for (FlusherClient* client = core.first; client != nullptr && due == nullptr; client = client->next_) {
        if (client->state_ != FlusherClient::State::timed) continue;
        if (client->due_ <= now) due = client;
        earliest = std::min(earliest, client->due_);
      }
      if (due != nullptr) {
        call(core, lock, *due);
      } else {
        sleep(core, lock, earliest);
      }
    }
  }

  static void* entry(void* core) noexcept {
    ::pthread_setname_np(::pthread_self(), "bus-flusher");
    ::prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
    run(*static_cast<FlusherCore*>(core));
    return nullptr;
  }

  /// Starts the thread if this process has none, or waits while another caller does. Null: it cannot be started now.
  static FlusherCore* get() noexcept {
    if (FlusherCore* core = running()) return core;
    const std::uint32_t here = os::watch_forks() + 1;
    for (std::uint32_t starter = starting.load(std::memory_order_acquire);;) {
      if (starter == here) {
        starting.wait(here, std::memory_order_acquire);
        starter = starting.load(std::memory_order_acquire);
      } else if (starting.compare_exchange_weak(starter, here, std::memory_order_acquire)) {
        break;
      }
    }
    FlusherCore* core = running();
    if (core == nullptr) {
      core = start();
      if (core != nullptr) instance.store(core, std::memory_order_release);
    }
    starting.store(0, std::memory_order_release);
    starting.notify_all();
    return core;
  }

  static FlusherCore* start() noexcept {
    std::unique_ptr<FlusherCore> core(new (std::nothrow) FlusherCore);
    if (!core) return nullptr;
    core->forks = os::watch_forks();
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) != 0) return nullptr;
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    ::pthread_attr_setstacksize(&attributes, std::max(kStackBytes, static_cast<std::size_t>(PTHREAD_STACK_MIN)));
    // The program's signals are not for this thread.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread{};
    const int failed = ::pthread_create(&thread, &attributes, &FlusherThread::entry, core.get());
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::pthread_attr_destroy(&attributes);
    return failed != 0 ? nullptr : core.release();
  }

  static bool watch(FlusherClient& client, Clock::time_point due) noexcept {
    FlusherCore* const core = get();
    if (core == nullptr) return false;
    const std::lock_guard lock(core->mutex);
    unwatch(*core, client);
    client.state_ = FlusherClient::State::timed;
    client.due_ = due;
    link(*core, client);
    if (due < core->sleeps_until) wake(*core);
    return true;
  }

  static bool watch_writable(FlusherClient& client, int fd) noexcept {
    FlusherCore* const core = get();
    if (core == nullptr) return false;
    const std::lock_guard lock(core->mutex);
    unwatch(*core, client);
    try {
      if (!core->event) core->event = os::make_event();
      if (!core->epoll) core->epoll = os::make_epoll();
    } catch (const std::exception&) {
      return false;  // out of descriptors
    }
    client.id_ = core->next_id++;
    if (!os::epoll_set(core->epoll.get(), fd, EPOLLOUT, client.id_)) return false;
    client.state_ = FlusherClient::State::writable;
    client.fd_ = fd;
    link(*core, client);
    ++core->writable;
    if (!core->polls && core->sleeps_until != Clock::time_point::min()) wake(*core);
    return true;
  }
};

bool Flusher::watch(FlusherClient& client, Clock::time_point due) noexcept { return FlusherThread::watch(client, due); }

bool Flusher::watch_writable(FlusherClient& client, int fd) noexcept {
  return FlusherThread::watch_writable(client, fd);
}

void Flusher::forget(FlusherClient& client) noexcept {
  FlusherCore* const core = running();
  if (core == nullptr) return;  // none was ever started, or it is the parent's
  std::unique_lock lock(core->mutex);
  FlusherThread::unwatch(*core, client);
  core->idle.wait(lock, [&] { return core->current != &client; });
  FlusherThread::unwatch(*core, client);  // it may have asked again
  if (!core->polls || core->writable > 0) return;
  // The last one that waited for its socket: no descriptor stays open behind it. Not waited for while the thread is at
  // work for another client: that may want a lock which this caller holds.
  FlusherThread::wake(*core);
  core->idle.wait(lock, [&] { return !core->polls || core->writable > 0 || core->current != nullptr; });
}

}  // namespace bus
