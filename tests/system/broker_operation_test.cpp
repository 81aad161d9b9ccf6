// tests/system/broker_operation_test.cpp: running a broker: its file, SIGHUP, sockets that a service manager hands
// over.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "bus/core/listener.hpp"
#include "bus/core/os/fd.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

constexpr std::string_view kAsItWas = "; the configuration stays as it was";

/// A file of a broker; written so that nobody reads a half of it.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) { write(text); }
  void write(const std::string& text) const {
    std::ofstream(path_ + ".new") << text;
    std::filesystem::rename(path_ + ".new", path_);
  }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_ = temporary_folder() + "/broker.toml";
};

std::string unix_bus() { return "unix://" + fresh_name(); }

/// `bus broker WORDS`, told to end when the test does.
class RunningBroker {
 public:
  explicit RunningBroker(std::vector<std::string> words, ProcessOptions options = {}, std::size_t addresses = 1)
      : RunningBroker(start_bus(with_verb(std::move(words)), std::move(options)), addresses) {}
  explicit RunningBroker(Process process, std::size_t addresses = 1) : process_(std::move(process)) {
    process_.wait_for_error([addresses](const std::string& err) {
      std::size_t count = 0;
      for (std::size_t at = 0; (at = err.find("listening on ", at)) != std::string::npos; ++at) ++count;
      return count >= addresses && err.ends_with('\n');
    });
  }
  RunningBroker(const RunningBroker&) = delete;
  RunningBroker& operator=(const RunningBroker&) = delete;
  ~RunningBroker() {
    process_.kill(SIGTERM);
    try {
      process_.wait();
    } catch (const std::runtime_error& error) {
      WARN(error.what());
    }
  }
  Process* operator->() noexcept { return &process_; }

  /// Sends SIGHUP and waits until a new line says `text`; what was said since then.
  std::string reload(std::string_view text) {
    const std::size_t before = process_.err().size();
    REQUIRE(process_.kill(SIGHUP));
    const std::string all = process_.wait_for_error([&](const std::string& err) {
      const auto at = err.find(text, before);
      return at != std::string::npos && err.find('\n', at) != std::string::npos;
    });
    return all.substr(before);
  }

 private:
  static std::vector<std::string> with_verb(std::vector<std::string> words) {
    words.insert(words.begin(), "broker");
    return words;
  }
  Process process_;
};

std::string without_broker(const std::string& bus) {
  return bus + (bus.find('?') == std::string::npos ? "?" : "&") + "embed=never";
}

/// Publishes a message of so many bytes and says how that ended.
Finished publish(const std::string& bus, std::size_t size = 5) {
  return run_bus({"pub", "a", std::string(size, 'x'), "--bus", without_broker(bus)});
}

Process subscribe(const std::string& bus) {
  Process sub = start_bus({"sub", "a", "--bus", without_broker(bus), "--count", "1"});
  sub.wait_for_error("subscribed to ");
  return sub;
}

/// What a service manager hears.
class NotifySocket {
 public:
  NotifySocket() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path_.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path_.data(), path_.size());
    REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string next() const {
    pollfd fd{socket_.get(), POLLIN, 0};
    REQUIRE(::poll(&fd, 1, 20'000) == 1);
    std::array<char, 256> text{};
    REQUIRE(::recv(socket_.get(), text.data(), text.size() - 1, 0) > 0);
    return text.data();
  }

 private:
  std::string path_ = temporary_folder() + "/notify";
  os::Fd socket_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

/// A socket as a service manager makes it: it outlives exec, and its number is in nobody's way.
os::Fd service_socket(int family, int type, const sockaddr* name, socklen_t size) {
  const os::Fd made(::socket(family, type | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(made.get(), name, size) == 0);
  if (type == SOCK_STREAM) REQUIRE(::listen(made.get(), 64) == 0);
  os::Fd inheritable(::fcntl(made.get(), F_DUPFD, 100));
  REQUIRE(inheritable);
  return inheritable;
}

os::Fd unix_service_socket(const std::string& path, int type = SOCK_STREAM) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof name.sun_path);
  std::memcpy(name.sun_path, path.data(), path.size());
  return service_socket(AF_UNIX, type, reinterpret_cast<const sockaddr*>(&name), sizeof name);
}

os::Fd tcp_service_socket(std::uint32_t address) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(address);
  return service_socket(AF_INET, SOCK_STREAM, reinterpret_cast<const sockaddr*>(&name), sizeof name);
}

/// Starts `bus WORDS` as a service manager does: with these descriptors as 3, 4 ..., and said to be for it.
Process start_service(const std::vector<const os::Fd*>& sockets, const std::string& names,
                      std::vector<std::string> words) {
  std::vector<std::string> argv{"bash", "-c",
                                "n=3; while [[ $1 != -- ]]; do eval \"exec $n<&$1 $1<&-\"; n=$((n + 1)); shift; done\n"
                                "shift; LISTEN_PID=$$ LISTEN_FDS=$((n - 3)) exec \"$@\"",
                                "launcher"};
  for (const os::Fd* const socket : sockets) argv.push_back(std::to_string(socket->get()));
  argv.emplace_back("--");
  for (std::string& word : bus_words(std::move(words))) argv.push_back(std::move(word));
  ProcessOptions options;
  options.env["LISTEN_FDNAMES"] = names;
  return Process::start(std::move(argv), std::move(options));
}

}  // namespace

// ---- the file ----

TEST_CASE("a broker's file says where it listens, its name and its limits; options win over it", "[system]") {
  const std::string bus = unix_bus(), other = unix_bus();
  const ConfigFile file("listen = ['" + bus + "']\nname = 'from the file'\n[limits]\nmax-message = 64\n");
  const bool options = GENERATE(false, true);
  std::vector<std::string> words{"--config", file.path()};
  if (options) {
    for (const char* const word : {"--name", "from an option", "--max-message", "1KiB", "--listen"}) {
      words.emplace_back(word);
    }
    words.push_back(other);
  }
  RunningBroker broker(words);
  const std::string& at = options ? other : bus;
  const Finished status = run_bus({"broker", "--status", "--bus", at, "--json", "--interval", "0"});
  INFO(status.err);
  REQUIRE(status.status == exited(0));
  REQUIRE(objects(status.out).back().at("name") == (options ? "from an option" : "from the file"));
  REQUIRE(publish(at, 60).status == exited(0));
  REQUIRE((publish(at, 100).status == exited(0)) == options);
  REQUIRE(broker->err() == "bus: listening on " + at + "\n");
}

TEST_CASE("a mistake in a broker's file ends it with 2 and the place", "[system]") {
  struct Mistake {
    std::string text, says;
  };
  const auto mistake = GENERATE(values<Mistake>({
      {"listen = ['shm://a']\nwindw = 3\n", ":2:1: unknown key \"windw\": allowed are "},
      {"", ":1:1: it is empty; "},
      {"[limits]\nwindow = 0\n", ":2:10: window 0: allowed is 1 to "},
      {"listen = [\n  'shm://a',\n  'shn://b',\n]\n", ":3:3: shn://b: unknown scheme \"shn\""},
      {"listen = [\n  'shm://a',\n  'shm://a?max_message=2MiB',\n]\n",
       ":3:3: shm://a?max_message=2MiB: is there twice"},
      {"listen = ['inproc://a']\n", ":1:11: inproc://a: inproc joins the threads of one process"},
      {"listen = ['tcp://0.0.0.0:0']\n",
       ":1:11: tcp://0.0.0.0:0: anybody who reaches this address could read and write everything; on a network that "
       "you trust say insecure = true, else listen on 127.0.0.1, [::1] or localhost"},
  }));
  const ConfigFile file(mistake.text);
  CAPTURE(mistake.text);
  const bool check = GENERATE(false, true);
  std::vector<std::string> words{"broker", "--config", file.path()};
  if (check) words.emplace_back("--check");
  const Finished finished = run_bus(words);
  INFO(finished.err);
  REQUIRE(finished.status == exited(2));
  REQUIRE_THAT(finished.err, StartsWith("bus: " + file.path() + mistake.says));
  REQUIRE(lines_in(finished.err) == 1);
}

TEST_CASE("a broker's file can be looked at without listening", "[system]") {
  const std::string bus = unix_bus();
  RunningBroker running({"--listen", bus});  // which keeps the address busy
  const ConfigFile file("listen = ['" + bus + "', 'tcp://0.0.0.0:0']\ninsecure = true\ndrain = '1s'\n" +
                        "[limits]\nmax-memory = '1MiB'\n");
  const Finished finished = run_bus({"broker", "--config", file.path(), "--check", "--json", "--window", "5"});
  INFO(finished.err);
  REQUIRE(finished.status == exited(0));
  REQUIRE(finished.err ==
          "bus: " + file.path() + " is right: the broker would listen on " + bus + ", tcp://0.0.0.0:0?insecure=1\n");
  const Json summary = summary_of(finished.out);
  REQUIRE(summary.at("listen") == Json{bus, "tcp://0.0.0.0:0?insecure=1"});
  REQUIRE(summary.at("drain_seconds") == 1.0);
  REQUIRE(summary.at("limits").at("max-memory") == 1 << 20);
  REQUIRE(summary.at("limits").at("window") == 5);
  const Finished missing = run_bus({"broker", "--config", file.path() + ".none", "--check"});
  REQUIRE(missing.status == exited(2));
  REQUIRE(missing.err == "bus: " + file.path() + ".none: No such file or directory\n");
  const Finished nothing = run_bus({"broker", "--check"});
  REQUIRE(nothing.status == exited(2));
  REQUIRE(nothing.err == "bus: broker: --check looks at a --config FILE; see bus help broker\n");
}

// ---- SIGHUP ----

TEST_CASE("SIGHUP gives a broker other limits and addresses, and those who are there stay", "[system]") {
  const std::string kept = unix_bus(), gone = unix_bus(), opened = unix_bus();
  const ConfigFile file("listen = ['" + kept + "', '" + gone + "']\n[limits]\nmax-message = 64\n");
  RunningBroker broker({"--config", file.path(), "--json"}, {}, 2);
  Process one = subscribe(kept), other = subscribe(gone);
  REQUIRE(publish(kept, 100).status != exited(0));
  file.write("listen = ['" + opened + "', '" + kept + "']\nname = 'new'\n[limits]\nmax-message = 200\n");
  const std::string said = broker.reload("no longer listening on ");
  REQUIRE(said == "bus: read " + file.path() + " again\n" +
                      "bus: warning: the broker keeps its name until its next start\n" +  //
                      "bus: listening on " + opened + "\n" +                              //
                      "bus: no longer listening on " + gone + "\n");
  const Finished nobody = run_bus({"pub", "a", "x", "--bus", without_broker(gone), "--wait", "20ms"});
  REQUIRE(nobody.status == exited(4));
  REQUIRE(publish(opened, 150).status == exited(0));
  REQUIRE(one.wait() == exited(0));
  REQUIRE(other.wait() == exited(0));
  broker->wait_for_output(opened);
  REQUIRE(objects(broker->out()).back() == Json{{"type", "listening"}, {"address", opened}});
}

TEST_CASE("a broken file changes nothing of a broker that runs", "[system]") {
  const std::string bus = unix_bus(), taken = unix_bus();
  const std::string good = "listen = ['" + bus + "']\n[limits]\nmax-message = 64\n";
  const ConfigFile file(good);
  RunningBroker broker({"--config", file.path()});
  Process sub = subscribe(bus);
  const Listener other = listen(taken);
  struct Broken {
    std::string text, says;
  };
  for (const Broken& broken : std::vector<Broken>{
           {"listen = [", ": this is no TOML: "},
           {"", ":1:1: it is empty; "},
           {"[limits]\nmax-message = 'big'\n", ":2:15: max-message \"big\": "},
           {"listen = ['shm://']\n", ":1:11: shm://"},
           {"listen = ['" + bus + "', '" + taken + "']\n[limits]\nmax-message = 2000\n",
            taken + ": in use by process "},
           {"listen = ['" + bus + "?max_message=2MiB']\n", "to change them needs a restart"},
       }) {
    CAPTURE(broken.text);
    file.write(broken.text);
    const std::string said = broker.reload(kAsItWas);
    CHECK_THAT(said, Contains(broken.says));
    CHECK(lines_in(said) == 1);
    CHECK(publish(bus, 100).status != exited(0));  // the limit is what it was
  }
  std::filesystem::remove(file.path());
  CHECK(broker.reload(kAsItWas) ==
        "bus: " + file.path() + ": No such file or directory" + std::string(kAsItWas) + "\n");
  std::filesystem::create_directory(file.path());
  CHECK_THAT(broker.reload(kAsItWas), Contains("it is no regular file"));
  std::filesystem::remove(file.path());
  file.write(good);
  REQUIRE(broker.reload("again") == "bus: read " + file.path() + " again\n");
  REQUIRE(publish(bus).status == exited(0));
  REQUIRE(sub.wait() == exited(0));
}

TEST_CASE("a broker without descriptors keeps its configuration, and reads it when it has some again", "[system]") {
  const std::string bus = unix_bus();
  const ConfigFile file("listen = ['" + bus + "']\n[limits]\nmax-message = 64\n");
  const NotifySocket manager;
  ProcessOptions options;
  options.env["NOTIFY_SOCKET"] = manager.path();
  RunningBroker broker({"--config", file.path()}, options);
  REQUIRE(manager.next() == "READY=1");
  Process sub = subscribe(bus);
  file.write("listen = ['" + bus + "']\n");
  std::set<int> open;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(broker->pid()) + "/fd")) {
    open.insert(std::stoi(entry.path().filename()));
  }
  rlim_t lowest = 0;
  while (open.contains(static_cast<int>(lowest))) ++lowest;
  rlimit before{};
  REQUIRE(::prlimit(broker->pid(), RLIMIT_NOFILE, nullptr, &before) == 0);
  const rlimit none{lowest, before.rlim_max};
  REQUIRE(::prlimit(broker->pid(), RLIMIT_NOFILE, &none, nullptr) == 0);
  const std::string said = broker.reload(kAsItWas);
  REQUIRE(::prlimit(broker->pid(), RLIMIT_NOFILE, &before, nullptr) == 0);
  REQUIRE(said == "bus: " + file.path() + ": Too many open files" + std::string(kAsItWas) + "\n");
  REQUIRE_THAT(manager.next(), StartsWith("RELOADING=1\n"));  // or it would take the broker for one that hangs
  REQUIRE(manager.next() == "READY=1");
  REQUIRE(publish(bus, 100).status != exited(0));
  REQUIRE(broker.reload("again") == "bus: read " + file.path() + " again\n");
  REQUIRE(publish(bus, 100).status == exited(0));
  REQUIRE(sub.wait() == exited(0));
}

TEST_CASE("SIGHUP without a file is ignored, and said so", "[system]") {
  const std::string bus = unix_bus();
  RunningBroker broker({"--listen", bus});
  REQUIRE(broker.reload("ignored") ==
          "bus: warning: SIGHUP is ignored: there is no configuration to read again; see --config\n");
  REQUIRE(publish(bus).status == exited(0));
  REQUIRE_FALSE(broker->ended());
}

TEST_CASE("a broker tells the service manager that it reads its file again, also if that is broken", "[system]") {
  const NotifySocket manager;
  const ConfigFile file("listen = ['" + unix_bus() + "']\n");
  ProcessOptions options;
  options.env["NOTIFY_SOCKET"] = manager.path();
  RunningBroker broker({"--config", file.path()}, options);
  REQUIRE(manager.next() == "READY=1");
  for (const std::string_view said : {std::string_view("again"), kAsItWas}) {
    broker.reload(said);
    const std::string reloading = manager.next();
    REQUIRE_THAT(reloading, StartsWith("RELOADING=1\nMONOTONIC_USEC="));
    REQUIRE(std::stoull(reloading.substr(reloading.rfind('=') + 1)) > 0);
    REQUIRE(manager.next() == "READY=1");
    file.write("broken");
  }
}

TEST_CASE("the time to drain is what the file said last", "[system]") {
  const std::string bus = unix_bus();
  const ConfigFile file("listen = ['" + bus + "']\ndrain = '60s'\n");
  RunningBroker broker({"--config", file.path()});
  file.write("listen = ['" + bus + "']\ndrain = '7s'\n");
  broker.reload("again");
  broker->kill(SIGTERM);
  broker->wait_for_error("stopping: delivers what waits for at most 7s");
  REQUIRE(broker->wait() == exited(143));
}

// ---- sockets that are handed over ----

TEST_CASE("who connected to a handed over socket before the broker started is served by it", "[system]") {
  const bool is_unix = GENERATE(true, false);
  const std::string path = temporary_folder() + "/front.sock";
  const os::Fd socket = is_unix ? unix_service_socket(path) : tcp_service_socket(INADDR_LOOPBACK);
  const std::string bus = address_of_socket(socket.get());
  Process sub = start_bus({"sub", "a", "--bus", without_broker(bus), "--count", "1", "--wait", "30s"});
  REQUIRE(eventually([&] {
    pollfd waiting{socket.get(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 1;
  }));
  RunningBroker broker(start_service({&socket}, "front", {"broker"}));
  sub.wait_for_error("subscribed to ");
  REQUIRE(publish(bus).status == exited(0));
  REQUIRE(sub.wait() == exited(0));
  broker->kill(SIGTERM);
  REQUIRE(broker->wait() == exited(143));
  REQUIRE_THAT(broker->err(), StartsWith("bus: descriptor 3 (front) is " + bus + "\nbus: listening on " + bus + "\n"));
  if (is_unix) REQUIRE(std::filesystem::exists(path));  // the service manager's: the next start gets it again
  RunningBroker next(start_service({&socket}, "", {"broker"}));
  REQUIRE(publish(bus).status == exited(0));
  REQUIRE_THAT(next->err(), StartsWith("bus: descriptor 3 is " + bus + "\n"));
}

TEST_CASE("handed over sockets stand beside those of a file, which may give them options", "[system]") {
  const std::string path = temporary_folder() + "/front.sock", own = unix_bus();
  const os::Fd front = unix_service_socket(path), other = tcp_service_socket(INADDR_LOOPBACK);
  const std::string listed = "unix://" + path + "?max_message=2MiB";
  const ConfigFile file("listen = ['" + listed + "', '" + own + "']\n");
  RunningBroker broker(start_service({&front, &other}, "one:two", {"broker", "--config", file.path()}), 3);
  REQUIRE_THAT(broker->err(), Contains("descriptor 4 (two) is tcp://127.0.0.1:") &&
                                  Contains("listening on " + listed + "\n") &&
                                  Contains("listening on " + address_of_socket(other.get()) + "\n"));
  file.write("listen = ['" + listed + "']\n");
  REQUIRE(broker.reload("no longer") ==
          "bus: read " + file.path() + " again\nbus: no longer listening on " + own + "\n");
  for (const std::string& bus : {"unix://" + path, address_of_socket(other.get())}) {
    CAPTURE(bus);
    REQUIRE(publish(bus).status == exited(0));
  }
}

TEST_CASE("a descriptor that no broker can listen on is named, with what it is", "[system]") {
  const os::Fd front = unix_service_socket(temporary_folder() + "/front.sock");
  const os::Fd wrong = unix_service_socket(temporary_folder() + "/wrong.sock", SOCK_DGRAM);
  Process broker = start_service({&front, &wrong}, "front:wrong", {"broker"});
  REQUIRE(broker.wait() == exited(2));
  REQUIRE_THAT(broker.err(), Contains("bus: broker: descriptor 4 (wrong) is a datagram socket; what can be "
                                      "listened on is a stream socket that listens: a Unix socket with a path, or "
                                      "TCP\n") &&
                                 !Contains("listening on "));
}

TEST_CASE("a handed over socket that other machines reach needs --insecure", "[system]") {
  const os::Fd front = tcp_service_socket(INADDR_ANY);
  Process refused = start_service({&front}, "front", {"broker"});
  REQUIRE(refused.wait() == exited(2));
  REQUIRE_THAT(refused.err(), Contains("broker: descriptor 3 (front) is tcp://0.0.0.0:") &&
                                  Contains("anybody who reaches this address") && Contains("say --insecure"));
  RunningBroker broker(start_service({&front}, "front", {"broker", "--insecure"}));
  const std::string bus = address_of_socket(front.get());
  REQUIRE(publish("tcp://127.0.0.1" + bus.substr(bus.rfind(':'))).status == exited(0));
}

TEST_CASE("sockets for another process are none of a broker's", "[system]") {
  const std::string bus = unix_bus();
  ProcessOptions options;
  options.env["LISTEN_PID"] = "1";
  options.env["LISTEN_FDS"] = "1";
  RunningBroker broker({"--listen", bus}, options);
  REQUIRE(publish(bus).status == exited(0));
  REQUIRE(broker->err() == "bus: listening on " + bus + "\n");
}

}  // namespace bus::test
