// bus/broker/server.cpp: the loop: read from those who speak, write to those who have room, sleep when nobody does.
#include "bus/broker/server.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <boost/unordered/unordered_flat_map.hpp>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <random>

#include "bus/core/address.hpp"
#include "bus/core/os/memory.hpp"
#include "bus/core/poller.hpp"
#include "bus/core/wait.hpp"

namespace bus::broker {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kReadsInARow = 64;                 // from one client, before the next has its turn
constexpr unsigned kRoundsBetweenLooks = 32;             // of a busy loop, in which only some clients are asked
constexpr auto kClosing = 1s;                            // for a channel's last frames to be taken
constexpr auto kClosingAgain = 1ms;                      // until it is looked whether they were
constexpr std::size_t kMostLeaving = 64;                 // more who are turned away at a time hear nothing
constexpr unsigned kRoomAtOnce = 8;                      // tries in a row, before the poller says when
constexpr auto kDrainedAgain = 20ms;                     // until it is looked whether all is out
constexpr auto kRoomAgain = 1ms;                         // where nothing can be had to wait for room with
constexpr Poller::Key kListener = Poller::Key{1} << 32;  // keys below are clients'
constexpr Poller::Key kRoom = Poller::Key{1} << 33;

protocol::Instance random_instance() {
  protocol::Instance instance;
  std::random_device random;
  for (auto& byte : instance) byte = static_cast<std::uint8_t>(random());
  return instance;
}

std::string default_name() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = 0;
  return "bus " + std::string(host.data()) + " " + std::to_string(::getpid());
}

}  // namespace

struct Server::State final : Output {
  struct Link {
    Channel channel;
    ClientId id = 0;
    bool hot = false;      // asked in each round
    bool dirty = false;    // written to in this round: what is sent is gathered until its end
    bool waiting = false;  // for room: to be tried again in the next round
    unsigned tries = 0;    // in a row that found none
    bool over = false;
    unsigned quiet = 0;  // rounds without a frame
  };

  /// Where clients come in. `asked` is the address that was given, empty for one that was there already.
  struct Door {
    std::string asked;
    Listener listener;
  };
  using Doors = std::map<Poller::Key, Door>;

  explicit State(Options options)
      : core(options.limits, random_instance(), options.name.empty() ? default_name() : options.name, *this,
             Clock::now()) {
    for (Listener& listener : options.listeners) open({{}, std::move(listener)});
    for (const std::string& address : options.listen)
      open({address, bus::listen(address, largest_frame(options.limits))});
  }

  void open(Door door) {
    const Poller::Key key = kListener | next_door++;
    poller.add(doors.emplace(key, std::move(door)).first->second.listener, key);
  }

  bool send(ClientId id, Bytes head, Bytes tail) noexcept override {
    Link& link = *links.find(id)->second;
    if (link.over) return true;  // it goes nowhere; disconnected() follows
    if (!std::exchange(link.dirty, true)) {
      dirty.push_back(id);
      link.channel.begin_batch();
    }
    const std::error_code error = link.channel.try_send(head, tail);
    if (error == Errc::would_block) {
      want_room(link);
      return false;
    }
    link.tries = 0;
    if (error) {
      link.over = true;
      broken.push_back(id);
    }
    return true;
  }

  void hang_up(ClientId id, std::string_view) noexcept override { hung_up.push_back(id); }

  void want_room(Link& link) noexcept {
    if (link.waiting) return;
    link.waiting = true;
    waiting.push_back(link.id);
  }

  bool accept_all(Listener& listener) {
    bool any = false;
    for (;;) {
      Result<Channel> channel = listener.try_accept();
      if (!channel) return any;
      any = true;
      const Traits traits = channel->traits();
      const Peer peer = channel->peer();
      const bool own = peer.uid && peer.pid == std::optional(::getpid());  // as the kernel says: others may claim it
      const Result<ClientId> id =
          core.connected({peer.address, traits.reliable, traits.max_message, own}, Clock::now());
      if (!id) {
        turn_away(std::move(*channel), "the broker has as many clients as its limits allow, or is stopping");
        continue;
      }
      try {
        let_in(*channel, *id);
      } catch (const std::exception&) {  // no descriptors, or no memory
        core.disconnected(*id, true, Clock::now());
        turn_away(std::move(*channel), "the broker has no descriptors or memory for another client");
      }
    }
  }

  /// Takes the channel over, or throws and leaves it where it is.
  void let_in(Channel& channel, ClientId id) {
    // What is told of a client from here on finds room.
    const std::size_t count = std::bit_ceil(links.size() + 1);
    for (auto* const list : {&hot, &dirty, &waiting, &broken, &hung_up}) list->reserve(count);
    over.reserve(count);
    links.reserve(count);
    auto link = std::make_unique<Link>();
    link->channel = std::move(channel);
    link->channel.stay_awake(Patience::kStayAwake);
    link->id = id;
    try {
      poller.add(link->channel, id);
    } catch (...) {
      channel = std::move(link->channel);
      throw;
    }
    heat(*links.emplace(id, std::move(link)).first->second);
  }

  /// With a word that says why, if there is room for it.
  void turn_away(Channel channel, std::string_view why) noexcept {
    try {
      std::vector<std::byte> bytes;
      protocol::encode(protocol::Refused{0, Errc::no_room, why}, bytes);
      static_cast<void>(channel.try_send(bytes));
      if (leaving.size() < kMostLeaving) return close_politely(std::move(channel));
      static_cast<void>(channel.close(Time{}));
    } catch (const std::bad_alloc&) {  // then without
      static_cast<void>(channel.close(Time{}));
    }
  }

  /// When what was sent is out, or has had the time for it.
  void close_politely(Channel channel) noexcept {
    if (channel.try_flush() == Errc::would_block) {
      try {
        leaving.emplace_back(std::move(channel), Clock::now() + kClosing);
        return;
      } catch (const std::bad_alloc&) {  // then not so politely
      }
    }
    static_cast<void>(channel.close(Time{}));
  }

  void heat(Link& link) {
    link.quiet = 0;
    if (link.hot) return;
    link.hot = true;
    hot.push_back(link.id);
  }

  /// Reads what a client has sent. False: nothing.
  bool read(Link& link, Time now) {
    for (std::size_t i = 0; i < kReadsInARow; ++i) {
      if (link.over) return i > 0;
      const Result<Message> frame = link.channel.try_receive();
      if (!frame) {
        if (frame.error() == Errc::would_block) return i > 0;
        link.over = true;
        over.emplace_back(link.id, frame.error() != Errc::closed);
        return true;
      }
      core.received(link.id, frame->bytes(), now);
    }
    return true;
  }

  /// Closes what is over, on whichever side it ended.
  void bury(Time now) {
    while (!over.empty() || !broken.empty() || !hung_up.empty()) {
      while (!over.empty()) {
        const auto [id, died] = take_last(over);
        core.disconnected(id, died, now);
        remove(id, false);
      }
      while (!broken.empty()) {
        const ClientId id = take_last(broken);
        core.disconnected(id, true, now);
        remove(id, false);
      }
      while (!hung_up.empty()) remove(take_last(hung_up), true);
    }
  }

  /// Keeps the room that it had: see let_in().
  template <typename T>
  static T take_last(std::vector<T>& list) noexcept {
    const T last = list.back();
    list.pop_back();
    return last;
  }

  /// Closes its channel, `politely` when what was sent is out, or has had the time for it. Waits for nobody: a peer
  /// that reads nothing would stop the broker for all.
  void remove(ClientId id, bool politely) noexcept {
    const auto found = links.find(id);
    if (found == links.end()) return;
    Channel channel = std::move(found->second->channel);
    if (found->second->dirty) channel.end_batch();
    poller.remove(channel);
    std::erase(hot, id);
    std::erase(waiting, id);
    links.erase(found);
    if (politely) return close_politely(std::move(channel));
    static_cast<void>(channel.close(Time{}));
  }

  void close_those_that_leave(Time now) {
    std::erase_if(leaving, [now](auto& one) {
      if (one.first.try_flush() == Errc::would_block && now < one.second) return false;
      static_cast<void>(one.first.close(Time{}));
      return true;
    });
  }

  void flush_all() {
    for (const ClientId id : dirty) {
      const auto found = links.find(id);
      if (found == links.end()) continue;
      found->second->dirty = false;
      found->second->channel.end_batch();  // what has no room now leaves by itself
    }
    dirty.clear();
  }

  /// Tries those once more who had no room.
  bool look_for_room(Time now) {
    bool any = false;
    const std::size_t count = waiting.size();
    for (std::size_t i = 0; i < count; ++i) {
      Link& link = *links.find(waiting[i])->second;
      link.waiting = false;
      core.room(link.id, now);
      link.tries = link.waiting ? link.tries + 1 : 0;
      any |= !link.waiting;
    }
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(count));
    bury(now);
    return any;
  }

  /// Leaves those to the poller who have been tried so often: then they cost nothing until there is room.
  /// Throws Error, std::bad_alloc: the rest go on being tried.
  void wait_for_room(unsigned tries) {
    for (std::size_t i = 0; i < waiting.size();) {
      Link& link = *links.find(waiting[i])->second;
      if (link.tries < tries) {
        ++i;
        continue;
      }
      poller.want_room(link.channel, kRoom | link.id);
      link.waiting = false;
      waiting[i] = waiting.back();
      waiting.pop_back();
    }
  }

  /// Asks every hot client once. False: nobody had anything to say.
  bool round() {
    const std::lock_guard lock(mutex);
    const Time now = Clock::now();
    bool any = false;
    for (std::size_t i = 0; i < hot.size(); ++i) {
      Link& link = *links.find(hot[i])->second;
      if (read(link, now)) {
        link.quiet = 0;
        any = true;
      } else {
        ++link.quiet;
      }
    }
    bury(now);
    if (!waiting.empty()) any |= look_for_room(now);
    if (const auto next = core.next_tick(); next && *next <= now) {
      core.tick(now);
      bury(now);
    }
    flush_all();
    if (!leaving.empty()) close_those_that_leave(now);
    return any;
  }

  /// Asks the kernel who else has something to say, and waits for that until `deadline`.
  void look(Deadline deadline) {
    std::array<Poller::Key, 64> ready{};
    try {
      wait_for_room(deadline == Time{} ? kRoomAtOnce : 0);
    } catch (const std::exception&) {  // no descriptors, or no memory
      deadline = std::min(deadline, in(kRoomAgain));
    }
    const std::size_t count = poller.wait(ready, deadline);
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < count; ++i) {
      if ((ready[i] & kRoom) != 0) {
        if (const auto found = links.find(static_cast<ClientId>(ready[i])); found != links.end()) {
          want_room(*found->second);
        }
      } else if ((ready[i] & kListener) != 0) {
        if (const auto door = doors.find(ready[i]); door != doors.end()) accept_all(door->second.listener);
      } else if (const auto found = links.find(static_cast<ClientId>(ready[i])); found != links.end()) {
        heat(*found->second);
      }
    }
  }

  /// Leaves those to the kernel who have been quiet for so many rounds.
  void cool(unsigned rounds) {
    std::erase_if(hot, [&](ClientId id) {
      Link& link = *links.find(id)->second;
      if (link.quiet >= rounds) link.hot = false;
      return !link.hot;
    });
  }

  [[nodiscard]] Deadline next_deadline() const {
    Deadline until = core.next_tick().value_or(forever);
    if (!leaving.empty()) until = std::min(until, in(kClosingAgain));
    return draining ? std::min({until, drain_until, in(kDrainedAgain)}) : until;
  }

  // ---- other limits and addresses ----

  struct Change {
    const Limits& limits;
    std::vector<Door> opened;
    std::vector<Poller::Key> closed;
    bool done = false;
    std::exception_ptr error = nullptr;
  };

  /// Compares with what is there, and opens what is new. By whoever asks for the change: looking a name up takes time.
  [[nodiscard]] Change prepare(const Limits& limits, const std::vector<std::string>& listen) {
    std::multimap<std::string, Poller::Key> there;
    {
      const std::lock_guard lock(mutex);
      for (const auto& [key, door] : doors) {
        if (!door.asked.empty()) there.emplace(door.asked, key);
      }
    }
    std::vector<std::string> missing;
    for (const std::string& address : listen) {
      if (const auto found = there.find(address); found != there.end()) {
        there.erase(found);
      } else {
        missing.push_back(address);
      }
    }
    Change change{limits, {}, {}};
    const auto place = [](const std::string& address) { return address.substr(0, address.find('?')); };
    for (const std::string& address : missing) {
      for (const auto& [other, key] : there) {
        if (place(address) != place(other) || Address::parse(address).port() == 0) continue;
        throw Error(Errc::bad_address, address + ": the broker listens there with other options (" + other +
                                           "); to change them needs a restart");
      }
      change.opened.push_back({address, bus::listen(address, largest_frame(limits))});
    }
    for (const auto& [address, key] : there) change.closed.push_back(key);
    return change;
  }

  /// On the thread of run().
  void carry_out(Change& change) {
    const std::lock_guard lock(mutex);
    const Poller::Key first = next_door;
    try {
      for (Door& door : change.opened) open(std::move(door));
    } catch (...) {
      change.error = std::current_exception();
      for (auto door = doors.lower_bound(kListener | first); door != doors.end(); door = doors.erase(door)) {
        poller.remove(door->second.listener);
      }
      return;
    }
    for (const Poller::Key key : change.closed) {
      const auto door = doors.find(key);
      poller.remove(door->second.listener);
      doors.erase(door);
    }
    core.set_limits(change.limits, Clock::now());
    bury(Clock::now());
  }

  void carry_out_what_is_asked() {
    const std::lock_guard lock(change_mutex);
    if (wanted != nullptr) {
      carry_out(*wanted);
      wanted->done = true;
      wanted = nullptr;
    }
    change_asked.store(false, std::memory_order_relaxed);  // a hint: what counts is under the mutex
    changed.notify_all();
  }

  bool ask_for(const Limits& limits, const std::vector<std::string>& listen) {
    const std::lock_guard one_at_a_time(changer);
    Change mine = prepare(limits, listen);
    std::unique_lock lock(change_mutex);
    if (settled) return false;
    wanted = &mine;
    change_asked.store(true, std::memory_order_release);
    poller.wake();
    while (!mine.done && !settled && !stopping.load(std::memory_order_acquire)) {
      changed.wait_for(lock, 20ms);  // stop() runs in signal handlers, and tells no condition variable
    }
    wanted = nullptr;
    if (mine.error) std::rethrow_exception(mine.error);
    return mine.done;
  }

  /// Nobody waits for a change in vain.
  void refuse_changes() {
    const std::lock_guard lock(change_mutex);
    settled = true;
    changed.notify_all();
  }

  void run() {
    struct Refusal {
      State& state;
      ~Refusal() { state.refuse_changes(); }
    } const at_the_end{*this};
    Patience patience;
    Spinner spinner = patience.next();
    bool looked_in_vain = false, slept = false;  // since a client had something to say
    for (unsigned rounds = 1; !stopping.load(std::memory_order_acquire); ++rounds) {
      if (drain_asked.load(std::memory_order_acquire) && !draining) {
        draining = true;
        core.drain(Clock::now());
        refuse_changes();
      }
      if (change_asked.load(std::memory_order_acquire)) carry_out_what_is_asked();
      if (draining && (core.drained(Clock::now()) || Clock::now() >= drain_until)) break;
      if (round()) {
        if (std::exchange(looked_in_vain, false) && !slept) patience.in_time();
        slept = false;
        if (rounds % kRoundsBetweenLooks == 0) {
          cool(kRoundsBetweenLooks);
          look(Time{});
        }
        spinner = patience.next();
        continue;
      }
      looked_in_vain = true;
      if (!hot.empty() && spinner.turn()) continue;
      if (!hot.empty()) patience.in_vain();
      cool(0);
      look(next_deadline());
      slept = true;
      spinner = patience.next();
    }
    const std::lock_guard lock(mutex);
    core.stop(Clock::now());
    flush_all();
    hung_up.clear();
    for (auto& [key, door] : doors) {  // first: another broker may begin
      poller.remove(door.listener);
      door.listener.close();  // and goes on to know its address
    }
    const Deadline until = in(kClosing);  // for all together
    for (auto& [id, link] : links) {
      poller.remove(link->channel);
      static_cast<void>(link->channel.close(until));
    }
    for (auto& [channel, deadline] : leaving) static_cast<void>(channel.close(std::min(until, deadline)));
    links.clear();
    leaving.clear();
  }

  std::mutex mutex;  // guards the core against totals() of other threads
  Poller poller;
  Doors doors;  // changed by the thread of run(), under the mutex
  Poller::Key next_door = 0;
  Core core;
  boost::unordered_flat_map<ClientId, std::unique_ptr<Link>> links;
  std::vector<ClientId> hot, dirty, waiting, broken, hung_up;
  std::vector<std::pair<ClientId, bool>> over;
  std::vector<std::pair<Channel, Deadline>> leaving;  // no longer clients, and not all that was sent to them is out
  std::atomic<bool> stopping{false}, drain_asked{false};
  bool draining = false;
  Deadline drain_until = forever;

  std::mutex changer;       // held by who wants a change, until it is done; before change_mutex and mutex
  std::mutex change_mutex;  // guards what follows; before mutex
  std::condition_variable changed;
  Change* wanted = nullptr;
  bool settled = false;  // run() carries out no more
  std::atomic<bool> change_asked{false};
};

Limits default_limits() {
  Limits limits;
  limits.memory = std::min(limits.memory, os::usable_memory() / 4);
  return limits;
}

Server::Server(Options options) : state_(std::make_unique<State>(std::move(options))) {}
Server::~Server() = default;

void Server::run() { state_->run(); }

void Server::stop() noexcept {
  state_->stopping.store(true, std::memory_order_release);
  state_->poller.wake();
}

void Server::drain(Deadline deadline) noexcept {
  state_->drain_until = deadline;
  state_->drain_asked.store(true, std::memory_order_release);
  state_->poller.wake();
}

bool Server::change(const Limits& limits, const std::vector<std::string>& listen) {
  return state_->ask_for(limits, listen);
}

std::vector<std::string> Server::addresses() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<std::string> addresses;
  for (const auto& [key, door] : state_->doors) addresses.emplace_back(door.listener.address());
  return addresses;
}

Totals Server::totals() const {
  const std::lock_guard lock(state_->mutex);
  return state_->core.totals();
}

}  // namespace bus::broker
