// tests/tools/measure/windowed_test.cpp: a flood through a broker has so many messages in flight and no more.
#include "tools/measure/ends/windowed.hpp"

#include <deque>
#include <vector>

#include "tests/support/catch.hpp"

using namespace bus::tools::measure;

namespace {

using Bytes = std::vector<std::byte>;

/// An end over two queues; an empty one is the end.
struct QueuesEnd {
  std::deque<Bytes>& out;
  std::deque<Bytes>& in;
  Bytes last{};
  [[nodiscard]] bool send(std::span<const std::byte> message) {
    out.emplace_back(message.begin(), message.end());
    return true;
  }
  [[nodiscard]] bool flush() { return true; }
  [[nodiscard]] bool receive(View& view) {
    if (in.empty()) return false;
    last = std::move(in.front());
    in.pop_front();
    view.bytes = last;
    return true;
  }
  [[nodiscard]] std::string failure() const { return "empty"; }
};

struct Both {
  explicit Both(std::uint64_t window)
      : producer_end{there, back},
        consumer_end{back, there},
        producer(producer_end, window),
        consumer(consumer_end, window) {}
  [[nodiscard]] bool send(std::uint64_t sequence) {
    Bytes message(16);
    stamp(message.data(), {sequence, Phase::timed});
    return producer.send(message);
  }
  std::deque<Bytes> there, back;
  QueuesEnd producer_end, consumer_end;
  Windowed<QueuesEnd> producer, consumer;
};

}  // namespace

TEST_CASE("a producer waits when it is a window ahead of what its consumer has told", "[measure]") {
  Both both(8);
  std::uint64_t sent = 0;
  while (both.send(sent)) ++sent;  // nobody tells anything: it would wait
  REQUIRE(sent == 8);
  View view;
  for (int i = 0; i < 3; ++i) REQUIRE(both.consumer.receive(view));
  REQUIRE(both.back.size() == 1);  // a quarter of the window was taken before the third
  REQUIRE(load_word(both.back.front().data()) == 2);
  REQUIRE(both.send(8));
  REQUIRE(both.send(9));
  REQUIRE_FALSE(both.send(10));
}

TEST_CASE("a message that is lost takes no room of the window for ever", "[measure]") {
  Both both(8);
  View view;
  std::uint64_t received = 0;
  for (std::uint64_t sequence = 0; sequence < 1000; ++sequence) {
    REQUIRE(both.send(sequence));
    if (sequence % 2 == 0) both.there.pop_back();
    if (both.consumer.receive(view)) ++received;
  }
  REQUIRE(received == 500);
}

TEST_CASE("what the consumer tells leaves the message that it has in its hands as it is", "[measure]") {
  Both both(4);
  View view;
  for (std::uint64_t sequence = 0; sequence < 4; ++sequence) REQUIRE(both.send(sequence));
  for (std::uint64_t sequence = 0; sequence < 4; ++sequence) {
    REQUIRE(both.consumer.receive(view));
    REQUIRE(view.bytes.size() == 16);
    REQUIRE(read_stamp(view.bytes.data()).sequence == sequence);
  }
  REQUIRE_FALSE(both.consumer.receive(view));
  REQUIRE(both.consumer.failure() == "empty");
}

TEST_CASE("a window is a MiB, and always some messages", "[measure]") {
  REQUIRE(window_of(64) == 8192);
  REQUIRE(window_of(1024) == 1024);
  REQUIRE(window_of(64 << 10) == 16);
  REQUIRE(window_of(64 << 20) == 2);
  REQUIRE(window_of(0) == 8192);
}
