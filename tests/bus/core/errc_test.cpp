// tests/bus/core/errc_test.cpp: error codes, their texts and what they equal.
#include "bus/core/errc.hpp"

#include <cerrno>
#include <set>

#include "bus/core/version.hpp"
#include "tests/support/catch.hpp"

namespace {
constexpr int kFirst = 1, kLast = static_cast<int>(bus::Errc::no_subscriber);
}

TEST_CASE("every code has a text of its own in plain words", "[errc]") {
  std::set<std::string> texts;
  for (int code = kFirst; code <= kLast; ++code) {
    const std::error_code error = static_cast<bus::Errc>(code);
    REQUIRE(error);
    REQUIRE(std::string(error.category().name()) == "ipcbus");
    texts.insert(error.message());
  }
  REQUIRE(texts.size() == static_cast<std::size_t>(kLast));
  REQUIRE(bus::category().message(kLast + 1).find(std::to_string(kLast + 1)) != std::string::npos);
}

TEST_CASE("codes compare with the standard's conditions", "[errc]") {
  REQUIRE(std::error_code(bus::Errc::would_block) == std::errc::operation_would_block);
  REQUIRE(std::error_code(bus::Errc::timed_out) == std::errc::timed_out);
  REQUIRE(std::error_code(bus::Errc::peer_died) == std::errc::connection_reset);
  REQUIRE(std::error_code(bus::Errc::address_in_use) == std::errc::address_in_use);
  REQUIRE(std::error_code(bus::Errc::closed) != std::errc::timed_out);
  REQUIRE(std::error_code(bus::Errc::closed) != bus::Errc::peer_died);
}

TEST_CASE("an error's text is one complete line, and its code stays", "[errc]") {
  const bus::Error error(bus::Errc::refused, "connect shm://lab: no");
  REQUIRE(std::string(error.what()) == "connect shm://lab: no");
  REQUIRE(error.code() == bus::Errc::refused);
  const bus::Error copy = error;
  REQUIRE(std::string(copy.what()) == error.what());
  REQUIRE(bus::describe("send", "shm://lab", bus::Errc::closed) == "send shm://lab: the channel is closed");
  REQUIRE(bus::describe("poll", "", bus::Errc::closed) == "poll: the channel is closed");
}

TEST_CASE("failures of the system keep their errno", "[errc]") {
  errno = EMFILE;
  REQUIRE(bus::last_system_error() == std::errc::too_many_files_open);
}

TEST_CASE("the version is a version and the build says what it was made with", "[version]") {
  const std::string version(bus::version());
  REQUIRE(std::count(version.begin(), version.end(), '.') == 2);
  REQUIRE_FALSE(bus::build().empty());
  REQUIRE(bus::build().find('\n') == std::string_view::npos);
}
