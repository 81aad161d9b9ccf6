// tests/bus/core/repository_test.cpp: what the tree promises about itself: one list of transports, one direction of
// dependencies, light headers, a README in each folder.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "bus/core/transport.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/process.hpp"

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = bus::test::source_directory();
const std::set<std::string> kShared{"common", "lane", "stream"};  // folders under transports/ that are no transports

std::set<std::string> transport_folders() {
  std::set<std::string> folders;
  for (const auto& entry : fs::directory_iterator(kRoot / "transports")) {
    if (entry.is_directory() && !kShared.contains(entry.path().filename().string())) {
      folders.insert(entry.path().filename().string());
    }
  }
  return folders;
}

bool is_source(const fs::path& path) { return path.extension() == ".cpp" || path.extension() == ".hpp"; }

/// All sources under a folder, as paths from the root.
std::vector<fs::path> sources(const std::string& folder) {
  std::vector<fs::path> found;
  if (!fs::exists(kRoot / folder)) return found;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    if (entry.is_regular_file() && is_source(entry.path())) found.push_back(fs::relative(entry.path(), kRoot));
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// What a file includes: "bus/core/errc.hpp" or <boost/url.hpp>, without the marks around it.
std::vector<std::string> includes(const fs::path& source) {
  std::vector<std::string> found;
  std::ifstream file(kRoot / source);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with("#include ")) continue;
    const auto open = line.find_first_of("<\"");
    const auto close = line.find_last_of(">\"");
    if (open != std::string::npos && close > open) found.push_back(line.substr(open + 1, close - open - 1));
  }
  return found;
}

bool ours(const std::string& include) {
  for (const char* top : {"bus/", "transports/", "tools/", "tests/", "examples/"}) {
    if (include.starts_with(top)) return true;
  }
  return false;
}

/// Where a file includes something of ours that none of `allowed` begins.
std::vector<std::string> trespasses(const std::vector<fs::path>& files, const std::vector<std::string>& allowed) {
  std::vector<std::string> found;
  for (const fs::path& file : files) {
    for (const std::string& include : includes(file)) {
      const auto begins = [&](const std::string& start) { return include.starts_with(start); };
      if (ours(include) && std::none_of(allowed.begin(), allowed.end(), begins)) {
        found.push_back(file.string() + " includes " + include);
      }
    }
  }
  return found;
}

const std::vector<std::string> kNone;

}  // namespace

TEST_CASE("the folders of transports are the registry", "[repository]") {
  std::set<std::string> registered;
  for (const bus::Transport* transport : bus::transports()) registered.emplace(transport->scheme());
  REQUIRE(registered.size() == bus::transports().size());
  REQUIRE(transport_folders() == registered);
}

TEST_CASE("dependencies point at the boundary", "[repository]") {
  REQUIRE_FALSE(sources("bus/core").empty());
  CHECK(trespasses(sources("bus/core"), {"bus/core/"}) == kNone);
  CHECK(trespasses(sources("bus/protocol"), {"bus/core/", "bus/protocol/"}) == kNone);
  for (const char* folder : {"bus/client", "bus/broker"}) {
    CHECK(trespasses(sources(folder), {"bus/core/", "bus/protocol/", "bus/client/", "bus/broker/"}) == kNone);
  }
  for (const std::string& shared : kShared) {
    CHECK(trespasses(sources("transports/" + shared),
                     {"bus/core/", "transports/common/", "transports/" + shared + "/"}) == kNone);
  }
  for (const std::string& transport : transport_folders()) {
    std::vector<std::string> allowed{"bus/core/", "transports/" + transport + "/", "transports/all.hpp"};
    for (const std::string& shared : kShared) allowed.push_back("transports/" + shared + "/");
    CHECK(trespasses(sources("transports/" + transport), allowed) == kNone);
  }
  // Programs and examples talk to any transport through the boundary.
  CHECK(trespasses(sources("tools"), {"bus/", "tools/"}) == kNone);
  CHECK(trespasses(sources("examples"), {"bus/", "examples/"}) == kNone);
}

TEST_CASE("heavy headers stay in the files that need them", "[repository]") {
  std::vector<std::string> found;
  for (const char* folder : {"bus", "transports", "tools"}) {
    for (const fs::path& file : sources(folder)) {
      if (file.extension() != ".hpp" || file.filename() == "json.hpp") continue;
      for (const std::string& include : includes(file)) {
        for (const char* heavy : {"boost/url", "boost/asio", "spdlog/", "cxxopts", "toml++/", "nlohmann/", "simdjson",
                                  "tools/common/json.hpp"}) {
          if (include.starts_with(heavy)) found.push_back(file.string() + " includes " + include);
        }
      }
    }
  }
  CHECK(found == kNone);
}

TEST_CASE("every folder with sources explains itself", "[repository]") {
  std::set<fs::path> folders;
  for (const char* top : {"bus", "transports", "tools", "tests", "examples"}) {
    for (const fs::path& file : sources(top)) folders.insert(file.parent_path());
  }
  // A folder of tests mirrors the folder that it tests: that one's README explains it.
  std::vector<std::string> silent;
  for (const fs::path& folder : folders) {
    bool explained = fs::exists(kRoot / folder / "README.md");
    if (folder.string().starts_with("tests/")) explained = explained || fs::exists(kRoot / "tests" / "README.md");
    if (!explained) silent.push_back(folder.string());
  }
  CHECK(silent == kNone);
}

TEST_CASE("every source opens with one line on what it is", "[repository]") {
  std::vector<std::string> silent;
  for (const char* top : {"bus", "transports", "tools", "tests", "examples"}) {
    for (const fs::path& source : sources(top)) {
      std::ifstream file(kRoot / source);
      std::string line;
      std::getline(file, line);
      // An example is read by people who have copied it to a place of their own.
      const std::string opening = source.string().starts_with("examples/") ? "// " : "// " + source.string() + ": ";
      if (!line.starts_with(opening)) silent.push_back(source.string());
    }
  }
  CHECK(silent == kNone);
}
