// tests/support/around_runs.hpp: what a test program does before and after each run of a test case (a generator makes
// several runs of one case). Kept by main.cpp, which prints what is wrong afterwards and makes the program fail.
#pragma once

#include <string>

namespace bus::test {

class AroundRuns {
 public:
  /// Is called from now on. One of a program, made before main().
  AroundRuns();
  AroundRuns(const AroundRuns&) = delete;
  AroundRuns& operator=(const AroundRuns&) = delete;

  virtual void before() = 0;
  /// When all that the run has made is gone. What is wrong, or nothing.
  [[nodiscard]] virtual std::string after() = 0;

 protected:
  ~AroundRuns() = default;
};

}  // namespace bus::test
