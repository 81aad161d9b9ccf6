// tests/bus/client/node_test.cpp: a bus as programs use it, over every transport that carries channels.
#include "bus/client/node.hpp"

#include <poll.h>

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "bus/broker/server.hpp"
#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/transport.hpp"
#include "bus/protocol/frame.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/failing_allocations.hpp"

using namespace bus;
using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// A broker in a thread of its own, for transports on which no node hosts one.
class Broker {
 public:
  explicit Broker(std::vector<std::string> addresses, const broker::Limits& limits = {})
      : server_({.listen = std::move(addresses), .limits = limits, .name = "test"}),
        thread_([this] { server_.run(); }) {}
  ~Broker() {
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] std::string address(std::size_t i = 0) const { return server_.addresses().at(i); }
  [[nodiscard]] broker::Totals totals() const { return server_.totals(); }

 private:
  broker::Server server_;
  std::thread thread_;
};

/// Listens as a broker does, and answers as the test wants it to.
class Impostor {
 public:
  using Answer = std::function<void(Channel& node, const protocol::Frame&)>;
  Impostor(const std::string& address, Answer answer)
      : listener_(listen(address)), answer_(std::move(answer)), thread_([this] { run(); }) {}
  ~Impostor() {
    over_ = true;
    listener_.close();
    thread_.join();
  }
  [[nodiscard]] std::string address() const { return std::string(listener_.address()); }

  static void say(Channel& node, const protocol::Frame& frame) {
    std::vector<std::byte> bytes;
    protocol::encode(frame, bytes);
    static_cast<void>(node.send(bytes, soon()));
  }
  static void welcome(Channel& node) {
    say(node, protocol::Welcome{protocol::kVersion, {}, 100, 1U << 20, 1U << 20, 0, "impostor"});
  }

 private:
  void run() {
    while (Result<Channel> node = listener_.accept()) {
      while (!over_) {
        const Result<Message> message = node->receive(in(10ms));
        if (message) answer_(*node, *protocol::decode(message->bytes()));
        if (!message && message.error() != Errc::timed_out) break;
      }
    }
  }

  std::atomic<bool> over_{false};
  Listener listener_;
  const Answer answer_;
  std::thread thread_;
};

std::string text(const Result<Delivery>& delivery) {
  return delivery ? std::string(delivery->text()) : "error " + delivery.error().message();
}

}  // namespace

TEST_CASE("a question whose answers the broker takes no longer ends at once, with the reason", "[bus]") {
  const std::string address = fixed_address("unix");
  std::optional<Broker> broker(std::in_place, std::vector{address});
  Node answers = Node::join(address + "?embed=never"), asks = Node::join(address + "?embed=never");
  const Service service = answers.serve("who", [](Request& request) { static_cast<void>(request.reply({})); });
  const Subscription first = asks.subscribe("first");
  REQUIRE(asks.request("who", {}, soon()));
  broker.reset();
  broker::Limits limits;
  limits.subscriptions = 1;  // no room for the inbox
  broker.emplace(std::vector{address}, limits);
  REQUIRE(eventually([&] { return asks.request("who", {}, soon()).error() == Errc::no_room; }));
  REQUIRE(asks.inbox(soon())->books.received == 1);
  REQUIRE_FALSE(asks.publish("first", bytes_of("x"), {}, soon()));
}

TEST_CASE("what is published after subscribe has returned is received, in order", "[bus]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Broker broker({fresh_address(scheme)});
  Node subscriber = Node::join(broker.address());
  Node publisher = Node::join(broker.address());
  Subscription all = subscriber.subscribe("sensors.>");
  Subscription kitchen = subscriber.subscribe("sensors.kitchen.*");
  constexpr int kCount = 500;
  for (int i = 0; i < kCount; ++i) {
    REQUIRE_FALSE(publisher.publish(i % 2 == 0 ? "sensors.kitchen.temp" : "sensors.hall", bytes_of(std::to_string(i)),
                                    {.level = Level::delivered}, soon()));
  }
  for (int i = 0; i < kCount; ++i) {
    if (traits_of(scheme).reliable) {
      REQUIRE(text(all.receive(soon())) == std::to_string(i));
      if (i % 2 == 0) REQUIRE(text(kitchen.receive(soon())) == std::to_string(i));
    } else {
      REQUIRE(all.receive(soon()));
      if (i % 2 == 0) REQUIRE(kitchen.receive(soon()));
    }
  }
  REQUIRE_FALSE(publisher.settled(soon()));
  const NodeBooks books = publisher.books();
  REQUIRE(books.published == kCount);
  REQUIRE(books.settled == kCount);
  REQUIRE(all.try_receive().error() == Errc::would_block);
}

TEST_CASE("nodes of one local address need no broker that somebody started", "[bus]") {
  const std::string scheme = GENERATE(as<std::string>{}, "inproc", "shm", "unix");
  CAPTURE(scheme);
  const std::string address = fresh_address(scheme);
  Node first = Node::join(address);
  REQUIRE(first.hosts_broker());
  Node second = Node::join(address);
  REQUIRE_FALSE(second.hosts_broker());
  Subscription subscription = second.subscribe("a.b");
  REQUIRE_FALSE(first.publish("a.b", bytes_of("hello")));
  REQUIRE(text(subscription.receive(soon())) == "hello");
}

TEST_CASE("embed=never waits for a broker and says that there is none", "[bus]") {
  const std::string address = fresh_address("shm", "embed=never");
  try {
    static_cast<void>(Node::join(address, {.name = {}, .within = 300ms}));
    FAIL("joined");
  } catch (const Error& error) {
    REQUIRE(error.code() == Errc::no_peer);
  }
}

TEST_CASE("a misspelt embed is refused", "[bus]") {
  REQUIRE_THROWS_WITH(Node::join(fresh_address("shm", "embed=sometimes")), Catch::Matchers::Contains("auto, never"));
}

TEST_CASE("when the node that hosts the broker leaves, another takes over and all is as before", "[bus]") {
  const std::string scheme = GENERATE(as<std::string>{}, "inproc", "shm", "unix");
  CAPTURE(scheme);
  const std::string address = fresh_address(scheme);
  auto host = std::make_unique<Node>(Node::join(address));
  Node subscriber = Node::join(address);
  Node publisher = Node::join(address);
  Subscription subscription = subscriber.subscribe("a.>");
  REQUIRE_FALSE(publisher.publish("a.b", bytes_of("before")));
  REQUIRE(text(subscription.receive(soon())) == "before");
  host.reset();
  REQUIRE(eventually([&] { return subscriber.hosts_broker() || publisher.hosts_broker(); }));
  REQUIRE_FALSE(publisher.wait_subscribers("a.b", 1, soon()));
  REQUIRE_FALSE(publisher.publish("a.b", bytes_of("after"), {}, soon()));
  REQUIRE(text(subscription.receive(soon())) == "after");
}

TEST_CASE("nothing is lost when those who host the broker leave one after the other in good order", "[bus]") {
  const std::string scheme = GENERATE(as<std::string>{}, "inproc", "shm", "unix");
  CAPTURE(scheme);
  const std::string address = fresh_address(scheme);
  auto host = std::make_unique<Node>(Node::join(address));
  Node subscriber = Node::join(address), publisher = Node::join(address);
  Subscription subscription = subscriber.subscribe("a.>");
  std::atomic<std::uint64_t> published{0};
  std::atomic<bool> enough{false};
  std::jthread publishing([&] {
    while (!enough && !publisher.publish("a.b", bytes_of(std::to_string(published)), {}, soon())) ++published;
  });
  std::atomic<std::uint64_t> received{0};
  std::jthread receiving([&] {
    while (Result<Delivery> message = subscription.receive(soon())) {
      if (text(message) != std::to_string(received)) return;  // one is missing
      ++received;
    }
  });
  for (int i = 0; i < 3; ++i) {
    const std::uint64_t so_far = received;
    REQUIRE(eventually([&] { return received > so_far + 100; }));
    auto next = std::make_unique<Node>(Node::join(address));
    host.reset();  // whoever is first takes its place
    REQUIRE(eventually([&] { return next->hosts_broker() || subscriber.hosts_broker() || publisher.hosts_broker(); }));
    if (!next->hosts_broker()) break;  // it will not go
    host = std::move(next);
  }
  enough = true;
  publishing.join();
  REQUIRE(eventually([&] { return received == published; }));
  REQUIRE_FALSE(publisher.flush(soon()));
  subscription.close();
  CHECK(publisher.books().accepted == published);
  CHECK(publisher.books().unknown_after_crash == 0);
  CHECK(subscriber.books().missing == 0);
}

TEST_CASE("flush and close tell that a broker died with messages of which nobody knows more", "[bus]") {
  const std::string address = fixed_address("unix");
  std::optional<Impostor> dies;
  dies.emplace(address, [](Channel& to, const protocol::Frame& frame) {
    if (std::holds_alternative<protocol::Hello>(frame)) Impostor::welcome(to);
  });
  Node node = Node::join(address + "?embed=never");
  for (int i = 0; i < 50; ++i) REQUIRE_FALSE(node.publish("a", bytes_of("x"), {}, soon()));
  dies.reset();
  const Broker next({address});
  SECTION("a flush, once") {
    REQUIRE(node.flush(soon()) == Errc::peer_died);
    REQUIRE(node.books().unknown_after_crash == 50);
    REQUIRE_FALSE(node.publish("a", bytes_of("x"), {}, soon()));
    REQUIRE_FALSE(node.flush(soon()));
    REQUIRE(node.books().accepted == 1);
    REQUIRE_FALSE(node.close(soon()));
  }
  SECTION("else the close") { REQUIRE(node.close(soon()) == Errc::peer_died); }
}

TEST_CASE("a node that may not come back wakes all who wait for something, and says why", "[bus]") {
  const std::string address = fixed_address("unix");
  std::optional<Broker> broker(std::in_place, std::vector{address});
  Node node = Node::join(address + "?embed=never");
  Subscription receives = node.subscribe("a"), polls = node.subscribe("b");
  const int fd = polls.readable_fd();
  const Subscription questions = node.subscribe("who");  // and nobody answers
  auto received = std::async(std::launch::async, [&] { return receives.receive(); });
  auto answered = std::async(std::launch::async, [&] { return node.request("who", {}, forever); });
  REQUIRE(eventually([&] { return questions.books().received == 1; }));
  broker.reset();
  const Impostor newer(address, [](Channel& to, const protocol::Frame&) {
    Impostor::say(to, protocol::Refused{0, Errc::version_mismatch, "this broker speaks version 2"});
  });
  REQUIRE(received.wait_until(soon()) == std::future_status::ready);
  REQUIRE(received.get().error() == Errc::version_mismatch);
  REQUIRE_THAT(receives.why(), Catch::Matchers::Contains("version 2"));
  pollfd poll{fd, POLLIN, 0};
  REQUIRE(::poll(&poll, 1, 20'000) == 1);
  REQUIRE(polls.try_receive().error() == Errc::version_mismatch);
  REQUIRE(answered.wait_until(soon()) == std::future_status::ready);
  REQUIRE_FALSE(answered.get());
  REQUIRE(node.publish("a", bytes_of("x"), {}, soon()) == Errc::closed);
}

TEST_CASE("a node that has left does not come back while it closes", "[bus]") {
  std::atomic<int> hellos{0};
  const Impostor broker(fixed_address("unix"), [&](Channel& to, const protocol::Frame& frame) {
    if (std::holds_alternative<protocol::Hello>(frame)) {
      ++hellos;
      Impostor::welcome(to);
    }
    if (std::holds_alternative<protocol::Bye>(frame)) {
      Impostor::say(to, protocol::Farewell{});
      static_cast<void>(to.close(soon()));
    }
  });
  for (int i = 1; i <= 300; ++i) {
    Node node = Node::join(broker.address() + "?embed=never");
    REQUIRE_FALSE(node.close(soon()));
    REQUIRE(hellos == i);
  }
}

TEST_CASE("of threads that close a node at once one does it and the others wait for it", "[bus]") {
  const std::string scheme = GENERATE(as<std::string>{}, "inproc", "shm", "unix");
  CAPTURE(scheme);
  for (int i = 0; i < 50; ++i) {
    Node node = Node::join(fresh_address(scheme));  // it hosts the broker
    std::atomic<bool> closed{false};
    std::vector<std::future<std::error_code>> closing;
    for (int j = 0; j < 3; ++j) closing.push_back(std::async(std::launch::async, [&] { return node.close(soon()); }));
    auto looking = std::async(std::launch::async, [&] {
      while (!closed) static_cast<void>(node.hosts_broker());
    });
    for (auto& one : closing) {
      REQUIRE(one.wait_until(soon()) == std::future_status::ready);
      REQUIRE_FALSE(one.get());
    }
    closed = true;
    looking.get();
    REQUIRE_FALSE(node.hosts_broker());
  }
}

TEST_CASE("no two nodes have the same inbox: it has the publisher's number", "[bus]") {
  const std::string address = fresh_address("inproc");
  Node one = Node::join(address), other = Node::join(address);
  REQUIRE(one.inbox(soon())->pattern == "_INBOX." + std::to_string(one.publisher()) + ".*");
  REQUIRE(other.inbox(soon())->pattern == "_INBOX." + std::to_string(other.publisher()) + ".*");
  REQUIRE(one.publisher() != other.publisher());
}

TEST_CASE("a node whose receiver runs out of memory connects anew and goes on", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node publisher = Node::join(broker.address()), subscriber = Node::join(broker.address());
  Subscription subscription = subscriber.subscribe("a");
  std::atomic<bool> enough{false};
  std::jthread publishing([&] {
    while (!enough && !publisher.publish("a", bytes_of("x"), {.level = Level::delivered}, soon())) continue;
  });
  constexpr std::size_t kUpTo = 12;  // more than one message takes
  std::uint64_t failures = 0;
  for (std::size_t nth = 1; nth <= kUpTo; ++nth) {
    std::optional<Result<Delivery>> message;
    try {
      const FailingAllocation failing(nth);
      message.emplace(subscription.receive(soon()));
    } catch (const std::bad_alloc&) {  // the call's own
    }
    if (FailingAllocation::happened()) ++failures;
    CHECK((!message || *message));
    CHECK(subscription.receive(soon()));
  }
  enough = true;
  subscription.close();
  publishing.join();
  CHECK(failures > 0);
  CHECK_FALSE(publisher.settled(soon()));
}

TEST_CASE("a call whose words are larger than a message of the channel fails at once", "[bus]") {
  const std::string address = fresh_address("unix") + "?max_message=256";
  const Broker broker({address});
  Node node = Node::join(address);
  const std::string word(250, 'a');
  REQUIRE_THROWS_WITH(node.subscribe(word), Catch::Matchers::Contains("larger than a message"));
  REQUIRE_THROWS_WITH(node.subscribe("a", {.queue = word}), Catch::Matchers::Contains("larger than a message"));
  REQUIRE(node.wait_subscribers(word, 1, soon()) == Errc::message_too_large);
  REQUIRE(node.query(word, soon()).error() == Errc::message_too_large);
  REQUIRE_THROWS_WITH(Node::join(address, {.name = word, .within = 20s}),
                      Catch::Matchers::Contains("larger than a message"));
  Subscription subscription = node.subscribe("a");  // and goes on
  REQUIRE_FALSE(node.publish("a", bytes_of("x"), {}, soon()));
  REQUIRE(subscription.receive(soon()));
}

TEST_CASE("a question of which the broker's word is lost waits for its answer", "[bus]") {
  std::uint32_t inbox = 0;
  std::uint64_t answers = 0;
  const Impostor broker(fresh_address("udp"), [&](Channel& to, const protocol::Frame& frame) {
    if (std::holds_alternative<protocol::Hello>(frame)) Impostor::welcome(to);
    if (std::holds_alternative<protocol::Bye>(frame)) Impostor::say(to, protocol::Farewell{});
    if (const auto* const subscribe = std::get_if<protocol::Subscribe>(&frame)) {
      inbox = subscribe->subscription;
      Impostor::say(to, protocol::Subscribed{inbox});
    }
    const auto* const question = std::get_if<protocol::Publish>(&frame);
    if (question == nullptr) return;
    const auto answer = [&] {
      Impostor::say(to,
                    protocol::Deliver{
                        inbox, ++answers, {7, answers}, false, false, false, question->reply, {}, {}, bytes_of("42")});
    };
    const std::string_view kind = question->subject;
    if (kind == "at.once") answer();
    if (kind != "at.once") Impostor::say(to, protocol::Outcome{question->sequence, 0, 1, Reason::network});
    if (kind == "later") answer();
  });
  Node node = Node::join(broker.address());
  CHECK(text(node.request("at.once", {}, soon())) == "42");
  CHECK(text(node.request("later", {}, soon())) == "42");
  CHECK(node.request("never", {}, in(50ms)).error() == Errc::timed_out);
}

TEST_CASE("members of a queue group share the messages, others get all of them", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Subscription everything = node.subscribe("jobs");
  std::vector<Subscription> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(node.subscribe("jobs", {.queue = "workers"}));
  constexpr int kJobs = 300;
  for (int i = 0; i < kJobs; ++i) REQUIRE_FALSE(node.publish("jobs", bytes_of(std::to_string(i))));
  std::set<std::string> done;
  for (Subscription& worker : workers) {
    for (int i = 0; i < kJobs / 3; ++i) done.insert(text(worker.receive(soon())));
    REQUIRE(worker.try_receive().error() == Errc::would_block);
  }
  REQUIRE(done.size() == kJobs);
  for (int i = 0; i < kJobs; ++i) REQUIRE(text(everything.receive(soon())) == std::to_string(i));
}

TEST_CASE("a question is answered by a service, and at once where there is none", "[bus]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Broker broker({fresh_address(scheme)});
  Node server = Node::join(broker.address());
  Node client = Node::join(broker.address());
  const Service service = server.serve("math.*", [](Request& request) {
    static_cast<void>(request.reply(bytes_of(std::string(request.subject()) + " " + std::string(request.text()))));
  });
  for (int i = 0; i < 20; ++i) {
    REQUIRE(text(client.request("math.add", bytes_of(std::to_string(i)), soon())) == "math.add " + std::to_string(i));
  }
  const Result<Delivery> nobody = client.request("physics", bytes_of("?"), soon());
  REQUIRE_FALSE(nobody);
  REQUIRE(nobody.error() == Errc::no_subscriber);
}

TEST_CASE("a question may have several answers", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node node = Node::join(broker.address());
  const Service one = node.serve(
      "who", [](Request& request) { static_cast<void>(request.reply(bytes_of("one"))); }, "1");
  const Service two = node.serve(
      "who", [](Request& request) { static_cast<void>(request.reply(bytes_of("two"))); }, "2");
  std::set<std::string> answers;
  REQUIRE_FALSE(node.request_many(
      "who", {},
      [&](Delivery&& answer) {
        answers.emplace(answer.text());
        return answers.size() < 2;
      },
      soon()));
  REQUIRE(answers == std::set<std::string>{"one", "two"});
}

TEST_CASE("an inbox counts every answer: those that were waited for, and those that came when it was over", "[bus]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Broker broker({fresh_address(scheme)});
  Node server = Node::join(broker.address());
  Subscription questions = server.subscribe("who");
  Node client = Node::join(broker.address());
  const auto inbox = [&client] { return client.inbox(soon()); };
  const auto expired = [&] { return inbox()->books.dropped[static_cast<std::size_t>(Reason::expired)]; };
  const std::string pattern = inbox()->pattern;  // before anything was asked
  REQUIRE(pattern.starts_with("_INBOX."));
  REQUIRE(inbox()->books.received == 0);

  // Three answers before the question's caller has looked, and one of them is enough.
  std::uint64_t number = 0;
  const auto answer_three_times = [&](std::uint64_t sequence) {
    number = sequence;
    const Result<Delivery> question = questions.receive(soon());
    REQUIRE(question);
    REQUIRE(question->id() == MessageId{client.publisher(), sequence});
    for (int i = 0; i < 3; ++i) REQUIRE_FALSE(server.publish(question->reply(), bytes_of(std::to_string(i))));
    REQUIRE_FALSE(server.flush(soon()));
  };
  REQUIRE(text(client.request("who", {}, soon(), {.on_asked = answer_three_times})) == "0");
  REQUIRE(number == 1);
  REQUIRE(eventually([&] { return expired() == 2; }));
  REQUIRE(inbox()->books.received == 1);

  // One that comes when nobody waits any more.
  const Result<Delivery> none = client.request("who", {}, in(20ms));
  REQUIRE(none.error() == Errc::timed_out);
  REQUIRE_FALSE(server.publish(questions.receive(soon())->reply(), bytes_of("late")));
  REQUIRE(eventually([&] { return expired() == 3; }));

  // All of them.
  int seen = 0;
  REQUIRE_FALSE(client.request_many("who", {},
                                    [&](Delivery&&) {
                                      REQUIRE(expired() == 3);  // what still waits for this caller is not over
                                      return ++seen < 3;
                                    },
                                    soon(), {.on_asked = answer_three_times}));
  REQUIRE(number == 3);
  REQUIRE(inbox()->books.received == 4);

  static_cast<void>(client.close(soon()));
  const Result<Inbox> in_the_end = client.inbox(Deadline{});
  REQUIRE(in_the_end->pattern == pattern);
  REQUIRE(in_the_end->books.received == 4);
  REQUIRE(total(in_the_end->books.dropped) == 3);
  Node other = Node::join(broker.address());
  static_cast<void>(other.close(soon()));
  REQUIRE(other.inbox(soon()).error() == Errc::closed);
}

TEST_CASE("who answers with a message to be delivered is told whether somebody waited for it", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node server = Node::join(broker.address());
  Subscription questions = server.subscribe("who");
  Node client = Node::join(broker.address());
  PublishOptions delivered;
  delivered.level = Level::delivered;
  const auto failed = [&server] { return total(server.books().undelivered); };
  const auto answer_twice = [&](std::uint64_t) {
    const Result<Delivery> question = questions.receive(soon());
    REQUIRE(question);
    for (const char* const words : {"one", "two"}) {
      REQUIRE_FALSE(server.publish(question->reply(), bytes_of(words), delivered));
    }
    REQUIRE_FALSE(server.flush(soon()));
  };
  REQUIRE(text(client.request("who", {}, soon(), {.on_asked = answer_twice})) == "one");
  REQUIRE(client.request("who", {}, in(20ms)).error() == Errc::timed_out);
  REQUIRE_FALSE(server.publish(questions.receive(soon())->reply(), bytes_of("late"), delivered));
  REQUIRE_FALSE(server.settled(soon()));
  CHECK(failed() == 2);
}

TEST_CASE("a question that is not published is not said to have been asked", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node node = Node::join(broker.address());
  int asked = 0;
  const RequestOptions options{.headers = nullptr, .on_asked = [&asked](std::uint64_t) { ++asked; }};
  REQUIRE(node.request("not a subject", {}, soon(), options).error() == Errc::bad_address);
  REQUIRE(asked == 0);
  REQUIRE(node.request("nobody", {}, soon(), options).error() == Errc::no_subscriber);
  REQUIRE(asked == 1);
}

TEST_CASE("who throws when he is told of his question, or of an answer, may go on", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node node = Node::join(broker.address());
  const Service service = node.serve("a", [](Request& request) { static_cast<void>(request.reply(request.bytes())); });
  const auto fails = [](std::uint64_t) { throw std::runtime_error("no"); };
  REQUIRE_THROWS_AS(node.request("a", bytes_of("1"), soon(), {.on_asked = fails}), std::runtime_error);
  const auto also_fails = [](Delivery&&) -> bool { throw std::runtime_error("no"); };
  REQUIRE_THROWS_AS(node.request_many("a", bytes_of("2"), also_fails, soon()), std::runtime_error);
  REQUIRE(text(node.request("a", bytes_of("3"), soon())) == "3");
}

TEST_CASE("the books of a subscription are there after its node was closed", "[bus]") {
  const Broker broker({fresh_address("unix")});
  Node node = Node::join(broker.address());
  const Subscription subscription = node.subscribe("a");
  REQUIRE_FALSE(node.publish("a", {}));
  REQUIRE(eventually([&] { return subscription.books().received == 1; }));
  REQUIRE_FALSE(node.close(soon()));
  REQUIRE(subscription.books().received == 1);
}

TEST_CASE("headers and the subject for answers arrive as they were sent", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Subscription subscription = node.subscribe(">");
  HeaderBlock headers;
  headers.add("type", "json").add("trace", "17");
  REQUIRE_FALSE(node.publish("a", bytes_of("{}"), {.reply = "answers.here", .headers = &headers}));
  const Result<Delivery> got = subscription.receive(soon());
  REQUIRE(text(got) == "{}");
  REQUIRE(got->reply() == "answers.here");
  REQUIRE(got->headers().find("trace") == "17");
  REQUIRE(got->headers().find("type") == "json");
}

TEST_CASE("those who come late get the last messages that were to be kept", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  for (int i = 0; i < 10; ++i) REQUIRE_FALSE(node.publish("log", bytes_of(std::to_string(i)), {.history = 5}));
  REQUIRE_FALSE(node.flush(soon()));
  Subscription late = node.subscribe("*", {.history = 3});
  for (int i = 7; i < 10; ++i) {
    const Result<Delivery> got = late.receive(soon());
    REQUIRE(text(got) == std::to_string(i));
    REQUIRE(got->kept());
  }
  REQUIRE_FALSE(node.publish("log", bytes_of("live")));
  REQUIRE(text(late.receive(soon())) == "live");
}

TEST_CASE("a subscription that blocks holds its publishers back and loses nothing", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node subscriber = Node::join(broker.address());
  Node publisher = Node::join(broker.address());
  Subscription slow = subscriber.subscribe("a", {.depth = 4, .full = Full::block});
  constexpr int kCount = 20000;  // far more than windows and rings hold
  std::atomic<int> sent{0};
  std::thread sending([&] {
    for (; sent < kCount; ++sent) {
      if (publisher.publish("a", bytes_of(std::to_string(sent)), {}, soon())) return;
    }
  });
  for (int i = 0; i < kCount; ++i) REQUIRE(text(slow.receive(soon())) == std::to_string(i));
  sending.join();
  REQUIRE(sent == kCount);
  REQUIRE(total(subscriber.books().dropped) == 0);
}

TEST_CASE("a burst leaves by itself, whatever its publisher does then", "[bus]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  const Broker broker({fresh_address(scheme)});
  Node subscriber = Node::join(broker.address());
  Node publisher = Node::join(broker.address());
  Subscription subscription = subscriber.subscribe("a");
  for (int burst = 0; burst < 20; ++burst) {
    constexpr int kCount = 30;
    for (int i = 0; i < kCount; ++i) REQUIRE_FALSE(publisher.publish("a", bytes_of("x"), {}, soon()));
    for (int i = 0; i < kCount; ++i) REQUIRE(subscription.receive(soon()));
  }
}

TEST_CASE("each message of a burst is what was published, and lives as long as whoever has it", "[bus]") {
  const std::string scheme = GENERATE(as<std::string>{}, "inproc", "shm", "unix", "tcp");
  CAPTURE(scheme);
  const Broker broker({fresh_address(scheme)});
  constexpr int kCount = 1000;
  const auto subject = [](int i) { return i / 100 % 2 == 0 ? "even.hundred" : "odd.hundred"; };
  const auto payload = [](int i) { return std::string(static_cast<std::size_t>(i) % 90, 'x') + std::to_string(i); };
  std::vector<Delivery> kept;
  {
    Node subscriber = Node::join(broker.address());
    Node publisher = Node::join(broker.address());
    Subscription subscription = subscriber.subscribe("*.hundred", {.depth = 2 * kCount});
    for (int i = 0; i < kCount; ++i) REQUIRE_FALSE(publisher.publish(subject(i), bytes_of(payload(i)), {}, soon()));
    for (int i = 0; i < kCount; ++i) {
      Result<Delivery> message = subscription.receive(soon());
      REQUIRE(message);
      REQUIRE(message->id() == MessageId{publisher.publisher(), static_cast<std::uint64_t>(i) + 1});
      if (i % 3 == 0) kept.push_back(std::move(*message));
    }
    REQUIRE(subscription.books().received == kCount);
    REQUIRE_FALSE(publisher.flush(soon()));
    REQUIRE(publisher.books().accepted == kCount);
  }
  for (int i = 0; i < kCount; i += 3) {
    const Delivery& message = kept.at(static_cast<std::size_t>(i) / 3);
    REQUIRE(message.text() == payload(i));
    REQUIRE(message.subject() == subject(i));
    REQUIRE(message.headers().begin() == message.headers().end());
  }
}

TEST_CASE("a full subscription drops by its rule, counts it, and both sides are told", "[bus]") {
  const auto [full, first] = GENERATE(table<Full, int>({{Full::drop_new, 0}, {Full::drop_old, 90}}));
  CAPTURE(full);
  const Broker broker({fresh_address("shm")});
  Node subscriber = Node::join(broker.address());
  Node publisher = Node::join(broker.address());
  Subscription slow = subscriber.subscribe("a", {.depth = 10, .full = full});
  for (int i = 0; i < 100; ++i) REQUIRE_FALSE(publisher.publish("a", bytes_of(std::to_string(i))));
  REQUIRE_FALSE(publisher.flush(soon()));
  REQUIRE_FALSE(subscriber.flush(soon()));  // everything for it is here
  for (int i = 0; i < 10; ++i) REQUIRE(text(slow.receive(soon())) == std::to_string(first + i));
  REQUIRE(slow.try_receive().error() == Errc::would_block);
  REQUIRE_FALSE(publisher.publish("a", bytes_of("next")));
  REQUIRE(text(slow.receive(soon())) == "next");
  REQUIRE(eventually([&] { return slow.books().dropped[static_cast<std::size_t>(Reason::queue_full)] == 90; }));
  REQUIRE(slow.books().received == 11);
  if (full == Full::drop_new) {
    REQUIRE_FALSE(publisher.flush(soon()));
    REQUIRE(publisher.books().copies_dropped == 90);
  }
}

TEST_CASE("a subscription whose rule is to end when full ends and says why", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Node publisher = Node::join(broker.address());
  Subscription slow = node.subscribe("a", {.depth = 3, .full = Full::disconnect});
  Subscription quick = node.subscribe("a", {.depth = 100});
  for (int i = 0; i < 10; ++i) REQUIRE_FALSE(publisher.publish("a", bytes_of(std::to_string(i))));
  for (int i = 0; i < 10; ++i) REQUIRE(text(quick.receive(soon())) == std::to_string(i));
  for (int i = 0; i < 3; ++i) REQUIRE(text(slow.receive(soon())) == std::to_string(i));
  const Result<Delivery> over = slow.receive(soon());
  REQUIRE_FALSE(over);
  REQUIRE(over.error() == Errc::no_room);
  REQUIRE_THAT(slow.why(), Catch::Matchers::Contains("depth"));
}

TEST_CASE("a message to be delivered that was not handled comes to another of its group", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node publisher = Node::join(broker.address());
  Node other = Node::join(broker.address());
  auto first = std::make_unique<Node>(Node::join(broker.address()));
  Subscription broken = first->subscribe("jobs", {.queue = "w"});
  REQUIRE_FALSE(publisher.publish("jobs", bytes_of("job"), {.level = Level::delivered}));
  {
    Result<Delivery> job = broken.receive(soon());
    REQUIRE(text(job) == "job");
    job->reject();
  }
  Subscription works = other.subscribe("jobs", {.queue = "w"});
  broken.close();
  const Result<Delivery> again = works.receive(soon());
  REQUIRE(text(again) == "job");
  REQUIRE(again->again());
}

TEST_CASE("one broker joins transports", "[bus]") {
  const Broker broker({fresh_address("shm"), fresh_address("unix"), fresh_address("tcp")});
  Node on_shm = Node::join(broker.address(0));
  Node on_unix = Node::join(broker.address(1));
  Node on_tcp = Node::join(broker.address(2));
  Subscription by_unix = on_unix.subscribe("a.*"), by_tcp = on_tcp.subscribe("a.>");
  const std::string large(500'000, 'x');
  REQUIRE_FALSE(on_shm.publish("a.b", bytes_of("small"), {}, soon()));
  REQUIRE_FALSE(on_shm.publish("a.b", bytes_of(large), {}, soon()));
  for (Subscription* const subscription : {&by_unix, &by_tcp}) {
    REQUIRE(text(subscription->receive(soon())) == "small");
    REQUIRE(text(subscription->receive(soon())) == large);
  }
}

TEST_CASE("subjects and patterns that are none are refused by name", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  for (const char* const bad : {"", ".", "a.", ".a", "a..b", "a b", "a.>.b", "a*"}) {
    CAPTURE(bad);
    REQUIRE(node.publish(bad, bytes_of("x")) == Errc::bad_address);
    REQUIRE_THROWS_AS(node.subscribe(bad), Error);
  }
  REQUIRE(node.publish("a.*", bytes_of("x")) == Errc::bad_address);
  REQUIRE(node.publish("a", bytes_of(std::string(2 << 20, 'x')), {}, soon()) == Errc::message_too_large);
}

TEST_CASE("a message as large as the broker takes arrives, and a larger one is refused at once", "[bus]") {
  const std::string scheme = GENERATE(from_range(registered_schemes()));
  CAPTURE(scheme);
  constexpr std::size_t kMost = (std::size_t{1} << 20) - 1;  // with the subject's one byte it is 1 MiB
  const Broker broker({fresh_address(scheme)});
  Node node = Node::join(broker.address());
  Subscription all = node.subscribe("a");
  const std::string largest(kMost, 'x');
  PublishOptions delivered;
  delivered.level = Level::delivered;
  for (const PublishOptions& options : {PublishOptions{}, delivered}) {
    REQUIRE_FALSE(node.publish("a", bytes_of(largest), options, soon()));
    const Result<Delivery> came = all.receive(soon());
    REQUIRE(came);
    REQUIRE(came->text() == largest);
  }
  REQUIRE(node.publish("a", bytes_of(largest + "x"), {}, soon()) == Errc::message_too_large);
  REQUIRE_FALSE(node.flush(soon()));
  REQUIRE_FALSE(node.settled(soon()));
}

TEST_CASE("a message that the broker's address does not take is refused at once, whatever its limit", "[bus]") {
  const Broker broker({fresh_address("unix") + "?max_message=1000"});
  Node node = Node::join(broker.address());
  REQUIRE(node.publish("a", bytes_of(std::string(1000, 'x')), {}, soon()) == Errc::message_too_large);
  REQUIRE_FALSE(node.publish("a", bytes_of(std::string(900, 'x')), {}, soon()));
  REQUIRE_FALSE(node.flush(soon()));
  REQUIRE(node.books().accepted == 1);
}

TEST_CASE("threads may share a node", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Subscription all = node.subscribe("t.>", {.depth = 100'000});
  constexpr int kThreads = 4, kEach = 500;
  std::vector<std::jthread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        if (node.publish("t." + std::to_string(t), bytes_of(std::to_string(i)), {}, soon())) ++failures;
      }
    });
  }
  std::map<std::string, int> next;
  for (int i = 0; i < kThreads * kEach; ++i) {
    const Result<Delivery> got = all.receive(soon());
    REQUIRE(got);
    REQUIRE(got->text() == std::to_string(next[std::string(got->subject())]++));
  }
  threads.clear();
  REQUIRE(failures == 0);
}

TEST_CASE("closing a node ends what waits on it", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Subscription subscription = node.subscribe("a");
  auto waiting = std::async(std::launch::async, [&] { return subscription.receive(soon()).error(); });
  REQUIRE_FALSE(node.close(soon()));
  REQUIRE(waiting.get() == Errc::closed);
  REQUIRE(node.publish("a", bytes_of("x"), {}, soon()) == Errc::closed);
}

TEST_CASE("a subscription's descriptor is readable while a message waits", "[bus]") {
  const Broker broker({fresh_address("shm")});
  Node node = Node::join(broker.address());
  Subscription subscription = node.subscribe("a");
  pollfd fd{subscription.readable_fd(), POLLIN, 0};
  REQUIRE(::poll(&fd, 1, 0) == 0);
  REQUIRE_FALSE(node.publish("a", bytes_of("x")));
  REQUIRE(::poll(&fd, 1, 20'000) == 1);
  REQUIRE(subscription.try_receive());
  REQUIRE(::poll(&fd, 1, 0) == 0);
}
