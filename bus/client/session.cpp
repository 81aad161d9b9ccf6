// bus/client/session.cpp: connecting again, publishing within the window, receiving each message once.
#include "bus/client/session.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace bus::client {

using namespace std::chrono_literals;

namespace {

constexpr auto kAgain = 200ms;             // an unanswered frame on a lossy link is sent again
constexpr std::size_t kRemembered = 8192;  // messages of level `delivered`, for each subscription: twice a window
constexpr std::size_t kMostMissing = 4096;
constexpr auto kOutcomeLost = 1s;            // no outcome so long after the receipt: it was lost, or the message was
constexpr int kUnsubscribeAgain = 5;         // there is no answer to it
constexpr std::size_t kMostWaiting = 65536;  // frames without room: answers and acknowledgements, small each

// What one frame takes of messages that follow each other at once: README.md, "Batches".
constexpr std::uint32_t kMostGathered = 512;
constexpr std::size_t kMostGatheredBytes = std::size_t{64} << 10;
constexpr std::size_t kLargestGathered = std::size_t{4} << 10;  // payload of one message
static_assert(kMostGathered <= protocol::kMostInBatch);

std::pair<std::uint64_t, std::uint64_t> key(MessageId id) { return {id.publisher, id.sequence}; }

}  // namespace

Session::Session(Identity identity, SessionEvents& events) : identity_(std::move(identity)), events_(events) {}

// ---- the connection ----

void Session::greet() {
  put(protocol::Hello{protocol::kVersion, identity_.instance, identity_.publisher, sequence_, identity_.name, was_up_});
}

void Session::connected(bool reliable, std::size_t max_frame, Time now) {
  now_ = now;
  reliable_ = reliable;
  max_frame_ = max_frame;
  state_ = State::greeting;
  waiting_.clear();
  moving_ = false;
  if (!leaving_) farewell_ = false;  // of the broker before this one
  greet();
  if (!reliable_) due(now + kAgain);
}

void Session::disconnected() noexcept {
  if (state_ == State::up) {
    if (!leaving_) ++books_.reconnects;
    // What was not receipted is unknown, but for what will be sent again.
    for (const Unreceipted& message : unreceipted_) {
      if (message.level == Level::accepted) ++books_.unknown_after_crash;
    }
    unreceipted_.clear();
    unreceipted_bytes_ = 0;
    gathered_ = 0;
    receipted_ = sequence_;
    books_.accepted += receipt_.accepted;
    books_.lost += receipted_plain_ - receipt_.accepted;
    books_.unreached += receipt_.unreached;
    books_.copies_dropped += receipt_.dropped;
    receipt_ = {};
    receipted_plain_ = 0;
  }
  state_ = State::down;
  waiting_.clear();
  for (auto& [number, subscription] : subscriptions_) {
    subscription.confirmed = false;
    books_.missing += subscription.missing.size();
    subscription.books.missing += subscription.missing.size();
    subscription.missing.clear();
    subscription.handed = subscription.index;
    subscription.offset = subscription.index;
    subscription.taken = std::max(subscription.taken, subscription.offset);
    subscription.told = subscription.taken;
    for (std::size_t i = 0; i < kReasons; ++i) subscription.dropped_there_before[i] += subscription.dropped_there[i];
    subscription.dropped_there = {};
  }
  for (auto it = retained_.begin(); it != retained_.end();) {
    if (it->second.level == Level::delivered) {
      ++it;
      continue;
    }
    const protocol::Outcome unknown{it->first, 0, 1, Reason::unknown_after_crash};
    retained_bytes_ -= it->second.bytes;
    it = retained_.erase(it);
    events_.outcome(unknown);
  }
  unsubscribed_.clear();
  std::erase_if(questions_, [](const auto& entry) { return entry.second.forgotten; });
  next_.reset();
}

void Session::on(const protocol::Welcome& welcome) {
  if (state_ == State::up) {  // said again: a lossy link, or a wider window
    const bool was_full = window_is_full();
    limits_.window_messages = std::max(limits_.window_messages, welcome.window_messages);
    limits_.window_bytes = std::max(limits_.window_bytes, welcome.window_bytes);
    after_window(was_full);
    return;
  }
  if (state_ != State::greeting) return;
  state_ = State::up;
  was_up_ = true;
  limits_ = welcome;
  limits_.name = {};
  for (auto& [number, subscription] : subscriptions_) send_subscribe(number, subscription);
  fail_too_large();
  for (auto& [sequence, retained] : retained_) send_retained(retained);
  for (auto& [token, question] : questions_) {
    question.sent = now_;
    put(question.frame);
  }
  if (leaving_) {  // said while there was no broker
    farewell_ = false;
    put(protocol::Bye{sequence_});
  }
  events_.up(welcome);
  events_.window_open();
  if (!reliable_) due(now_ + kAgain);
}

void Session::received(Bytes bytes, Time now) {
  now_ = now;
  const Result<protocol::Frame> frame = protocol::decode(bytes);
  if (!frame) {
    events_.hang_up(static_cast<Errc>(frame.error().value()), "the broker sent a frame that is none", false);
    return;
  }
  if (const auto* deliver = std::get_if<protocol::Deliver>(&*frame)) {
    on(*deliver);
    return;
  }
  std::visit(
      [&](const auto& one) {
        if constexpr (requires { on(one); }) {
          on(one);
        } else {
          events_.hang_up(Errc::corrupt, "the broker sent a frame that only nodes send", false);
        }
      },
      *frame);
}

/// The last word on this connection, or on one subscription or question.
void Session::on(const protocol::Refused& refused) {
  if (refused.id == 0) {
    const bool for_good = refused.why == Errc::version_mismatch || refused.why == Errc::permission_denied;
    events_.hang_up(refused.why, refused.text, for_good);
    return;
  }
  if (!reliable_ && !questions_.contains(refused.id)) put(protocol::Unsubscribe{refused.id});  // it is heard
  if (subscriptions_.contains(refused.id)) {
    events_.ended(refused.id, refused.why, refused.text);  // while its books are there
    subscriptions_.erase(refused.id);
  } else if (answered(refused.id)) {
    events_.failed(refused.id, refused.why);
  }
}

void Session::put(const protocol::Frame& frame) {
  std::vector<std::byte> bytes;
  protocol::encode(frame, bytes);
  put(std::move(bytes));
}

void Session::put(std::vector<std::byte> bytes) {
  if (!send_gathered()) {
    waiting_.push_back(batch_);
    gathered_ = 0;
  }
  if (waiting_.empty() && events_.send(bytes, {})) return;
  if (waiting_.size() >= kMostWaiting) {
    events_.hang_up(Errc::timed_out, "the broker takes nothing from this node", false);
    return;
  }
  waiting_.push_back(std::move(bytes));
}

void Session::room(Time now) {
  now_ = now;
  while (!waiting_.empty()) {
    if (!events_.send(waiting_.front(), {})) return;
    waiting_.pop_front();
  }
  if (!send_gathered()) return;
  if (state_ == State::up && !window_is_full()) events_.window_open();
}

// ---- publishing ----

bool Session::window_is_full() const noexcept {
  return unreceipted_.size() >= limits_.window_messages || retained_.size() >= limits_.window_messages ||
         unreceipted_bytes_ >= limits_.window_bytes || retained_bytes_ >= limits_.window_bytes;
}

/// `size`: of the frame; `content`: what of it counts against the broker's limit.
bool Session::fits(std::size_t size, std::size_t content) const noexcept {
  return content <= limits_.max_payload && size <= max_frame_;
}

Result<std::uint64_t> Session::publish(std::string_view subject, Bytes payload, const PublishOptions& options, Time now,
                                       bool more_follow) {
  now_ = now;
  if (leaving_) return Errc::closed;
  if (state_ != State::up || moving_ || !waiting_.empty()) return Errc::would_block;
  const std::size_t size =
      protocol::kPublishHead + protocol::tail_size(subject, options.reply, options.headers, payload);
  const std::size_t content = subject.size() + options.reply.size() + options.headers.size() + payload.size();
  if (!fits(size, content)) return Errc::message_too_large;
  if (window_is_full()) {
    if (!reliable_) due(now + kAgain);
    return Errc::would_block;
  }
  more_follow = more_follow && reliable_ && payload.size() <= kLargestGathered && options.reply.empty() &&
                options.headers.empty() && options.level == Level::accepted && !options.tell && options.history == 0 &&
                protocol::kPublishHead + subject.size() + protocol::kItemSize + payload.size() <= max_frame_;
  if (!(more_follow && goes_with_gathered(subject, payload)) && !send_gathered()) return Errc::would_block;
  if (more_follow) return gather(subject, payload);

  const protocol::Publish frame{sequence_ + 1, options.level, options.tell,    false,  options.history,
                                subject,       options.reply, options.headers, payload};
  // Everything before the payload in one piece; the payload is copied once, into the channel.
  const auto head = protocol::publish_head(frame);
  const std::size_t before = head.size() + protocol::tail_size(subject, options.reply, options.headers, {});
  front_.resize(before);
  std::copy(head.begin(), head.end(), front_.begin());
  protocol::write_tail(front_.data() + head.size(), subject, options.reply, options.headers, {});
  const bool retain = options.level == Level::delivered || options.tell;
  const auto bytes = static_cast<std::uint32_t>(size);
  unreceipted_.push_back({frame.sequence, bytes, options.level});
  try {
    if (retain) {
      Retained retained{{}, options.level, now, bytes, static_cast<std::uint32_t>(content), false};
      if (options.level == Level::delivered) {
        auto again = frame;
        again.again = true;
        protocol::encode(again, retained.frame);
      }
      retained_.emplace(frame.sequence, std::move(retained));
    }
  } catch (const std::bad_alloc&) {
    unreceipted_.pop_back();
    throw;
  }
  if (!events_.send(front_, payload)) {
    unreceipted_.pop_back();
    if (retain) retained_.erase(frame.sequence);
    return Errc::would_block;
  }
  ++sequence_;
  ++books_.published;
  unreceipted_bytes_ += size;
  if (retain) retained_bytes_ += size;
  if (!reliable_) due(now + kAgain);
  return frame.sequence;
}

bool Session::goes_with_gathered(std::string_view subject, Bytes payload) const noexcept {
  return gathered_ < kMostGathered && is_gathering_on(subject) &&
         batch_.size() + protocol::kItemSize + payload.size() <= std::min(kMostGatheredBytes, max_frame_);
}

std::uint64_t Session::gather(std::string_view subject, Bytes payload) {
  const std::uint64_t sequence = sequence_ + 1;
  const std::size_t bytes = protocol::kPublishHead + subject.size() + payload.size();  // as a frame of its own
  if (gathered_ == 0) {
    protocol::Front room;
    const Bytes front = front_of(protocol::PublishBatch{sequence, 0, subject, {}}, room);
    batch_.reserve(kMostGatheredBytes + kLargestGathered);
    batch_.assign(front.begin(), front.end());
    batch_front_ = front.size();
  }
  unreceipted_.push_back({sequence, static_cast<std::uint32_t>(bytes), Level::accepted});
  const std::size_t at = batch_.size();
  batch_.resize(at + protocol::kItemSize + payload.size());  // no more than was reserved
  os::put_u16(batch_.data() + at, static_cast<std::uint16_t>(payload.size()));
  if (!payload.empty()) std::memcpy(batch_.data() + at + protocol::kItemSize, payload.data(), payload.size());
  ++gathered_;
  sequence_ = sequence;
  ++books_.published;
  unreceipted_bytes_ += bytes;
  if (gathered_ == kMostGathered || window_is_full()) static_cast<void>(send_gathered());
  return sequence;
}

bool Session::send_gathered() noexcept {
  if (gathered_ == 0) return true;
  protocol::set_count(batch_, gathered_);
  if (!waiting_.empty() || !events_.send(batch_, {})) return false;
  ++batches_;
  gathered_ = 0;
  return true;
}

void Session::send_retained(Retained& retained) {
  if (retained.level != Level::delivered) return;
  retained.sent = now_;
  put(retained.frame);
}

/// What the broker before took, and this one would not.
void Session::fail_too_large() {
  for (auto it = retained_.begin(); it != retained_.end();) {
    const Retained& retained = it->second;
    if (fits(retained.bytes, retained.content)) {
      ++it;
      continue;
    }
    if (!retained.counted) ++books_.unknown_after_crash;
    ++books_.undelivered[static_cast<std::size_t>(Reason::too_large)];
    ++books_.settled;
    const protocol::Outcome failed{it->first, 0, 1, Reason::too_large};
    retained_bytes_ -= retained.bytes;
    it = retained_.erase(it);
    events_.outcome(failed);
  }
}

void Session::on(const protocol::Receipt& receipt) {
  if (receipt.sequence < receipted_ || receipt.sequence > sequence_) return;  // an old one, late
  if (receipt.accepted < receipt_.accepted) return;
  const bool was_full = window_is_full();
  receipted_ = receipt.sequence;
  while (!unreceipted_.empty() && unreceipted_.front().sequence <= receipted_) {
    const Unreceipted& message = unreceipted_.front();
    if (message.level == Level::accepted) {
      ++receipted_plain_;
    } else if (const auto kept = retained_.find(message.sequence);
               reliable_ && kept != retained_.end() && !std::exchange(kept->second.counted, true)) {
      ++books_.accepted;
    }
    unreceipted_bytes_ -= message.bytes;
    unreceipted_.pop_front();
  }
  receipt_ = receipt;
  receipt_.accepted = std::min(receipt.accepted, receipted_plain_);
  after_window(was_full);
}

void Session::on(const protocol::Outcome& outcome) {
  const auto kept = retained_.find(outcome.sequence);
  if (kept == retained_.end()) return;  // told again
  const bool was_full = window_is_full();
  if (kept->second.level == Level::delivered) {
    if (outcome.failed > 0 || outcome.reached == 0) ++books_.undelivered[static_cast<std::size_t>(outcome.reason)];
    if (!kept->second.counted) ++books_.accepted;
    if (outcome.reached + outcome.failed == 0) ++books_.unreached;
  }
  retained_bytes_ -= kept->second.bytes;
  retained_.erase(kept);
  ++books_.settled;
  events_.outcome(outcome);
  after_window(was_full);
}

void Session::after_window(bool was_full) noexcept {
  if (was_full && !window_is_full()) events_.window_open();
}

// ---- subscribing ----

std::uint32_t Session::subscribe(std::string_view pattern, const SubscribeOptions& options, Time now) {
  now_ = now;
  const std::uint32_t number = ++last_number_;
  Subscription& subscription = subscriptions_[number];
  subscription.pattern = pattern;
  subscription.options = options;
  if (state_ == State::up) send_subscribe(number, subscription);
  return number;
}

void Session::send_subscribe(std::uint32_t number, const Subscription& subscription) {
  const SubscribeOptions& options = subscription.options;
  put(protocol::Subscribe{number, subscription.pattern, options.queue, options.depth, options.full,
                          subscription.in_force ? 0 : options.history, subscription.in_force});
  if (!reliable_) due(now_ + kAgain);
}

void Session::on(const protocol::Subscribed& subscribed) {
  const auto found = subscriptions_.find(subscribed.subscription);
  if (found == subscriptions_.end()) {
    stop_sending(subscribed.subscription);
    return;
  }
  found->second.confirmed = true;
  if (std::exchange(found->second.in_force, true)) return;
  events_.subscribed(subscribed.subscription);
}

void Session::unsubscribe(std::uint32_t number, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  if (state_ == State::up) {
    if (found->second.taken != found->second.told) send_taken(number, found->second);
    put(protocol::Unsubscribe{number});
    if (!reliable_) {
      unsubscribed_[number] = kUnsubscribeAgain;
      due(now + kAgain);
    }
  }
  subscriptions_.erase(found);
}

/// The broker goes on with a subscription that is over: on a lossy link it has not heard of that, or has heard the
/// request for it after the end.
void Session::stop_sending(std::uint32_t number) {
  if (!reliable_) put(protocol::Unsubscribe{number});
}

/// The broker has sent up to this: what of it did not come is missing, or late.
void Session::count_missing(Subscription& subscription, std::uint64_t index) {
  const std::uint64_t gap = index - subscription.index;
  if (gap > kMostMissing) {
    books_.missing += gap - kMostMissing;
    subscription.books.missing += gap - kMostMissing;
  }
  for (std::uint64_t i = gap > kMostMissing ? index - kMostMissing : subscription.index; i < index; ++i) {
    subscription.missing.insert(i + 1);
  }
  while (subscription.missing.size() > kMostMissing) {
    subscription.missing.erase(subscription.missing.begin());
    ++books_.missing;
    ++subscription.books.missing;
  }
  subscription.index = index;
}

/// What follows the last message that the application was given was lost, or was a duplicate: nobody will take it.
/// The application tells of what it takes by the quarter of a depth, so within that it has taken everything.
void Session::skip_to_last(Subscription& subscription) {
  const std::uint64_t untold = std::max<std::uint64_t>(subscription.options.depth / 4, 1) - 1;
  if (subscription.taken + untold >= subscription.handed) subscription.taken = subscription.index;
}

void Session::on(const protocol::Deliver& deliver) {
  const auto found = subscriptions_.find(deliver.subscription);
  if (found == subscriptions_.end()) {  // it ended while this was on its way
    stop_sending(deliver.subscription);
    return;
  }
  Subscription& subscription = found->second;
  const std::uint64_t index = subscription.offset + deliver.index;
  if (index > subscription.index) {
    if (index - subscription.index > 1) count_missing(subscription, index - 1);
    subscription.index = index;
  } else if (subscription.missing.erase(index) == 0) {
    return;  // the link has doubled it
  }

  if (deliver.acknowledge || deliver.again) {
    if (subscription.handled.contains(key(deliver.message))) {
      ++books_.duplicates;
      ++subscription.books.duplicates;
      if (subscription.acknowledged.contains(key(deliver.message))) {
        put(protocol::Acknowledge{deliver.subscription, deliver.message});
      }
      skip_to_last(subscription);
      tell_taken(deliver.subscription, subscription);
      return;
    }
  }
  if (deliver.acknowledge) {
    subscription.handled.insert(key(deliver.message));
    subscription.handled_order.push_back(key(deliver.message));
    if (subscription.handled_order.size() > kRemembered) {
      subscription.handled.erase(subscription.handled_order.front());
      subscription.acknowledged.erase(subscription.handled_order.front());
      subscription.handled_order.pop_front();
    }
    if (subscription.options.full == Full::drop_old) {
      subscription.droppable.emplace_back(index, deliver.message);
      // The application's queue is no longer than its depth.
      if (subscription.droppable.size() > std::size_t{subscription.options.depth} + 1) {
        subscription.droppable.pop_front();
      }
    }
  }
  ++books_.received;
  ++subscription.books.received;
  subscription.handed = std::max(subscription.handed, index);
  protocol::Deliver local = deliver;
  local.index = index;
  events_.deliver(deliver.subscription, local);
}

void Session::on(const protocol::DeliverBatch& batch) {
  const auto found = subscriptions_.find(batch.subscription);
  if (found == subscriptions_.end()) {  // it ended while this was on its way
    stop_sending(batch.subscription);
    return;
  }
  Subscription& subscription = found->second;
  const std::uint64_t first = subscription.offset + batch.index;
  if (!reliable_ || first != subscription.index + 1) {
    events_.hang_up(Errc::corrupt, "the broker sent a batch on a link that loses frames, or left something out", false);
    return;
  }
  subscription.index = subscription.handed = first + batch.count - 1;
  books_.received += batch.count;
  subscription.books.received += batch.count;
  protocol::DeliverBatch local = batch;
  local.index = first;
  events_.deliver(batch.subscription, local);
}

void Session::taken(std::uint32_t number, std::uint64_t index, bool dropped, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  Subscription& subscription = found->second;
  if (dropped) {
    ++subscription.dropped_here;
    ++subscription.books.dropped[static_cast<std::size_t>(Reason::queue_full)];
    ++books_.dropped[static_cast<std::size_t>(Reason::queue_full)];
    drop_here(number, subscription, index);
  }
  subscription.taken = std::max(subscription.taken, index);
  if (subscription.handed < subscription.index) skip_to_last(subscription);
  tell_taken(number, subscription);
}

/// A message of level `delivered` that is dropped here has failed.
void Session::drop_here(std::uint32_t number, Subscription& subscription, std::uint64_t index) {
  const auto found = std::find_if(subscription.droppable.begin(), subscription.droppable.end(),
                                  [index](const auto& one) { return one.first == index; });
  if (found == subscription.droppable.end()) return;  // it asked for no acknowledgement
  const MessageId message = found->second;
  subscription.droppable.erase(subscription.droppable.begin(), found + 1);
  refuse(number, message, now_);
}

void Session::tell_taken(std::uint32_t number, Subscription& subscription) {
  const std::uint64_t enough = std::max<std::uint64_t>(subscription.options.depth / 4, 1);
  if (state_ == State::up && subscription.taken - subscription.told >= enough) send_taken(number, subscription);
}

void Session::send_taken(std::uint32_t number, Subscription& subscription) {
  subscription.told = subscription.taken;
  put(protocol::Taken{number, subscription.taken - subscription.offset, subscription.dropped_here});
}

void Session::acknowledge(std::uint32_t number, MessageId message, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  if (found->second.handled.contains(key(message))) found->second.acknowledged.insert(key(message));
  if (state_ == State::up) put(protocol::Acknowledge{number, message});
}

/// If it comes again nevertheless, it is as good as new.
void Session::refuse(std::uint32_t number, MessageId message, Time now) {
  now_ = now;
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return;
  found->second.handled.erase(key(message));
  if (state_ == State::up) put(protocol::Acknowledge{number, message, true});
}

/// The broker waits for word: what has not come by now was lost.
void Session::on(const protocol::Progress& progress) {
  const auto found = subscriptions_.find(progress.subscription);
  if (found == subscriptions_.end()) {
    stop_sending(progress.subscription);
    return;
  }
  Subscription& subscription = found->second;
  const std::uint64_t index = subscription.offset + progress.index;
  if (index > subscription.index) count_missing(subscription, index);
  skip_to_last(subscription);
  send_taken(progress.subscription, subscription);
}

void Session::on(const protocol::Dropped& dropped) {
  const auto found = subscriptions_.find(dropped.subscription);
  if (found == subscriptions_.end()) return;
  const auto i = static_cast<std::size_t>(dropped.reason);
  std::uint64_t& known = found->second.dropped_there[i];
  if (dropped.count <= known) return;
  books_.dropped[i] += dropped.count - known;
  found->second.books.dropped[i] += dropped.count - known;
  known = dropped.count;
}

// ---- questions ----

std::uint32_t Session::ask(protocol::Frame frame, std::string text) {
  const std::uint32_t token = ++last_number_;
  Question& question = questions_[token];
  question.text = std::move(text);
  question.frame = frame;
  question.sent = now_;
  std::visit(
      [&](auto& one) {
        if constexpr (requires { one.token; }) one.token = token;
        using One = std::remove_cvref_t<decltype(one)>;
        if constexpr (std::is_same_v<One, protocol::Watch>) one.subject = question.text;
        if constexpr (std::is_same_v<One, protocol::Query>) one.what = question.text;
      },
      question.frame);
  if (state_ == State::up) put(question.frame);
  if (!reliable_) due(now_ + kAgain);
  return token;
}

std::uint32_t Session::flush(Time now) {
  now_ = now;
  return ask(protocol::Flush{0, sequence_}, {});
}

std::uint32_t Session::watch(std::string_view subject, std::uint32_t count, Time now) {
  now_ = now;
  return ask(protocol::Watch{0, count, {}}, std::string(subject));
}

std::uint32_t Session::query(std::string_view what, Time now) {
  now_ = now;
  return ask(protocol::Query{0, {}}, std::string(what));
}

void Session::forget(std::uint32_t token) noexcept {
  const auto asked = questions_.find(token);
  if (asked == questions_.end()) return;
  auto* const watch = std::get_if<protocol::Watch>(&asked->second.frame);
  if (watch != nullptr && state_ == State::up) {
    watch->count = 0;
    try {
      put(asked->second.frame);
    } catch (const std::bad_alloc&) {  // it stays in the broker until it is answered
    }
    if (!reliable_) {
      asked->second.forgotten = true;
      asked->second.sent = now_;
      due(now_ + kAgain);
      return;
    }
  }
  questions_.erase(asked);
}

/// True: somebody waits for it.
bool Session::answered(std::uint32_t token) noexcept {
  const auto asked = questions_.find(token);
  if (asked == questions_.end()) return false;
  const bool wanted = !asked->second.forgotten;
  questions_.erase(asked);
  return wanted;
}

void Session::on(const protocol::Flushed& flushed) {
  const auto asked = questions_.find(flushed.token);
  if (asked == questions_.end()) return;
  const auto* flush = std::get_if<protocol::Flush>(&asked->second.frame);
  if (flush == nullptr || flush->sequence > receipted_) return;  // the receipt was lost: it is asked for again
  questions_.erase(asked);
  events_.flushed(flushed.token);
}
void Session::on(const protocol::Watched& watched) {
  if (answered(watched.token)) events_.watched(watched.token, watched.count);
}
void Session::on(const protocol::Answer& answer) {
  if (answered(answer.token)) events_.answer(answer.token, answer.payload);
}

void Session::bye(Time now) {
  now_ = now;
  leaving_ = true;
  if (state_ != State::up) {
    farewell_ = true;
    return;
  }
  say_bye(false);
  if (!reliable_) due(now + kAgain);
}

void Session::say_bye(bool stays) {
  for (auto& [number, subscription] : subscriptions_) {
    if (subscription.taken != subscription.told) send_taken(number, subscription);
  }
  put(protocol::Bye{sequence_, stays});
}

void Session::on(const protocol::Farewell& farewell) {
  if (farewell.stays) {  // what is published from now on is for the next broker
    if (!leaving_ && !std::exchange(moving_, true)) say_bye(true);
    return;
  }
  if (leaving_) farewell_ = true;
  if (!leaving_) events_.hang_up(Errc::closed, "the broker stops", false);
}

// ---- time: only on links that lose frames ----

void Session::tick(Time now) {
  if (!next_ || *next_ > now) return;
  now_ = now;
  next_.reset();
  if (reliable_ || state_ == State::down) return;
  if (state_ == State::greeting) {
    greet();
    due(now + kAgain);
    return;
  }
  if (!waiting_.empty()) {
    due(now + kAgain);
    return;
  }
  bool open = false;
  for (auto& [number, subscription] : subscriptions_) {
    if (subscription.confirmed) continue;
    send_subscribe(number, subscription);
    open = true;
  }
  for (auto it = unsubscribed_.begin(); it != unsubscribed_.end();) {
    open = true;
    put(protocol::Unsubscribe{it->first});
    it = --it->second == 0 ? unsubscribed_.erase(it) : std::next(it);
  }
  bool receipt_wanted = window_is_full();
  for (auto it = retained_.begin(); it != retained_.end();) {
    open = true;
    Retained& retained = it->second;
    if (retained.level == Level::delivered) {
      if (retained.sent + kAgain <= now) send_retained(retained);
    } else if (it->first > receipted_ || retained.sent + kOutcomeLost > now) {
      receipt_wanted |= it->first > receipted_ && retained.sent + kAgain <= now;
    } else {  // it has come or was lost: its outcome would be here
      const protocol::Outcome lost{it->first, 0, 1, Reason::network};
      retained_bytes_ -= retained.bytes;
      it = retained_.erase(it);
      events_.outcome(lost);
      continue;
    }
    ++it;
  }
  for (auto& [token, question] : questions_) {
    open = true;
    if (question.sent + kAgain > now) continue;
    question.sent = now;
    put(question.frame);
  }
  if (receipt_wanted) {
    open = true;
    if (window_asked_ + kAgain <= now) {
      window_asked_ = now;
      put(protocol::Flush{0, sequence_});  // its receipt may have been lost; nobody waits for this token
    }
  }
  if (leaving_ && !farewell_) {
    put(protocol::Bye{sequence_});
    open = true;
  }
  if (open) due(now + kAgain);
}

// ---- books ----

NodeBooks Session::books() const noexcept {
  NodeBooks books = books_;
  books.accepted += receipt_.accepted;
  books.lost += receipted_plain_ - receipt_.accepted;
  books.unreached += receipt_.unreached;
  books.copies_dropped += receipt_.dropped;
  for (const auto& [number, subscription] : subscriptions_) books.missing += subscription.missing.size();
  return books;
}

SubscriptionBooks Session::books(std::uint32_t number) const noexcept {
  const auto found = subscriptions_.find(number);
  if (found == subscriptions_.end()) return {};
  SubscriptionBooks books = found->second.books;
  books.missing += found->second.missing.size();
  return books;
}

}  // namespace bus::client
