// tests/support/sandbox.hpp: a private place for everything that a test process leaves outside itself.
#pragma once

#include <string>
#include <vector>

namespace bus::test {

/// Makes a temporary folder, points XDG_RUNTIME_DIR there (so programs that tests start use it too), and removes
/// it at the end.
class Sandbox {
 public:
  Sandbox();  // throws std::system_error
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

 private:
  std::string root_;
};

/// A folder for a test's own files, inside the sandbox; new at each call.
[[nodiscard]] std::string temporary_folder();

/// What stands in the runtime directory, and in /dev/shm under a name with the prefix of this process's tests.
/// Empty when nothing was left behind.
[[nodiscard]] std::vector<std::string> leftovers();

/// A name that no other test of this machine uses: "test-PID-N". leftovers() knows it.
[[nodiscard]] std::string fresh_name();

/// How many descriptors this process has open.
[[nodiscard]] std::size_t open_descriptors();

}  // namespace bus::test
