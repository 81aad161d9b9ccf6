// tests/transports/mq/greeting_test.cpp: peers that break the handshake, on either side of it.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/os/pass_fd.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"
#include "transports/mq/link.hpp"

using namespace bus;
using namespace std::chrono_literals;
using mq::Hello;
using mq::Welcome;
using os::Fd;

namespace {

Fd raw_connect(const mq::Place& place) {
  Fd fd = os::connect_local(place.path).value();
  const int flags = ::fcntl(fd.get(), F_GETFL);
  ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);  // the test may wait
  return fd;
}

/// Reads exactly so many bytes; fewer at the end of the stream. Descriptors that come along are closed by the kernel.
std::vector<std::byte> read_bytes(const Fd& fd, std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::size_t have = 0;
  while (have < count) {
    pollfd p{fd.get(), POLLIN, 0};
    if (::poll(&p, 1, 20000) <= 0) break;
    const ssize_t got = ::recv(fd.get(), bytes.data() + have, count - have, 0);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

void write_bytes(const Fd& fd, std::span<const std::byte> bytes) {
  static_cast<void>(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

/// A listener that is served by a thread of its own until the test is over.
class Served {
 public:
  explicit Served(const std::string& address)
      : listener_(listen(address)), thread_([this] {
          for (;;) {
            auto channel = listener_.accept();
            if (!channel && channel.error() == Errc::closed) return;
            if (!channel) continue;
            ++accepted_;
            auto message = channel->receive(test::soon());
            if (message) static_cast<void>(channel->send(message->bytes(), test::soon()));
            static_cast<void>(channel->receive(test::soon()));
          }
        }) {}
  ~Served() { listener_.close(); }

  [[nodiscard]] int accepted() const { return accepted_; }

 private:
  Listener listener_;
  std::atomic<int> accepted_{0};
  std::jthread thread_;
};

void is_served(const std::string& address) {
  Channel channel = connect(address, test::soon());
  REQUIRE_FALSE(channel.send(bytes_of("honest"), test::soon()));
  const auto echo = channel.receive(test::soon());
  REQUIRE(echo);
  CHECK(echo->text() == "honest");
}

const Hello kGoodHello{4, {}, 4096, 4096};

}  // namespace

TEST_CASE("a listener outlives every broken connector and serves the honest ones", "[mq]") {
  const std::string address = "mq://" + test::fresh_name() + "?max_message=4KiB";
  const mq::Place place(Address::parse(address));
  const Served served(address);
  const auto hello = mq::encode(kGoodHello);

  SECTION("random bytes") {
    std::mt19937_64 random(5);
    for (int round = 0; round < 300; ++round) {
      const Fd fd = raw_connect(place);
      std::vector<std::byte> noise(1 + random() % 200);
      for (std::byte& b : noise) b = static_cast<std::byte>(random());
      write_bytes(fd, noise);
      if (noise.size() >= Hello::kBytes) REQUIRE(read_bytes(fd, 1).empty());  // dropped
    }
  }
  SECTION("every truncation") {
    for (std::size_t size = 0; size < hello.size(); ++size)
      write_bytes(raw_connect(place), std::span(hello).first(size));
  }
  SECTION("gone after HELLO") {
    for (int round = 0; round < 20; ++round) {
      const Fd fd = raw_connect(place);
      write_bytes(fd, hello);
      REQUIRE(read_bytes(fd, Welcome::kBytes).size() == Welcome::kBytes);
    }
    REQUIRE(test::eventually([&] { return mq::find_queues(place.prefix).empty(); }));
  }
  SECTION("another word than READY") {
    const Fd fd = raw_connect(place);
    write_bytes(fd, hello);
    REQUIRE(read_bytes(fd, Welcome::kBytes).size() == Welcome::kBytes);
    write_bytes(fd, bytes_of("ipcbusNO"));
    REQUIRE(read_bytes(fd, 1).empty());
    REQUIRE(test::eventually([&] { return mq::find_queues(place.prefix).empty(); }));
  }
  SECTION("a queue too large for anyone") {
    const Fd fd = raw_connect(place);
    write_bytes(fd, mq::encode(Hello{65536, {}, Options::kMostMaxMessage, 0}));
    const auto answer = read_bytes(fd, Welcome::kBytes);
    REQUIRE(answer.size() == Welcome::kBytes);
    CHECK(mq::decode_welcome(std::span(answer).first<Welcome::kBytes>())->status == mq::Status::no_room);
    CHECK(read_bytes(fd, 1).empty());
  }
  SECTION("another version") {
    const Fd fd = raw_connect(place);
    auto other = hello;
    other[8] = std::byte{2};
    write_bytes(fd, other);
    const auto answer = read_bytes(fd, Welcome::kBytes);
    REQUIRE(answer.size() == Welcome::kBytes);
    CHECK(mq::decode_welcome(std::span(answer).first<Welcome::kBytes>())->status == mq::Status::other_version);
  }
  CHECK(served.accepted() == 0);
  is_served(address);
  CHECK(mq::find_queues(place.prefix).empty());
}

namespace {

/// What a false listener answers with.
struct Answer {
  std::vector<std::byte> bytes;
  std::vector<Fd> descriptors;
};

Fd pipe_end() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const Fd reader(ends[0]);
  return Fd(ends[1]);
}

Answer good_answer(const mq::Id& token) {
  Answer answer;
  const auto bytes = mq::encode(Welcome{mq::Status::welcome, {}, 4096, 4, 4, token});
  answer.bytes.assign(bytes.begin(), bytes.end());
  Fd page;
  static_cast<void>(mq::WakePage::make(page));
  answer.descriptors.push_back(std::move(page));
  for (int n = 0; n < 4; ++n) answer.descriptors.push_back(os::make_event());
  return answer;
}

/// Connects to a listener that gives this answer once, and returns what the connector says.
std::error_code connect_to(const std::string& address, Answer answer) {
  const mq::Place place(Address::parse(address));
  const os::LocalListener listener(place.path, address);
  auto connecting = std::async(std::launch::async, [&]() -> std::error_code {
    try {
      static_cast<void>(connect(address, in(200ms)));
      return {};
    } catch (const Error& e) {
      return e.code();
    }
  });
  Fd peer;
  REQUIRE(test::eventually([&] {
    peer = Fd(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    return static_cast<bool>(peer);
  }));
  REQUIRE(read_bytes(peer, Hello::kBytes).size() == Hello::kBytes);
  std::vector<int> numbers;
  for (const Fd& fd : answer.descriptors) numbers.push_back(fd.get());
  REQUIRE_FALSE(os::send_with_fds(peer.get(), answer.bytes, numbers));
  answer.descriptors.clear();
  return connecting.get();
}

}  // namespace

TEST_CASE("a connector checks everything that a listener answers", "[mq]") {
  const std::string address = "mq://" + test::fresh_name() + "?max_message=4KiB&depth=4";
  const mq::Place place(Address::parse(address));
  const mq::Id token = mq::random_id();
  const mq::QueueName up_name(place.up(token)), down_name(place.down(token));
  const mq::Queue up = mq::Queue::create(up_name.text(), 4, 4096);
  const mq::Queue down = mq::Queue::create(down_name.text(), 4, 4096);
  Answer answer = good_answer(token);

  SECTION("a good answer is a channel") { CHECK(connect_to(address, std::move(answer)) == std::error_code{}); }
  SECTION("a pipe in the place of an eventfd") {
    answer.descriptors[3] = pipe_end();
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("a page whose size is not sealed") {
    answer.descriptors[0] = Fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(answer.descriptors[0].get(), 4096) == 0);
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("a page of another size") {
    answer.descriptors[0] = Fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::fcntl(answer.descriptors[0].get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("too few descriptors") {
    answer.descriptors.pop_back();
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("too many descriptors") {
    answer.descriptors.push_back(os::make_event());
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("another depth than was asked for") {
    answer.bytes[44] = std::byte{5};
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("queues of another size than was told") {
    answer.bytes[40] = std::byte{3};
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("queues that are not there") {
    answer.bytes[48] ^= std::byte{1};
    // as if the listener had died: the connector tries again, and is not answered
    CHECK(connect_to(address, std::move(answer)) == Errc::timed_out);
  }
  SECTION("half of an answer") {
    answer.bytes.resize(Welcome::kBytes / 2);
    CHECK(connect_to(address, std::move(answer)) == Errc::corrupt);
  }
  SECTION("no room") {
    const auto bytes = mq::encode(Welcome{mq::Status::no_room, {}, 0, 0, 0, {}});
    answer.bytes.assign(bytes.begin(), bytes.end());
    answer.descriptors.clear();
    CHECK(connect_to(address, std::move(answer)) == Errc::no_room);
  }
  SECTION("another version") {
    answer.bytes[8] = std::byte{2};
    CHECK(connect_to(address, std::move(answer)) == Errc::version_mismatch);
  }
}
