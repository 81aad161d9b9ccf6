// tests/transports/stream/stream_channel_test.cpp: a channel over a socket: its end, its readiness, hostile peers.
#include "transports/stream/stream_channel.hpp"

#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <random>
#include <thread>

#include "bus/core/channel.hpp"
#include "tests/support/payload.hpp"
#include "tests/support/traffic.hpp"
#include "tests/transports/stream/sockets.hpp"

using namespace bus;
using namespace bus::stream;
using namespace std::chrono_literals;
using bus::test::append;
using bus::test::framed;
using bus::test::Payloads;
using bus::test::vector_of;

namespace {

using Terms = StreamChannel::Terms;

Terms terms(Framing framing = Framing::bus, bool tcp = false) {
  Terms t;
  t.framing = framing;
  t.acknowledged = tcp;
  return t;
}

/// A channel, and the other end of its socket in the test's hands.
struct Half {
  explicit Half(Framing framing = Framing::bus, bool tcp = false, std::size_t max_message = 1 << 20)
      : sockets(tcp ? test::tcp_sockets() : test::unix_sockets()) {
    Terms t = terms(framing, tcp);
    t.max_message = max_message;
    channel = std::make_unique<StreamChannel>(std::move(sockets.one), std::move(t));
  }
  [[nodiscard]] int far() const { return sockets.other.get(); }
  [[nodiscard]] std::error_code next_error() const { return test::receive(*channel).error(); }
  [[nodiscard]] std::string next() const {
    const auto message = test::receive(*channel);
    return message ? std::string(message->text()) : "error: " + message.error().message();
  }

  test::Sockets sockets;
  std::unique_ptr<StreamChannel> channel;
};

struct Pair {
  explicit Pair(bool tcp = false, std::size_t capacity = 1 << 18) {
    auto sockets = tcp ? test::tcp_sockets() : test::unix_sockets();
    Terms t = terms(Framing::bus, tcp);
    t.capacity = capacity;
    one = std::make_unique<StreamChannel>(std::move(sockets.one), t);
    other = std::make_unique<StreamChannel>(std::move(sockets.other), t);
  }
  std::unique_ptr<StreamChannel> one, other;
};

/// As bus::Channel does it: tries, waits, tries again.
std::error_code close(ChannelImpl& channel, bool confirm) {
  std::error_code outcome;
  static_cast<void>(test::eventually([&] {
    outcome = channel.try_close(confirm);
    return outcome != Errc::would_block;
  }));
  return outcome;
}

bool is_readable(int fd) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, 0) > 0;
}

std::uint64_t dropped(const ChannelImpl& channel, Reason reason) {
  return channel.ledger().dropped[static_cast<std::size_t>(reason)].get();
}

}  // namespace

TEST_CASE("a closing end says its counts, and the other end answers with its own", "[stream]") {
  for (const bool tcp : {false, true}) {
    CAPTURE(tcp);
    Half half(Framing::bus, tcp);
    REQUIRE_FALSE(half.channel->try_send(bytes_of("a")));
    REQUIRE_FALSE(half.channel->try_send(bytes_of("b")));
    test::write_all(half.far(), framed(bytes_of("in")));
    REQUIRE(half.next() == "in");
    test::write_all(half.far(), framed(bytes_of("unread")));
    REQUIRE(half.channel->try_close(true) == Errc::would_block);
    auto expected = framed(bytes_of("a"));
    append(expected, framed(bytes_of("b")));
    append(expected, framed(Kind::end, {2, 1, 1}));
    REQUIRE(test::read_exactly(half.far(), expected.size()) == expected);
    REQUIRE(half.channel->try_send(bytes_of("late")) == Errc::closed);
    REQUIRE(half.channel->try_close(true) == Errc::would_block);
    test::write_all(half.far(), framed(bytes_of("later")));
    test::write_all(half.far(), framed(Kind::ack, {3, 2, 0}));
    REQUIRE_FALSE(close(*half.channel, true));
    const Books books = half.channel->ledger().snapshot();
    REQUIRE(books.peer_accepted == 3);
    REQUIRE(books.peer_received == 2);
    REQUIRE(dropped(*half.channel, Reason::closed) == 2);
  }
}

TEST_CASE("an end is seen after every message before it, and answered", "[stream]") {
  Half half;
  auto bytes = framed(bytes_of("last"));
  append(bytes, framed(Kind::end, {1, 0, 0}));
  test::write_all(half.far(), bytes);
  REQUIRE(half.next() == "last");
  REQUIRE(half.next_error() == Errc::closed);
  REQUIRE(half.next_error() == Errc::closed);
  REQUIRE(half.channel->try_send(bytes_of("x")) == Errc::closed);
  REQUIRE(test::read_exactly(half.far(), kCountsFrameBytes) == framed(Kind::ack, {0, 1, 0}));
  half.sockets.other.reset();
  REQUIRE_FALSE(close(*half.channel, true));
}

TEST_CASE("an answered end has been read: closing waits for no acknowledgement of what follows it", "[stream]") {
  Half half(Framing::bus, true);
  REQUIRE_FALSE(half.channel->try_send(bytes_of("a")));
  REQUIRE(half.channel->try_close(true) == Errc::would_block);
  const auto said = test::read_exactly(half.far(), kHeaderBytes + 1 + kCountsFrameBytes);
  REQUIRE(said.size() == kHeaderBytes + 1 + kCountsFrameBytes);
  test::write_all(half.far(), framed(Kind::ack, {0, 1, 0}));
  REQUIRE(test::wait_readable(half.channel->wire().fd()));
  // One call: the far end's kernel keeps its acknowledgement of the stream's end back for a while.
  REQUIRE_FALSE(half.channel->try_close(true));
  REQUIRE(half.channel->ledger().snapshot().peer_received == 1);
}

TEST_CASE("a close that has waited in vain is the last to wait", "[stream]") {
  auto sockets = test::unix_sockets();
  Channel peer(std::make_unique<StreamChannel>(std::move(sockets.other), terms()), WaitMode::block, "peer");
  auto closing = std::make_unique<Channel>(std::make_unique<StreamChannel>(std::move(sockets.one), terms()),
                                           WaitMode::block, "closing");
  const std::vector<std::byte> message(4096);
  std::uint64_t accepted = 0;
  while (!closing->try_send(message)) ++accepted;
  REQUIRE(closing->close(in(1ms)) == Errc::timed_out);
  REQUIRE_FALSE(closing->books().closed());
  // Whoever waits sleeps here, until the peer takes what is left.
  test::InThread destruction([&] {
    closing.reset();
    return true;
  });
  destruction.wait_until_blocked();
  std::uint64_t received = 0;
  std::error_code end;
  while (!end) {
    const auto next = peer.receive(test::soon());
    if (next) {
      ++received;
    } else {
      end = next.error();
    }
  }
  REQUIRE(destruction.get());
  REQUIRE(received < accepted);  // what had not been handed over is not delivered later
  REQUIRE(end == Errc::peer_died);
}

TEST_CASE("the last words of a peer are found behind any amount of unread bytes", "[stream]") {
  auto sockets = test::unix_sockets();
  const int room = 128 << 20;
  if (::setsockopt(sockets.other.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0) {
    WARN("needs root: skipped");
    return;
  }
  const int writer = sockets.other.get();
  const Wire wire(std::move(sockets.one));
  std::array<std::byte, 4> tail{};
  const std::vector<std::byte> much(std::size_t{1} << 20);
  const auto words = bytes_of("last");
  std::size_t waiting = 0;
  for (const std::size_t until : {std::size_t{0}, std::size_t{15}, std::size_t{17}, std::size_t{40}}) {
    for (; waiting < until << 20; waiting += much.size()) test::write_all(writer, much);
    test::write_all(writer, words);
    waiting += words.size();
    CAPTURE(waiting);
    REQUIRE(wire.peek_tail(tail));
    REQUIRE(std::equal(tail.begin(), tail.end(), words.begin()));
  }
}

TEST_CASE("what was sent before a close arrives, however the socket ends", "[stream]") {
  const Payloads payloads(31);
  for (const bool tcp : {false, true}) {
    for (const bool unread : {false, true}) {
      CAPTURE(tcp, unread);
      Pair pair(tcp);
      constexpr std::uint64_t kCount = 300;
      // Bytes that arrive here while we close: they must not turn the close into a reset that loses ours.
      if (unread) REQUIRE_FALSE(pair.other->try_send(bytes_of("never read")));
      std::jthread closer([&] {
        for (std::uint64_t i = 0; i < kCount; ++i) {
          while (pair.one->try_send(payloads.make(i, 10000)) == Errc::would_block) std::this_thread::yield();
        }
        static_cast<void>(close(*pair.one, false));
        pair.one.reset();
      });
      std::uint64_t good = 0;
      for (std::uint64_t i = 0; i < kCount; ++i) {
        const auto message = test::receive(*pair.other);
        if (message && payloads.matches(message->bytes(), i)) ++good;
      }
      REQUIRE(good == kCount);
      REQUIRE(test::receive(*pair.other).error() == Errc::closed);
      closer.join();
    }
  }
}

TEST_CASE("both ends may close at once, with their queues full", "[stream]") {
  for (const bool tcp : {false, true}) {
    CAPTURE(tcp);
    Pair pair(tcp, 65536);
    const std::vector<std::byte> payload(5000);
    std::uint64_t sent_one = 0, sent_other = 0;
    while (!pair.one->try_send(payload)) ++sent_one;
    while (!pair.other->try_send(payload)) ++sent_other;
    std::error_code other_end;
    {
      std::jthread there([&] { other_end = close(*pair.other, true); });
      REQUIRE_FALSE(close(*pair.one, true));
    }
    REQUIRE_FALSE(other_end);
    REQUIRE(pair.one->ledger().snapshot().peer_accepted == sent_other);
    REQUIRE(pair.other->ledger().snapshot().peer_accepted == sent_one);
    REQUIRE(dropped(*pair.one, Reason::closed) == sent_other);
    REQUIRE(dropped(*pair.other, Reason::closed) == sent_one);
  }
}

TEST_CASE("a connection cut at any byte gives whole messages, and then a death", "[stream]") {
  auto stream = framed(bytes_of("first"));
  append(stream, framed({}));
  const std::size_t two = stream.size();
  append(stream, framed(bytes_of("third")));
  for (const bool reset : {false, true}) {
    for (std::size_t size = 0; size <= stream.size(); ++size) {
      CAPTURE(reset, size);
      Half half(Framing::bus, true);
      test::write_all(half.far(), std::span(stream).first(size));
      // What was written has arrived before the cut: a reset overtakes nothing over loopback.
      if (reset) {
        test::reset_connection(half.sockets.other);
      } else {
        half.sockets.other.reset();
      }
      std::vector<std::string> got;
      Result<Message> message = test::receive(*half.channel);
      for (; message; message = test::receive(*half.channel)) got.emplace_back(message->text());
      REQUIRE(message.error() == Errc::peer_died);
      REQUIRE(got.size() == (size >= stream.size() ? 3 : size >= two ? 2 : size >= 13 ? 1 : 0));
      REQUIRE(half.next_error() == Errc::peer_died);
      REQUIRE(half.channel->try_send(bytes_of("x")) == Errc::peer_died);
      REQUIRE(half.channel->try_close(true) == Errc::peer_died);
    }
  }
}

TEST_CASE("a sender that never receives tells a closed peer from a dead one", "[stream]") {
  for (const bool orderly : {true, false}) {
    CAPTURE(orderly);
    Half half;
    test::write_all(half.far(), framed(bytes_of("never received")));
    if (orderly) test::write_all(half.far(), framed(Kind::end, {1, 0, 0}));
    half.sockets.other.reset();
    REQUIRE(half.channel->try_send(bytes_of("x")) == (orderly ? Errc::closed : Errc::peer_died));
    REQUIRE(half.next() == "never received");
    REQUIRE(half.next_error() == (orderly ? Errc::closed : Errc::peer_died));
  }
}

TEST_CASE("frames out of place are corrupt and end the channel for both", "[stream]") {
  const auto end = framed(Kind::end, {0, 0, 0});
  const auto ack = framed(Kind::ack, {0, 0, 0});
  struct Case {
    std::vector<std::byte> bytes;
    Errc error;
  };
  for (const Case& c : {Case{ack, Errc::corrupt}, Case{vector_of("garbage!"), Errc::version_mismatch},
                        Case{test::bytes_from({0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0}), Errc::corrupt},
                        Case{test::bytes_from({0, 0, 0, 0, 1, 7, 0, 0}), Errc::corrupt}}) {
    Half half;
    auto bytes = framed(bytes_of("good"));
    append(bytes, c.bytes);
    test::write_all(half.far(), bytes);
    REQUIRE(half.next() == "good");
    REQUIRE(half.next_error() == c.error);
    REQUIRE(half.next_error() == c.error);
    REQUIRE(half.channel->try_send(bytes_of("x")) == c.error);
    REQUIRE(test::read_exactly(half.far(), 1).empty());  // the peer is not left waiting
    REQUIRE(half.channel->try_close(true) == c.error);
  }
  Half half;
  REQUIRE(half.channel->try_close(true) == Errc::would_block);
  auto bytes = end;
  append(bytes, framed(bytes_of("behind the end")));
  test::write_all(half.far(), bytes);
  REQUIRE(close(*half.channel, true) == Errc::corrupt);
}

TEST_CASE("the end of a raw or line stream is an orderly one, a reset is not", "[stream]") {
  for (const Framing framing : {Framing::raw, Framing::line}) {
    Half half(framing, true);
    test::write_all(half.far(), bytes_of("one\ntwo"));
    ::shutdown(half.far(), SHUT_WR);
    std::string got;
    Result<Message> message = test::receive(*half.channel);
    for (; message; message = test::receive(*half.channel)) got.append(message->text()).append("|");
    REQUIRE(message.error() == Errc::closed);
    if (framing == Framing::line) REQUIRE(got == "one|two|");
    // It has ended its own direction only.
    REQUIRE_FALSE(half.channel->try_send(bytes_of("answer")));
    REQUIRE_FALSE(close(*half.channel, false));
    half.channel.reset();
    const std::string answer = framing == Framing::line ? "answer\n" : "answer";
    REQUIRE(test::read_exactly(half.far(), 100) == vector_of(answer));

    Half cut(framing, true);
    test::reset_connection(cut.sockets.other);
    REQUIRE(cut.next_error() == Errc::peer_died);
  }
}

TEST_CASE("a message in two pieces is one line, or one part of a raw stream", "[stream]") {
  const Framing framing = GENERATE(Framing::raw, Framing::line);
  Half half(framing);
  REQUIRE_FALSE(half.channel->try_send_pieces(bytes_of("one\r"), bytes_of("two")));
  REQUIRE_FALSE(half.channel->try_send_pieces(bytes_of("three"), {}));
  REQUIRE_FALSE(half.channel->try_flush());
  const bool lines = framing == Framing::line;
  if (lines) REQUIRE(half.channel->try_send_pieces(bytes_of("a\nb"), bytes_of("c")) == Errc::not_supported);
  if (lines) REQUIRE(half.channel->try_send_pieces(bytes_of("a"), bytes_of("b\r")) == Errc::not_supported);
  const std::string sent = lines ? "one\rtwo\nthree\n" : "one\rtwothree";
  std::array<char, 64> got{};
  REQUIRE(::recv(half.far(), got.data(), got.size(), 0) == static_cast<ssize_t>(sent.size()));
  REQUIRE(std::string_view(got.data(), sent.size()) == sent);
}

TEST_CASE("a line above the limit ends the channel and is in the books", "[stream]") {
  Half half(Framing::line, false, 10);
  test::write_all(half.far(), bytes_of("short\nmuch too long\n"));
  REQUIRE(half.next() == "short");
  REQUIRE(half.next_error() == Errc::message_too_large);
  REQUIRE(dropped(*half.channel, Reason::too_large) == 1);
}

TEST_CASE("the descriptor is readable exactly while a receive would not block", "[stream]") {
  Half half;
  const int fd = half.channel->readable_fd();
  REQUIRE_FALSE(is_readable(fd));
  auto bytes = framed(bytes_of("one"));
  append(bytes, framed(bytes_of("two")));
  append(bytes, framed(bytes_of("three")));
  const std::size_t cut = bytes.size() - 2;
  test::write_all(half.far(), std::span(bytes).first(cut));
  REQUIRE(test::wait_readable(fd));
  REQUIRE(half.next() == "one");
  REQUIRE(is_readable(fd));  // the second is in the inbox, the socket is empty
  REQUIRE(half.next() == "two");
  REQUIRE(half.channel->try_receive().error() == Errc::would_block);
  REQUIRE_FALSE(is_readable(fd));  // a part of the third is no message
  test::write_all(half.far(), std::span(bytes).subspan(cut));
  REQUIRE(test::wait_readable(fd));
  REQUIRE(half.next() == "three");
  REQUIRE_FALSE(is_readable(fd));
  half.sockets.other.reset();
  REQUIRE(test::wait_readable(fd));
  REQUIRE(half.next_error() == Errc::peer_died);
  REQUIRE(is_readable(fd));
}

TEST_CASE("a receiver is not put to sleep before a message that has been read, or with messages gathered", "[stream]") {
  Half half;
  auto bytes = framed(bytes_of("one"));
  append(bytes, framed(bytes_of("two")));
  test::write_all(half.far(), bytes);
  REQUIRE(half.next() == "one");
  {
    WaitSet wait;
    REQUIRE(half.channel->arm(Ready::receive, wait));
    half.channel->disarm(Ready::receive);
  }
  REQUIRE(half.next() == "two");
  half.channel->batch_begin();
  REQUIRE_FALSE(half.channel->try_send(bytes_of("gathered")));
  REQUIRE_FALSE(is_readable(half.far()));
  WaitSet wait;
  REQUIRE_FALSE(half.channel->arm(Ready::receive, wait));
  REQUIRE(is_readable(half.far()));
  half.channel->disarm(Ready::receive);
}

TEST_CASE("one thread sends while another receives and a third watches", "[stream]") {
  constexpr std::uint64_t kCount = 5000;
  const Payloads payloads(33);
  for (const bool tcp : {false, true}) {
    CAPTURE(tcp);
    Pair pair(tcp, 65536);
    const auto send_all = [&](StreamChannel& channel) {
      for (std::uint64_t i = 0; i < kCount; ++i) {
        const auto payload = payloads.make(i, test::mixed_size(i));
        while (channel.try_send(payload) == Errc::would_block) std::this_thread::yield();
      }
      while (channel.try_flush() == Errc::would_block) std::this_thread::yield();
    };
    const auto receive_all = [&](StreamChannel& channel) {
      std::uint64_t good = 0;
      for (std::uint64_t i = 0; i < kCount; ++i) {
        const auto message = test::receive(channel);
        if (message && payloads.matches(message->bytes(), i)) ++good;
      }
      return good;
    };
    std::uint64_t good_one = 0, good_other = 0;
    {
      std::jthread a([&] { send_all(*pair.one); });
      std::jthread b([&] { send_all(*pair.other); });
      std::jthread c([&] { good_one = receive_all(*pair.one); });
      std::jthread d([&] { good_other = receive_all(*pair.other); });
      for (int i = 0; i < 100; ++i) {
        static_cast<void>(pair.one->ledger().snapshot());
        static_cast<void>(pair.one->traits());
      }
    }
    REQUIRE(good_one == kCount);
    REQUIRE(good_other == kCount);
    // The end comes while the other side still sends.
    std::atomic<bool> ended{false};
    std::jthread sender([&] {
      while (pair.one->try_send(bytes_of("x")) != Errc::closed) std::this_thread::yield();
      ended = true;
    });
    std::jthread closer([&] { static_cast<void>(close(*pair.other, true)); });
    REQUIRE(test::receive(*pair.one).error() == Errc::closed);
    REQUIRE(test::eventually([&] { return ended.load(); }));
  }
}

TEST_CASE("a forked child neither speaks on its parent's channel nor ends it", "[stream]") {
  Pair pair;
  const pid_t child = ::fork();
  if (child == 0) {
    const bool refused = pair.one->try_send(bytes_of("from the child")) == Errc::closed &&
                         pair.one->try_receive().error() == Errc::closed && !pair.one->try_close(true);
    pair.one.reset();
    pair.other.reset();
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE_FALSE(pair.one->try_send(bytes_of("from the parent")));
  REQUIRE(test::receive(*pair.other)->text() == "from the parent");
}

TEST_CASE("many idle channels take little memory", "[stream]") {
  const auto resident_kib = [] {
    std::ifstream statm("/proc/self/statm");
    std::size_t size = 0, resident = 0;
    statm >> size >> resident;
    return resident * 4;
  };
  const std::size_t before = resident_kib();
  std::vector<Pair> pairs(200);
  for (Pair& pair : pairs) {
    REQUIRE_FALSE(pair.one->try_send(bytes_of("hello")));
    REQUIRE(test::receive(*pair.other)->text() == "hello");
    WaitSet wait;
    REQUIRE_FALSE(pair.other->arm(Ready::receive, wait));
    pair.other->disarm(Ready::receive);
  }
  // Two pages each for the one that has received; far from the 256 KiB of a chunk.
  REQUIRE(resident_kib() - before < 200 * 64);
}
