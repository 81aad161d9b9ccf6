// bus/client/arrive.cpp: what a node's session tells: frames to send, messages and answers that came.
#include <array>
#include <charconv>
#include <cstring>

#include "bus/client/node_state.hpp"

namespace bus::client {

bool NodeState::send(Bytes head, Bytes tail) noexcept {
  if (!open) return true;  // it is over, and the session will hear of it
  if (armed) return false;
  if (channel.try_send(head, tail) != Errc::would_block) return true;  // another error: who reads finds out
  if (std::exchange(room_wanted, head.size() + tail.size()) == 0 && asleep_until != Time{}) poller.wake();
  return false;
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
  if (feed->number == 0 && !outcomes.empty()) changed.notify_all();  // who waits for an outcome has more than that
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

void NodeState::unsubscribed(std::uint32_t number, const ReasonCounts& dropped) noexcept {
  const auto found = unsubscribing.find(number);
  if (found == unsubscribing.end()) return;
  {
    const std::lock_guard lock(found->second->mutex);
    for (std::size_t i = 0; i < kReasons; ++i) found->second->last_books.dropped[i] += dropped[i];
  }
  unsubscribing.erase(found);
}

void NodeState::ended(std::uint32_t number, Errc why, std::string_view text) {
  const auto found = feeds.find(number);
  if (found == feeds.end()) return;
  const auto feed = std::move(found->second);
  feeds.erase(found);
  end_feed(*feed, why, text);
  if (feed == replies) {  // no answer will come
    for (const auto& [question, asked] : questions) asked->end(why, std::string(text));
  }
  changed.notify_all();
}

/// While the session has its books.
void NodeState::end_feed(Feed& feed, Errc why, std::string_view text) {
  const SubscriptionBooks books = session.books(feed.number);
  {
    const std::lock_guard lock(feed.mutex);
    feed.last_books = books;
  }
  feed.end(why, std::string(text));
}

/// Nothing comes any more, for nobody.
void NodeState::close_for_good(Errc why, std::string_view text) {
  closed_for_good = true;
  const auto all = std::exchange(feeds, {});
  for (const auto& [number, feed] : all) end_feed(*feed, why, text);
  for (const auto& [question, asked] : questions) asked->end(why, std::string(text));
  changed.notify_all();
}

void NodeState::outcome(const protocol::Outcome& outcome) noexcept {
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
  if (for_good) close_for_good(why, last_text);
  changed.notify_all();
}

}  // namespace bus::client
