// tests/bus/core/local_socket_test.cpp: names in the file system: live ones are never stolen, dead ones never in the
// way.
#include "bus/core/os/local_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "bus/core/errc.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"

namespace fs = std::filesystem;
using bus::os::LocalListener;
using namespace bus::test;

namespace {

std::string fresh_path() { return bus::os::socket_path(fresh_name(), "test", "test://x"); }

/// The text of the Error that `act` throws, which has to have this code.
template <class Act>
std::string error_text(bus::Errc code, Act&& act) {
  try {
    act();
  } catch (const bus::Error& error) {
    CHECK(error.code() == code);
    return error.what();
  }
  FAIL("nothing was thrown");
  return {};
}

/// A listener that another process leaves behind when it is killed: both files, and nobody behind them.
void leave_stale(const std::string& path) {
  std::array<int, 2> ready{};
  REQUIRE(::pipe2(ready.data(), O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const LocalListener listener(path, "test://stale");
    [[maybe_unused]] const auto written = ::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char got = 0;
  ::close(ready[1]);
  REQUIRE(::read(ready[0], &got, 1) == 1);
  ::close(ready[0]);
  REQUIRE(::kill(child, SIGKILL) == 0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  REQUIRE(fs::exists(path));
  REQUIRE(fs::exists(path + ".ipcbus-lock"));
}

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void make_file(const std::string& path, const std::string& content, mode_t mode = 0600) {
  std::ofstream(path) << content;
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

/// A socket that another program has bound there, with no lock of ours.
bus::os::Fd foreign_socket(const std::string& path, int type) {
  bus::os::Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
  if (type == SOCK_STREAM) REQUIRE(::listen(fd.get(), 1) == 0);
  return fd;
}

/// Another runtime directory for as long as it lives.
class RuntimeBase {
 public:
  explicit RuntimeBase(const std::string& base) : before_(std::getenv("XDG_RUNTIME_DIR")) {
    ::setenv("XDG_RUNTIME_DIR", base.c_str(), 1);
  }
  ~RuntimeBase() { ::setenv("XDG_RUNTIME_DIR", before_.c_str(), 1); }
  RuntimeBase(const RuntimeBase&) = delete;
  RuntimeBase& operator=(const RuntimeBase&) = delete;

 private:
  std::string before_;
};

}  // namespace

TEST_CASE("a listener can be reached, and removes its files when it goes", "[local_socket]") {
  const std::string path = fresh_path();
  REQUIRE(bus::os::connect_local(path).error() == bus::Errc::no_peer);
  {
    const LocalListener listener(path, "test://x");
    REQUIRE(listener.path() == path);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    REQUIRE((info.st_mode & 07777) == 0600);
    const auto connection = bus::os::connect_local(path);
    REQUIRE(connection);
    const auto who = bus::os::peer_credentials(connection->get());
    REQUIRE(who);
    REQUIRE(who->pid == ::getpid());
    REQUIRE(who->uid == ::geteuid());
    REQUIRE(bus::os::is_trusted(who->uid));
  }
  REQUIRE_FALSE(fs::exists(path));
  REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
  REQUIRE_FALSE(bus::os::is_trusted(::geteuid() + 1));
}

TEST_CASE("a living listener's address is refused to others, with the pid, and nothing changes", "[local_socket]") {
  const std::string path = fresh_path();
  const LocalListener listener(path, "test://x");
  const std::string text =
      error_text(bus::Errc::address_in_use, [&] { const LocalListener thief(path, "test://thief"); });
  REQUIRE(text.find("test://thief") != std::string::npos);
  REQUIRE(text.find(std::to_string(::getpid())) != std::string::npos);
  bus::os::sweep(path);
  REQUIRE(bus::os::connect_local(path));
}

TEST_CASE("what a killed listener left is replaced by the next", "[local_socket]") {
  const std::string path = fresh_path();
  for (int round = 0; round < 3; ++round) {
    leave_stale(path);
    const LocalListener listener(path, "test://next");
    REQUIRE(bus::os::connect_local(path));
  }
  REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
}

TEST_CASE("what a killed listener left is swept by a client that is refused, or by whoever saw it die",
          "[local_socket]") {
  const std::string path = fresh_path();
  leave_stale(path);
  REQUIRE(bus::os::connect_local(path).error() == bus::Errc::no_peer);
  REQUIRE_FALSE(fs::exists(path));
  REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
  leave_stale(path);
  bus::os::sweep(path);
  REQUIRE_FALSE(fs::exists(path));
  REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
  bus::os::sweep(path);  // nothing there: nothing to do
}

TEST_CASE("each single file that a death may leave is no obstacle", "[local_socket]") {
  const std::string path = fresh_path();
  SECTION("an empty lock file") { make_file(path + ".ipcbus-lock", ""); }
  SECTION("a lock file with the pid of a dead process") { make_file(path + ".ipcbus-lock", "4194304\n"); }
  SECTION("a socket without a lock file") {
    leave_stale(path);
    fs::remove(path + ".ipcbus-lock");
  }
  {
    const LocalListener listener(path, "test://x");
    REQUIRE(bus::os::connect_local(path));
  }
  REQUIRE_FALSE(fs::exists(path));
  REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
}

TEST_CASE("a file that is no socket is left alone", "[local_socket]") {
  const std::string path = fresh_path();
  std::ofstream(path) << "precious";
  const std::string text = error_text(bus::Errc::address_in_use, [&] { const LocalListener x(path, "test://x"); });
  REQUIRE(text.find(path) != std::string::npos);
  bus::os::sweep(path);
  std::ifstream file(path);
  std::string word;
  file >> word;
  REQUIRE(word == "precious");
  fs::remove(path);
  fs::remove(path + ".ipcbus-lock");
}

TEST_CASE("files of the user's beside a socket's path are not taken for ours", "[local_socket]") {
  // As for proj/Cargo, which has a Cargo.lock beside it.
  const std::string path = temporary_folder() + "/Cargo";
  make_file(path + ".lock", "important\n", 0644);
  {
    const LocalListener listener(path, "test://x");
    REQUIRE(bus::os::connect_local(path));
  }
  leave_stale(path);
  REQUIRE(bus::os::connect_local(path).error() == bus::Errc::no_peer);  // sweeps
  REQUIRE_FALSE(fs::exists(path));
  REQUIRE(content_of(path + ".lock") == "important\n");
}

TEST_CASE("a file with a lock's name that is not our lock is refused and left alone", "[local_socket]") {
  const std::string path = temporary_folder() + "/socket";
  const std::string lock = path + ".ipcbus-lock";
  std::string content;
  mode_t mode = 0600;
  SECTION("other content") { content = "important"; }
  SECTION("a number that is no pid of ours") { content = "-99999999999999999999"; }
  SECTION("a pid without its newline") { content = "4242"; }
  SECTION("a newline alone") { content = "\n"; }
  SECTION("more than a pid") { content = "4242\n4243\n"; }
  SECTION("digits without end") { content.assign(4096, '7').push_back('\n'); }
  SECTION("open to others") { mode = 0644; }
  SECTION("open to others, with a pid") {
    content = "4242\n";
    mode = 0640;
  }
  make_file(lock, content, mode);
  const std::string text = error_text(bus::Errc::address_in_use, [&] { const LocalListener x(path, "test://x"); });
  CAPTURE(text);
  REQUIRE(text.find("test://x: " + lock) != std::string::npos);
  REQUIRE(text.find("left alone") != std::string::npos);
  REQUIRE(text.find('\n') == std::string::npos);
  REQUIRE_FALSE(fs::exists(path));
  // Nor does anybody sweep it, or what stands beside it.
  foreign_socket(path, SOCK_STREAM);
  REQUIRE(bus::os::connect_local(path).error() == bus::Errc::no_peer);
  bus::os::sweep_after_death(path);
  REQUIRE(fs::exists(path));
  REQUIRE(content_of(lock) == content);
  struct stat info {};
  REQUIRE(::stat(lock.c_str(), &info) == 0);
  REQUIRE((info.st_mode & 0777) == mode);
}

TEST_CASE("what stands at a lock's name and is no file of ours is left alone, too", "[local_socket]") {
  const std::string path = temporary_folder() + "/socket";
  const std::string lock = path + ".ipcbus-lock", elsewhere = path + ".elsewhere";
  make_file(elsewhere, "");
  SECTION("a directory") { fs::create_directory(lock); }
  SECTION("a symbolic link") { fs::create_symlink(elsewhere, lock); }
  SECTION("a second name of another file") { fs::create_hard_link(elsewhere, lock); }
  SECTION("a pipe") { REQUIRE(::mkfifo(lock.c_str(), 0600) == 0); }
  SECTION("a socket") { static_cast<void>(foreign_socket(lock, SOCK_DGRAM)); }
  SECTION("a file of another user") {
    make_file(lock, "");
    if (::chown(lock.c_str(), 12345, 12345) != 0) return;  // only root can give it away
  }
  const std::string text = error_text(bus::Errc::address_in_use, [&] { const LocalListener x(path, "test://x"); });
  REQUIRE(text.find(lock) != std::string::npos);
  bus::os::sweep(path);
  REQUIRE(fs::symlink_status(lock).type() != fs::file_type::not_found);
  REQUIRE(fs::exists(elsewhere));
}

TEST_CASE("a socket at which another program answers is never stolen", "[local_socket]") {
  const int type = GENERATE(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET);
  CAPTURE(type);
  const std::string path = temporary_folder() + "/socket";
  const bus::os::Fd server = foreign_socket(path, type);
  const auto refused = [&] {
    const std::string text = error_text(bus::Errc::address_in_use, [&] { const LocalListener x(path, "test://x"); });
    REQUIRE(text.find(path + " is in use by another program") != std::string::npos);
    REQUIRE(fs::is_socket(path));
    REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
  };
  refused();
  if (type == SOCK_STREAM) {
    // Nor when its queue of connections is full, nor when a dead listener's lock lies beside it.
    std::vector<bus::os::Fd> waiting;
    for (auto next = bus::os::connect_local(path); next; next = bus::os::connect_local(path)) {
      waiting.push_back(std::move(*next));
    }
    refused();
    make_file(path + ".ipcbus-lock", "4194304\n");
    bus::os::sweep(path);
    bus::os::sweep_after_death(path);
    REQUIRE(fs::is_socket(path));
    refused();
  }
}

TEST_CASE("a listener that ends leaves what has taken the place of its files", "[local_socket]") {
  const std::string path = temporary_folder() + "/socket";
  {
    const LocalListener listener(path, "test://x");
    fs::remove(path);
    fs::remove(path + ".ipcbus-lock");
    make_file(path, "precious");
    make_file(path + ".ipcbus-lock", "4242\n");
  }
  REQUIRE(content_of(path) == "precious");
  REQUIRE(content_of(path + ".ipcbus-lock") == "4242\n");
}

TEST_CASE("of many that start at once exactly one gets the address", "[local_socket]") {
  constexpr int kProcesses = 20, kRounds = 6;
  const std::string path = fresh_path();
  for (int round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    if (round % 2 == 1) leave_stale(path);
    // All wait for `go` to be closed; the winner stays until `done` is.
    std::array<int, 2> go{}, done{}, won{};
    REQUIRE(::pipe2(go.data(), O_CLOEXEC) == 0);
    REQUIRE(::pipe2(done.data(), O_CLOEXEC) == 0);
    REQUIRE(::pipe2(won.data(), O_CLOEXEC) == 0);
    std::vector<pid_t> children;
    for (int n = 0; n < kProcesses; ++n) {
      const pid_t child = ::fork();
      REQUIRE(child >= 0);
      if (child == 0) {
        ::close(go[1]);
        ::close(done[1]);
        char end = 0;
        int code = 2;
        if (::read(go[0], &end, 1) == 0) {
          try {
            const LocalListener listener(path, "test://race");
            code = ::write(won[1], "w", 1) == 1 && ::read(done[0], &end, 1) == 0 ? 0 : 3;
          } catch (const bus::Error& error) {
            code = error.code() == bus::Errc::address_in_use ? 1 : 4;
          }
        }
        ::_exit(code);
      }
      children.push_back(child);
    }
    ::close(go[0]);
    ::close(go[1]);
    ::close(won[1]);
    char winner = 0;
    REQUIRE(::read(won[0], &winner, 1) == 1);
    REQUIRE(bus::os::connect_local(path));
    // All losers end while the winner lives.
    std::vector<int> codes;
    REQUIRE(eventually([&] {
      for (auto it = children.begin(); it != children.end();) {
        int status = 0;
        if (::waitpid(*it, &status, WNOHANG) != *it) {
          ++it;
          continue;
        }
        codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        it = children.erase(it);
      }
      return children.size() <= 1;
    }));
    REQUIRE(children.size() == 1);
    REQUIRE(codes == std::vector<int>(kProcesses - 1, 1));
    REQUIRE(bus::os::connect_local(path));
    ::close(done[0]);
    ::close(done[1]);
    int status = 0;
    REQUIRE(::waitpid(children.front(), &status, 0) == children.front());
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);
    char rest = 0;
    REQUIRE(::read(won[0], &rest, 1) == 0);  // nobody else had won
    ::close(won[0]);
    REQUIRE_FALSE(fs::exists(path));
    REQUIRE_FALSE(fs::exists(path + ".ipcbus-lock"));
  }
}

TEST_CASE("a name has to be one, and short enough for a socket", "[local_socket]") {
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a b", "a\nb", "\xc3\xa4", "a*"}) {
    CAPTURE(name);
    const std::string text = error_text(bus::Errc::bad_address,
                                        [&] { static_cast<void>(bus::os::socket_path(name, "test", "test://name")); });
    REQUIRE(text.find("test://name") != std::string::npos);
  }
  const std::string path = bus::os::socket_path("Aa0._-z", "test", "test://x");
  REQUIRE(path == bus::os::runtime_directory() + "/Aa0._-z.test");

  const std::string text = error_text(bus::Errc::bad_address, [] {
    static_cast<void>(bus::os::socket_path(std::string(200, 'n'), "test", "test://x"));
  });
  REQUIRE(text.find("107") != std::string::npos);
  REQUIRE(text.find(std::to_string(bus::os::runtime_directory().size() + 1 + 200 + 5)) != std::string::npos);

  bus::os::check_socket_path("/" + std::string(106, 'p'), "test://x");
  error_text(bus::Errc::bad_address, [] { bus::os::check_socket_path("/" + std::string(107, 'p'), "test://x"); });
}

TEST_CASE("a runtime directory that others could enter is refused", "[local_socket]") {
  const std::string base = temporary_folder();
  const RuntimeBase runtime(base);
  const fs::path directory = base + "/ipcbus";
  const auto refused = [&](const std::string& why) {
    const std::string text =
        error_text(bus::Errc::permission_denied, [] { static_cast<void>(bus::os::runtime_directory()); });
    CAPTURE(text);
    REQUIRE(text.find(directory.string()) != std::string::npos);
    REQUIRE(text.find(why) != std::string::npos);
  };
  SECTION("it is made private where there is none") {
    REQUIRE(bus::os::runtime_directory() == directory.string());
    REQUIRE(fs::status(directory).permissions() == fs::perms::owner_all);
  }
  SECTION("writable by all") {
    fs::create_directory(directory);
    fs::permissions(directory, fs::perms::all);
    refused("0700");
  }
  SECTION("readable by the group") {
    fs::create_directory(directory);
    fs::permissions(directory, fs::perms::owner_all | fs::perms::group_read);
    refused("0700");
  }
  SECTION("a symbolic link, even to a good one") {
    fs::create_directory(base + "/elsewhere");
    fs::permissions(base + "/elsewhere", fs::perms::owner_all);
    fs::create_directory_symlink(base + "/elsewhere", directory);
    refused("symbolic link");
  }
  SECTION("a file") {
    std::ofstream(directory).flush();
    refused("no directory");
  }
  SECTION("another user's") {
    fs::create_directory(directory);
    fs::permissions(directory, fs::perms::owner_all);
    if (::chown(directory.c_str(), 12345, 12345) != 0) return;  // only root can give it away
    refused("another user");
  }
}
