// bus/client/node.cpp: the interface over the node's state.
#include "bus/client/node.hpp"

#include <pthread.h>

#include <charconv>

#include "bus/client/node_state.hpp"
#include "bus/protocol/subject.hpp"

namespace bus {

using namespace std::chrono_literals;
using client::Feed;
using client::NodeState;

// ---- Delivery ----

Delivery& Delivery::operator=(Delivery&& other) noexcept {
  if (this == &other) return *this;
  acknowledge();
  memory_ = std::move(other.memory_);
  payload_ = other.payload_;
  headers_ = other.headers_;
  subject_ = other.subject_;
  reply_ = other.reply_;
  id_ = other.id_;
  index_ = other.index_;
  again_ = other.again_;
  kept_ = other.kept_;
  wanted_ = other.wanted_;
  feed_ = std::move(other.feed_);
  return *this;
}

void Delivery::acknowledge_there() noexcept {
  auto feed = std::move(feed_);
  feed_.reset();
  if (feed->origin.inherited()) return os::keep_inherited(std::move(feed));
  if (!wanted_) return;
  if (const auto node = feed->node.lock()) node->acknowledge(*feed, id_);
}

// ---- Subscription ----

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    close();
    feed_ = std::move(other.feed_);
  }
  return *this;
}

Subscription::~Subscription() { close(); }

void Subscription::close() noexcept {
  if (!feed_) return;
  if (feed_->origin.inherited()) return os::keep_inherited(std::move(feed_));
  if (const auto node = feed_->node.lock()) node->unsubscribe(*feed_);
  feed_->clear();
}

namespace {

/// None: it is closed, or this is a forked child, to whom its parent's is closed.
std::shared_ptr<NodeState> node_of(const std::shared_ptr<Feed>& feed) noexcept {
  return feed && !feed->origin.inherited() ? feed->node.lock() : nullptr;
}

}  // namespace

Result<Delivery> Subscription::receive(Deadline deadline) {
  const auto node = node_of(feed_);
  if (!node) return Errc::closed;
  return node->receive(*feed_, deadline);
}

Result<Delivery> Subscription::try_receive() {
  const auto node = node_of(feed_);
  if (!node) return Errc::closed;
  return node->try_receive(*feed_);
}

int Subscription::readable_fd() {
  if (!feed_ || feed_->origin.inherited()) throw Error(Errc::closed, "readable_fd: the subscription is closed");
  if (const auto node = feed_->node.lock()) node->leave_driving_to_the_thread();
  return feed_->readable_fd();
}

std::string_view Subscription::pattern() const noexcept { return feed_ ? std::string_view(feed_->pattern) : ""; }

std::string Subscription::why() const {
  if (!feed_ || feed_->origin.inherited()) return {};
  const std::lock_guard lock(feed_->mutex);
  return feed_->text;
}

SubscriptionBooks Subscription::books() const {
  if (!feed_ || feed_->origin.inherited()) return {};
  {
    const std::lock_guard lock(feed_->mutex);
    if (feed_->over) return feed_->last_books;
  }
  const auto node = feed_->node.lock();
  if (!node) return {};
  const std::lock_guard lock(node->mutex);
  return node->session.books(feed_->number);
}

// ---- Node ----

namespace {

std::error_code check_subject(std::string_view subject) noexcept {
  return protocol::valid_subject(subject) ? std::error_code{} : make_error_code(Errc::bad_address);
}

client::PublishOptions session_options(const PublishOptions& options) noexcept {
  return {options.reply, options.headers != nullptr ? options.headers->bytes() : protocol::Bytes{}, options.level,
          false, options.history};
}

}  // namespace

Node::Node(std::shared_ptr<NodeState> state) : state_(std::move(state)) {}
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(Node&& other) noexcept {
  if (this != &other) {
    leave();
    state_ = std::move(other.state_);
  }
  return *this;
}
Node::~Node() { leave(); }

void Node::leave() noexcept {
  if (!state_) return;
  if (is_inherited()) return os::keep_inherited(std::move(state_));
  static_cast<void>(close(in(5s)));
}

bool Node::is_inherited() const noexcept { return state_->origin.inherited(); }

Node Node::join(std::string_view bus, const JoinOptions& options) {
  auto state = std::make_shared<NodeState>(bus, options);
  state->start();
  return Node(std::move(state));
}

Subscription Node::subscribe(std::string_view pattern, const SubscribeOptions& options, Deadline deadline) {
  if (is_inherited()) throw Error(Errc::closed, "subscribe " + std::string(pattern) + ": the node is the parent's");
  if (!protocol::valid_pattern(pattern)) {
    throw Error(Errc::bad_address, "subscribe " + std::string(pattern) +
                                       ": not a pattern: tokens separated by '.', none empty, '*' for any one token, "
                                       "'>' at the end for all that follow");
  }
  return Subscription(state_->subscribe(pattern, options, deadline));
}

std::error_code Node::publish(std::string_view subject, std::span<const std::byte> payload,
                              const PublishOptions& options, Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  if (!options.reply.empty()) {
    if (const std::error_code error = check_subject(options.reply)) return error;
  }
  if (options.wait_subscribers > 0) {
    if (const std::error_code error = wait_subscribers(subject, options.wait_subscribers, deadline)) return error;
  }
  const auto sequence = state_->publish(subject, payload, session_options(options), deadline);
  if (!sequence) return sequence.error();
  if (options.sequence != nullptr) *options.sequence = *sequence;
  return {};
}

std::error_code Node::flush(Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  std::unique_lock lock(state_->mutex);
  const auto answered = state_->wait_answer(lock, state_->session.flush(Clock::now()), deadline);
  return answered ? answered->error : answered.error();
}

std::error_code Node::settled(Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  NodeState& state = *state_;
  std::unique_lock lock(state.mutex);
  static_cast<void>(state.wait(lock, deadline, [&] { return state.session.all_settled() || state.is_over(); }));
  if (state.session.all_settled()) return {};
  return state.closed_for_good || state.stopping ? Errc::closed : Errc::timed_out;
}

std::error_code Node::wait_subscribers(std::string_view subject, std::uint32_t count, Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  if (const std::error_code error = check_subject(subject)) return error;
  std::unique_lock lock(state_->mutex);
  if (!state_->session.takes(protocol::Watch{0, count, subject})) return Errc::message_too_large;
  const auto answered = state_->wait_answer(lock, state_->session.watch(subject, count, Clock::now()), deadline);
  return answered ? answered->error : answered.error();
}

Result<std::string> Node::query(std::string_view what, Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  std::unique_lock lock(state_->mutex);
  if (!state_->session.takes(protocol::Query{0, what})) return Errc::message_too_large;
  auto answered = state_->wait_answer(lock, state_->session.query(what, Clock::now()), deadline);
  if (!answered) return answered.error();
  if (answered->error) return answered->error;
  return std::move(answered->text);
}

NodeBooks Node::books() const {
  if (is_inherited()) return {};
  const std::lock_guard lock(state_->mutex);
  return state_->session.books();
}

std::uint64_t Node::publisher() const noexcept { return state_->session.publisher(); }

bool Node::has_broker() const {
  if (is_inherited()) return false;
  const std::lock_guard lock(state_->mutex);
  return state_->session.is_up();
}

bool Node::hosts_broker() const {
  if (is_inherited()) return false;
  const std::lock_guard lock(state_->mutex);
  return state_->host != nullptr;
}

std::string_view Node::bus() const noexcept { return state_->bus; }

std::error_code Node::close(Deadline deadline) noexcept {
  if (is_inherited()) return Errc::closed;
  NodeState& state = *state_;
  std::error_code result;
  {
    std::unique_lock lock(state.mutex);
    const auto settled = [&] { return state.session.all_settled() || state.is_over(); };
    if (!state.wait(lock, deadline, settled)) result = Errc::timed_out;
    state.session.bye(Clock::now());
    state.tell();
    const auto gone = [&] { return state.session.said_farewell() || !state.open || state.lost || state.is_over(); };
    if (!state.wait(lock, deadline, gone)) result = Errc::timed_out;
  }
  state.stop(deadline);
  const std::lock_guard lock(state.mutex);
  if (!result && state.session.has_untold_loss()) result = Errc::peer_died;
  return result;
}

// ---- questions and answers ----

namespace {

/// While it lives, answers to it are kept for who has asked. What he has not taken then is gone, and in the inbox's
/// books. on_asked and on_answer may throw.
struct Question {
  explicit Question(NodeState& its_state)
      : state(its_state), answers(std::make_shared<Feed>(state.weak_from_this(), std::string(), SubscribeOptions{})) {
    const std::lock_guard lock(state.mutex);
    number = ++state.last_question;
    reply = state.inbox + std::to_string(number);
    state.questions.emplace(number, answers);
    const std::lock_guard replies_lock(state.replies->mutex);
    if (state.replies->over) no_answers = make_error_code(state.replies->why);
  }
  ~Question() {
    if (state.origin.inherited()) {
      os::keep_inherited(answers);
      return;
    }
    {
      const std::lock_guard lock(state.mutex);
      state.questions.erase(number);
      state.outcomes.erase(sequence);
    }
    state.give_up(*answers);
  }
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  NodeState& state;
  const std::shared_ptr<Feed> answers;
  std::uint64_t number = 0;
  std::string reply;           // where they come
  std::uint64_t sequence = 0;  // once it is published
  std::error_code no_answers;  // why the broker has ended the inbox
};

}  // namespace

std::error_code Node::request_many(std::string_view subject, std::span<const std::byte> payload,
                                   const std::function<bool(Delivery&&)>& on_answer, Deadline deadline,
                                   const RequestOptions& options) {
  if (is_inherited()) return Errc::closed;
  NodeState& state = *state_;
  if (const std::error_code error = check_subject(subject)) return error;
  if (const std::error_code error = state.open_inbox(deadline)) return error;

  Question question(state);
  if (question.no_answers) return question.no_answers;
  client::PublishOptions asking;
  asking.reply = question.reply;
  asking.tell = true;
  if (options.headers != nullptr) asking.headers = options.headers->bytes();
  const auto sequence = state.publish(subject, payload, asking, deadline);
  if (!sequence) return sequence.error();
  question.sequence = *sequence;
  if (options.on_asked) options.on_asked(*sequence);
  if (is_inherited()) return Errc::closed;  // that has forked, and this is the child
  if (const std::error_code nobody = state.wait_outcome(*sequence, *question.answers, deadline)) return nobody;
  for (;;) {
    Result<Delivery> answer = state.receive(*question.answers, deadline);
    if (!answer) return answer.error() == Errc::timed_out ? std::error_code{} : answer.error();
    {
      const std::lock_guard lock(state.mutex);
      ++state.answers_taken;
    }
    if (!on_answer(std::move(*answer))) return {};
    if (is_inherited()) return Errc::closed;
  }
}

Result<Delivery> Node::request(std::string_view subject, std::span<const std::byte> payload, Deadline deadline,
                               const RequestOptions& options) {
  std::optional<Delivery> first;
  const std::error_code error = request_many(
      subject, payload,
      [&first](Delivery&& answer) {
        first.emplace(std::move(answer));
        return false;
      },
      deadline, options);
  if (first) return std::move(*first);
  return error ? error : make_error_code(Errc::timed_out);
}

Result<Inbox> Node::inbox(Deadline deadline) {
  if (is_inherited()) return Errc::closed;
  NodeState& state = *state_;
  if (const std::error_code error = state.open_inbox(deadline)) return error;
  const std::lock_guard lock(state.mutex);
  return Inbox{state.replies->pattern, state.replies->options, state.inbox_books()};
}

std::error_code Request::reply(std::span<const std::byte> payload, const HeaderBlock* headers) {
  if (node_.origin.inherited()) return Errc::closed;
  if (message_.reply().empty()) return Errc::not_supported;
  client::PublishOptions options;
  if (headers != nullptr) options.headers = headers->bytes();
  const auto sequence = node_.publish(message_.reply(), payload, options, in(5s));
  return sequence ? std::error_code{} : sequence.error();
}

struct Service::State {
  const os::Origin origin;
  Subscription requests;
  std::function<void(Request&)> handler;
  std::thread thread;

  ~State() {
    requests.close();
    if (!thread.joinable()) return;
    if (origin.inherited()) {  // there is no such thread here, or another has its handle
      os::keep_inherited(std::make_shared<std::thread>(std::move(thread)));
    } else {
      thread.join();
    }
  }
};

Service::Service(std::unique_ptr<State> state) : state_(std::move(state)) {}
Service::Service(Service&&) noexcept = default;
Service& Service::operator=(Service&&) noexcept = default;
Service::~Service() = default;

Service Node::serve(std::string_view pattern, std::function<void(Request&)> handler, std::string_view queue) {
  auto service = std::make_unique<Service::State>();
  SubscribeOptions options;
  options.queue = queue;
  service->requests = subscribe(pattern, options);
  service->handler = std::move(handler);
  service->thread = std::thread([state = service.get(), node = state_] {
    ::pthread_setname_np(::pthread_self(), "bus-service");
    while (Result<Delivery> message = state->requests.receive()) {
      Request request(*node, *message);
      state->handler(request);
    }
  });
  return Service(std::move(service));
}

}  // namespace bus
