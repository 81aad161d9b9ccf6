// tests/bus/core/memory_test.cpp: how much memory control groups leave.
#include "bus/core/os/memory.hpp"

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "tests/support/catch.hpp"

namespace {

namespace fs = std::filesystem;

struct Groups {
  fs::path root = fs::path(std::getenv("XDG_RUNTIME_DIR")) / "groups";
  explicit Groups(const std::string& of_process) { write("self", of_process); }
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;
  ~Groups() { fs::remove_all(root); }
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  }
  [[nodiscard]] std::uint64_t limit() const { return bus::os::memory_of_groups(root / "self", root / "mounts"); }
};

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("the least limit of a control group and those above it holds", "[memory]") {
  const Groups groups("0::/a/b\n");
  CHECK(groups.limit() == kUnlimited);
  groups.write("mounts/a/b/memory.max", "max\n");
  CHECK(groups.limit() == kUnlimited);
  groups.write("mounts/a/memory.max", "1000\n");
  CHECK(groups.limit() == 1000);
  groups.write("mounts/a/b/memory.max", "500\n");
  CHECK(groups.limit() == 500);
  groups.write("mounts/memory.max", "400\n");  // of a container that sees only its own
  CHECK(groups.limit() == 400);
}

TEST_CASE("a limit of control groups of version 1 holds as well", "[memory]") {
  const Groups groups("5:cpu,memory:/a\n4:cpuset:/c\nnonsense\n0::/\n");
  groups.write("mounts/memory/a/memory.limit_in_bytes", "700\n");
  groups.write("mounts/memory/c/memory.limit_in_bytes", "1\n");
  CHECK(groups.limit() == 700);
}

TEST_CASE("this process has some memory", "[memory]") { CHECK(bus::os::usable_memory() > 1 << 20); }
