// tests/support/sandbox.cpp: see sandbox.hpp.
#include "tests/support/sandbox.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <system_error>

namespace bus::test {
namespace {

namespace fs = std::filesystem;

const std::string& name_prefix() {
  static const std::string prefix = "test-" + std::to_string(::getpid()) + "-";
  return prefix;
}

fs::path root_folder() {
  const char* runtime = ::getenv("XDG_RUNTIME_DIR");
  if (runtime == nullptr) throw std::logic_error("no sandbox");
  return fs::path(runtime).parent_path();
}

}  // namespace

Sandbox::Sandbox() {
  std::string pattern = (fs::temp_directory_path() / "bus-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    throw std::system_error(errno, std::system_category(), "mkdtemp " + pattern);
  root_ = pattern;
  const std::string runtime = root_ + "/run";
  fs::create_directory(runtime);
  fs::permissions(runtime, fs::perms::owner_all);
  if (::setenv("XDG_RUNTIME_DIR", runtime.c_str(), 1) != 0) {
    throw std::system_error(errno, std::system_category(), "setenv");
  }
}

Sandbox::~Sandbox() {
  std::error_code ignored;  // a folder in /tmp that stays harms nobody, and there is no one left to tell
  fs::remove_all(root_, ignored);
}

std::string temporary_folder() {
  static std::atomic<unsigned> count{0};
  const fs::path folder = root_folder() / ("files-" + std::to_string(++count));
  fs::create_directory(folder);
  return folder.string();
}

std::vector<std::string> leftovers() {
  std::vector<std::string> found;
  const fs::path runtime = root_folder() / "run" / "ipcbus";
  if (fs::exists(runtime)) {
    for (const auto& entry : fs::recursive_directory_iterator(runtime)) found.push_back(entry.path().string());
  }
  if (fs::exists("/dev/shm")) {
    for (const auto& entry : fs::directory_iterator("/dev/shm")) {
      if (entry.path().filename().string().find(name_prefix()) != std::string::npos) {
        found.push_back(entry.path().string());
      }
    }
  }
  return found;
}

std::string fresh_name() {
  static std::atomic<unsigned> count{0};
  return name_prefix() + std::to_string(++count);
}

std::size_t open_descriptors() {
  const fs::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all))) - 1;  // without the iterator's own
}

}  // namespace bus::test
