// bus/client/node_state.cpp: connecting, reading, waking those who wait.
#include "bus/client/node_state.hpp"

#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "bus/core/os/ticks.hpp"
#include "bus/core/wait.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::client {

using namespace std::chrono_literals;

namespace {

// Before the second attempt to connect, doubled up to the longest; each with a random part, so that nodes do not come
// back all at once. Half as much again as the longest is less than the time for which a new broker gathers its nodes.
constexpr auto kFirstPause = 5ms;
constexpr auto kLongestPause = 75ms;
constexpr auto kAttempt = 500ms;  // for somebody who listens to accept: it may be on its way down
constexpr auto kWelcome = 5s;     // for the broker to answer a hello
constexpr auto kRoomAgain = 1ms;  // a channel without room is asked again, where nothing better can be had
// After a caller has driven, before the node's thread does: twice as long each time that callers go on driving. A host
// with a hundred nodes would do little else than look whether they do.
constexpr auto kLease = 2ms;
constexpr auto kLongestLease = 16ms;
constexpr std::size_t kReadsInARow = 64;
// What is gathered leaves with a message that comes so long after the first of it, in times of a burst's longest gap;
// or, if the caller does nothing more, when the flusher sees it for the second time.
constexpr std::uint64_t kGapsGathered = 50;
constexpr auto kGathered = 200us;

Session::Identity identity(const std::string& name) {
  Session::Identity identity;
  std::random_device random;
  for (auto& byte : identity.instance) byte = static_cast<std::uint8_t>(random());
  identity.publisher = (std::uint64_t{random()} << 32) | random();
  identity.name = name;
  return identity;
}

}  // namespace

NodeState::NodeState(std::string_view its_bus, const JoinOptions& options)
    : bus(its_bus),
      address(BusAddress::parse(its_bus)),
      within(options.within),
      session(identity(options.name), *this),
      random(std::random_device{}()) {}

NodeState::~NodeState() { stop(); }

/// Returns when the broker has welcomed this node. Throws Error.
void NodeState::start() {
  const Deadline deadline = in(within);
  thread = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "bus-node");
    work();
  });
  std::unique_lock lock(mutex);
  const auto done = [this] { return session.is_up() || closed_for_good; };
  if (changed.wait_until(lock, deadline, done) && session.is_up()) return;
  const std::error_code why = last_error ? last_error : make_error_code(Errc::timed_out);
  const std::string text = last_text.empty() ? describe("join", bus, why) : last_text;
  lock.unlock();
  stop();
  throw Error(why, text);
}

void NodeState::stop(Deadline drain_until) noexcept {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    hand_over.notify_one();
    tell();
  }
  poller.wake();
  if (thread.joinable()) thread.join();
  Flusher::forget(*this);
  std::map<std::uint32_t, std::shared_ptr<Feed>> all;
  std::map<std::uint64_t, std::shared_ptr<Feed>> asked;
  {
    const std::lock_guard lock(mutex);
    closed_for_good = true;
    all.swap(feeds);
    asked = questions;
    for (auto& [number, feed] : all) {
      {
        const std::lock_guard feed_lock(feed->mutex);
        feed->last_books = session.books(number);
      }
      feed->end(Errc::closed, "the node was closed");
    }
    for (auto& [number, feed] : asked) feed->end(Errc::closed, "the node was closed");
    tell();
  }
  if (host && drain_until > Clock::now()) host->drain(drain_until);
  host.reset();
}

// ---- the node's thread ----

void NodeState::work() {
  auto pause_for = std::chrono::nanoseconds(kFirstPause);
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (stopping || closed_for_good) return;
    }
    if (connect_once()) {
      serve_connection();
      const bool was_up = lose_connection();
      if (was_up) {  // it worked: try again at once
        pause_for = kFirstPause;
        continue;
      }
    }
    const auto jitter = std::chrono::nanoseconds(random() % static_cast<std::uint64_t>(pause_for.count()));
    pause(pause_for / 2 + jitter);
    pause_for = std::min<std::chrono::nanoseconds>(pause_for * 2, kLongestPause);
  }
}

void NodeState::pause(std::chrono::nanoseconds length) {
  std::unique_lock lock(mutex);
  changed.wait_until(lock, in(length), [this] { return stopping || closed_for_good; });
}

/// One attempt. Where a node may host the broker and nobody does, this one does: listening decides who.
bool NodeState::connect_once() {
  try {
    Channel made;
    try {
      made = reach(address.channel, in(kAttempt));
    } catch (const Error& error) {
      if (error.code() != Errc::no_peer || !address.may_host) throw;
      host_anew();
      made = reach(address.channel, in(kAttempt));
    }
    const Traits traits = made.traits();
    const std::lock_guard lock(mutex);
    channel = std::move(made);
    channel.stay_awake(Patience::kStayAwake);
    open = true;
    lost = hang_up_asked = armed = false;
    room_wanted = 0;
    welcome_until = in(kWelcome);
    poller.add(channel, 0);
    session.connected(traits.reliable, traits.max_message, Clock::now());
    return true;
  } catch (const Error& error) {
    const std::lock_guard lock(mutex);
    last_error = error.code();
    last_text = error.what();
    // What no waiting mends.
    if (error.code() == Errc::bad_address || error.code() == Errc::permission_denied ||
        error.code() == Errc::version_mismatch) {
      closed_for_good = true;
      changed.notify_all();
    }
    return false;
  }
}

/// Without the mutex: a broker that stops says farewell first, also to this node.
void NodeState::host_anew() {
  std::unique_ptr<Host> now_gone;
  {
    const std::lock_guard lock(mutex);
    now_gone = std::move(host);
  }
  now_gone.reset();
  auto mine = Host::try_start(address.channel);
  const std::lock_guard lock(mutex);
  host = std::move(mine);
}

/// Until the connection is over: drives whenever no caller does.
void NodeState::serve_connection() {
  std::unique_lock lock(mutex);
  for (;;) {
    stand_by(lock);
    if (connection_is_over()) break;
    driving = true;
    drive(lock, forever, [this] { return thread_wanted; });
    driving = thread_wanted = false;
    pass_on();
    if (!connection_is_over()) hand_over.wait_until(lock, in(kLease));
  }
  hand_over.wait(lock, [this] { return !driving; });
}

/// Until no caller drives and none has for a lease. While one sleeps in there this thread does, too, and does not look.
void NodeState::stand_by(std::unique_lock<std::mutex>& lock) {
  auto lease = kLease;
  for (std::uint64_t seen = 0; !connection_is_over();) {
    if (!driving && (drives == seen || !callers_drive)) return;
    if (driving && drives == seen) {
      standing_by = true;
      hand_over.wait(lock);
      standing_by = false;
      seen = drives - 1;  // who has just stopped may begin again
    } else {
      seen = drives;
      hand_over.wait_until(lock, in(lease));
      lease = std::min(2 * lease, kLongestLease);
    }
  }
}

/// Nobody drives any longer: the next who waits does, else the node's thread.
void NodeState::pass_on() noexcept {
  if (!followers.empty() && open && !connection_is_over()) {
    followers.front()->notify_all();
  } else if (standing_by || connection_is_over()) {
    hand_over.notify_one();
  }
}

bool NodeState::wait(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done) {
  return wait(lock, deadline, done, changed);
}

bool NodeState::wait(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done,
                     std::condition_variable& signal) {
  if (session.has_gathered()) session.send_gathered();
  while (!done()) {
    if (!driving && open && !connection_is_over() && callers_drive) {
      driving = true;
      ++drives;
      drive(lock, deadline, done);
      driving = false;
      if (connection_is_over()) pass_on();
      if (deadline != forever && Clock::now() >= deadline) break;
      continue;
    }
    if (deadline != forever && Clock::now() >= deadline) break;
    thread_wanted |= driving;
    followers.push_back(&signal);
    if (deadline == forever) {
      signal.wait(lock);
    } else {
      signal.wait_until(lock, deadline);
    }
    followers.erase(std::find(followers.begin(), followers.end(), &signal));
  }
  if (!driving) pass_on();
  return done();
}

/// Has who drives look again: something has changed that he did not bring about himself.
void NodeState::tell() noexcept {
  changed.notify_all();
  if (asleep_until != Time{}) poller.wake();
}

/// After what the session was asked to do: on a lossy link it may want to be called earlier than who drives wakes.
void NodeState::look_at_clock() noexcept {
  if (asleep_until == Time{}) return;
  if (const auto next = session.next_tick(); next && *next < asleep_until) poller.wake();
}

void NodeState::leave_driving_to_the_thread() noexcept {
  const std::lock_guard lock(mutex);
  if (!std::exchange(callers_drive, false)) return;
  hand_over.notify_one();
}

/// Reads, and sees to what is due, until `done`, the deadline or the connection's end. The mutex is free while it
/// sleeps.
void NodeState::drive(std::unique_lock<std::mutex>& lock, Deadline deadline, const Condition& done) {
  Spinner spinner = patience.next();
  bool looked_in_vain = false, slept = false;  // since something came
  for (;;) {
    const bool any = read_frames();
    if (any) {
      if (std::exchange(looked_in_vain, false) && !slept) patience.in_time();
      slept = false;
    }
    if (connection_is_over()) return changed.notify_all();
    const Time now = Clock::now();
    if (room_wanted > 0) look_for_room(now);
    session.tick(now);
    if (done() || now >= deadline) return;
    Deadline until = std::min(deadline, session.next_tick().value_or(forever));
    if (!session.is_up()) {
      if (now >= welcome_until) {
        last_error = make_error_code(Errc::timed_out);
        last_text = "join " + bus + ": who listens there has not answered as a broker does; is it one?";
        lost = true;
        return changed.notify_all();
      }
      until = std::min(until, welcome_until);
    }
    if (any) {
      spinner = patience.next();
      lock.unlock();  // others want to send
      lock.lock();
      continue;
    }
    looked_in_vain = true;
    lock.unlock();
    const bool spun = spinner.turn();
    lock.lock();
    if (spun) continue;
    patience.in_vain();
    if (done() || connection_is_over()) continue;
    if (room_wanted > 0) {
      try {
        poller.want_room(channel, 0);
        armed = true;
      } catch (const std::exception&) {  // no descriptors, or no memory
        until = std::min(until, now + kRoomAgain);
      }
    }
    asleep_until = until;
    lock.unlock();
    std::array<Poller::Key, 1> ready{};
    static_cast<void>(poller.wait(ready, until));
    lock.lock();
    asleep_until = Time{};
    armed = false;
    slept = true;
    spinner = patience.next();
  }
}

/// What the channel has, so many at most. False: nothing.
bool NodeState::read_frames() {
  const Time now = time();
  for (std::size_t i = 0; i < kReadsInARow; ++i) {
    const Result<Message> frame = channel.try_receive();
    if (!frame) {
      if (frame.error() == Errc::would_block) return i > 0;
      last_error = frame.error();
      last_text = describe("join", bus, frame.error());
      lost = true;
      return true;
    }
    session.received(frame->bytes(), now);
    if (hang_up_asked) return true;
  }
  return true;
}

/// Sends what had no room, if there is some now.
void NodeState::look_for_room(Time now) {
  if (const Result<Loan> probe = channel.try_loan(room_wanted); !probe && probe.error() == Errc::would_block) return;
  room_wanted = 0;
  session.room(now);
  changed.notify_all();
}

/// Whether the broker had welcomed this node.
bool NodeState::lose_connection() noexcept {
  Channel gone;  // destroyed without the lock: that waits for the flusher, which may wait for the lock in on_due()
  const std::lock_guard lock(mutex);
  const bool was_up = session.is_up();
  open = false;
  poller.remove(channel);
  std::swap(gone, channel);
  session.disconnected();
  changed.notify_all();
  return was_up;
}

// ---- what the session tells ----

bool NodeState::send(Bytes head, Bytes tail) noexcept {
  if (!open) return true;  // it is over, and the session will hear of it
  if (armed) return false;
  Result<Loan> loan = channel.try_loan(head.size() + tail.size());
  if (!loan) {
    if (loan.error() != Errc::would_block) return true;  // who reads finds out
    if (std::exchange(room_wanted, head.size() + tail.size()) == 0 && asleep_until != Time{}) poller.wake();
    return false;
  }
  std::memcpy(loan->data(), head.data(), head.size());
  if (!tail.empty()) std::memcpy(loan->data() + head.size(), tail.data(), tail.size());
  static_cast<void>(loan->publish());
  return true;
}

namespace {

/// Memory for what a message has of its own, from the front.
class Copier {
 public:
  explicit Copier(std::size_t size) : memory_(std::make_shared_for_overwrite<std::byte[]>(size)), at_(memory_.get()) {}

  std::span<const std::byte> bytes(Bytes from) noexcept {
    if (!from.empty()) std::memcpy(at_, from.data(), from.size());
    return {std::exchange(at_, at_ + from.size()), from.size()};
  }
  std::string_view text(std::string_view from) noexcept {
    const auto copied = bytes(std::as_bytes(std::span(from)));
    return {reinterpret_cast<const char*>(copied.data()), copied.size()};
  }
  /// The next begins where a payload may.
  void align() noexcept { at_ = memory_.get() + Arrival::aligned(static_cast<std::size_t>(at_ - memory_.get())); }
  [[nodiscard]] const std::shared_ptr<std::byte[]>& memory() const noexcept { return memory_; }

 private:
  std::shared_ptr<std::byte[]> memory_;
  std::byte* at_;
};

}  // namespace

void NodeState::deliver(std::uint32_t number, const protocol::Deliver& frame) {
  Feed* feed = nullptr;
  if (replies && number == replies->number) {  // an answer to one of our questions: its last token says which
    session.taken(number, frame.index, false, time());
    const std::string_view last = frame.subject.substr(frame.subject.rfind('.') + 1);
    std::uint64_t question = 0;
    std::from_chars(last.data(), last.data() + last.size(), question);
    if (const auto found = questions.find(question); found != questions.end()) feed = found->second.get();
  } else if (const auto found = feeds.find(number); found != feeds.end()) {
    feed = found->second.get();
  }
  if (feed == nullptr) {
    if (frame.acknowledge) session.refuse(number, frame.message, time());
    return;
  }
  Delivery delivery;
  Copier copier(frame.subject.size() + frame.reply.size() + frame.headers.size() + frame.payload.size());
  delivery.payload_ = copier.bytes(frame.payload);
  delivery.headers_ = copier.bytes(frame.headers);
  delivery.subject_ = copier.text(frame.subject);
  delivery.reply_ = copier.text(frame.reply);
  delivery.memory_ = copier.memory();
  delivery.id_ = frame.message;
  delivery.index_ = frame.index;
  delivery.again_ = frame.again;
  delivery.kept_ = frame.kept;
  if (frame.acknowledge) {
    delivery.wanted_ = true;
    delivery.feed_ = feed->number == 0 ? replies : feed->shared_from_this();
  }
  std::optional<Delivery> oldest;
  if (feed->options.full == Full::drop_old) oldest = feed->make_room();
  feed->put({std::move(delivery)});
  if (oldest) {
    oldest->reject();
    session.taken(number, oldest->index_, true, time());
  }
}

void NodeState::deliver(std::uint32_t number, const protocol::DeliverBatch& batch) {
  const auto found = feeds.find(number);
  Bytes items = batch.items;
  if (found == feeds.end() || found->second == replies || found->second->options.full == Full::drop_old) {
    protocol::Deliver one{number, batch.index, batch.message, false, false, false, batch.subject, {}, {}, {}};
    for (; !items.empty(); ++one.index, ++one.message.sequence) {
      one.payload = protocol::take_item(items);
      deliver(number, one);
    }
    return;
  }
  Copier copier(batch.items.size() + batch.subject.size() +
                (batch.count + std::size_t{1}) * (sizeof(std::uint16_t) + Arrival::kAlignment));
  std::array<std::uint16_t, protocol::kMostInBatch> sizes;
  for (std::size_t i = 0; i < batch.count; ++i)
    sizes[i] = static_cast<std::uint16_t>(protocol::take_item(items).size());
  const auto all_sizes = copier.bytes(std::as_bytes(std::span(sizes).first(batch.count)));
  items = batch.items;
  Arrival arrival;
  for (std::size_t i = 0; i < batch.count; ++i) {
    copier.align();
    const auto payload = copier.bytes(protocol::take_item(items));
    if (i == 0) arrival.next.payload_ = payload;
  }
  arrival.next.subject_ = copier.text(batch.subject);
  arrival.next.memory_ = copier.memory();
  arrival.next.id_ = batch.message;
  arrival.next.index_ = batch.index;
  arrival.more = batch.count - 1;
  arrival.sizes = reinterpret_cast<const std::uint16_t*>(all_sizes.data()) + 1;
  found->second->put(std::move(arrival));
}

void NodeState::subscribed(std::uint32_t number) noexcept {
  if (const auto found = feeds.find(number); found != feeds.end()) found->second->in_force = true;
  changed.notify_all();
}

void NodeState::ended(std::uint32_t number, Errc why, std::string_view text) {
  const auto found = feeds.find(number);
  if (found == feeds.end()) return;
  const auto feed = std::move(found->second);
  feeds.erase(found);
  const SubscriptionBooks books = session.books(number);
  {
    const std::lock_guard lock(feed->mutex);
    feed->last_books = books;
  }
  feed->end(why, std::string(text));
  changed.notify_all();
}

void NodeState::outcome(const protocol::Outcome& outcome) noexcept {
  if (outcome.reached == 0) ++failures[static_cast<std::size_t>(outcome.reason)];
  if (const auto found = outcomes.find(outcome.sequence); found != outcomes.end()) found->second = outcome;
  changed.notify_all();
}

void NodeState::flushed(std::uint32_t token) noexcept {
  if (const auto found = answers.find(token); found != answers.end()) found->second.done = true;
  changed.notify_all();
}

void NodeState::watched(std::uint32_t token, std::uint32_t) noexcept { flushed(token); }

void NodeState::answer(std::uint32_t token, Bytes payload) {
  if (const auto found = answers.find(token); found != answers.end()) {
    found->second.text.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
  }
  flushed(token);
}

void NodeState::failed(std::uint32_t token, Errc why) noexcept {
  if (const auto found = answers.find(token); found != answers.end()) found->second.error = why;
  flushed(token);
}

void NodeState::up(const protocol::Welcome&) noexcept { changed.notify_all(); }

void NodeState::hang_up(Errc why, std::string_view text, bool for_good) {
  hang_up_asked = true;
  last_error = make_error_code(why);
  last_text = "join " + bus + ": " + std::string(text);
  closed_for_good |= for_good;
  changed.notify_all();
}

// ---- for the interface ----

std::shared_ptr<Feed> NodeState::subscribe(std::string_view pattern, const SubscribeOptions& options,
                                           Deadline deadline) {
  auto feed = std::make_shared<Feed>(weak_from_this(), std::string(pattern), options);
  std::unique_lock lock(mutex);
  if (closed_for_good || stopping) throw Error(Errc::closed, "subscribe " + feed->pattern + ": the node is closed");
  feed->number = session.subscribe(pattern, options, time());
  feeds.emplace(feed->number, feed);
  if (wait(lock, deadline, [&] { return feed->in_force || feed->over || is_over(); }) && feed->in_force) return feed;
  const bool ended = feed->over;
  feeds.erase(feed->number);
  session.unsubscribe(feed->number, time());
  if (ended) throw Error(feed->why, "subscribe " + feed->pattern + ": " + feed->text);
  throw Error(Errc::timed_out,
              "subscribe " + feed->pattern + " on " + bus + ": the broker has not confirmed it in time");
}

void NodeState::unsubscribe(Feed& feed) noexcept {
  SubscriptionBooks books;
  {
    const std::lock_guard lock(mutex);
    if (feeds.erase(feed.number) == 0) return;
    books = session.books(feed.number);
    session.unsubscribe(feed.number, time());
  }
  const std::size_t left = feed.clear();
  books.received -= left;
  books.dropped[static_cast<std::size_t>(Reason::closed)] += left;
  {
    const std::lock_guard lock(feed.mutex);
    feed.last_books = books;
  }
  const std::lock_guard lock(mutex);
  feed.end(Errc::closed, "the subscription was closed");
  tell();
}

void NodeState::count_taken(Feed& feed, std::uint64_t index) noexcept {
  if (feed.number == 0) return;  // answers are taken when they come
  const std::uint64_t enough = std::max<std::uint64_t>(feed.options.depth / 4, 1);
  const std::uint64_t told = feed.told.load(std::memory_order_relaxed);  // a hint: the session knows
  if (index < told + enough && index > told) return;
  feed.told.store(index, std::memory_order_relaxed);
  const std::lock_guard lock(mutex);
  session.taken(feed.number, index, false, time());
  look_at_clock();
}

/// Looks into the channel, too, if nobody else does.
Result<Delivery> NodeState::try_receive(Feed& feed) {
  Result<Delivery> first = take(feed);
  if (first || first.error() != Errc::would_block) return first;
  {
    std::unique_lock lock(mutex);
    static_cast<void>(wait(
        lock, Time{}, [&feed] { return feed.has_news(); }, feed.changed));
  }
  return take(feed);
}

Result<Delivery> NodeState::take(Feed& feed) {
  Result<Delivery> first = feed.take();
  if (first) count_taken(feed, first->index_);
  return first;
}

void NodeState::give_up(Feed& answers) noexcept {
  while (Result<Delivery> answer = answers.take()) {
    if (!answer->wanted_) continue;
    answer->reject();
    const std::lock_guard lock(mutex);
    session.refuse(replies->number, answer->id(), time());
  }
}

Result<Delivery> NodeState::receive(Feed& feed, Deadline deadline) {
  for (;;) {
    Result<Delivery> first = take(feed);
    if (first || first.error() != Errc::would_block) return first;
    std::unique_lock lock(mutex);
    if (!wait(
            lock, deadline, [&feed] { return feed.has_news(); }, feed.changed))
      return Errc::timed_out;
  }
}

void NodeState::acknowledge(const Feed& feed, MessageId id) noexcept {
  const std::lock_guard lock(mutex);
  session.acknowledge(feed.number, id, time());
  look_at_clock();
}

Result<std::uint64_t> NodeState::publish(std::string_view subject, std::span<const std::byte> payload,
                                         const client::PublishOptions& options, Deadline deadline) {
  std::unique_lock lock(mutex);
  if (!session.is_gathering_on(subject) && !protocol::valid_subject(subject)) return Errc::bad_address;
  for (;;) {
    if (is_over()) return Errc::closed;
    const std::uint64_t now = os::ticks();
    const bool burst = now - std::exchange(last_publish, now) < os::kTicksOfABurst;
    if (!session.has_gathered()) gathering_since = now;
    const Result<std::uint64_t> sequence = session.publish(subject, payload, options, time(), burst);
    if (sequence) {
      if (session.has_gathered()) {
        if (now - gathering_since > kGapsGathered * os::kTicksOfABurst) session.send_gathered();
        if (!flusher_watches) see_to_gathered();
      }
      if (options.tell) outcomes.emplace(*sequence, std::nullopt);
      look_at_clock();
      return *sequence;
    }
    if (sequence.error() != Errc::would_block) return sequence.error();
    const auto may_try = [this] { return (room_wanted == 0 && !armed && session.may_publish()) || is_over(); };
    if (!wait(lock, deadline, may_try)) return Errc::timed_out;
  }
}

/// The flusher sends it, unless somebody does so before.
void NodeState::see_to_gathered() noexcept {
  seen_batches = session.batches();
  flusher_watches = Flusher::watch(*this, in(kGathered));
  if (!flusher_watches) session.send_gathered();
}

/// Of the flusher. As long as a burst goes on, and sends what it gathers, it only looks: so a burst wakes it once, and
/// it does not stand in the way of who publishes.
void NodeState::on_due() noexcept {
  const std::lock_guard lock(mutex);
  flusher_watches = false;
  if (!open || lost || armed || !session.has_gathered()) return;
  if (seen_batches != session.batches()) {
    see_to_gathered();
    return;
  }
  session.send_gathered();
  static_cast<void>(channel.try_flush());
}

Result<NodeState::Answered> NodeState::wait_answer(std::unique_lock<std::mutex>& lock, std::uint32_t token,
                                                   Deadline deadline) {
  answers.try_emplace(token);
  static_cast<void>(wait(lock, deadline, [&] { return answers[token].done || is_over(); }));
  Answered answered = std::move(answers[token]);
  answers.erase(token);
  session.forget(token);
  if (answered.done) return answered;
  return closed_for_good || stopping ? Errc::closed : Errc::timed_out;
}

std::error_code NodeState::open_inbox(Deadline deadline) {
  std::unique_lock lock(mutex);
  if (replies) return {};
  if (opening_inbox) {
    static_cast<void>(wait(lock, deadline, [this] { return !opening_inbox || is_over(); }));
    return replies ? std::error_code{} : make_error_code(Errc::timed_out);
  }
  opening_inbox = true;
  inbox = "_INBOX." + std::to_string(random()) + ".";
  const std::string pattern = inbox + "*";
  lock.unlock();
  std::shared_ptr<Feed> made;
  std::error_code error;
  try {
    made = subscribe(pattern, {.queue = {}, .depth = 65536, .full = Full::drop_new, .history = 0}, deadline);
  } catch (const Error& failure) {
    error = failure.code();
  }
  lock.lock();
  replies = std::move(made);
  opening_inbox = false;
  tell();
  return error;
}

/// Answers are `taken` when they come, so that the session counts all of them as received.
SubscriptionBooks NodeState::inbox_books() const {
  SubscriptionBooks books = session.books(replies->number);
  {
    const std::lock_guard lock(replies->mutex);
    if (replies->over) books = replies->last_books;
  }
  std::uint64_t waiting = 0;
  for (const auto& [question, feed] : questions) waiting += feed->count.load(std::memory_order_acquire);
  books.dropped[static_cast<std::size_t>(Reason::expired)] += books.received - answers_taken - waiting;
  books.received = answers_taken;
  return books;
}

std::error_code NodeState::wait_outcome(std::uint64_t sequence, Deadline deadline) {
  std::unique_lock lock(mutex);
  static_cast<void>(wait(lock, deadline, [&] { return outcomes[sequence].has_value() || is_over(); }));
  const auto outcome = outcomes[sequence];
  outcomes.erase(sequence);
  if (!outcome) return closed_for_good || stopping ? Errc::closed : Errc::timed_out;
  if (outcome->reached > 0) return {};
  switch (outcome->reason) {
    case Reason::no_subscriber:
      return Errc::no_subscriber;
    case Reason::unknown_after_crash:
      return Errc::peer_died;
    default:
      return Errc::no_room;
  }
}

}  // namespace bus::client
