// tests/transports/shm/greeting_test.cpp: strangers, liars and other versions at an shm listener's control socket.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <catch2/catch.hpp>
#include <filesystem>
#include <future>
#include <random>

#include "bus/core/channel.hpp"
#include "bus/core/listener.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/os/pass_fd.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "transports/lane/lane_channel.hpp"
#include "transports/shm/hello.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

std::string path_of(std::string_view address) {
  return os::socket_path(address.substr(address.find("//") + 2), "shm", address);
}

os::Fd connect_raw(std::string_view address) {
  Result<os::Fd> fd = os::connect_local(path_of(address));
  REQUIRE(fd);
  return std::move(*fd);
}

std::size_t open_fds() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(fds), end(fds)));
}

/// Lets the listener deal with whoever knocks; nobody may get in.
void turn_away(Listener& listener, const os::Fd& stranger) {
  REQUIRE(test::eventually([&] {
    REQUIRE(listener.try_accept().error() == Errc::would_block);
    std::byte byte{};
    return recv(stranger.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0 || errno == ECONNRESET;
  }));
}

void require_served(Listener& listener) {
  const std::string address(listener.address());
  auto connecting = std::async(std::launch::async, [&] { return connect(address, test::soon()); });
  Result<Channel> server = listener.accept(test::soon());
  REQUIRE(server);
  Channel client = connecting.get();
  REQUIRE_FALSE(client.send(bytes_of("hello"), test::soon()));
  REQUIRE(server->receive(test::soon())->text() == "hello");
}

}  // namespace

TEST_CASE("descriptors that are none of what was agreed are closed, with the connection", "[shm]") {
  Listener listener = listen(test::fresh_address("shm"));
  shm::Hello hello;
  hello.max_message = 1024;
  hello.capacity = 8192;
  const auto bytes = shm::encode(hello);
  const lane::Offer offer = lane::Offer::make(8192);
  const os::Fd null(eventfd(0, EFD_CLOEXEC));
  const int page = offer.page->memfd(), ring = offer.ring.memfd(), bell = offer.bell.get(), other = null.get();
  const std::vector<std::vector<int>> wrong{
      {},                                 // none
      {page, ring, bell},                 // too few
      {page, ring, bell, other, other},   // too many
      {ring, page, bell, other},          // in another order
      {page, ring, bell, ring},           // memory instead of an eventfd
      {bell, ring, bell, other},          // an eventfd instead of memory
      {page, page, bell, other},          // memory of another size
      {STDIN_FILENO, ring, bell, other},  // something else
  };
  const std::size_t before = open_fds();
  for (int round = 0; round < 20; ++round) {
    for (const auto& fds : wrong) {
      const os::Fd stranger = connect_raw(listener.address());
      REQUIRE_FALSE(os::send_with_fds(stranger.get(), bytes, fds));
      turn_away(listener, stranger);
    }
  }
  REQUIRE(open_fds() == before);
  require_served(listener);
}

TEST_CASE("random greetings are turned away and honest clients served between them", "[shm]") {
  Listener listener = listen(test::fresh_address("shm"));
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const os::Fd stranger = connect_raw(listener.address());
    std::vector<std::byte> garbage(random() % 200 + 1);
    for (std::byte& b : garbage) b = static_cast<std::byte>(random());
    REQUIRE(send(stranger.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL) > 0);
    turn_away(listener, stranger);
    if (round % 50 == 0) require_served(listener);
  }
}

TEST_CASE("an shm client of another version is told ours and turned away", "[shm]") {
  Listener listener = listen(test::fresh_address("shm"));
  const os::Fd stranger = connect_raw(listener.address());
  shm::Hello hello;
  hello.version = 9;
  REQUIRE_FALSE(os::send_with_fds(stranger.get(), shm::encode(hello), {}));
  std::array<std::byte, shm::kHelloBytes> answer{};
  std::size_t size = 0;
  REQUIRE(test::eventually([&] {
    REQUIRE(listener.try_accept().error() == Errc::would_block);
    const auto got = os::receive_with_fds(stranger.get(), answer, 0);
    if (got) size = got->size;
    return got.has_value();
  }));
  REQUIRE(size == shm::kHelloBytes);
  REQUIRE(shm::decode(answer)->version == shm::kVersion);
}

TEST_CASE("an shm listener of another version is named in the error", "[shm]") {
  const std::string address = test::fresh_address("shm");
  const os::LocalListener fake(path_of(address), address);
  auto connecting = std::async(std::launch::async, [&] { return connect(address, test::soon()); });
  os::Fd connection;
  REQUIRE(test::eventually([&] {
    connection.reset(accept4(fake.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    return static_cast<bool>(connection);
  }));
  shm::Hello hello;
  hello.version = 9;
  REQUIRE_FALSE(os::send_with_fds(connection.get(), shm::encode(hello), {}));
  try {
    static_cast<void>(connecting.get());
    FAIL("it connected");
  } catch (const Error& e) {
    REQUIRE(e.code() == Errc::version_mismatch);
    REQUIRE(std::string(e.what()).find("have 1, peer 9") != std::string::npos);
    REQUIRE(std::string(e.what()).find(address) != std::string::npos);
  }
}

TEST_CASE("a listener that does not accept is told apart from none", "[shm]") {
  const Listener listener = listen(test::fresh_address("shm"));
  try {
    static_cast<void>(connect(listener.address(), in(50ms)));
    FAIL("it connected");
  } catch (const Error& e) {
    REQUIRE(e.code() == Errc::timed_out);
    REQUIRE(std::string(e.what()).find("has not accepted") != std::string::npos);
  }
}
