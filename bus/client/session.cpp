// bus/client/session.cpp: a session's connection, its questions, and what time brings.
#include "bus/client/session.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace bus::client {

using namespace std::chrono_literals;

namespace {

constexpr auto kOutcomeLost = 1s;            // no outcome so long after the receipt: it was lost, or the message was
constexpr std::size_t kMostWaiting = 65536;  // frames without room: answers and acknowledgements, small each

}  // namespace

Session::Session(Identity identity, SessionEvents& events) : identity_(std::move(identity)), events_(events) {}

// ---- the connection ----

void Session::greet() {
  const protocol::Hello hello{protocol::kVersion, identity_.instance, identity_.publisher,
                              sequence_,          identity_.name,     was_up_,
                              limits_.subscribed};
  if (takes(hello)) return put(hello);
  events_.hang_up(Errc::message_too_large, "the node's name is larger than a message of the channel", true);
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
    give_up_unreceipted();
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
  while (!leftovers_.empty()) end_leftover(leftovers_.begin()->first);
  std::erase_if(questions_, [](const auto& entry) { return entry.second.forgotten; });
  next_.reset();
}

/// What was not receipted is unknown, but for what will be sent again.
void Session::give_up_unreceipted() noexcept {
  std::uint64_t first = 0;
  for (const Unreceipted& message : unreceipted_) {
    if (message.level != Level::accepted) continue;
    ++books_.unknown_after_crash;
    if (farewell_) continue;  // nobody died: a lossy link has lost the receipt
    if (first == 0) first = message.sequence;
    untold_loss_ = message.sequence;
  }
  unreceipted_.clear();
  unreceipted_bytes_ = 0;
  gathered_ = 0;
  if (first == 0) return;
  for (auto& [token, question] : questions_) {
    const auto* const flush = std::get_if<protocol::Flush>(&question.frame);
    if (flush != nullptr && flush->sequence >= first) question.tells_loss = true;
  }
}

void Session::on(const protocol::Welcome& welcome) {
  if (state_ == State::up) {  // said again: a lossy link, or a wider window
    const bool was_full = window_is_full();
    limits_.window_messages = std::max(limits_.window_messages, welcome.window_messages);
    limits_.window_bytes = std::max(limits_.window_bytes, welcome.window_bytes);
    limits_.subscribed = welcome.subscribed;
    if (!leaving_) send_again();
    after_window(was_full);
    return;
  }
  if (state_ != State::greeting) return;
  state_ = State::up;
  was_up_ = true;
  limits_ = welcome;
  limits_.name = {};
  subscribe_again();
  fail_too_large();
  begin_again();
  ask_again();
  send_again();
  if (leaving_) {  // said while there was no broker
    farewell_ = false;
    put(protocol::Bye{sequence_});
  }
  events_.up(welcome);
  events_.window_open();
  if (!reliable_) due(now_ + kAgain);
}

void Session::subscribe_again() {
  for (auto it = subscriptions_.begin(); it != subscriptions_.end();) {
    if (takes(protocol::Subscribe{it->first, it->second.pattern, it->second.options.queue})) {
      send_subscribe(it->first, it->second);
      ++it;
    } else {
      events_.ended(it->first, Errc::message_too_large, "pattern and queue are larger than a message of the channel");
      it = subscriptions_.erase(it);
    }
  }
}

void Session::ask_again() {
  for (auto it = questions_.begin(); it != questions_.end();) {
    Question& question = it->second;
    if (!takes(question.frame)) {
      const std::uint32_t token = it->first;
      it = questions_.erase(it);
      events_.failed(token, Errc::message_too_large);
      continue;
    }
    question.sent = now_;
    if (may_ask(question.frame)) put(question.frame);
    ++it;
  }
}

bool Session::takes(const protocol::Frame& frame) const {
  std::vector<std::byte> bytes;
  protocol::encode(frame, bytes);
  return state_ == State::down || bytes.size() <= max_frame_;
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
  } else if (leftovers_.contains(refused.id)) {
    end_leftover(refused.id);
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
  if (state_ == State::up && may_ask(question.frame)) put(question.frame);
  if (!reliable_) due(now_ + kAgain);
  return token;
}

std::uint32_t Session::flush(Time now) {
  now_ = now;
  const std::uint32_t token = ask(protocol::Flush{0, sequence_}, {});
  questions_[token].tells_loss = has_untold_loss();
  return token;
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
  const bool tells_loss = asked->second.tells_loss;
  if (tells_loss && flush->sequence >= untold_loss_) untold_loss_ = 0;
  questions_.erase(asked);
  if (tells_loss) return events_.failed(flushed.token, Errc::peer_died);
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
  if (std::exchange(leaving_, true)) return;
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
      const bool on_its_way = again_from_ == 0 || it->first < again_from_;
      if (on_its_way && retained.sent + kAgain <= now) send_retained(retained);
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
    if (may_ask(question.frame)) put(question.frame);
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
