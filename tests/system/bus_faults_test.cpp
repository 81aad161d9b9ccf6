// tests/system/bus_faults_test.cpp: the bus while its processes are killed, stopped, attacked and cut off from each
// other. Each case ends with the auditor: what was promised came, or somebody counted it.
//
//   BUS_KILL_CYCLES=N  kills in all cases together (ordinarily 200)   BUS_KILL_SEED=S  the same choices once more
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
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Millis = std::chrono::duration<double, std::milli>;

constexpr std::array<const char*, 3> kSchemes{"unix", "shm", "tcp"};

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// So many of all kills, for each of `among`; one at least.
std::uint64_t kills(std::uint64_t of_200, std::uint64_t among) {
  constexpr std::uint64_t kOrdinary = kSanitized ? 20 : 200;  // processes start many times slower
  return std::max<std::uint64_t>(1, setting("BUS_KILL_CYCLES", kOrdinary) * of_200 / 200 / among);
}

/// Chance, the same for the same seed; says it.
class Chance {
 public:
  explicit Chance(const std::string& about)
      : seed_(setting("BUS_KILL_SEED", std::random_device{}())), engine_(seed_ ^ std::hash<std::string>{}(about)) {
    std::cout << about << ": BUS_KILL_SEED=" << seed_ << "\n";
  }
  [[nodiscard]] std::chrono::microseconds between(std::chrono::microseconds least, std::chrono::microseconds most) {
    return least + std::chrono::microseconds(engine_() % static_cast<std::uint64_t>((most - least).count() + 1));
  }
  [[nodiscard]] std::uint64_t below(std::uint64_t end) { return engine_() % end; }

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;
};

/// A bus with a broker of its own, at the same place whenever it starts.
std::string fixed_bus(const std::string& scheme) {
  return has_port(scheme) ? fixed_address(scheme) : scheme + "://" + fresh_name();
}

Polite broker_on(const std::string& bus, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words{"broker", "--listen", bus};
  words.insert(words.end(), more.begin(), more.end());
  return Polite(start_bus(std::move(words)));
}

/// A node that waits for the broker and hosts none.
std::vector<std::string> node_words(const std::string& verb, const std::string& subject, const std::string& bus,
                                    const std::vector<std::string>& more) {
  std::vector<std::string> words{verb, subject, "--bus", bus + "?embed=never", "--wait", "20s"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void wait_listening(Process& broker) { static_cast<void>(listening(broker)); }
void wait_subscribed(Process& sub) { sub.wait_for_error("subscribed to "); }

Polite sub_on(const std::string& bus, const std::string& subject, const std::vector<std::string>& more) {
  Polite sub(start_bus(node_words("sub", subject, bus, more)));
  wait_subscribed(sub);
  return sub;
}

/// A publisher whose messages are the lines that it is given.
Polite pub_on(const std::string& bus, const std::string& subject, const std::string& record,
              const std::vector<std::string>& more = {}) {
  std::vector<std::string> words =
      node_words("pub", subject, bus, {"--level", "delivered", "--wait-subs", "1", "--record", record});
  words.insert(words.end(), more.begin(), more.end());
  ProcessOptions options;
  options.stdin_pipe = true;
  return Polite(start_bus(std::move(words), std::move(options)));
}

void end_subscriber(Process& sub) {
  sub.kill(SIGTERM);
  INFO(sub.err());
  REQUIRE(sub.wait() == exited(143));
}

/// All that was published has come: the publisher is told so, or it ends with another code.
void finish_publisher(Process& pub) {
  pub.close_stdin();
  const ExitStatus status = pub.wait(in(60s));
  INFO(pub.err());
  REQUIRE(status == exited(0));
}

/// What the auditor says of all records in a folder.
Json audited(const std::string& folder) {
  std::vector<std::string> words{"audit", "--json", "--margin", "1ms"};
  for (const auto& file : std::filesystem::directory_iterator(folder)) words.push_back(file.path());
  const Finished audit = run_bus(words);
  INFO(audit.err << audit.out);
  REQUIRE(audit.status == exited(0));
  return summary_of(audit.out);
}

std::string in_short(const Json& sum) {
  std::string text;
  for (const char* const key : {"published", "expected", "delivered", "dropped", "unknown", "in_flight", "again"}) {
    if (sum.at(key) != 0) text += (text.empty() ? "" : ", ") + std::string(key) + " " + sum.at(key).dump();
  }
  return text;
}

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

/// "p50 1.2 ms, p99 3.4 ms, longest 3.4 ms".
std::string spread(std::vector<Millis> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    const auto i = static_cast<std::size_t>(part * static_cast<double>(times.size()));
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.1f ms", times[std::min(i, times.size() - 1)].count());
    return std::string(text.data());
  };
  return "p50 " + at(0.5) + ", p99 " + at(0.99) + ", longest " + at(1) + " of " + std::to_string(times.size());
}

Json status_of(const std::string& bus) {
  const Finished status = run_bus({"broker", "--status", "--bus", bus, "--json", "--interval", "0"});
  INFO(status.err);
  REQUIRE(status.status == exited(0));
  return objects(status.out).back();
}

/// One bus with a publisher and a subscriber that live long.
struct Line {
  explicit Line(const std::string& its_scheme)
      : scheme(its_scheme),
        bus(fixed_bus(scheme)),
        folder(temporary_folder()),
        broker(broker_on(bus)),
        sub(sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub"})),
        pub(pub_on(bus, "a", folder + "/pub")) {}

  void publish(std::size_t lines) {
    std::string text;
    for (std::size_t i = 0; i < lines; ++i) text += scheme + " " + std::to_string(++published) + "\n";
    pub.write_stdin(text);
  }
  /// Everything came.
  Json close() {
    finish_publisher(pub);
    end_subscriber(sub);
    const Json sum = audited(folder);
    INFO(scheme << ": " << sum.dump());
    REQUIRE(sum.at("expected") == published);
    REQUIRE(sum.at("delivered") == published);
    return sum;
  }

  std::string scheme, bus, folder;
  Polite broker, sub, pub;
  std::uint64_t published = 0;
};

}  // namespace

// ---- kill -9 ----

TEST_CASE("a broker that is killed again and again loses nothing that was to be delivered", "[system][kill]") {
  Chance chance("kills of brokers");
  const std::uint64_t each = kills(81, kSchemes.size());
  struct Torn : Line {
    using Line::Line;
    std::uint64_t killed = 0;
    Deadline next{};
  };
  std::list<Torn> all;
  for (const char* const scheme : kSchemes) all.emplace_back(scheme);
  // While it starts and is found; about the end of its gathering; at work.
  const auto moment = [&]() -> std::chrono::microseconds {
    const std::uint64_t kind = chance.below(10);
    return kind < 3   ? chance.between(0ms, 30ms)
           : kind < 6 ? chance.between(270ms, 330ms)
                      : chance.between(310ms, 400ms);
  };
  for (Torn& one : all) one.next = in(moment());
  const auto left = [&] {
    return std::any_of(all.begin(), all.end(), [&](const Torn& one) { return one.killed < each; });
  };
  while (left()) {
    for (Torn& one : all) {
      one.publish(3);
      if (one.killed == each || Clock::now() < one.next) continue;
      INFO(one.scheme << " " << one.broker.err());
      REQUIRE(one.broker.kill(SIGKILL));  // and it had not ended by itself
      REQUIRE(one.broker.wait() == ExitStatus{-1, SIGKILL});
      one.broker = broker_on(one.bus);
      ++one.killed;
      one.next = in(moment());
    }
    let_pass(2ms);  // the pace of the publishers, so that each kill has some messages around it
  }
  for (Torn& one : all) {
    std::cout << one.scheme << ": " << one.killed << " kills of the broker; " << in_short(one.close()) << "\n";
  }
}

TEST_CASE("a subscriber that is killed loses nothing for its group", "[system][kill]") {
  Chance chance("kills of subscribers");
  const std::string scheme = GENERATE("unix", "shm", "tcp");
  const std::uint64_t each = kills(66, kSchemes.size());
  const std::string bus = fixed_bus(scheme), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  std::uint64_t made = 0, published = 0;
  const auto start = [&] {
    return Polite(start_bus(node_words("sub", "jobs.*", bus,
                                       {"--queue", "workers", "--format", "none", "--depth", "64", "--record",
                                        folder + "/sub" + std::to_string(++made)})));
  };
  std::array<Polite, 2> members{start(), start()};
  for (Process& member : members) wait_subscribed(member);
  Polite pub = pub_on(bus, "jobs.x", folder + "/pub");
  const auto publish = [&] { pub.write_stdin(std::to_string(++published) + "\n"); };
  for (std::uint64_t i = 0; i < each; ++i) {
    Polite& member = members[chance.below(2)];
    // A random moment for the kill, amid messages at a pace that two members keep up with.
    for (const Deadline until = in(chance.between(0ms, 25ms)); Clock::now() < until; let_pass(1ms)) {
      publish();
      publish();
    }
    REQUIRE(member.kill(SIGKILL));
    REQUIRE(member.wait() == ExitStatus{-1, SIGKILL});
    member = start();
    wait_subscribed(member);
  }
  finish_publisher(pub);
  for (Process& member : members) end_subscriber(member);
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("expected") == published);
  REQUIRE(sum.at("delivered") == published);
  std::cout << scheme << ": " << each << " kills of subscribers; " << in_short(sum) << "\n";
}

TEST_CASE("what a killed publisher was told to be accepted comes", "[system][kill]") {
  Chance chance("kills of publishers");
  const std::string scheme = GENERATE("unix", "shm", "tcp");
  const std::uint64_t each = kills(48, kSchemes.size());
  const std::string bus = fixed_bus(scheme), folder = temporary_folder();
  const Polite broker = broker_on(bus);
  Polite sub = sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub"});
  // The broker gathers no more: what it holds back of a publisher that dies, it forgets.
  const auto live = [&](const std::string& record) {
    const Finished pub =
        run_bus(node_words("pub", "a", bus, {"--level", "delivered", "--count", "1", "--record", folder + record}));
    INFO(pub.err);
    REQUIRE(pub.status == exited(0));
  };
  live("/first");
  for (std::uint64_t i = 0; i < each; ++i) {
    const std::string record = folder + "/pub" + std::to_string(i);
    Process pub = start_bus(node_words(
        "pub", "a", bus, {"--size", "200", "--rate", "20k", "--level", "delivered", "--json", "--record", record}));
    pub.wait_for_output("\"joined\"");
    let_pass(chance.between(0ms, 30ms));  // a random moment for the kill
    REQUIRE(pub.kill(SIGKILL));
    REQUIRE(pub.wait() == ExitStatus{-1, SIGKILL});
  }
  live("/last");  // and everything before it is through
  REQUIRE(eventually([&] { return status_of(bus).at("waiting") == 0; }));
  let_pass(10ms);  // the auditor's margin is a length of time (1 ms): what is younger counts as in flight
  end_subscriber(sub);
  const Json sum = audited(folder);
  INFO(sum.dump());
  REQUIRE(sum.at("delivered").get<std::uint64_t>() > each);
  REQUIRE(sum.at("in_flight") == 0);
  std::cout << scheme << ": " << each << " kills of publishers; " << in_short(sum) << "\n";
}

TEST_CASE("nodes that were long without a broker are all back before it delivers", "[system][kill]") {
  const std::string bus = fixed_bus("unix"), folder = temporary_folder();
  Polite broker = broker_on(bus);
  std::list<Polite> subs;
  for (int i = 0; i < 8; ++i) {
    subs.push_back(sub_on(bus, "a", {"--format", "none", "--record", folder + "/sub" + std::to_string(i)}));
  }
  Polite pub = pub_on(bus, "a", folder + "/pub");
  pub.write_stdin("1\n");
  REQUIRE(eventually([&] { return status_of(bus).at("delivered") == 8; }));
  REQUIRE(broker.kill(SIGKILL));
  REQUIRE(broker.wait() == ExitStatus{-1, SIGKILL});
  pub.write_stdin("2\n");
  let_pass(1200ms);  // until they try as seldom as they ever do
  const auto start = Clock::now();
  broker = broker_on(bus);
  finish_publisher(pub);
  std::cout << "from the start of a broker to the end of the publisher that waited for it: "
            << spread({Clock::now() - start}) << "\n";
  for (Process& sub : subs) end_subscriber(sub);
  const Json sum = audited(folder);
  REQUIRE(sum.at("expected") == 16);
  REQUIRE(sum.at("delivered") == 16);
}

TEST_CASE("when the process that hosts the broker is killed, another takes over", "[system][kill]") {
  const std::string scheme = GENERATE("unix", "shm");
  const std::uint64_t each = kills(10, 2);
  const std::string bus = scheme + "://" + fresh_name(), folder = temporary_folder();
  const auto start_spare = [&] {
    Polite spare(start_bus({"sub", "nothing", "--bus", bus, "--format", "none"}));
    wait_subscribed(spare);
    return spare;
  };
  std::list<Polite> spares;
  for (int i = 0; i < 3; ++i) spares.push_back(start_spare());
  Polite sub = sub_on(bus, "a", {"--record", folder + "/sub"});
  Polite plain = sub_on(bus, "b", {});
  Polite pub = pub_on(bus, "a", folder + "/pub");
  Polite plain_pub = pub_on(bus, "b", "/dev/null", {"--level", "accepted"});
  std::uint64_t written = 0;
  const auto both_get = [&](const std::string& line) {
    pub.write_stdin(line);
    ++written;
    plain_pub.write_stdin(line);
    sub.wait_for_output(line);
    plain.wait_for_output(line);
  };
  both_get("first\n");
  std::vector<Millis> delivered, accepted;
  for (std::uint64_t i = 0; i < each; ++i) {
    const Finished list = run_bus({"list", "--json"});
    std::optional<pid_t> host;
    for (const Json& one : objects(list.out)) {
      if (one.value("address", "") == bus && one.contains("pid")) host = one.at("pid").get<pid_t>();
    }
    INFO(list.out);
    REQUIRE(host);
    const auto victim =
        std::find_if(spares.begin(), spares.end(), [&](const Process& spare) { return spare.pid() == *host; });
    REQUIRE(victim != spares.end());
    const auto killed = Clock::now();
    REQUIRE(victim->kill(SIGKILL));
    const std::string mark = "after " + std::to_string(i) + "\n";
    pub.write_stdin(mark);
    ++written;
    // What is only accepted reaches who is there: it is published until somebody is.
    std::optional<Millis> took;
    for (std::uint64_t n = 0; !took || sub.out().find(mark) == std::string::npos; ++n) {
      REQUIRE(Clock::now() < killed + 20s);
      if (!took && plain.out().find("plain " + std::to_string(i) + " ") != std::string::npos) {
        took = Clock::now() - killed;
      }
      if (!took && n % 4 == 0) plain_pub.write_stdin("plain " + std::to_string(i) + " " + std::to_string(n) + "\n");
      let_pass(500us);  // between two looks, as eventually() does
    }
    delivered.emplace_back(Clock::now() - killed);
    accepted.push_back(*took);
    spares.erase(victim);
    spares.push_back(start_spare());
  }
  std::cout << scheme << ": from the host's death to the first delivery: accepted " << spread(accepted)
            << "; delivered " << spread(delivered) << "\n";
  REQUIRE(*std::max_element(delivered.begin(), delivered.end()) < 10s);
  finish_publisher(pub);
  finish_publisher(plain_pub);
  end_subscriber(sub);
  const Json sum = audited(folder);
  REQUIRE(sum.at("expected") == written);
  REQUIRE(sum.at("delivered") == written);
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

namespace {

std::size_t lines_with(const std::string& path, std::string_view text) {
  std::ifstream file(path);
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) count += line.find(text) != std::string::npos ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a subscriber that drops and is killed leaves no hole: its record says what it dropped", "[system][kill]") {
  const std::string full = GENERATE(as<std::string>{}, "drop-new", "drop-old");
  CAPTURE(full);
  const std::string bus = fixed_bus("shm"), folder = temporary_folder();
  Polite broker = broker_on(bus);
  wait_listening(broker);
  Polite sub =
      sub_on(bus, "load", {"--full", full, "--depth", "4", "--exec", "sleep 0.02", "--record", folder + "/sub"});
  Polite pub(start_bus(node_words("pub", "load", bus,
                                  {"--size", "64", "--rate", "500", "--duration", "1h", "--record", folder + "/pub"})));
  REQUIRE(eventually([&] { return lines_with(folder + "/sub", "\"received\"") >= 20; }));
  REQUIRE(sub.kill(SIGKILL));
  REQUIRE(sub.wait() == ExitStatus{-1, SIGKILL});
  REQUIRE(pub.kill(SIGTERM));
  REQUIRE(pub.wait() == exited(143));
  const Json sum = audited(folder);
  REQUIRE(sum.at("delivered") >= 20);
  REQUIRE(sum.at("dropped") > 0);
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
    for (int i = 0; i < 50; ++i) side.round_trip(side.calm);
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
    const std::array<std::string, 2> cables{"bus" + mine + "a", "bus" + mine + "b"};
    cable_ = cables[0];
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
    bool ok = ip(
        {"ip", "link", "add", cables[0], "netns", pid(0), "type", "veth", "peer", "name", cables[1], "netns", pid(1)});
    for (std::size_t i = 0; ok && i < 2; ++i) {
      ok = ip(in(i, {"ip", "address", "add", address(i) + "/24", "dev", cables[i]})) &&
           ip(in(i, {"ip", "link", "set", cables[i], "up"})) && ip(in(i, {"ip", "link", "set", "lo", "up"}));
    }
  }

  /// Why there are none; empty if there are.
  [[nodiscard]] const std::string& why_not() const { return why_; }
  [[nodiscard]] static std::string address(std::size_t host) { return "10.213.7." + std::to_string(host + 1); }
  [[nodiscard]] Polite start(std::size_t host, std::vector<std::string> words, ProcessOptions options = {}) const {
    return Polite(Process::start(in(host, bus_words(std::move(words))), std::move(options)));
  }
  void connected(bool yes) { REQUIRE(ip(in(0, {"ip", "link", "set", cable_, yes ? "up" : "down"}))); }

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
  std::string cable_, why_;
};

}  // namespace

TEST_CASE("two hosts whose network is cut and heals lose nothing that was to be delivered", "[system]") {
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
  for (int i = 0; i < 2; ++i) {
    hosts.connected(false);
    publish(1000);
    let_pass(std::chrono::milliseconds(setting("BUS_CUT_MS", 800)));  // the length of the cut is what this is about
    hosts.connected(true);
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
