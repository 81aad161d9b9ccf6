// tests/support/main.cpp: the one main of all test programs.
//
// Each test program runs in a sandbox of its own (sandbox.hpp). After each test case it looks for what the case
// left behind: files in the runtime directory, names in /dev/shm, open descriptors, children. Any of them fails
// the program, and the test case is named; so does what the program's AroundRuns finds wrong after a run. A few
// descriptors that the library makes once for the whole process are allowed; what leaks again and again is soon more.
#define CATCH_CONFIG_RUNNER
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <iostream>
#include <set>

#include "tests/support/around_runs.hpp"
#include "tests/support/sandbox.hpp"

namespace {

bus::test::AroundRuns* around = nullptr;
bool something_wrong = false;

class Afterwards : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    TestEventListenerBase::testCaseStarting(info);
    descriptors_ = bus::test::open_descriptors();
  }

  void sectionStarting(const Catch::SectionInfo& info) override {
    TestEventListenerBase::sectionStarting(info);
    if (depth_++ == 0 && around != nullptr) around->before();
  }

  void sectionEnded(const Catch::SectionStats& stats) override {
    TestEventListenerBase::sectionEnded(stats);
    if (--depth_ > 0 || around == nullptr) return;
    try {
      if (const std::string wrong = around->after(); !wrong.empty()) complain(stats.sectionInfo.name, wrong);
    } catch (const std::exception& error) {
      complain(stats.sectionInfo.name, error.what());
    }
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    TestEventListenerBase::testCaseEnded(stats);
    const std::string& name = stats.testInfo.name;
    for (const std::string& path : bus::test::leftovers()) {
      if (known_.insert(path).second) complain(name, "left " + path);
    }
    if (const auto now = bus::test::open_descriptors(); now > descriptors_) {
      kept_ += now - descriptors_;
      if (kept_ > kMostKept) complain(name, "left " + std::to_string(now - descriptors_) + " descriptors open");
    }
    // WNOWAIT: look, and leave the child as it is.
    siginfo_t child{};
    if (::waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD) {
      complain(name, "left a child process");
    }
  }

 private:
  static void complain(const std::string& name, const std::string& what) {
    std::cout << "AFTERWARDS: \"" << name << "\" " << what << '\n';
    something_wrong = true;
  }

  static constexpr std::size_t kMostKept = 4;
  int depth_ = 0;                // of sections; the outermost is a run of the case
  std::size_t descriptors_ = 0;  // open when the case started
  std::size_t kept_ = 0;         // made by cases so far, and still open
  std::set<std::string> known_;  // files that were complained about
};
CATCH_REGISTER_LISTENER(Afterwards)

}  // namespace

bus::test::AroundRuns::AroundRuns() { around = this; }

int main(int argc, char* argv[]) {
  const bus::test::Sandbox sandbox;
  const int result = Catch::Session().run(argc, argv);
  if (something_wrong) std::cout << "FAILED: a test case did not end well (see AFTERWARDS above)\n";
  return result != 0 ? result : something_wrong ? 1 : 0;
}
