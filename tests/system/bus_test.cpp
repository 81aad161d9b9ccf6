// tests/system/bus_test.cpp: the verbs of the bus as processes: pub, sub, request, reply, broker, audit.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "bus/core/os/fd.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t count_in(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// A bus that nobody else uses and that needs no broker.
std::string local_bus(const std::string& scheme) { return scheme + "://" + fresh_name(); }

/// Starts bus sub and waits until all its patterns are in force.
Polite start_sub(std::vector<std::string> words, std::size_t patterns = 1) {
  words.insert(words.begin(), "sub");
  Polite sub(start_bus(std::move(words)));
  sub.wait_for_error([&](const std::string& err) { return count_in(err, "subscribed to ") >= patterns; });
  return sub;
}

Polite start_reply(std::vector<std::string> words) {
  words.insert(words.begin(), "reply");
  Polite reply(start_bus(std::move(words)));
  reply.wait_for_error("answering ");
  return reply;
}

struct Broker {
  Polite process;
  std::vector<std::string> addresses;
};

Broker start_broker(const std::vector<std::string>& listen, std::vector<std::string> more = {},
                    ProcessOptions options = {}) {
  std::vector<std::string> words{"broker"};
  for (const std::string& address : listen) {
    words.emplace_back("--listen");
    words.push_back(address);
  }
  words.insert(words.end(), more.begin(), more.end());
  Polite process(start_bus(std::move(words), std::move(options)));
  const std::string err = process.wait_for_error([&](const std::string& text) {
    return count_in(text, "listening on ") == listen.size() && text.ends_with('\n');
  });
  std::vector<std::string> addresses;
  std::istringstream lines(err);
  for (std::string line; std::getline(lines, line);) {
    static constexpr std::string_view kMark = "listening on ";
    if (const auto at = line.find(kMark); at != std::string::npos) addresses.push_back(line.substr(at + kMark.size()));
  }
  return {std::move(process), std::move(addresses)};
}

std::string numbers(int from, int to) {
  std::string text;
  for (int i = from; i <= to; ++i) text += std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("what is published comes to who has subscribed, with nothing else started", "[system]") {
  const std::string bus = local_bus(GENERATE("shm", "unix"));
  CAPTURE(bus);
  Polite sub = start_sub({"sensors.>", "--bus", bus, "--count", "1"});
  const Finished pub = run_bus({"pub", "sensors.kitchen", "21.5", "--bus", bus});
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  REQUIRE_THAT(pub.err, Contains("published 1 message") && Contains("1 accepted") && !Contains("nobody"));
  REQUIRE(pub.out.empty());
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(sub.out() == "21.5\n");
}

TEST_CASE("the bus is named by BUS_URL where no option does", "[system]") {
  const std::string bus = local_bus("unix");
  ProcessOptions options;
  options.env["BUS_URL"] = bus;
  Process sub = start_bus({"sub", "a", "--count", "1"}, options);
  sub.wait_for_error("subscribed to a on " + bus);
  REQUIRE(run_bus({"pub", "a", "x", "--bus", bus}).status == exited(0));
  REQUIRE(sub.wait() == exited(0));
}

TEST_CASE("a publisher that hosts the broker leaves when all that it published has been taken", "[system]") {
  const std::string bus = local_bus(GENERATE("shm", "unix"));
  CAPTURE(bus);
  Process pub = start_bus({"pub", "load", "--bus", bus, "--size", "1KiB", "--count", "20k", "--wait-subs", "1"});
  REQUIRE(sleeps(pub.pid()));
  Polite sub = start_sub({"load", "--bus", bus, "--count", "20k", "--format", "none", "--depth", "16"});
  INFO(pub.err() << sub.err());
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(pub.wait() == exited(0));
}

TEST_CASE("a publish that reaches nobody says so and is no failure, unless it was to be delivered", "[system]") {
  const std::string bus = local_bus("shm");
  const Finished plain = run_bus({"pub", "nobody.here", "x", "--bus", bus});
  INFO(plain.err);
  REQUIRE(plain.status == exited(0));
  REQUIRE_THAT(plain.err, Contains("1 reached nobody"));
  const Finished delivered = run_bus({"pub", "nobody.here", "x", "--bus", bus, "--level", "delivered", "--json"});
  INFO(delivered.err);
  REQUIRE(delivered.status == exited(5));
  REQUIRE_THAT(delivered.err, Contains("1 message not delivered (no_subscriber 1)"));
  REQUIRE(summary_of(delivered.out).at("books").at("undelivered") == Json{{"no_subscriber", 1}});
}

TEST_CASE("delivered is what a handler has acknowledged", "[system]") {
  const std::string bus = local_bus("unix");
  Broker broker = start_broker({bus});
  Polite sub = start_sub({"jobs", "--bus", bus, "--count", "1", "--exec", "exit 3"});
  const Finished pub = run_bus({"pub", "jobs", "x", "--bus", bus, "--level", "delivered"});
  INFO(pub.err);
  REQUIRE(pub.status == exited(5));
  REQUIRE(sub.wait() == exited(1));
  Polite good = start_sub({"jobs", "--bus", bus, "--count", "1", "--exec", "cat"});
  REQUIRE(run_bus({"pub", "jobs", "y", "--bus", bus, "--level", "delivered"}).status == exited(0));
  REQUIRE(good.wait() == exited(0));
  REQUIRE(good.out() == "y");
}

TEST_CASE("each line of stdin is a message, and all of it with --whole", "[system]") {
  const std::string bus = local_bus("shm");
  const bool whole = GENERATE(false, true);
  CAPTURE(whole);
  Polite sub = start_sub({"in", "--bus", bus, "--count", whole ? "1" : "3", "--format", "hex"});
  std::vector<std::string> words{"pub", "in", "--bus", bus};
  if (whole) words.emplace_back("--whole");
  REQUIRE(run_bus(words, "a\nb\n\n").status == exited(0));
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(sub.out() == (whole ? "610a620a0a\n" : "61\n62\n\n"));
}

TEST_CASE("pub says of a file without end how large a message may be", "[system]") {
  const Finished pub = run_bus({"pub", "a", "--file", "/dev/zero", "--bus", local_bus("unix")});
  REQUIRE(pub.status == exited(1));
  REQUIRE(pub.err == "bus: /dev/zero is larger than 64MiB: no message has more\n");
}

TEST_CASE("a message tells its subject, headers and publisher", "[system]") {
  const std::string bus = local_bus("shm");
  Polite json = start_sub({"a.*", "--bus", bus, "--count", "2", "--json"});
  Polite line = start_sub({"a.*", "b", "--bus", bus, "--count", "2", "-v"}, 2);
  Polite command = start_sub({"a.*", "--bus", bus, "--count", "1", "--exec",
                              "printf '%s %s %s ' $BUS_SUBJECT $BUS_HEADER_lang "
                              "$BUS_HEADER_x_y; cat"});
  const Finished pub =
      run_bus({"pub", "a.b", "hi", "there", "--bus", bus, "-H", "lang: en", "-H", "x-y:1", "--reply", "r.s"});
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  REQUIRE(json.wait() == exited(0));
  REQUIRE(line.wait() == exited(0));
  REQUIRE(command.wait() == exited(0));
  REQUIRE(line.out() == "a.b hi\na.b there\n");
  REQUIRE(command.out() == "a.b en 1 hi");
  const auto lines = objects(json.out());
  REQUIRE(lines.size() == 4);
  REQUIRE(lines[0].at("type") == "joined");
  REQUIRE(lines[2].at("text") == "there");
  REQUIRE(lines[2].at("subject") == "a.b");
  REQUIRE(lines[2].at("reply") == "r.s");
  REQUIRE(lines[2].at("headers") == Json{{"lang", "en"}, {"x-y", "1"}});
  REQUIRE(lines[2].at("publisher").get<std::string>().size() == 16);
  REQUIRE(lines[2].at("sequence") == 2);
  REQUIRE(lines[3].at("received") == 2);
}

TEST_CASE("members of a queue group share the messages", "[system]") {
  const std::string bus = local_bus("shm");
  Broker broker = start_broker({bus});
  Polite one = start_sub({"jobs.*", "--bus", bus, "--queue", "workers"});
  Polite other = start_sub({"jobs.*", "--bus", bus, "--queue", "workers"});
  REQUIRE(run_bus({"pub", "jobs.x", "--bus", bus}, numbers(1, 100)).status == exited(0));
  REQUIRE(eventually([&] { return lines_in(one.out()) + lines_in(other.out()) >= 100; }));
  one.kill(SIGTERM);
  other.kill(SIGTERM);
  REQUIRE(one.wait() == exited(143));
  REQUIRE(other.wait() == exited(143));
  REQUIRE(lines_in(one.out()) > 0);
  REQUIRE(lines_in(other.out()) > 0);
  std::istringstream lines(one.out() + other.out());
  std::multiset<int> all;
  for (int n = 0; lines >> n;) all.insert(n);
  REQUIRE(all.size() == 100);
  REQUIRE(std::set<int>(all.begin(), all.end()).size() == 100);
}

TEST_CASE("pub waits for so many subscribers, and not for ever", "[system]") {
  const std::string bus = local_bus("shm");
  const Finished late = run_bus({"pub", "s", "x", "--bus", bus, "--wait-subs", "1", "--timeout", "50ms"});
  INFO(late.err);
  REQUIRE(late.status == exited(3));
  REQUIRE_THAT(late.err, Contains("fewer than 1 subscription on s within 50ms"));
  Process pub = start_bus({"pub", "s", "x", "--bus", bus, "--wait-subs", "2"});
  Polite one = start_sub({"s", "--bus", bus, "--count", "1"});
  REQUIRE_FALSE(pub.ended());
  Polite other = start_sub({"s", "--bus", bus, "--count", "1"});
  REQUIRE(pub.wait() == exited(0));
  REQUIRE(one.wait() == exited(0));
  REQUIRE(other.wait() == exited(0));
  REQUIRE(one.out() + other.out() == "x\nx\n");
}

TEST_CASE("who comes late gets the history", "[system]") {
  const std::string bus = local_bus("shm");
  Broker broker = start_broker({bus});
  REQUIRE(run_bus({"pub", "state", "1", "2", "3", "--bus", bus, "--history", "2"}).status == exited(0));
  Polite sub = start_sub({"state", "--bus", bus, "--history", "5", "--count", "2"});
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(sub.out() == "2\n3\n");
}

TEST_CASE("sub gives up when nothing comes, and a signal ends it with its books", "[system]") {
  const std::string bus = local_bus("unix");
  const Finished nothing = run_bus({"sub", "a", "--bus", bus, "--timeout", "20ms"});
  REQUIRE(nothing.status == exited(3));
  Polite sub = start_sub({"a", "b", "--bus", bus, "--json"}, 2);
  sub.kill(SIGINT);
  REQUIRE(sub.wait() == exited(130));
  REQUIRE(summary_of(sub.out()).at("received") == 0);
}

TEST_CASE("a request gets its answer: an echo, a text, what a command prints", "[system]") {
  const std::string bus = local_bus(GENERATE("shm", "unix"));
  CAPTURE(bus);
  Polite echo = start_reply({"echo", "--echo", "--bus", bus});
  Polite text = start_reply({"text", "always", "--bus", bus, "--count", "1"});
  Polite command = start_reply({"math.*", "--exec", "expr 2 \\* $(cat)", "--bus", bus});
  Polite broken = start_reply({"broken", "--exec", "echo half; exit 3", "--bus", bus});
  Polite large = start_reply({"large", "--exec", "head -c 2000000 /dev/zero", "--bus", bus});

  REQUIRE(run_bus({"request", "echo", "hello", "--bus", bus}).out == "hello\n");
  REQUIRE(run_bus({"request", "echo", "--bus", bus, "--format", "raw"}, "from\nstdin").out == "from\nstdin");
  REQUIRE(run_bus({"request", "text", "x", "--bus", bus}).out == "always\n");
  REQUIRE(text.wait() == exited(0));
  REQUIRE(run_bus({"request", "math.double", "21", "--bus", bus, "--format", "raw"}).out == "42\n");
  const Finished failed = run_bus({"request", "broken", "x", "--bus", bus, "--format", "raw"});
  REQUIRE(failed.status == exited(1));
  REQUIRE(failed.out == "half\n");
  REQUIRE_THAT(failed.err, Contains("status 3"));
  const Finished too_large = run_bus({"request", "large", "x", "--bus", bus, "--timeout", "1h"});
  REQUIRE(too_large.status == exited(1));
  REQUIRE_THAT(too_large.err, Contains("the answer of 2000000 B is too large"));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("a request that nobody answers ends at once, one that is not answered in time after that", "[system]") {
  const std::string bus = local_bus("shm");
  const Finished nobody = run_bus({"request", "nobody.here", "x", "--bus", bus, "--timeout", "1h"});
  INFO(nobody.err);
  REQUIRE(nobody.status == exited(4));
  REQUIRE_THAT(nobody.err, Contains("nobody answers there"));
  Polite silent = start_sub({"silent", "--bus", bus});
  const Finished late = run_bus({"request", "silent", "x", "--bus", bus, "--timeout", "50ms"});
  INFO(late.err);
  REQUIRE(late.status == exited(3));
  Process waiting = start_bus({"request", "silent", "x", "--bus", bus, "--timeout", "1h"});
  REQUIRE_NOTHROW(silent.wait_for_output([](const std::string& out) { return lines_in(out) == 2; }));
  waiting.kill(SIGTERM);
  REQUIRE(waiting.wait() == exited(143));
}

TEST_CASE("request can ask everybody, and time many round trips", "[system]") {
  const std::string bus = local_bus("shm");
  Polite one = start_reply({"who", "one", "--queue", "", "--bus", bus});
  Polite two = start_reply({"who", "two", "--queue", "", "--bus", bus});
  const Finished many = run_bus({"request", "who", "", "--bus", bus, "--many", "--timeout", "500ms"});
  REQUIRE(many.status == exited(0));
  REQUIRE((many.out == "one\ntwo\n" || many.out == "two\none\n"));

  const Finished timed = run_bus({"request", "who", "x", "--bus", bus, "--count", "100", "--interval", "0", "--json"});
  INFO(timed.err);
  REQUIRE(timed.status == exited(0));
  const Json summary = summary_of(timed.out);
  REQUIRE(summary.at("sent") == 100);
  REQUIRE(summary.at("received") == 100);
  REQUIRE(summary.at("rtt_ns").at("p50").get<std::uint64_t>() > 0);
}

TEST_CASE("a broker joins transports, and the books of all close", "[system]") {
  const std::string folder = temporary_folder();
  Broker broker = start_broker({local_bus("shm"), local_bus("unix"), "tcp://127.0.0.1:0"}, {"--json"});
  REQUIRE(broker.addresses.size() == 3);
  static constexpr int kEach = 2000;
  std::vector<std::string> files{"audit"};
  std::vector<Polite> subs;
  std::vector<Process> pubs;
  for (std::size_t i = 0; i < 3; ++i) {
    files.push_back(folder + "/sub" + std::to_string(i));
    subs.push_back(start_sub({"load.>", "--bus", broker.addresses[i], "--count", std::to_string(3 * kEach), "--format",
                              "none", "--record", files.back()}));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    files.push_back(folder + "/pub" + std::to_string(i));
    pubs.push_back(start_bus({"pub", "load." + std::to_string(i), "--bus", broker.addresses[i], "--size", "100",
                              "--count", std::to_string(kEach), "--record", files.back()}));
  }
  for (Process& pub : pubs) REQUIRE(pub.wait() == exited(0));
  for (Polite& sub : subs) REQUIRE(sub.wait() == exited(0));
  broker.process.kill(SIGTERM);
  REQUIRE(broker.process.wait() == exited(143));
  const Json totals = summary_of(broker.process.out()).at("books");
  REQUIRE(totals.at("accepted") == 3 * kEach);
  REQUIRE(totals.at("delivered") == 9 * kEach);

  files.emplace_back("--json");
  const Finished audit = run_bus(files);
  INFO(audit.err << audit.out);
  REQUIRE(audit.status == exited(0));
  const Json sum = summary_of(audit.out);
  REQUIRE(sum.at("closed") == true);
  REQUIRE(sum.at("published") == 3 * kEach);
  REQUIRE(sum.at("expected") == 9 * kEach);
  REQUIRE(sum.at("delivered") == 9 * kEach);
}

TEST_CASE("audit finds what a record does not account for", "[system]") {
  const std::string folder = temporary_folder();
  const std::string bus = local_bus("unix");
  Polite sub = start_sub({"a", "--bus", bus, "--count", "50", "--record", folder + "/sub"});
  REQUIRE(run_bus({"pub", "a", "--bus", bus, "--record", folder + "/pub"}, numbers(1, 50)).status == exited(0));
  REQUIRE(sub.wait() == exited(0));
  const std::string received = content(folder + "/sub");
  const auto line_of = [&](const std::string& text, int sequence) {
    const auto at = text.find("\"sequence\":" + std::to_string(sequence) + ",");
    REQUIRE(at != std::string::npos);
    const auto begin = text.rfind('\n', at) + 1;
    return std::pair(begin, text.find('\n', at) + 1 - begin);
  };
  const auto audit = [&](const std::string& text) {
    std::ofstream(folder + "/changed", std::ios::binary) << text;
    return run_bus({"audit", folder + "/pub", folder + "/changed", "--json"});
  };
  const Finished good = audit(received);
  INFO(good.err << good.out);
  REQUIRE(good.status == exited(0));
  const auto [at, length] = line_of(received, 20);

  std::string text = received;
  const Finished hole = audit(text.erase(at, length));
  REQUIRE(hole.status == exited(5));
  REQUIRE(summary_of(hole.out).at("holes") == 1);

  text = received;
  const Finished twice = audit(text.insert(at, received.substr(at, length)));
  REQUIRE(twice.status == exited(5));
  REQUIRE(summary_of(twice.out).at("duplicated") == 1);

  text = received;
  const Finished damaged = audit(text.replace(text.find("\"crc\":", at) + 6, 1, "1"));
  REQUIRE(damaged.status == exited(text == received ? 0 : 5));

  text = received;
  const Finished phantom = audit(text.replace(text.find("\"sequence\":20", at), 13, "\"sequence\":99"));
  REQUIRE(phantom.status == exited(5));
  REQUIRE(summary_of(phantom.out).at("phantom") == 1);

  // What a killed program leaves: the rest is unknown, and no hole.
  const Finished cut = audit(received.substr(0, at + length / 2));
  REQUIRE(cut.status == exited(0));
  REQUIRE_THAT(cut.err, Contains("1 last line of killed programs left out"));
  REQUIRE(summary_of(cut.out).at("unknown") == 31);

  REQUIRE(audit("no record\n").status == exited(2));
  const Finished again = run_bus({"audit", folder + "/pub", folder + "/pub"});
  REQUIRE(again.status == exited(2));
  REQUIRE_THAT(again.err, Contains("joined before: a record counts once"));
}

TEST_CASE("audit says which files hold no record and that none does", "[system]") {
  const std::string folder = temporary_folder(), empty = folder + "/empty", begun = folder + "/begun";
  const std::string record = folder + "/record";
  std::ofstream(empty, std::ios::binary) << "";
  std::ofstream(begun, std::ios::binary) << R"({"event":"join)";
  REQUIRE(run_bus({"pub", "a", "x", "--bus", local_bus("unix"), "--record", record}).status == exited(0));
  const Finished some = run_bus({"audit", empty, record, begun});
  INFO(some.err);
  REQUIRE(some.status == exited(0));
  REQUIRE_THAT(some.err, Contains("bus: warning: " + empty + " holds no record\n") &&
                             Contains("bus: warning: " + begun + " holds no record\n") && !Contains(record + " holds"));
  const Finished one = run_bus({"audit", empty});
  REQUIRE(one.status == exited(2));
  REQUIRE(one.err == "bus: audit: " + empty + " holds no record\n");
  const Finished two = run_bus({"audit", empty, begun});
  REQUIRE(two.status == exited(2));
  REQUIRE_THAT(two.err, Contains("none of the 2 files holds a record"));
}

TEST_CASE("audit takes records of any length, from a file and from a pipe, and a bad line has its number", "[system]") {
  constexpr int kMessages = 5'000;
  const auto line = [](const std::string& event, const std::string& rest) {
    return R"({"event":")" + event + R"(","who":"0123456789abcdef","time_ns":)" + rest + "}\n";
  };
  std::string text = line("joined", R"(1,"name":"n")") + line("subscribed", R"(2,"subscription":1,"pattern":"a")");
  for (const std::string event : {"published", "received"}) {
    for (int i = 1; i <= kMessages; ++i) {
      text += line(event,
                   R"(3,"subscription":1,"publisher":"0123456789abcdef","subject":"a","crc":7,"size":3,"sequence":)" +
                       std::to_string(i));
    }
  }
  REQUIRE(text.size() > std::size_t{1} << 20);
  const std::string path = temporary_folder() + "/record";
  const auto audit = [&](const std::string& record) {
    std::ofstream(path, std::ios::binary) << record;
    return run_bus({"audit", path, "--json"});
  };
  for (const Finished& whole : {audit(text), run_bus({"audit", "-", "--json"}, text)}) {
    INFO(whole.err);
    REQUIRE(whole.status == exited(0));
    REQUIRE(summary_of(whole.out).at("delivered") == kMessages);
  }
  const Finished bad = audit(text + "{}\n" + text);
  REQUIRE(bad.status == exited(2));
  REQUIRE_THAT(bad.err, Contains(path + ", line " + std::to_string(2 * kMessages + 3) + ": not a line of a record: "));
  const Finished endless = audit(text + std::string((std::size_t{16} << 20) + 1, ' '));
  REQUIRE(endless.status == exited(2));
  REQUIRE_THAT(endless.err, Contains(path + " has a line of more than 16"));
}

TEST_CASE("what a full subscription drops is said, counted, and no hole", "[system]") {
  const std::string folder = temporary_folder();
  const std::string bus = local_bus("unix");
  Broker broker = start_broker({bus});
  Polite sub = start_sub({"a", "--bus", bus, "--depth", "8", "--full", "drop-new", "--format", "none", "--record",
                          folder + "/sub", "--json"});
  sub.kill(SIGSTOP);
  REQUIRE(run_bus({"pub", "a", "--bus", bus, "--record", folder + "/pub"}, numbers(1, 1000)).status == exited(0));
  sub.kill(SIGCONT);
  // One more comes when there is room again, and is the last.
  REQUIRE(eventually([&] {
    const Finished status = run_bus({"broker", "--status", "--bus", bus, "--json", "--interval", "0"});
    const Json subscriptions = objects(status.out).back().at("subscriptions");
    return subscriptions.size() == 1 && subscriptions[0].at("waiting") == 0 && subscriptions[0].at("taken") >= 8;
  }));
  sub.kill(SIGTERM);
  REQUIRE(sub.wait() == exited(143));
  INFO(sub.err());
  const Json books = summary_of(sub.out()).at("subscriptions")[0];
  REQUIRE(books.at("received").get<int>() + books.at("dropped").at("queue_full").get<int>() == 1000);
  REQUIRE_THAT(sub.err(), Contains("dropped (queue_full "));
  const Finished audit = run_bus({"audit", folder + "/pub", folder + "/sub", "--json"});
  INFO(audit.err);
  REQUIRE(audit.status == exited(0));
  const Json sum = summary_of(audit.out);
  REQUIRE(sum.at("dropped") == books.at("dropped").at("queue_full"));
  REQUIRE(sum.at("delivered") == books.at("received"));
}

TEST_CASE("a broker that is told to end delivers what it has accepted", "[system]") {
  const std::string bus = local_bus("unix");
  Broker broker = start_broker({bus}, {"--drain", "60s"});
  Polite sub = start_sub({"a", "--bus", bus, "--depth", "10k", "--count", "4k", "--format", "none"});
  sub.kill(SIGSTOP);
  const Finished pub = run_bus({"pub", "a", "--bus", bus, "--size", "1KiB", "--count", "4k"});
  INFO(pub.err);
  REQUIRE(pub.status == exited(0));
  broker.process.kill(SIGTERM);
  broker.process.wait_for_error("stopping");
  REQUIRE_FALSE(broker.process.ended());
  sub.kill(SIGCONT);
  REQUIRE(sub.wait() == exited(0));
  REQUIRE(broker.process.wait() == exited(143));
}

TEST_CASE("a broker says what it does", "[system]") {
  const std::string bus = local_bus("shm");
  const Finished nobody = run_bus({"broker", "--status", "--bus", bus, "--wait", "20ms"});
  INFO(nobody.err);
  REQUIRE(nobody.status == exited(4));
  Broker broker = start_broker({bus}, {"--name", "the-broker"});
  Polite sub = start_sub({"a.*", "--bus", bus, "--queue", "q", "--name", "the-sub"});
  const Finished json = run_bus({"broker", "--status", "--bus", bus, "--json", "--interval", "1ms"});
  INFO(json.err);
  REQUIRE(json.status == exited(0));
  const Json status = objects(json.out).back();
  REQUIRE(status.at("type") == "status");
  REQUIRE(status.at("name") == "the-broker");
  REQUIRE(status.at("clients").size() == 2);
  REQUIRE(status.at("subscriptions")[0].at("pattern") == "a.*");
  REQUIRE(status.contains("accepted_per_second"));
  const Finished table = run_bus({"broker", "--status", "--bus", bus, "--interval", "0"});
  REQUIRE_THAT(table.out, StartsWith("the-broker: up ") && Contains("the-sub") && Contains("a.*"));
}

TEST_CASE("a broker tells the service manager when it listens", "[system]") {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = temporary_folder() + "/notify";
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const os::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  ProcessOptions options;
  options.env["NOTIFY_SOCKET"] = path;
  Broker broker = start_broker({local_bus("unix")}, {}, options);
  std::array<char, 64> text{};
  REQUIRE(::recv(socket.get(), text.data(), text.size() - 1, 0) > 0);
  REQUIRE(std::string(text.data()) == "READY=1");
}

TEST_CASE("list tells the living from the dead", "[system]") {
  const std::string lives = local_bus("shm"), dies = local_bus("unix");
  Broker broker = start_broker({lives});
  Broker dead = start_broker({dies});
  dead.process.kill(SIGKILL);
  REQUIRE(dead.process.wait() == ExitStatus{-1, SIGKILL});
  const Finished list = run_bus({"list", "--json"});
  INFO(list.out << list.err);
  REQUIRE(list.status == exited(0));
  std::map<std::string, Json> found;
  for (const Json& one : objects(list.out)) {
    if (one.at("type") == "endpoint") found[one.at("address")] = one;
  }
  REQUIRE(found.at(lives).at("state") == "alive");
  REQUIRE(found.at(lives).at("pid") == broker.process.pid());
  REQUIRE(found.at(lives).at("process") == "bus");
  REQUIRE(found.at(dies).at("state") == "stale");
  REQUIRE_THAT(run_bus({"list"}).out, Contains(lives) && Contains("alive") && Contains("stale"));
  Broker again = start_broker({dies});  // and leaves nothing behind
}

TEST_CASE("mistakes on a bus get one line that says the rule", "[system]") {
  struct Mistake {
    std::vector<std::string> words;
    std::string says;
  };
  const auto mistake = GENERATE(values<Mistake>({
      {{"pub", "a..b", "x"}, "none empty"},
      {{"pub", "a.*", "x"}, "'*'"},
      {{"pub", "a b", "x"}, "without white space"},
      {{"pub", "a", "x", "--reply", ">"}, "--reply"},
      {{"pub", "a", "x", "--header", "novalue"}, "KEY:VALUE"},
      {{"pub", "a", "x", "--size", "5"}, "exclude each other"},
      {{"pub", "a", "x", "--level", "deliverd"}, "did you mean delivered?"},
      {{"pub", "a", "x", "--bus", "shn://x"}, "did you mean shm?"},
      {{"pub", "a", "x", "--bus", "inproc://x"}, "threads of one process"},
      {{"pub", "a", "x", "--bus", "shm://x?embed=perhaps"}, "embed"},
      {{"pub", "a", "x", "--bus", "unix://x?max_message=10"}, "a bus needs at least 256"},
      {{"sub", "a.>.b"}, "'>' at the end"},
      {{"sub", "a*"}, "'*' stands for one token"},
      {{"sub", "a", "--full", "drop"}, "drop-new"},
      {{"sub", "a", "--json", "--format", "raw"}, "would mix"},
      {{"sub", "a", "--format", "raw", "--subjects"}, "--subjects"},
      {{"request", "a.>", "x"}, "subject"},
      {{"request", "a", "x", "--many", "--count", "2"}, "exclude each other"},
      {{"reply", "a"}, "one of --echo, --exec COMMAND and TEXT"},
      {{"reply", "a", "x", "--echo"}, "one of --echo, --exec COMMAND and TEXT"},
      {{"broker", "--listen", "tcp://0.0.0.0:0"}, "--insecure"},
      {{"broker", "--listen", "tcp://[::]:0"}, "--insecure"},
      {{"broker", "--listen", "udp://example.org:1"}, "--insecure"},
      {{"broker", "--status", "--listen", "shm://x"}, "--listen is for starting one"},
      {{"broker", "--interval", "1s"}, "--status"},
      {{"broker", "--listen", "unix://x", "--listen", "unix://x"}, "--listen unix://x: is there twice"},
      {{"broker", "x"}, "too many arguments: x: write bus broker; see bus help broker"},
      {{"broker", "--listen", "unix://x", "--max-message", "65MiB"}, "--max-message: allowed is 1 to 64MiB"},
      {{"pub", "a", "x", "--history", "99999999999"}, "--history 99999999999: allowed is 1 to 4294967295"},
      {{"pub", "a", "x", "--wait-subs", "5000000000"}, "--wait-subs 5000000000: allowed is 1 to 4294967295"},
      {{"sub", "a", "--depth", "4294967296"}, "--depth 4294967296: allowed is 1 to 4294967295"},
      {{"sub", "a", "--history", "5000000000"}, "--history 5000000000: allowed is 1 to 4294967295"},
      {{"audit"}, "an argument is missing"},
      {{"brokr"}, "did you mean broker?"},
  }));
  CAPTURE(mistake.words);
  const Finished finished = run_bus(mistake.words);
  INFO(finished.err);
  REQUIRE(finished.status == exited(2));
  REQUIRE_THAT(finished.err, StartsWith("bus: ") && Contains(mistake.says));
  REQUIRE(lines_in(finished.err) == 1);
  REQUIRE(finished.out.empty());
}

TEST_CASE("help of the verbs of the bus shows their options and examples in few columns", "[system]") {
  const std::string verb = GENERATE("pub", "sub", "request", "reply", "broker", "audit", "list");
  CAPTURE(verb);
  const Finished finished = run_bus({"help", verb});
  REQUIRE(finished.status == exited(0));
  REQUIRE_THAT(finished.out,
               StartsWith("Usage: bus " + verb + " ") && Contains("--json") && Contains("Examples:\n  bus "));
  std::istringstream lines(finished.out);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    REQUIRE(line.size() <= 110);
  }
}

TEST_CASE("with --json the last line of a verb of the bus is a summary even if there is no bus", "[system]") {
  const auto words = GENERATE(
      values<std::vector<std::string>>({{"pub", "a", "x"}, {"sub", "a"}, {"request", "a", "x"}, {"reply", "a", "x"}}));
  std::vector<std::string> all = words;
  for (const char* const word : {"--bus", "tcp://127.0.0.1:1", "--wait", "20ms", "--json"}) all.emplace_back(word);
  const Finished finished = run_bus(all);
  INFO(finished.err);
  REQUIRE(finished.status == exited(4));
  REQUIRE(summary_of(finished.out).at("received") == 0);
}

}  // namespace bus::test
