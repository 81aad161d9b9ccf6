// tests/tools/measure/trace_test.cpp: system calls of another process are counted, and it is let go.
#include "tools/measure/trace.hpp"

#include <chrono>
#include <csignal>
#include <string>

#include "bus/core/errc.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/eventually.hpp"
#include "tools/measure/child.hpp"

using namespace bus::test;
using namespace bus::tools::measure;
using namespace std::chrono_literals;

namespace {

/// A program that does the same again and again: a mark, then so many system calls in each of four threads of its own.
struct Threads {
  explicit Threads(int calls)
      : program(find_program("python3").value(), {"python3", "-c", kProgram, std::to_string(calls)}) {
    program.wait_until([this] { return program.said() == "up\n"; }, soon());
  }
  static constexpr const char* kProgram = R"(
import os, sys, threading
def work():
  for _ in range(int(sys.argv[1])): os.getpgid(0)
print('up', flush=True)
while True:
  os.getppid()
  threads = [threading.Thread(target=work) for _ in range(4)]
  for thread in threads: thread.start()
  for thread in threads: thread.join()
)";
  Child program;
};

/// False: this process may trace nothing.
bool traces(CallCounter& counter, const Child& program) {
  try {
    counter.attach(program.pid());
    return true;
  } catch (const bus::Error& error) {
    WARN("skipped: " << error.what());
    return false;
  }
}

}  // namespace

TEST_CASE("system calls between two marks are counted, those of threads that are made meanwhile, too", "[measure]") {
  Threads threads(100);
  CallCounter counter;
  if (!traces(counter, threads.program)) return;
  REQUIRE(counter.run(2, soon()));
  REQUIRE(counter.counts().calls >= 400);
}

TEST_CASE("a process that is traced no more can end, whatever its threads did when it was let go", "[measure]") {
  for (int attempt = 0; attempt < 5; ++attempt) {
    Threads threads(1);
    {
      CallCounter counter;
      if (!traces(counter, threads.program)) return;
      REQUIRE_FALSE(counter.run(1'000'000'000, bus::in(5ms)));
    }
    REQUIRE(::kill(threads.program.pid(), SIGKILL) == 0);
    REQUIRE(eventually([&] { return threads.program.ended(); }));
  }
}
