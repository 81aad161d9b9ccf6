// tests/transports/mq/queue_test.cpp: Boost's queue behind codes, and what a death inside it does.
#include "transports/mq/queue.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/catch.hpp"

#include "bus/core/errc.hpp"
#include "bus/core/message.hpp"
#include "tests/support/payload.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/transports/mq/child.hpp"

using namespace bus;
using mq::Outcome;
using mq::Queue;
using mq::QueueName;

namespace {

using test::Child;
using test::die_quietly_of_faults;

constexpr std::size_t kPage = 4096;

/// A page that nobody may touch: copying from it kills the process in the middle of the copy.
class DeadlyPage {
 public:
  DeadlyPage() : at_(::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~DeadlyPage() { ::munmap(at_, kPage); }
  DeadlyPage(const DeadlyPage&) = delete;
  DeadlyPage& operator=(const DeadlyPage&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(at_), 64}; }

 private:
  void* at_;
};

std::string pop(Queue& queue) {
  std::vector<std::byte> room(queue.slot());
  std::size_t size = 0;
  if (queue.try_pop(room, size) != Outcome::done) return "(nothing)";
  return {reinterpret_cast<const char*>(room.data()), size};
}

}  // namespace

TEST_CASE("a queue keeps order, boundaries and empty messages, and says when it is full and empty", "[mq]") {
  const QueueName name(test::fresh_name());
  Queue writer = Queue::create(name.text(), 3, 16);
  Queue reader = Queue::open(name.text(), 3, 16);
  std::size_t count = 0;

  CHECK(reader.count(count) == Outcome::wait);
  CHECK(pop(reader) == "(nothing)");
  CHECK(writer.try_push(bytes_of("first")) == Outcome::done);
  CHECK(writer.try_push({}) == Outcome::done);
  CHECK(writer.try_push(bytes_of("sixteen bytes...")) == Outcome::done);
  CHECK(writer.try_push(bytes_of("no room")) == Outcome::wait);
  CHECK(reader.count(count) == Outcome::done);
  CHECK(count == 3);
  CHECK(pop(reader) == "first");
  CHECK(pop(reader).empty());
  CHECK(pop(reader) == "sixteen bytes...");
  CHECK(pop(reader) == "(nothing)");
}

TEST_CASE("a queue is for its user only and its name goes with its owner", "[mq]") {
  const std::string text = test::fresh_name();
  {
    QueueName name(text);
    const Queue queue = Queue::create(text, 2, 64);
    struct stat info {};
    REQUIRE(::stat(("/dev/shm/" + text).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(static_cast<std::size_t>(info.st_size) >= Queue::memory(2, 64));
    // allocated up front: no SIGBUS later
    CHECK(static_cast<std::size_t>(info.st_blocks) * 512 >= static_cast<std::size_t>(info.st_size));
  }
  CHECK_THROWS_AS(Queue::open(text, 2, 64), Error);
}

TEST_CASE("opening a queue that is missing, half made, foreign or of another size fails at once", "[mq]") {
  const auto code = [](const std::string& name, std::size_t depth, std::size_t slot) -> std::error_code {
    try {
      static_cast<void>(Queue::open(name, depth, slot));
      return {};
    } catch (const Error& e) {
      return e.code();
    }
  };
  const QueueName name(test::fresh_name());
  CHECK(code(name.text(), 2, 64) == Errc::no_peer);

  SECTION("not of this size") {
    const Queue queue = Queue::create(name.text(), 4, 64);
    CHECK(code(name.text(), 4, 64) == std::error_code{});
    CHECK(code(name.text(), 3, 64) == Errc::corrupt);
    CHECK(code(name.text(), 4, 63) == Errc::corrupt);
    CHECK(code(name.text(), 4, 1 << 20) == Errc::corrupt);
  }
  SECTION("left half made by a process that died") {
    const int fd = ::shm_open(("/" + name.text()).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    REQUIRE(fd >= 0);
    CHECK(code(name.text(), 2, 64) == Errc::corrupt);  // empty
    REQUIRE(::ftruncate(fd, 1 << 16) == 0);
    CHECK(code(name.text(), 2, 64) == Errc::corrupt);  // zeros: Boost alone would wait for minutes here
    ::close(fd);
  }
  SECTION("open to others") {
    const Queue queue = Queue::create(name.text(), 2, 64);
    REQUIRE(::chmod(("/dev/shm/" + name.text()).c_str(), 0666) == 0);
    CHECK(code(name.text(), 2, 64) == Errc::corrupt);
  }
}

TEST_CASE("a queue that cannot be made leaves no name", "[mq]") {
  const std::string name = test::fresh_name();
  struct rlimit before {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit small = before;
  small.rlim_cur = kPage;
  const auto signal_before = ::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_THROWS_AS(Queue::create(name, 4, 1 << 16), Error);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  ::signal(SIGXFSZ, signal_before);
  struct stat info {};
  CHECK(::stat(("/dev/shm/" + name).c_str(), &info) != 0);
}

TEST_CASE("a second queue of one name is refused and the first lives on", "[mq]") {
  const QueueName name(test::fresh_name());
  Queue queue = Queue::create(name.text(), 2, 64);
  try {
    static_cast<void>(Queue::create(name.text(), 2, 64));
    FAIL("made twice");
  } catch (const Error& e) {
    CHECK(e.code() == Errc::address_in_use);
  }
  CHECK(queue.try_push(bytes_of("alive")) == Outcome::done);
  CHECK(pop(queue) == "alive");
}

TEST_CASE("a process killed inside a queue ends it for good, without a hang, and removing it recovers", "[mq]") {
  const QueueName name(test::fresh_name());
  Queue survivor = Queue::create(name.text(), 8, 4096);
  REQUIRE(survivor.try_push(bytes_of("published before")) == Outcome::done);

  Child victim([&] {
    Queue queue = Queue::open(name.text(), 8, 4096);
    die_quietly_of_faults();
    const DeadlyPage page;
    static_cast<void>(queue.try_push(page.bytes()));  // ends here, holding Boost's mutex
  });
  const int status = victim.wait();
  REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) != 0));

  // Boost marks the mutex as not recoverable: what was in the queue is lost with it. Nothing waits.
  std::size_t count = 0;
  for (int i = 0; i < 3; ++i) {
    CHECK(survivor.try_push(bytes_of("more")) == Outcome::died);
    CHECK(pop(survivor) == "(nothing)");
    CHECK(survivor.count(count) == Outcome::died);
  }

  mq::remove_queue(name.text());
  Queue fresh = Queue::create(name.text(), 8, 4096);
  Queue other = Queue::open(name.text(), 8, 4096);
  CHECK(fresh.try_push(bytes_of("as new")) == Outcome::done);
  CHECK(pop(other) == "as new");
}

TEST_CASE("a process killed outside the lock leaves whole messages", "[mq]") {
  const QueueName name(test::fresh_name());
  Queue survivor = Queue::create(name.text(), 64, 4096);
  const test::Payloads payloads;
  Child victim([&] {
    Queue queue = Queue::open(name.text(), 64, 4096);
    for (std::uint64_t n = 0; n < 20; ++n) {
      if (queue.try_push(payloads.make(n, 4096)) != Outcome::done) ::_exit(1);
    }
    ::kill(::getpid(), SIGKILL);
  });
  victim.wait();
  std::vector<std::byte> room(4096);
  std::size_t size = 0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    REQUIRE(survivor.try_pop(room, size) == Outcome::done);
    REQUIRE(payloads.matches(std::span(room).first(size), n));
  }
  CHECK(survivor.try_pop(room, size) == Outcome::wait);
  CHECK(survivor.try_push(bytes_of("still usable")) == Outcome::done);
}
