// tests/transports/unix/unix_test.cpp: names, users and strangers at a Unix socket.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include "bus/core/os/local_socket.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/sandbox.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/transports/stream/sockets.hpp"
#include "transports/all.hpp"
#include "transports/stream/hello.hpp"

using namespace bus;
using namespace std::chrono_literals;

namespace {

/// The connector of an address, driven as bus::connect() does it, so that its detail() can be asked.
struct Connecting {
  explicit Connecting(const std::string& text)
      : address(Address::parse(text)),
        connector(unix_transport().connector(address, read_options(unix_transport(), address))) {}

  std::error_code outcome() {
    std::error_code error;
    static_cast<void>(test::eventually([&] {
      auto result = connector->try_connect();
      error = result ? std::error_code{} : result.error();
      return error != Errc::would_block;
    }));
    return error;
  }

  Address address;
  std::unique_ptr<ConnectorImpl> connector;
};

std::string failure(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

os::Fd raw_connection(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  os::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  test::require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0, "connect");
  return fd;
}

std::size_t resident_kib() {
  std::ifstream statm("/proc/self/statm");
  std::size_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * 4;
}

}  // namespace

TEST_CASE("a unix channel knows its peer's process and user", "[unix]") {
  auto pair = test::open_pair("unix");
  REQUIRE(pair.client.peer().pid == ::getpid());
  REQUIRE(pair.server.peer().uid == ::geteuid());
  REQUIRE(pair.server.peer().address.find(std::to_string(::getpid())) != std::string::npos);
  REQUIRE(pair.client.peer().instance != pair.server.peer().instance);
  test::close_books(pair);
}

TEST_CASE("a unix address is a name or a path", "[unix]") {
  REQUIRE(failure([] { unix_transport().check(Address::parse("unix://a/b")); }).find("not both") != std::string::npos);
  REQUIRE(failure([] { unix_transport().check(Address::parse("unix://a:5")); }).find("port") != std::string::npos);
  REQUIRE(failure([] { unix_transport().check(Address::parse("unix:///")); }).find("missing") != std::string::npos);
  const std::string path = test::temporary_folder() + "/my.socket";
  Listener listener = listen("unix://" + path);
  auto client = std::async(std::launch::async, [&] { return connect("unix://" + path); });
  auto server = listener.accept(test::soon());
  REQUIRE(server);
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  REQUIRE((info.st_mode & 0777) == 0600);
  Channel channel = client.get();
  test::close_books(channel, *server);
  listener.close();
  REQUIRE_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a second unix listener is refused with the first one's process", "[unix]") {
  const std::string address = test::fresh_address("unix");
  Listener first = listen(address);
  const std::string text = failure([&] { static_cast<void>(listen(address)); });
  REQUIRE(text.find(std::to_string(::getpid())) != std::string::npos);
  REQUIRE(text.find(address) != std::string::npos);
}

TEST_CASE("a unix listener of another version is named by the connector, and the other way round", "[unix]") {
  const std::string address = test::fresh_address("unix");
  const std::string path = os::socket_path(Address::parse(address).host(), "sock", address);
  stream::Hello newer = stream::make_hello(1000);
  newer.version = 2;
  SECTION("the listener is newer") {
    const os::LocalListener old(path, address);
    Connecting connecting(address);
    REQUIRE(connecting.connector->try_connect().error() == Errc::would_block);
    REQUIRE(connecting.connector->detail() == "the listener has not accepted yet");
    const os::Fd accepted(::accept4(old.fd(), nullptr, nullptr, SOCK_CLOEXEC));
    test::write_all(accepted.get(), stream::encode_hello(newer));
    REQUIRE(connecting.outcome() == Errc::version_mismatch);
    REQUIRE(connecting.connector->detail() == "have 1, peer 2");
  }
  SECTION("the client is newer") {
    Listener listener = listen(address);
    const os::Fd client = raw_connection(path);
    test::write_all(client.get(), stream::encode_hello(newer));
    REQUIRE(listener.accept(in(50ms)).error() == Errc::timed_out);
    const auto answer = test::read_exactly(client.get(), stream::kHelloBytes);
    stream::Handshake there(stream::Handshake::Side::connecting, newer);
    std::copy_n(answer.begin(), 8, there.wanted().begin());
    there.received(8);
    REQUIRE(there.failure() == Errc::version_mismatch);
    REQUIRE(there.detail() == "have 2, peer 1");
  }
}

TEST_CASE("a killed unix listener leaves no file once its peer has noticed", "[unix]") {
  const std::string address = test::fresh_address("unix");
  const std::string path = os::socket_path(Address::parse(address).host(), "sock", address);
  const pid_t child = ::fork();
  if (child == 0) {
    Listener listener = listen(address);
    const auto channel = listener.accept(in(20s));
    if (channel) ::pause();
    ::_exit(1);
  }
  Channel channel = connect(address, test::soon());
  REQUIRE(std::filesystem::exists(path));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  REQUIRE(channel.receive(test::soon()).error() == Errc::peer_died);
  REQUIRE_FALSE(std::filesystem::exists(path));
  REQUIRE_FALSE(std::filesystem::exists(path + ".ipcbus-lock"));
}

TEST_CASE("a unix listener of a stranger is refused, and a stranger at ours", "[unix]") {
  if (::geteuid() != 0) {
    WARN("needs root: skipped");
    return;
  }
  // Root is trusted by everyone, so the stranger is the child that gives its rights up.
  const std::string folder = test::temporary_folder();
  const std::string path = folder + "/open.socket";
  Listener listener = listen("unix://" + path);
  std::filesystem::permissions(path, std::filesystem::perms::all);
  for (auto at = std::filesystem::path(folder); at != "/tmp" && at != "/"; at = at.parent_path()) {
    std::filesystem::permissions(at, std::filesystem::perms::others_exec, std::filesystem::perm_options::add);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(9);
    Connecting connecting("unix://" + path);
    const std::error_code error = connecting.outcome();
    ::_exit(error == Errc::permission_denied ? 0 : 1);
  }
  int status = -1;
  REQUIRE(test::eventually([&] {
    const auto outcome = listener.try_accept();
    REQUIRE_FALSE(outcome);
    return ::waitpid(child, &status, WNOHANG) == child;
  }));
  REQUIRE(status == 0);
}

TEST_CASE("100,000 random strings at a unix listener: its memory stays flat and honest clients are served", "[unix]") {
  const std::string address = test::fresh_address("unix");
  const std::string path = os::socket_path(Address::parse(address).host(), "sock", address);
  Listener listener = listen(address);
  std::atomic<bool> done{false};
  std::size_t served = 0;
  std::jthread server([&] {
    std::vector<Channel> channels;
    while (!done) {
      auto channel = listener.accept(in(20ms));
      if (!channel) continue;
      if (const auto request = channel->receive(test::soon())) {
        if (!channel->send(request->bytes(), test::soon())) ++served;
      }
      channels.push_back(std::move(*channel));
      if (channels.size() > 4) channels.erase(channels.begin());
    }
  });
  std::size_t honest = 0;
  const auto ask = [&] {
    Channel client = connect(address, test::soon());
    REQUIRE_FALSE(client.send(bytes_of("honest"), test::soon()));
    const auto answer = client.receive(test::soon());
    REQUIRE(answer);
    REQUIRE(answer->text() == "honest");
    ++honest;
  };
  std::mt19937 random(41);
  std::size_t after_warm_up = 0;
  std::array<std::byte, 200> bytes{};
  constexpr int kStrangers = 100000;
  for (int i = 0; i < kStrangers; ++i) {
    os::Fd stranger = raw_connection(path);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    std::size_t size = random() % bytes.size();
    if (random() % 4 == 0) {  // a hello that is fine, and frames that are not
      const auto hello = stream::encode_hello(stream::make_hello(1000));
      std::copy(hello.begin(), hello.end(), bytes.begin());
      size = std::max(size, hello.size());
    }
    // The listener may have hung up already.
    static_cast<void>(::send(stranger.get(), bytes.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT));
    stranger.reset();  // the server here serves one after the other
    if (i % 10000 == 9999) ask();
    if (i == kStrangers / 10) after_warm_up = resident_kib();
  }
  const auto at_the_end = resident_kib();
  CAPTURE(at_the_end, after_warm_up);
  ask();
  done = true;
  server.join();
  if (test::kAddressSanitizer) {
    WARN("memory is not compared: AddressSanitizer keeps what was freed in quarantine");
  } else {
    REQUIRE(at_the_end < after_warm_up + 4096);
  }
  REQUIRE(served >= honest);
}
