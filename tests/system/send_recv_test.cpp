// tests/system/send_recv_test.cpp: bus send and bus recv as two programs.
#include <chrono>
#include <fstream>
#include <iterator>
#include <set>

#include "tests/support/payload.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A file whose every part differs from the others.
std::string make_file(const std::string& path, std::size_t bytes) {
  std::string data(bytes, '\0');
  std::uint64_t word = 0x9E3779B97F4A7C15;
  for (char& c : data) {
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    c = static_cast<char>(word);
  }
  std::ofstream(path, std::ios::binary) << data;
  return data;
}

}  // namespace

TEST_CASE("a file sent in pieces arrives as it was and the books close on both sides", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  const std::string folder = temporary_folder();
  const std::string data = make_file(folder + "/in", 5'000'001);
  Process recv = start_bus({"recv", fresh_address(scheme), "--output", folder + "/out", "--json"});
  const std::string address = listening(recv);
  const Finished send = run_bus({"send", address, "--file", folder + "/in", "--chunk", "64KiB", "--json"});
  INFO(send.err);
  REQUIRE(send.status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(content(folder + "/out") == data);

  const Json sent = summary_of(send.out), received = summary_of(recv.out());
  const std::uint64_t pieces = 77;  // 76 of 64 KiB and a rest
  REQUIRE(sent.at("sent") == pieces);
  REQUIRE(sent.at("bytes") == data.size());
  REQUIRE(sent.at("books").at("closed") == true);
  REQUIRE(received.at("address") == address);
  REQUIRE(received.at("received") == pieces);
  REQUIRE(received.at("bytes") == data.size());
  REQUIRE(received.at("seconds").get<double>() > 0);
  REQUIRE(received.at("books") == Json{{"offered", 0},
                                       {"accepted", 0},
                                       {"refused", Json::object()},
                                       {"received", pieces},
                                       {"dropped", Json::object()},
                                       {"peer_accepted", pieces},
                                       {"closed", true}});
}

TEST_CASE("send waits for a receiver that starts later", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  const std::string address = fixed_address(scheme);
  Process send = start_bus({"send", address, "early", "--wait", "30s"});
  REQUIRE(sleeps(send.pid()));
  Process recv = start_bus({"recv", address, "--once"});
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "early\n");
  REQUIRE(send.wait() == exited(0));
}

TEST_CASE("each argument is a message, and an empty one is one, too", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once"});
  const std::string address = listening(recv);
  REQUIRE(run_bus({"send", address, "one", "", "two,three", "--", "-4"}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "one\n\ntwo,three\n-4\n");
}

TEST_CASE("without arguments each line of stdin is a message", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--json"});
  const std::string address = listening(recv);
  REQUIRE(run_bus({"send", address}, "first\n\nlast without newline").status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  std::vector<std::string> texts;
  for (const Json& object : objects(recv.out())) {
    if (object.at("type") == "message") texts.push_back(object.at("text"));
  }
  REQUIRE(texts == std::vector<std::string>{"first", "", "last without newline"});
}

TEST_CASE("--whole sends all of stdin as one message and --chunk cuts it", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--keep", "--count", "4", "--format", "hex"});
  const std::string address = listening(recv);
  REQUIRE(run_bus({"send", address, "--whole"}, "a\nb").status == exited(0));
  REQUIRE(run_bus({"send", address, "--chunk", "2"}, "abcde").status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "610a62\n6162\n6364\n65\n");
}

TEST_CASE("a file that fits is one message, and one that does not is sent in pieces", "[system]") {
  const std::string folder = temporary_folder();
  const std::string data = make_file(folder + "/in", 200'000);
  const auto [options, messages] = GENERATE(table<std::string, int>({{"", 1}, {"max_message=100KiB", 4}}));
  Process recv = start_bus({"recv", fresh_address("shm", options), "--output", folder + "/out", "--json"});
  const std::string address = listening(recv);
  REQUIRE(run_bus({"send", address, "--file", folder + "/in"}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(content(folder + "/out") == data);
  REQUIRE(summary_of(recv.out()).at("received") == messages);
}

TEST_CASE("a message above the receiver's limit is refused with its size and the way out", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix", "max_message=10"), "--once"});
  const std::string address = listening(recv);
  const Finished send = run_bus({"send", address, "0123456789", "0123456789A"});
  REQUIRE(send.status == exited(1));
  REQUIRE_THAT(send.err, Contains("message 2 has 11 bytes") && Contains("takes 10") && Contains("max_message"));
  REQUIRE(lines_in(send.err) == 1);
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "0123456789\n");
}

TEST_CASE("made messages are checked on every transport", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process recv = start_bus({"recv", fresh_address(scheme), "--verify", "--once", "--json"});
  const std::string address = listening(recv);
  const Finished send = run_bus({"send", address, "--size", "100", "--count", "20k"});
  INFO(send.err);
  REQUIRE(send.status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(summary_of(recv.out()).at("verified") ==
          Json{{"checked", 20000}, {"lost", 0}, {"duplicated", 0}, {"reordered", 0}, {"damaged", 0}});
}

TEST_CASE("recv --verify takes what was not made for damaged", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--verify", "--once", "--json"});
  const std::string address = listening(recv);
  REQUIRE(run_bus({"send", address, "this was not made by bus send"}).status == exited(0));
  REQUIRE(recv.wait() == exited(5));
  REQUIRE(summary_of(recv.out()).at("verified").at("damaged") == 1);
}

TEST_CASE("recv --verify finds a stream that begins in its middle", "[system]") {
  // Through a plain socket, so that the first message can be left out.
  const std::string folder = temporary_folder();
  Process made = start_bus({"recv", fresh_address("unix"), "--output", folder + "/made"});
  REQUIRE(run_bus({"send", listening(made), "--size", "32", "--count", "3"}).status == exited(0));
  REQUIRE(made.wait() == exited(0));
  const std::string all = content(folder + "/made");
  REQUIRE(all.size() == 96);
  std::ofstream(folder + "/cut", std::ios::binary) << all.substr(64) << all.substr(32, 32) << all.substr(32, 32);

  Process recv = start_bus({"recv", fresh_address("unix"), "--verify", "--once", "--json"});
  REQUIRE(run_bus({"send", listening(recv), "--file", folder + "/cut", "--chunk", "32"}).status == exited(0));
  REQUIRE(recv.wait() == exited(5));
  REQUIRE(summary_of(recv.out()).at("verified") ==
          Json{{"checked", 3}, {"lost", 1}, {"duplicated", 1}, {"reordered", 1}, {"damaged", 0}});
}

TEST_CASE("a rate spreads messages over time", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--format", "none"});
  const Finished send = run_bus({"send", listening(recv), "--size", "16", "--rate", "1k", "--count", "101", "--json"});
  REQUIRE(send.status == exited(0));
  REQUIRE(summary_of(send.out).at("seconds").get<double>() >= 0.1);  // message 100 is due at 100 ms
  REQUIRE(recv.wait() == exited(0));
}

TEST_CASE("a duration ends the sending", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--verify", "--json"});
  const Finished send =
      run_bus({"send", listening(recv), "--size", "16", "--rate", "1k", "--duration", "50ms", "--json"});
  REQUIRE(send.status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  const auto sent = summary_of(send.out).at("sent").get<int>();
  REQUIRE(sent >= 1);
  REQUIRE(sent <= 50);  // the schedule has no more; how many were late is the machine's affair
  REQUIRE(summary_of(recv.out()).at("received") == sent);
}

TEST_CASE("recv serves several senders at once and says who came and went", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process recv = start_bus({"recv", fresh_address(scheme), "--json", "--count", "4"});
  const std::string address = listening(recv);
  Process one = start_bus({"send", address}, {.stdin_pipe = true});
  Process two = start_bus({"send", address}, {.stdin_pipe = true});
  one.write_stdin("a\n");
  two.write_stdin("b\n");
  recv.wait_for_output([](const std::string& out) { return lines_in(out) >= 5; });  // listening, 2 came, 2 messages
  one.write_stdin("c\n");
  one.close_stdin();
  REQUIRE(one.wait() == exited(0));
  two.write_stdin("d");  // ends with its input: recv, which has enough then, must not find it waiting for more
  two.close_stdin();
  REQUIRE(two.wait() == exited(0));
  REQUIRE(recv.wait() == exited(0));

  std::multiset<std::string> texts, types;
  for (const Json& object : objects(recv.out())) {
    types.insert(object.at("type").get<std::string>());
    if (object.at("type") == "message") texts.insert(object.at("text").get<std::string>());
  }
  REQUIRE(texts == std::multiset<std::string>{"a", "b", "c", "d"});
  REQUIRE(types.count("came") == 2);
  REQUIRE(types.count("went") == 2);
  REQUIRE_THAT(recv.err(), Contains("sender 1 came") && Contains("sender 2 came") && Contains("went"));
  const Json books = summary_of(recv.out()).at("books");
  REQUIRE(books.at("received") == 4);
  REQUIRE(books.at("peer_accepted") == 4);
  REQUIRE(books.at("closed") == true);
}

TEST_CASE("recv that ends by --count tells the sender what it did not take", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process recv = start_bus({"recv", fresh_address(scheme), "--count", "2", "--json"});
  const std::string address = listening(recv);
  Process send = start_bus({"send", address}, {.stdin_pipe = true});
  send.write_stdin("a\nb\n");
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(send.wait() == exited(4));  // its stdin is still open: it had more to say
  REQUIRE_THAT(send.err(), Contains("the receiver closed the channel"));
  const Json books = summary_of(recv.out()).at("books");
  REQUIRE(books.at("received") == 2);
  REQUIRE(books.at("closed") == true);
}

TEST_CASE("recv that is short of descriptors says once that clients are turned away, and at the end how often",
          "[system]") {
  const std::string address = fixed_address("tcp");
  Process recv = Process::start({"/bin/sh", "-c", "ulimit -n 20; exec \"$0\" recv \"$1\"", bus_program(), address});
  static_cast<void>(listening(recv));
  std::vector<Channel> channels;
  unsigned refused = 0;
  while (refused < 10) {
    REQUIRE(channels.size() < 20);
    try {
      channels.push_back(connect(address, in(100ms)));
    } catch (const Error&) {
      ++refused;
    }
  }
  recv.kill(SIGTERM);
  REQUIRE(recv.wait() == exited(143));
  const std::string err = recv.err();
  INFO(err);
  static constexpr std::string_view kOnce = "clients are turned away", kEnd = "clients were turned away ";
  REQUIRE_THAT(err, Contains("ulimit -n"));
  REQUIRE(err.find(kOnce) != std::string::npos);
  REQUIRE(err.find(kOnce) == err.rfind(kOnce));
  REQUIRE(err.find(kEnd) == err.rfind(kEnd));
  const auto at = err.find(kEnd);
  REQUIRE(at != std::string::npos);
  REQUIRE(std::stoul(err.substr(at + kEnd.size())) >= refused);
}

TEST_CASE("recv gives up when nothing comes for so long", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--timeout", "200ms"});
  REQUIRE(recv.wait() == exited(3));
  REQUIRE_THAT(recv.err(), Contains("nothing came for 200ms"));
}

TEST_CASE("recv --output leaves the file alone when the address is wrong", "[system]") {
  const std::string file = temporary_folder() + "/kept";
  std::ofstream(file) << "kept";
  REQUIRE(run_bus({"recv", "shm://x?capacity=1", "--output", file}).status == exited(2));
  REQUIRE(content(file) == "kept");
}

TEST_CASE("--exec runs a command for each message and reports its failure", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--exec", "tr a-z A-Z; test ! -t 0"});
  REQUIRE(run_bus({"send", listening(recv), "one\n", "two\n"}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "ONE\nTWO\n");

  Process failing = start_bus({"recv", fresh_address("unix"), "--once", "--exec", "cat >/dev/null; exit 7"});
  REQUIRE(run_bus({"send", listening(failing), "x"}).status == exited(0));
  REQUIRE(failing.wait() == exited(1));
  REQUIRE_THAT(failing.err(), Contains("status 7"));
}

TEST_CASE("--exec gives a large message to a command that does not read it", "[system]") {
  Process recv = start_bus({"recv", fresh_address("shm"), "--once", "--exec", "true"});
  REQUIRE(run_bus({"send", listening(recv), "--size", "1MiB"}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
}

TEST_CASE("--listen and --connect swap the roles", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process send = start_bus({"send", fresh_address(scheme), "--listen", "one", "two"});
  const Finished recv = run_bus({"recv", listening(send), "--connect"});
  REQUIRE(recv.status == exited(0));
  REQUIRE(recv.out == "one\ntwo\n");
  REQUIRE(send.wait() == exited(0));
}

TEST_CASE("messages are printed in the form that was asked for", "[system]") {
  const auto [format, expected] = GENERATE(
      table<std::string, std::string>({{"line", "a\xff\n\n"}, {"raw", "a\xff"}, {"hex", "61ff\n\n"}, {"none", ""}}));
  CAPTURE(format);
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--format", format});
  REQUIRE(run_bus({"send", listening(recv), "a\xff", ""}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == expected);
}

TEST_CASE("as JSON a payload that is no text is given in hexadecimal", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--format", "json"});
  REQUIRE(run_bus({"send", listening(recv), "\xc3\xa9\"\n", "\xc3"}).status == exited(0));
  REQUIRE(recv.wait() == exited(0));
  const auto lines = objects(recv.out());
  REQUIRE(lines.size() == 2);
  REQUIRE(lines[0] == Json{{"type", "message"}, {"peer", 1}, {"number", 1}, {"size", 4}, {"text", "\xc3\xa9\"\n"}});
  REQUIRE(lines[1] == Json{{"type", "message"}, {"peer", 1}, {"number", 2}, {"size", 1}, {"hex", "c3"}});
}

TEST_CASE("--books prints an account that adds up", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once"});
  const Finished send = run_bus({"send", listening(recv), "a", "b", "c", "--books"});
  REQUIRE_THAT(send.err, Contains("offered 3 = accepted 3 + refused 0") &&
                             Contains("accepted 3 = peer received 3 + peer dropped 0 + lost 0") &&
                             Contains("\n  closed\n"));
  REQUIRE(send.out.empty());
  REQUIRE(recv.wait() == exited(0));
}

TEST_CASE("send to somebody who answers does not get stuck on the answers", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process echo = start_bus({"echo", fresh_address(scheme)});
  const Finished send = run_bus({"send", listening(echo), "--size", "1KiB", "--count", "5k", "--json"});
  INFO(send.err);
  REQUIRE(send.status == exited(0));
  const Json books = summary_of(send.out).at("books");
  REQUIRE(books.at("accepted") == 5000);
  REQUIRE(books.at("closed") == true);
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

}  // namespace bus::test
