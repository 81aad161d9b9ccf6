// tests/system/signals_test.cpp: how the program ends when it is told to, or when somebody it works with is gone.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <array>

#include "bus/core/os/fd.hpp"
#include "tests/system/bus_run.hpp"

namespace bus::test {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

/// A pipe that has a reader who takes nothing from it.
class UnreadPipe {
 public:
  UnreadPipe() : path_(temporary_folder() + "/pipe") {
    REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    reader_ = os::Fd(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    writer_ = os::Fd(::open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    REQUIRE(reader_);
    REQUIRE(writer_);
  }

  /// Starts the program with the pipe as its stdout.
  [[nodiscard]] Process start(std::vector<std::string> words) const {
    words = bus_words(std::move(words));
    words.insert(words.begin(), {"/bin/sh", "-c", "exec \"$@\" >\"$0\"", path_});
    return Process::start(std::move(words));
  }

  void fill() const {
    const std::array<char, 4096> bytes{};
    while (::write(writer_.get(), bytes.data(), bytes.size()) > 0) continue;
    REQUIRE(is_full());
  }
  [[nodiscard]] bool is_full() const {
    pollfd writer{writer_.get(), POLLOUT, 0};
    return ::poll(&writer, 1, 0) == 0;
  }

 private:
  const std::string path_;
  os::Fd reader_, writer_;
};

}  // namespace

TEST_CASE("a signal ends a verb that waits, with its exit code, summary and books", "[system]") {
  const auto [signal, code] = GENERATE(table<int, int>({{SIGINT, 130}, {SIGTERM, 143}}));
  CAPTURE(signal);
  Process echo = start_bus({"echo", fresh_address("unix"), "--json"});
  const std::string address = listening(echo);
  Process ping = start_bus({"ping", address, "--interval", "1ms"});
  ping.wait_for_output("seq=5");
  ping.kill(signal);
  REQUIRE(ping.wait() == exited(code));
  REQUIRE_THAT(ping.out(), Contains("ping statistics") && Contains("rtt min/p50"));
  REQUIRE_THAT(ping.err(), Contains("books\n") && Contains("\n  closed\n"));
  echo.kill(signal);
  REQUIRE(echo.wait() == exited(code));
  REQUIRE(summary_of(echo.out()).at("books").at("closed") == true);
}

TEST_CASE("a signal ends recv with nobody there", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process recv = start_bus({"recv", fresh_address(scheme)});
  static_cast<void>(listening(recv));
  recv.kill(SIGINT);
  REQUIRE(recv.wait() == exited(130));
}

TEST_CASE("a signal ends send that waits for its peer", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  Process send = start_bus({"send", fixed_address(scheme), "x", "--wait", "1h", "--json"});
  REQUIRE(sleeps(send.pid()));
  REQUIRE(eventually([&] {  // it may sleep for another reason before it listens to signals
    send.kill(SIGTERM);
    return send.ended();
  }));
  const ExitStatus status = send.wait();
  // A second signal ends it at once, and by itself.
  REQUIRE((status == exited(143) || status == ExitStatus{-1, SIGTERM}));
}

TEST_CASE("a signal ends send that waits for its input, and the books close", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix"), "--once", "--json"});
  Process send = start_bus({"send", listening(recv)}, {.stdin_pipe = true});
  send.write_stdin("a line\nhalf a li");
  recv.wait_for_output("a line");
  send.kill(SIGINT);
  REQUIRE(send.wait() == exited(130));
  REQUIRE_THAT(send.err(), Contains("\n  closed\n"));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(summary_of(recv.out()).at("received") == 1);  // the half line was not sent
}

TEST_CASE("a signal ends send whose receiver does not take anything", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).reliable) return;  // there, nothing is waited for
  Listener listener = listen(fresh_address(scheme));
  Process send = start_bus({"send", std::string(listener.address()), "--size", "64KiB", "--count", "1M"});
  auto channel = listener.accept(soon());
  REQUIRE(channel);
  REQUIRE(channel->receive(soon()));
  REQUIRE(sleeps(send.pid()));
  send.kill(SIGINT);
  REQUIRE(send.wait() == exited(130));
}

TEST_CASE("a signal ends send that waits for its receiver's word, however long it would", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).exchanges_books) return;  // there, nothing is waited for
  Listener listener = listen(fresh_address(scheme));
  Process send = start_bus({"send", std::string(listener.address()), "all", "--linger", "1h"});
  auto channel = listener.accept(soon());
  REQUIRE(channel);
  REQUIRE(channel->receive(soon()));  // and then it is not called again, and so does not answer
  REQUIRE(sleeps(send.pid()));
  send.kill(SIGTERM);
  REQUIRE(send.wait() == exited(143));
  REQUIRE_THAT(send.err(), Contains("\n  not closed\n"));
}

TEST_CASE("a signal ends recv whose reader does not read, and the books have what it received", "[system]") {
  const UnreadPipe pipe;
  const std::string address = fixed_address(GENERATE("unix", "shm"));
  CAPTURE(address);
  Process recv = pipe.start({"recv", address});
  recv.wait_for_error("listening on");
  Process send = start_bus({"send", address, "--size", "1000", "--count", "100k"});
  REQUIRE(eventually([&] { return pipe.is_full(); }));
  REQUIRE(recv.kill(SIGTERM));
  REQUIRE(recv.wait() == exited(143));
  send.wait();
  const std::string err = recv.err();
  INFO(err);
  static constexpr std::string_view kMark = "bus: received ";
  const auto at = err.find(kMark);
  REQUIRE(at != std::string::npos);
  const unsigned long received = std::stoul(err.substr(at + kMark.size()));
  REQUIRE(received > 0);
  REQUIRE_THAT(err, Contains("= received " + std::to_string(received) + " + dropped "));
  // They close only if the sender has said how many there were.
  const bool told = err.find("peer accepted ?") == std::string::npos;
  REQUIRE_THAT(err, Contains(told ? "\n  closed\n" : "\n  not closed\n"));
}

TEST_CASE("a signal ends ping whose reader does not read, and the books close", "[system]") {
  const UnreadPipe pipe;
  Process echo = start_bus({"echo", fresh_address("shm")});
  Process ping = pipe.start({"ping", listening(echo), "--interval", "100us"});
  REQUIRE(eventually([&] { return pipe.is_full(); }));
  REQUIRE(ping.kill(SIGTERM));
  REQUIRE(ping.wait() == exited(143));
  REQUIRE_THAT(ping.err(), Contains("\n  closed\n"));
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("a signal ends a verb that only prints and whose reader does not read", "[system]") {
  const UnreadPipe pipe;
  pipe.fill();
  Process help = pipe.start({"help"});
  // Signals are listened to.
  REQUIRE(eventually([pid = std::to_string(help.pid())] { return !threads_named("bus-signals", pid).empty(); }));
  REQUIRE(help.kill(SIGINT));
  REQUIRE(help.wait() == exited(130));
}

TEST_CASE("the death of the sender ends recv --once with code 4, and only that", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).tells_death) return;
  Process recv = start_bus({"recv", fresh_address(scheme), "--once", "--json"});
  Process send = start_bus({"send", listening(recv)}, {.stdin_pipe = true});
  send.write_stdin("last words\n");
  recv.wait_for_output("last words");
  send.kill(SIGKILL);
  REQUIRE(recv.wait() == exited(4));
  REQUIRE_THAT(recv.err(), Contains("sender 1 died: 1 message received"));
  REQUIRE(summary_of(recv.out()).at("books").at("closed") == false);
}

TEST_CASE("the death of one sender does not end recv for the others", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  const Traits traits = traits_of(scheme);
  if (!traits.tells_death || !traits.survives_peer) return;
  Process recv = start_bus({"recv", fresh_address(scheme), "--count", "2"});
  const std::string address = listening(recv);
  Process victim = start_bus({"send", address}, {.stdin_pipe = true});
  Process other = start_bus({"send", address}, {.stdin_pipe = true});
  victim.write_stdin("from the victim\n");
  recv.wait_for_output("from the victim");
  victim.kill(SIGKILL);
  recv.wait_for_error("died");
  other.write_stdin("from the other");  // ends with its input, before recv has enough and goes
  other.close_stdin();
  REQUIRE(other.wait() == exited(0));
  REQUIRE(recv.wait() == exited(0));
  REQUIRE(recv.out() == "from the victim\nfrom the other\n");
}

TEST_CASE("the death of the receiver ends send with code 4, whatever send is doing", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).tells_death) return;
  Process recv = start_bus({"recv", fresh_address(scheme)});
  const std::string address = listening(recv);
  Process waits = start_bus({"send", address}, {.stdin_pipe = true});
  waits.write_stdin("hello\n");
  recv.wait_for_output("hello");
  Process sends = start_bus({"send", address, "--size", "1KiB", "--rate", "1k", "--duration", "1h"});
  recv.wait_for_error("sender 2 came");
  recv.kill(SIGKILL);
  REQUIRE(waits.wait() == exited(4));
  REQUIRE(sends.wait() == exited(4));
  REQUIRE_THAT(waits.err(), Contains("the receiver died"));
  REQUIRE_THAT(sends.err(), Contains("the receiver died"));
  // The next start is not hindered by what the dead one left.
  Process again = start_bus({"recv", address, "--once"});
  REQUIRE(run_bus({"send", address, "again"}).status == exited(0));
  REQUIRE(again.wait() == exited(0));
}

TEST_CASE("the death of the echo ends ping with code 4", "[system]") {
  const std::string scheme = GENERATE(from_range(process_schemes()));
  CAPTURE(scheme);
  if (!traits_of(scheme).tells_death) return;
  Process echo = start_bus({"echo", fresh_address(scheme)});
  const std::string address = listening(echo);
  Process ping = start_bus({"ping", address, "--interval", "1ms", "--timeout", "60s"});
  ping.wait_for_output("seq=3");
  echo.kill(SIGKILL);
  REQUIRE(ping.wait() == exited(4));
  REQUIRE_THAT(ping.err(), Contains("the peer died"));
  Process sweep = start_bus({"echo", address});  // removes what the dead one left
  static_cast<void>(listening(sweep));
  sweep.kill(SIGTERM);
  REQUIRE(sweep.wait() == exited(143));
}

TEST_CASE("a closed output pipe ends a verb quietly", "[system]") {
  Process echo = start_bus({"echo", fresh_address("unix")});
  Process ping = start_bus({"ping", listening(echo), "--interval", "1ms"});
  ping.wait_for_output("seq=2");
  ping.close_stdout();
  REQUIRE(ping.wait() == exited(141));
  REQUIRE(ping.err().empty());
  echo.kill(SIGTERM);
  REQUIRE(echo.wait() == exited(143));
}

TEST_CASE("recv ends when its reader has gone, without waiting for a message", "[system]") {
  Process recv = start_bus({"recv", fresh_address("unix")});
  Process send = start_bus({"send", listening(recv)}, {.stdin_pipe = true});
  send.write_stdin("x\n");
  recv.wait_for_output("x\n");
  recv.close_stdout();
  REQUIRE(recv.wait() == exited(141));
  REQUIRE(recv.err().find("pipe") == std::string::npos);
  REQUIRE(send.wait() == exited(4));
}

}  // namespace bus::test
