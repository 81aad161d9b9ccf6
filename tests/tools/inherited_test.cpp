// tests/tools/inherited_test.cpp: the environment by which a service manager hands sockets over.
#include "tools/common/inherited.hpp"

#include <unistd.h>

#include <cstdlib>

#include "tests/support/catch.hpp"
#include "tools/common/arguments.hpp"

namespace bus::tools {
namespace {

std::vector<InheritedSocket> handed_over(const std::string& pid, const char* count, const char* names) {
  ::setenv("LISTEN_PID", pid.c_str(), 1);
  ::setenv("LISTEN_FDS", count, 1);
  ::setenv("LISTEN_FDNAMES", names, 1);
  return inherited_sockets();
}

bool environment_is_clean() {
  return std::getenv("LISTEN_PID") == nullptr && std::getenv("LISTEN_FDS") == nullptr &&
         std::getenv("LISTEN_FDNAMES") == nullptr;
}

}  // namespace

TEST_CASE("handed over descriptors begin at 3 and have the names that they were given", "[inherited]") {
  const auto sockets = handed_over(std::to_string(::getpid()), "3", "one:two");
  REQUIRE(sockets.size() == 3);
  CHECK(describe_inherited(sockets[0]) == "descriptor 3 (one)");
  CHECK(describe_inherited(sockets[1]) == "descriptor 4 (two)");
  CHECK(describe_inherited(sockets[2]) == "descriptor 5");
  CHECK(environment_is_clean());
  CHECK(inherited_sockets().empty());
}

TEST_CASE("what is handed over to another process is not ours, nor its children's", "[inherited]") {
  CHECK(handed_over("1", "1", "x").empty());
  CHECK(environment_is_clean());
  CHECK(handed_over("", "1", "x").empty());
}

TEST_CASE("a number of descriptors that is none is said", "[inherited]") {
  for (const char* const count : {"", "x", "-1", "1x", "65537", "99999999999"}) {
    CAPTURE(count);
    CHECK_THROWS_AS(handed_over(std::to_string(::getpid()), count, ""), UsageError);
    CHECK(environment_is_clean());
  }
  CHECK_THROWS_WITH(handed_over(std::to_string(::getpid()), "two", ""),
                    "the environment's LISTEN_FDS=two: allowed is a number from 0 to 65536");
  CHECK(handed_over(std::to_string(::getpid()), "0", "").empty());
}

}  // namespace bus::tools
