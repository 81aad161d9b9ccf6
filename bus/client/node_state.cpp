// bus/client/node_state.cpp: a node from its start to its stop, and the calls of its interface.
#include "bus/client/node_state.hpp"

#include <pthread.h>

#include <algorithm>
#include <random>

#include "bus/core/os/ticks.hpp"
#include "bus/protocol/subject.hpp"

namespace bus::client {

using namespace std::chrono_literals;

namespace {

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
      session(identity(options.name), *this) {}

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
  const std::lock_guard one_at_a_time(ending);
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    hand_over.notify_one();
    tell();
  }
  poller.wake();
  if (thread.joinable()) thread.join();
  Flusher::forget(*this);
  std::unique_ptr<Host> now_gone;
  {
    const std::lock_guard lock(mutex);
    close_for_good(Errc::closed, "the node was closed");
    now_gone = std::move(host);
    tell();
  }
  if (now_gone && drain_until > Clock::now()) now_gone->drain(drain_until);
}

std::shared_ptr<Feed> NodeState::subscribe(std::string_view pattern, const SubscribeOptions& options,
                                           Deadline deadline) {
  auto feed = std::make_shared<Feed>(weak_from_this(), std::string(pattern), options);
  std::unique_lock lock(mutex);
  if (closed_for_good || stopping) throw Error(Errc::closed, "subscribe " + feed->pattern + ": the node is closed");
  if (!session.takes(protocol::Subscribe{0, pattern, options.queue})) {
    throw Error(Errc::message_too_large,
                "subscribe " + feed->pattern + ": pattern and queue are larger than a message of the channel");
  }
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
  {
    const std::lock_guard lock(mutex);
    if (feeds.erase(feed.number) == 0) return;
    {
      const std::lock_guard feed_lock(feed.mutex);
      feed.last_books = session.books(feed.number);
    }
    unsubscribing.emplace(feed.number, feed.shared_from_this());
    if (!session.unsubscribe(feed.number, time())) unsubscribing.erase(feed.number);
  }
  const std::size_t left = feed.clear();
  {
    const std::lock_guard lock(feed.mutex);
    feed.last_books.received -= left;
    feed.last_books.dropped[static_cast<std::size_t>(Reason::closed)] += left;
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
  inbox = "_INBOX." + std::to_string(session.publisher()) + ".";
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

std::error_code NodeState::wait_outcome(std::uint64_t sequence, const Feed& question, Deadline deadline) {
  std::unique_lock lock(mutex);
  const auto known = [&] { return outcomes[sequence].has_value() || question.has_news() || is_over(); };
  static_cast<void>(wait(lock, deadline, known));
  const auto outcome = outcomes[sequence];
  outcomes.erase(sequence);
  if (question.has_news()) return {};
  if (!outcome) return closed_for_good || stopping ? Errc::closed : Errc::timed_out;
  if (outcome->reached > 0) return {};
  switch (outcome->reason) {
    case Reason::network:  // a lossy link lost the word, or the question
      return {};
    case Reason::no_subscriber:
      return Errc::no_subscriber;
    case Reason::unknown_after_crash:
      return Errc::peer_died;
    case Reason::too_large:
      return Errc::message_too_large;
    default:
      return Errc::no_room;
  }
}

}  // namespace bus::client
