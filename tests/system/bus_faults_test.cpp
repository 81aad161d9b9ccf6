// tests/system/bus_faults_test.cpp: the bus while its processes are stopped, attacked and cut off from each other. Each
// case ends with the auditor: what was promised came, or somebody counted it.
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <list>
#include <optional>
#include <random>

#include "bus/client/node.hpp"
#include "bus/core/channel.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/version.hpp"
#include "bus/protocol/frame.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/system/bus_line.hpp"

namespace bus::test {
namespace {

std::uint64_t kilobytes_of(pid_t pid, const std::string& key) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1));
  }
  return 0;
}

bool memory_is_comparable() {
  if (!kSanitized) return true;
  std::cout << "memory is not compared: AddressSanitizer keeps what was freed, ThreadSanitizer what was done\n";
  return false;
}

std::size_t descriptors_of(pid_t pid) {
  const std::filesystem::directory_iterator all("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

// ---- SIGKILL ----

TEST_CASE("who publishes to a broker that is killed learns of how much nobody knows", "[system]") {
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, "a", {"--record", folder + "/sub"});
  Polite pub = pub_on(bus, "a", folder + "/pub", {"--level", "accepted", "--json"});
  pub.write_stdin("it came\n");  // and the broker has not said so yet
  sub.wait_for_output("it came\n");
  REQUIRE(eventually([&] { return status_of(bus).at("waiting") == 0; }));
  REQUIRE(broker.kill(SIGSTOP));
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += "unknown\n";
  pub.write_stdin(lines);
  const auto published = [&] {
    std::ifstream file(folder + "/pub");
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) count += line.find("\"published\"") != std::string::npos ? 1 : 0;
    return count;
  };
  REQUIRE(eventually([&] { return published() == 51; }));
  REQUIRE(broker.kill(SIGKILL));
  REQUIRE(broker.wait() == ExitStatus{-1, SIGKILL});
  broker = broker_on(bus);
  pub.close_stdin();
  REQUIRE(pub.wait(in(60s)) == exited(5));
  REQUIRE_THAT(pub.err(), Contains("0 accepted, 51 in flight when the broker died"));
  REQUIRE_THAT(pub.err(), Contains("nobody knows what became of 51 messages"));
  REQUIRE(summary_of(pub.out()).at("books").at("unknown_after_crash") == 51);
  end_subscriber(sub);
  std::ifstream file(folder + "/pub");
  for (std::string line; std::getline(file, line);) REQUIRE(Json::parse(line).at("event") != "accepted");
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("delivered") == 1);
  REQUIRE(sum.at("unknown") == 50);
}

// ---- SIGSTOP ----

TEST_CASE("a broker that is stopped for a while loses nothing", "[system]") {
  std::list<Line> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  for (Line& one : all) {
    one.publish(500);
    REQUIRE(one.broker.kill(SIGSTOP));
    one.publish(500);
  }
  let_pass(std::chrono::milliseconds(setting("BUS_STOP_MS", 2000)));  // the length of the stop is what this is about
  for (Line& one : all) {
    REQUIRE_FALSE(one.pub.ended());
    REQUIRE_FALSE(one.sub.ended());
    REQUIRE(one.broker.kill(SIGCONT));
    one.publish(500);
  }
  for (Line& one : all) one.close();
}

TEST_CASE("one stopped consumer of eight is counted, and costs the others nothing", "[system]") {
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  constexpr std::uint64_t kMemory = 16 << 10;  // kB
  constexpr std::uint64_t kMessages = 20'000;
  Polite broker = broker_on(bus, {"--max-memory", "16MiB", "--json"});
  wait_listening(broker);
  std::list<Polite> subs;
  for (int i = 0; i < 8; ++i) {
    std::vector<std::string> more{"--format", "none", "--json", "--record", folder + "/sub" + std::to_string(i)};
    if (i == 0) more.insert(more.end(), {"--full", "drop-new", "--depth", "512"});
    if (i > 0) more.insert(more.end(), {"--count", std::to_string(kMessages)});
    subs.push_back(sub_on(bus, "load", more));
  }
  Process& stopped = subs.front();
  REQUIRE(stopped.kill(SIGSTOP));
  const std::uint64_t before = kilobytes_of(broker.pid(), "VmRSS");
  const Finished pub = run_bus(
      node_words("pub", "load", bus,
                 {"--size", "1KiB", "--count", std::to_string(kMessages), "--json", "--record", folder + "/pub"}));
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  for (auto sub = std::next(subs.begin()); sub != subs.end(); ++sub) {
    INFO(sub->err());
    REQUIRE(sub->wait() == exited(0));
  }
  const std::uint64_t after = kilobytes_of(broker.pid(), "VmHWM");
  if (memory_is_comparable()) REQUIRE(after < before + kMemory + kMemory / 10);
  REQUIRE(stopped.kill(SIGCONT));
  REQUIRE(eventually([&] {
    const Json status = status_of(bus);
    return status.at("waiting") == 0 && status.at("subscriptions").size() == 1 &&
           status.at("subscriptions")[0].at("taken") >= 512;
  }));
  end_subscriber(stopped);
  const Json books = summary_of(stopped.out()).at("subscriptions")[0];
  const std::uint64_t dropped = books.at("dropped").at("queue_full");
  REQUIRE(books.at("received").get<std::uint64_t>() + dropped == kMessages);
  REQUIRE(summary_of(pub.out).at("books").at("copies_dropped") == dropped);
  broker.kill(SIGTERM);
  REQUIRE(broker.wait() == exited(143));
  REQUIRE(summary_of(broker.out()).at("books").at("dropped").at("queue_full") == dropped);
  const Json sum = audited(folder);
  REQUIRE(sum.at("delivered").get<std::uint64_t>() + dropped == 8 * kMessages);
  std::cout << "one of eight stopped: it was sent " << books.at("received") << ", " << dropped
            << " dropped and counted; the broker grew by " << after - before << " kB\n";
}

// ---- many, and strangers ----

namespace {

os::Fd connect_raw(const std::string& address) {
  const std::string place = address.substr(address.find("://") + 3);
  if (address.starts_with("tcp")) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoul(place.substr(place.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    os::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    static_cast<void>(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to));
    return socket;
  }
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  const std::string path = std::string(std::getenv("XDG_RUNTIME_DIR")) + "/ipcbus/" + place + ".sock";
  REQUIRE(path.size() < sizeof to.sun_path);
  std::memcpy(to.sun_path, path.data(), path.size());
  os::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  static_cast<void>(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to));
  return socket;
}

/// Whether the other end has closed it.
bool is_closed(const os::Fd& socket) {
  std::array<char, 256> bytes{};
  for (;;) {
    const ssize_t got = ::recv(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got == 0) return true;
    if (got < 0) return errno != EAGAIN;
  }
}

}  // namespace

TEST_CASE("64 silent connections and some that speak a byte at a time do not shut anybody out", "[system]") {
  const std::array<std::string, 2> buses{fixed_bus("unix"), fixed_bus("tcp")};
  const std::string folder = temporary_folder();
  Polite broker = broker_on(buses[0], {"--listen", buses[1]});
  broker.wait_for_error([](const std::string& err) { return lines_in(err) == 2; });
  Polite sub = sub_on(buses[0], "a", {"--format", "none", "--record", folder + "/sub"});
  struct Side {
    std::string bus;
    Node old;
    std::vector<Millis> calm{}, attacked{};
    std::vector<os::Fd> silent{64}, slow{8};
    std::uint64_t closed = 0;

    /// Of who is there already, and of a newcomer.
    void round_trip(std::vector<Millis>& times) {
      const auto start = Clock::now();
      REQUIRE_FALSE(old.publish("b", {}, {}, in(5s)));
      REQUIRE_FALSE(old.flush(in(5s)));
      Node fresh = Node::join(bus);
      REQUIRE_FALSE(fresh.publish("b", {}, {}, in(5s)));
      REQUIRE_FALSE(fresh.close(in(5s)));
      times.emplace_back(Clock::now() - start);
    }
    void attack() {
      for (os::Fd& one : silent) {
        if (one && !is_closed(one)) continue;
        closed += one ? 1 : 0;
        one = connect_raw(bus);
      }
      for (os::Fd& one : slow) {
        if (!one || is_closed(one)) one = connect_raw(bus);
        static_cast<void>(::send(one.get(), "i", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
      }
    }
  };
  std::array<Side, 2> sides{Side{buses[0], Node::join(buses[0])}, Side{buses[1], Node::join(buses[1])}};
  for (Side& side : sides) {
    for (int i = 0; i < 300; ++i) side.round_trip(side.calm);
  }
  const std::size_t descriptors = descriptors_of(broker.pid());
  for (const Deadline until = in(2400ms); Clock::now() < until;) {  // they are given 2 s
    for (Side& side : sides) {
      side.attack();
      side.round_trip(side.attacked);
    }
  }
  for (Side& side : sides) {
    std::cout << side.bus.substr(0, side.bus.find(':')) << ": publish and flush, join, publish and close: calm "
              << spread(side.calm) << "; under attack " << spread(side.attacked) << "; " << side.closed
              << " silent ones thrown out\n";
    REQUIRE(side.closed > 0);
    side.silent.clear();
    side.slow.clear();
  }
  REQUIRE(eventually([&] { return descriptors_of(broker.pid()) <= descriptors; }));
  Polite pub = pub_on(buses[1], "a", folder + "/pub");
  pub.write_stdin("still\nthere\n");
  finish_publisher(pub);
  end_subscriber(sub);
  REQUIRE(audited(folder).at("delivered") == 2);
}

TEST_CASE("a client that is thrown out while it reads nothing delays nobody", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp"));
  CAPTURE(bus);
  Polite broker = broker_on(bus);
  wait_listening(broker);
  Channel rude = connect(bus, soon());
  const auto say = [&](const protocol::Frame& frame) {
    std::vector<std::byte> bytes;
    protocol::encode(frame, bytes);
    REQUIRE_FALSE(rude.send(bytes, soon()));
  };
  say(protocol::Hello{protocol::kVersion, protocol::Instance{7}, 7, 0, "rude"});
  say(protocol::Subscribe{1, "load", {}, 1'000'000, Full::block, 0, false});
  REQUIRE_FALSE(rude.flush(soon()));
  Node honest = Node::join(bus);
  REQUIRE_FALSE(honest.wait_subscribers("load", 1, soon()));
  const std::vector<std::byte> payload(64 << 10);
  for (int i = 0; i < 100; ++i) REQUIRE_FALSE(honest.publish("load", payload, {}, soon()));
  REQUIRE_FALSE(honest.flush(soon()));
  REQUIRE(status_of(bus).at("waiting") > 0);  // its channel is full
  const auto start = Clock::now();
  say(protocol::Hello{protocol::kVersion, protocol::Instance{8}, 8, 0, "somebody else, all of a sudden"});
  REQUIRE_FALSE(rude.flush(soon()));
  REQUIRE(eventually([&] { return status_of(bus).at("waiting") == 0; }));
  REQUIRE_FALSE(honest.publish("load", payload, {}, soon()));
  REQUIRE_FALSE(honest.flush(soon()));
  REQUIRE(Clock::now() < start + 3s);  // a channel that is destroyed waits 5 s for a peer that takes nothing
}

TEST_CASE("of 50 brokers that start at once on one address one wins, and the others name it", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp"));
  CAPTURE(bus);
  std::list<Polite> all;
  for (int i = 0; i < 50; ++i) all.push_back(broker_on(bus));
  const auto alive = [&] {
    return std::count_if(all.begin(), all.end(), [](const Process& one) { return !one.ended(); });
  };
  REQUIRE(eventually([&] { return alive() == 1; }));
  Process& winner = *std::find_if(all.begin(), all.end(), [](const Process& one) { return !one.ended(); });
  wait_listening(winner);
  for (Process& one : all) {
    if (&one == &winner) continue;
    INFO(one.err());
    REQUIRE(one.wait() == exited(1));
    REQUIRE_THAT(one.err(), Contains("process " + std::to_string(winner.pid())));
  }
  REQUIRE(run_bus(node_words("pub", "a", bus, {"--count", "1"})).status == exited(0));
}

TEST_CASE("nodes that come and go leave nothing behind in the broker", "[system]") {
  const std::string bus = fixed_bus(GENERATE("unix", "shm", "tcp"));
  CAPTURE(bus);
  Polite broker = broker_on(bus);
  wait_listening(broker);
  const auto churn = [&](std::uint64_t cycles) {
    for (std::uint64_t i = 0; i < cycles; ++i) {
      Node node = Node::join(bus + "?embed=never");
      Subscription sub = node.subscribe("churn." + std::to_string(i % 100) + ".>");
      REQUIRE_FALSE(node.publish("churn." + std::to_string(i % 100) + ".x", bytes_of("x"),
                                 {.level = i % 2 == 0 ? Level::accepted : Level::delivered}, in(20s)));
      Result<Delivery> message = sub.receive(in(20s));
      REQUIRE(message);
      if (i % 4 == 0) REQUIRE_FALSE(node.close(in(20s)));
    }
  };
  const std::uint64_t cycles = setting("BUS_CHURN_CYCLES", kSanitized ? 80 : 250);
  churn(cycles);
  REQUIRE(eventually([&] { return status_of(bus).at("clients").size() == 1; }));  // who asks
  const std::size_t descriptors = descriptors_of(broker.pid());
  const std::uint64_t memory = kilobytes_of(broker.pid(), "VmRSS");
  churn(cycles);
  REQUIRE(eventually([&] { return status_of(bus).at("clients").size() == 1; }));
  REQUIRE(eventually([&] { return descriptors_of(broker.pid()) <= descriptors; }));
  const std::uint64_t grown =
      kilobytes_of(broker.pid(), "VmRSS") - std::min(memory, kilobytes_of(broker.pid(), "VmRSS"));
  std::cout << bus.substr(0, bus.find(':')) << ": " << 2 * cycles << " nodes came and went; the broker has "
            << descriptors << " descriptors, and grew by " << grown << " kB in the second half\n";
  if (memory_is_comparable()) REQUIRE(grown < 1024);
  const Json status = status_of(bus);
  REQUIRE(status.at("subscriptions").empty());
  REQUIRE(status.at("memory") == 0);
}

// ---- two hosts ----

namespace {

/// Two network namespaces with a cable between them. They have no names: each lasts as long as a process in it, and the
/// first of these ends with this object, or with the test program however that ends.
class TwoHosts {
 public:
  TwoHosts() : hosts_{hold(), hold()} {
    const std::string mine = std::to_string(::getpid() % 1'000'000);
    cables_ = {"bus" + mine + "a", "bus" + mine + "b"};
    std::error_code none;
    const auto ours = std::filesystem::read_symlink("/proc/self/ns/net", none);
    for (Process& host : hosts_) {
      const std::string its = "/proc/" + std::to_string(host.pid()) + "/ns/net";
      if (eventually([&] { return host.ended() || std::filesystem::read_symlink(its, none) != ours; }) &&
          !host.ended()) {
        continue;
      }
      why_ = host.ended() ? host.err() : "unshare makes none in time";
      return;
    }
    const auto pid = [this](std::size_t host) { return std::to_string(hosts_[host].pid()); };
    bool ok = ip({"ip", "link", "add", cables_[0], "netns", pid(0), "type", "veth", "peer", "name", cables_[1], "netns",
                  pid(1)});
    for (std::size_t i = 0; ok && i < 2; ++i) {
      ok = ip(in(i, {"ip", "address", "add", address(i) + "/24", "dev", cables_[i]})) &&
           ip(in(i, {"ip", "link", "set", cables_[i], "up"})) && ip(in(i, {"ip", "link", "set", "lo", "up"}));
    }
  }

  /// Why there are none; empty if there are.
  [[nodiscard]] const std::string& why_not() const { return why_; }
  [[nodiscard]] static std::string address(std::size_t host) { return "10.213.7." + std::to_string(host + 1); }
  [[nodiscard]] Polite start(std::size_t host, std::vector<std::string> words, ProcessOptions options = {}) const {
    return Polite(Process::start(in(host, bus_words(std::move(words))), std::move(options)));
  }
  void connected(bool yes) { REQUIRE(ip(in(0, {"ip", "link", "set", cables_[0], yes ? "up" : "down"}))); }
  /// One direction: a host that is not heard sends to an Ethernet address that is not the other's.
  void heard(std::size_t host, bool yes) {
    const std::string other = address(1 - host);
    REQUIRE(
        ip(in(host, yes ? std::vector<std::string>{"ip", "neighbour", "del", other, "dev", cables_[host]}
                        : std::vector<std::string>{"ip", "neighbour", "replace", other, "lladdr", "02:00:00:00:00:01",
                                                   "nud", "permanent", "dev", cables_[host]})));
  }

 private:
  static Process hold() { return Process::start({"unshare", "--net", "sleep", "infinity"}); }
  [[nodiscard]] std::vector<std::string> in(std::size_t host, std::vector<std::string> words) const {
    words.insert(words.begin(), {"nsenter", "--target", std::to_string(hosts_[host].pid()), "--net"});
    return words;
  }
  bool ip(std::vector<std::string> words) {
    try {
      const Finished done = run(std::move(words));
      if (done.status == exited(0)) return true;
      if (why_.empty()) why_ = done.err;
    } catch (const std::system_error& error) {  // there is no such program
      if (why_.empty()) why_ = error.what();
    }
    return false;
  }

  std::array<Process, 2> hosts_;
  std::array<std::string, 2> cables_;  // the two ends of one
  std::string why_;
};

}  // namespace

TEST_CASE("two hosts whose network is cut, in one direction or both, lose nothing that was to be delivered",
          "[system]") {
  TwoHosts hosts;
  if (!hosts.why_not().empty()) {
    WARN("skipped: this user cannot make network namespaces: " << hosts.why_not());
    return;
  }
  const std::string bus = "tcp://" + TwoHosts::address(0) + ":4222", folder = temporary_folder();
  Polite broker = hosts.start(0, {"broker", "--listen", bus, "--insecure"});
  wait_listening(broker);
  Polite sub =
      hosts.start(1, node_words("sub", "a", bus, {"--format", "none", "--depth", "16", "--record", folder + "/sub"}));
  wait_subscribed(sub);
  ProcessOptions options;
  options.stdin_pipe = true;
  Polite pub = hosts.start(
      0, node_words("pub", "a", bus, {"--level", "delivered", "--wait-subs", "1", "--record", folder + "/pub"}),
      options);
  std::uint64_t published = 0;
  const auto publish = [&](std::uint64_t count) {
    std::string text;
    for (std::uint64_t i = 0; i < count; ++i) text += std::to_string(++published) + "\n";
    pub.write_stdin(text);
  };
  publish(1000);
  REQUIRE(eventually([&] { return std::filesystem::file_size(folder + "/sub") > 10'000; }));
  const std::vector<std::function<void(bool)>> cuts{
      [&](bool whole) { hosts.connected(whole); },
      [&](bool whole) { hosts.heard(0, whole); },  // what the broker says is lost
      [&](bool whole) { hosts.heard(1, whole); },  // what the subscriber says
      [&](bool whole) { hosts.connected(whole); },
  };
  for (const auto& whole : cuts) {
    whole(false);
    publish(1000);
    let_pass(std::chrono::milliseconds(setting("BUS_CUT_MS", 800)));  // the length of the cut is what this is about
    whole(true);
    publish(1000);
  }
  finish_publisher(pub);
  end_subscriber(sub);
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("expected") == published);
  REQUIRE(sum.at("delivered") == published);
}

}  // namespace bus::test
