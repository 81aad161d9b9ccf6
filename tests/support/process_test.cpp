// tests/support/process_test.cpp: the tests' own tool for starting programs keeps its promises.
#include "tests/support/process.hpp"
#include "tests/support/catch.hpp"

#include "tests/support/eventually.hpp"
#include "tests/support/sandbox.hpp"

using namespace bus::test;
using namespace std::chrono_literals;

TEST_CASE("a program's output and outcome are captured", "[process]") {
  const Finished finished = run({"sh", "-c", "echo out; echo err >&2; exit 3"});
  REQUIRE(finished.out == "out\n");
  REQUIRE(finished.err == "err\n");
  REQUIRE(finished.status == ExitStatus{3, 0});
}

TEST_CASE("a program that cannot be started says why", "[process]") {
  REQUIRE_THROWS_WITH(Process::start({"/no/such/program", "with", "words"}),
                      Catch::Contains("/no/such/program with words") && Catch::Contains("No such file"));
}

TEST_CASE("more than a pipe holds goes through in both directions", "[process]") {
  std::string text;
  for (int line = 0; line < 100'000; ++line) text += std::to_string(line) + '\n';
  const Finished finished = run({"cat"}, text);
  REQUIRE(finished.status == ExitStatus{0, 0});
  REQUIRE(finished.out == text);
}

TEST_CASE("output is waited for, and an end without it is told", "[process]") {
  Process process = Process::start({"sh", "-c", "echo ready; read line; echo got $line"}, {.stdin_pipe = true});
  REQUIRE(process.wait_for_output("ready") == "ready\n");
  process.write_stdin("words\n");
  REQUIRE(process.wait_for_output("got") == "ready\ngot words\n");
  REQUIRE(process.wait() == ExitStatus{0, 0});
  REQUIRE_THROWS_WITH(process.wait_for_output("more"), Catch::Contains("ended before") && Catch::Contains("got words"));
  Process silent = Process::start({"sleep", "1000"});
  REQUIRE_THROWS_WITH(silent.wait_for_output("x", bus::in(10ms)), Catch::Contains("in time"));
  REQUIRE_THROWS_WITH(silent.wait(bus::in(10ms)), Catch::Contains("did not end"));
}

TEST_CASE("a signal ends a program and is its outcome", "[process]") {
  Process process = Process::start({"sleep", "1000"});
  REQUIRE(process.kill(SIGTERM));
  REQUIRE(process.wait() == ExitStatus{-1, SIGTERM});
  REQUIRE(process.ended());
  REQUIRE_FALSE(process.kill(SIGKILL));
}

TEST_CASE("a program does not outlive its Process", "[process]") {
  pid_t pid = 0;
  {
    const Process process = Process::start({"sleep", "1000"});
    pid = process.pid();
    REQUIRE(kernel_state("/proc/" + std::to_string(pid)) != '?');
  }
  REQUIRE(kernel_state("/proc/" + std::to_string(pid)) == '?');
}

TEST_CASE("a program gets its environment, folder and input", "[process]") {
  const std::string folder = temporary_folder();
  ProcessOptions options;
  options.env = {{"GREETING", "hello"}, {"HOME", ""}};
  options.directory = folder;
  const Finished finished = run({"sh", "-c", "echo $GREETING ${HOME-none}; pwd; cat"}, "", bus::in(30s), options);
  REQUIRE(finished.out == "hello none\n" + folder + "\n");
}

TEST_CASE("a closed output pipe is seen by the program", "[process]") {
  Process process = Process::start({"yes"});
  process.wait_for_output("y\n");
  process.close_stdout();
  REQUIRE(process.wait() == ExitStatus{-1, SIGPIPE});
}

TEST_CASE("writing to a program that has ended is an error and no signal", "[process]") {
  Process process = Process::start({"true"}, {.stdin_pipe = true});
  process.wait();
  REQUIRE_THROWS_AS(process.write_stdin("x"), std::system_error);
}
