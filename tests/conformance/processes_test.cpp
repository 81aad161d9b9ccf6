// tests/conformance/processes_test.cpp: two real processes: content, order, start orders, death, a stop.
#include <iostream>
#include <optional>

#include "tests/conformance/peer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/traffic.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

namespace {

/// A scheme for the case to run on; none where channels do not cross processes.
std::optional<std::string> process_scheme() {
  std::string scheme = GENERATE(from_range(registered_schemes()));
  if (!traits_of(scheme).crosses_processes) return {};
  return scheme;
}

/// This end of the channel between the test and a peer that has just been started.
struct Link {
  bus::Listener listener;  // where the test listens
  bus::Channel channel;
};

/// The test listens, the peer connects.
Link accept_peer(const std::string& address, std::optional<Peer>& peer) {
  Link link{bus::listen(address), {}};
  peer = Peer::start("connect", std::string(link.listener.address()));
  link.channel = link.listener.accept(soon()).value();
  peer->expect("connected");
  return link;
}

/// The peer listens, the test connects.
bus::Channel connect_to(Peer& peer) {
  peer.tell("accept");
  bus::Channel channel = bus::connect(peer.address(), soon());
  peer.expect("accepted");
  return channel;
}

/// Closes both ends at once and requires that the books add up on both.
void close_books(bus::Channel& channel, Peer& peer) {
  peer.tell("close");
  const std::error_code error = channel.close(soon());
  const std::string said = peer.expect("closed ");
  const bus::Books books = channel.books();
  INFO("here: " << to_text(books) << "\nthere: " << said);
  CHECK(books.offered == books.accepted + bus::total(books.refused));
  if (!channel.traits().exchanges_books) return;
  CHECK_FALSE(error);
  CHECK(said.starts_with("closed 0 accepted "));
  CHECK(said.ends_with(" books 1"));
  REQUIRE(books.closed());
}

/// All that the peer had published, then its death. Prints how long the news took.
Stream receive_until_death(bus::Channel& channel, const Payloads& payloads, std::uint64_t first) {
  return receive_stream(channel, payloads, first, kUntilTheEnd, !channel.traits().reliable);
}

/// After a death: this process works on, with another peer, on the same address; and nothing is left behind.
void works_on(Link& link, const std::string& scheme) {
  const std::string address(link.listener.address());
  const bool whole = link.channel.traits().survives_peer;
  link.channel = bus::Channel();
  if (!whole) {  // then a new start has to do
    link.listener.close();
    link.listener = bus::listen(address);
  }
  Peer next = Peer::start("connect", address);
  link.channel = link.listener.accept(soon()).value();
  next.expect("connected");
  next.tell("echo 1");
  next.expect("echo");
  const Payloads payloads(77);
  REQUIRE_FALSE(link.channel.send(payloads.make(1, 100), soon()));
  const auto answer = link.channel.receive(soon());
  REQUIRE(answer);
  REQUIRE(payloads.matches(answer->bytes(), 1));
  next.expect("echoed 1 0");
  close_books(link.channel, next);
  next.finish();
  link.listener.close();
  CAPTURE(scheme, leftovers());
  REQUIRE(leftovers().empty());
}

class Stopwatch {
 public:
  [[nodiscard]] double milliseconds() const {
    return std::chrono::duration<double, std::milli>(bus::Clock::now() - start_).count();
  }

 private:
  bus::Clock::time_point start_ = bus::Clock::now();
};

void print_news(const std::string& scheme, const std::string& what, double milliseconds) {
  std::cout << "peer_died on " << scheme << ", " << what << ": told after " << milliseconds << " ms\n";
}

}  // namespace

TEST_CASE("messages of every size cross processes and come back", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  const bool peer_listens = GENERATE(true, false);
  CAPTURE(*scheme, peer_listens);
  const std::string address = fresh_address(*scheme, "max_message=16MiB");
  std::optional<Peer> peer;
  Link link;
  if (peer_listens) {
    peer = Peer::listening(address);
    link.channel = connect_to(*peer);
  } else {
    link = accept_peer(address, peer);
  }
  const Payloads payloads;
  peer->tell("echo " + std::to_string(kSizes.size()));
  peer->expect("echo");
  bool lost = false;
  for (const std::size_t size : kSizes) {
    CAPTURE(size);
    InThread sending([&] { return link.channel.send(payloads.make(size, size), soon()); });
    const auto message = link.channel.receive(soon());
    REQUIRE_FALSE(sending.get());
    if (!message && !link.channel.traits().reliable) {
      lost = true;
      continue;
    }
    REQUIRE(message);
    REQUIRE(message->size() == size);
    REQUIRE(payloads.matches(message->bytes(), size));
  }
  if (!lost) peer->expect("echoed " + std::to_string(kSizes.size()) + " 0");
  if (lost) return;  // the echo waits for what will not come
  close_books(link.channel, *peer);
  peer->finish();
}

TEST_CASE("a hundred thousand messages cross processes in order", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  CAPTURE(*scheme);
  constexpr std::uint64_t kCount = 100'000;
  std::optional<Peer> peer;
  Link link = accept_peer(fresh_address(*scheme), peer);
  const bus::Traits traits = link.channel.traits();
  peer->tell("send 3 0 " + std::to_string(kCount) + " mixed");
  peer->tell("close");
  const bus::Deadline deadline = bus::in(60s);
  const Stream received = receive_stream(link.channel, Payloads(3), 0, kUntilTheEnd, !traits.reliable, deadline);
  CHECK(received.end == bus::Errc::closed);
  CHECK(received.damaged == 0);
  if (traits.ordered) CHECK(received.misplaced == 0);
  const bus::Books books = link.channel.books();
  INFO(to_text(books));
  if (traits.reliable) CHECK(received.count == kCount);
  if (traits.exchanges_books) {
    CHECK(books.peer_accepted == kCount);
    CHECK(books.received + bus::total(books.dropped) == kCount);
  }
  peer->expect("sent " + std::to_string(kCount) + " 0");
  const std::string said = peer->expect("closed 0");
  if (traits.exchanges_books) REQUIRE(said.ends_with("books 1"));
  peer->finish();
}

TEST_CASE("processes may start in either order", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  CAPTURE(*scheme);
  const std::string address = fixed_address(*scheme);
  Peer peer = Peer::start("connect", address);
  REQUIRE(sleeps(peer.process().pid()));  // it looks for a listener, again and again
  bus::Listener listener = bus::listen(address);
  bus::Channel channel = listener.accept(soon()).value();
  peer.expect("connected");
  peer.tell("send 1 0 3 100");
  REQUIRE(receive_stream(channel, Payloads(1), 0, 3).count == 3);
  peer.expect("sent 3 0");
  close_books(channel, peer);
  peer.finish();
}

TEST_CASE("a peer killed while idle is told after all it had published", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme || !traits_of(*scheme).tells_death) return;
  const bool blocked = GENERATE(false, true);
  CAPTURE(*scheme, blocked);
  std::optional<Peer> peer;
  Link link = accept_peer(fixed_address(*scheme, "max_message=4KiB"), peer);
  const Payloads payloads(1);
  peer->ask("send 1 0 20 1000", "sent 20 0");
  std::uint64_t taken = 0;
  if (blocked) {  // the survivor is blocked in receive when it happens
    taken = receive_stream(link.channel, payloads, 0, 20).count;
    REQUIRE(taken == 20);
  }
  InThread receiving([&] {
    Stream stream;
    if (blocked) stream = receive_until_death(link.channel, payloads, taken);
    return stream;
  });
  if (blocked) receiving.wait_until_blocked();
  peer->process().kill(SIGKILL);
  const Stopwatch since;
  REQUIRE(peer->process().wait(soon()) == ExitStatus{-1, SIGKILL});
  Stream stream = receiving.get();
  const double told = since.milliseconds();
  if (!blocked) stream = receive_until_death(link.channel, payloads, 0);
  if (blocked) print_news(*scheme, "survivor blocked in receive", told);
  REQUIRE(stream.end == bus::Errc::peer_died);
  REQUIRE(stream.count + taken == 20);
  REQUIRE(stream.damaged == 0);
  // It stays so, for every call.
  REQUIRE(link.channel.receive(soon()).error() == bus::Errc::peer_died);
  REQUIRE(link.channel.send(bus::bytes_of("x"), soon()) == bus::Errc::peer_died);
  REQUIRE(link.channel.close(soon()) == bus::Errc::peer_died);
  const bus::Books books = link.channel.books();
  REQUIRE_FALSE(books.closed());
  REQUIRE(books.offered == books.accepted + bus::total(books.refused));
  works_on(link, *scheme);
}

TEST_CASE("a peer killed while blocked in receive is told to a blocked receiver", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme || !traits_of(*scheme).tells_death) return;
  CAPTURE(*scheme);
  std::optional<Peer> peer;
  Link link = accept_peer(fixed_address(*scheme, "wait=block"), peer);
  peer->ask("receive 1 0 all", "receive");
  REQUIRE(sleeps(peer->process().pid()));
  InThread receiving([&] { return receive_until_death(link.channel, Payloads(1), 0); });
  receiving.wait_until_blocked();
  peer->process().kill(SIGKILL);
  const Stopwatch since;
  const Stream stream = receiving.get();
  print_news(*scheme, "both blocked in receive", since.milliseconds());
  REQUIRE(stream.end == bus::Errc::peer_died);
  REQUIRE(stream.count == 0);
  works_on(link, *scheme);
}

TEST_CASE("a peer killed while blocked in send leaves whole messages only", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme || !traits_of(*scheme).tells_death) return;
  CAPTURE(*scheme);
  std::optional<Peer> peer;
  Link link = accept_peer(fixed_address(*scheme, "capacity=8KiB&max_message=64KiB&wait=block"), peer);
  peer->tell("send 1 0 all mixed");
  // It sleeps when nothing more goes in; what it then has published stays.
  REQUIRE(sleeps(peer->process().pid()));
  peer->process().kill(SIGKILL);
  REQUIRE(peer->process().wait(soon()) == ExitStatus{-1, SIGKILL});
  const Stream stream = receive_until_death(link.channel, Payloads(1), 0);
  REQUIRE(stream.end == bus::Errc::peer_died);
  REQUIRE(stream.count > 0);
  REQUIRE(stream.damaged == 0);
  REQUIRE(stream.misplaced == 0);
  works_on(link, *scheme);
}

TEST_CASE("a sender blocked on a peer that is killed is told", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme || !traits_of(*scheme).tells_death) return;
  CAPTURE(*scheme);
  std::optional<Peer> peer;
  Link link = accept_peer(fixed_address(*scheme, "capacity=8KiB&max_message=64KiB"), peer);
  // The peer reads commands and no messages: the channel fills.
  const Payloads payloads;
  InThread sending([&] { return send_stream(link.channel, payloads, 0, kUntilTheEnd, always(1000)); });
  sending.wait_until_blocked();
  peer->process().kill(SIGKILL);
  const Stopwatch since;
  const Stream sent = sending.get();
  print_news(*scheme, "survivor blocked in send", since.milliseconds());
  REQUIRE(sent.end == bus::Errc::peer_died);
  REQUIRE(link.channel.receive(soon()).error() == bus::Errc::peer_died);
  works_on(link, *scheme);
}

TEST_CASE("a stopped peer is alive, merely slow", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  CAPTURE(*scheme);
  std::optional<Peer> peer;
  Link link = accept_peer(fresh_address(*scheme), peer);
  const Payloads payloads;
  peer->ask("echo 2", "echo");
  const auto round_trip = [&](std::uint64_t n) {
    const auto answer = link.channel.receive(soon());
    REQUIRE(answer);
    REQUIRE(payloads.matches(answer->bytes(), n));
  };
  REQUIRE_FALSE(link.channel.send(payloads.make(0, 100), soon()));
  round_trip(0);
  REQUIRE(peer->process().kill(SIGSTOP));
  REQUIRE(eventually([&] { return kernel_state("/proc/" + std::to_string(peer->process().pid())) == 'T'; }));
  REQUIRE_FALSE(link.channel.send(payloads.make(1, 100), soon()));
  // Nothing comes, and that is all that can be said: for as long as one asks.
  REQUIRE(link.channel.receive(bus::in(1500ms)).error() == bus::Errc::timed_out);
  REQUIRE(peer->process().kill(SIGCONT));
  round_trip(1);
  peer->expect("echoed 2 0");
  close_books(link.channel, *peer);
  peer->finish();
}

TEST_CASE("a listener that was killed is followed by the next on the same address", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  CAPTURE(*scheme);
  const std::string address = fixed_address(*scheme);
  for (int round = 0; round < 3; ++round) {
    Peer peer = Peer::listening(address);
    bus::Channel channel = connect_to(peer);
    peer.ask("echo all", "echo");
    const Payloads payloads;
    for (std::uint64_t n = 0; n < 5; ++n) {
      REQUIRE_FALSE(channel.send(payloads.make(n, 1000), soon()));
      const auto answer = channel.receive(soon());
      REQUIRE(answer);
      REQUIRE(payloads.matches(answer->bytes(), n));
    }
    peer.process().kill(SIGKILL);
    REQUIRE(peer.process().wait(soon()) == ExitStatus{-1, SIGKILL});
    const bus::Traits traits = channel.traits();
    if (traits.tells_death) {
      REQUIRE(channel.receive(soon()).error() == bus::Errc::peer_died);
      // The survivor swept up after it, where death does no damage; else the next listener does.
      if (traits.survives_peer) REQUIRE(eventually([] { return leftovers().empty(); }));
    }
  }
  Peer last = Peer::listening(address);
  bus::Channel channel = connect_to(last);
  last.tell("send 9 0 10 500");
  REQUIRE(receive_stream(channel, Payloads(9), 0, 10).count == 10);
  last.expect("sent 10 0");
  close_books(channel, last);
  last.finish();
}

TEST_CASE("the second of two processes on one address is refused and told by whom", "[conformance][processes]") {
  const auto scheme = process_scheme();
  if (!scheme) return;
  CAPTURE(*scheme);
  const std::string address = fixed_address(*scheme);
  Peer first = Peer::listening(address);
  Peer second = Peer::start("listen", address);
  const std::string refused = second.expect("failed address_in_use");
  CAPTURE(refused);
  REQUIRE(refused.find(address) != std::string::npos);
  if (!has_port(*scheme)) REQUIRE(refused.find(std::to_string(first.process().pid())) != std::string::npos);
  REQUIRE(second.process().wait(soon()) == ExitStatus{1, 0});
  bus::Channel channel = connect_to(first);
  close_books(channel, first);
  first.finish();
}
