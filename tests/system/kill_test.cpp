// tests/system/kill_test.cpp: kill -9 of a sender or a receiver at a random moment, again and again.
//
// Whoever survives ends by itself with its exit code, and nothing is left: no file in the runtime directory, no shared
// memory with a name, no process.
#include <unistd.h>
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sanitized.hpp"

using namespace bus;
using namespace bus::test;

namespace {

std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(directory, none)) names.insert(entry.path().filename());
  return names;
}

std::string address_of(const Process& receiver) {
  const std::string text = receiver.err();
  const std::string mark = "listening on ";
  const std::size_t at = text.find(mark) + mark.size();
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace

TEST_CASE("after kill -9 of either end the other ends with its code and nothing is left", "[kill]") {
  const std::string scheme = GENERATE("shm", "unix", "tcp");
  CAPTURE(scheme);
  constexpr int kKills = kSanitized ? 30 : 200;  // processes start many times slower
  const std::string runtime = std::string(std::getenv("XDG_RUNTIME_DIR")) + "/ipcbus";
  const std::string ours = "test-" + std::to_string(getpid()) + "-";  // part of every name that this test makes
  std::mt19937 random(42);
  std::vector<double> milliseconds;
  int killed_senders = 0;
  for (int round = 0; round < kKills; ++round) {
    CAPTURE(round);
    Process receiver = Process::start({bus_program(), "recv", fresh_address(scheme), "--format", "none", "--once"});
    receiver.wait_for_error("listening on ", soon());
    Process sender = Process::start({bus_program(), "send", address_of(receiver), "--size", "256", "--rate", "200k"});
    receiver.wait_for_error([](const std::string& said) { return std::count(said.begin(), said.end(), '\n') >= 2; },
                            soon());  // who came
    // A random moment is what this is about: of a transfer that goes on for as long as nobody is killed.
    let_pass(std::chrono::microseconds(random() % 20000));
    const bool sender_dies = random() % 2 == 0;
    killed_senders += sender_dies ? 1 : 0;
    Process& victim = sender_dies ? sender : receiver;
    Process& survivor = sender_dies ? receiver : sender;
    const auto start = Clock::now();
    REQUIRE(victim.kill(SIGKILL));
    const ExitStatus status = survivor.wait(soon());
    milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    CAPTURE(sender_dies, survivor.err());
    REQUIRE(status == ExitStatus{4, 0});  // the peer is gone
    REQUIRE(survivor.err().find("died") != std::string::npos);
    REQUIRE(victim.wait(soon()) == ExitStatus{-1, SIGKILL});
    REQUIRE(names_in(runtime).empty());
  }
  for (const std::string& name : names_in("/dev/shm")) REQUIRE(name.find(ours) == std::string::npos);
  std::sort(milliseconds.begin(), milliseconds.end());
  std::cout << scheme << ": " << kKills << " kills, " << killed_senders << " of senders; survivors ended after "
            << milliseconds[milliseconds.size() / 2] << " ms (median), " << milliseconds.back() << " ms (longest)\n";
}
