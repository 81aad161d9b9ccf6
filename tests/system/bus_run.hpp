// tests/system/bus_run.hpp: runs the bus program and reads what it says.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/channel_pair.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sandbox.hpp"

namespace bus::test {

using Json = nlohmann::json;

inline std::vector<std::string> bus_words(std::vector<std::string> words) {
  words.insert(words.begin(), bus_program());
  return words;
}

[[nodiscard]] inline Process start_bus(std::vector<std::string> words, ProcessOptions options = {}) {
  return Process::start(bus_words(std::move(words)), std::move(options));
}

/// Asks the program to end when its test does, so that it takes along what it has in the file system.
class Polite : public Process {
 public:
  explicit Polite(Process process) : Process(std::move(process)) {}
  Polite(Polite&& other) noexcept : Process(std::move(other)), mine_(std::exchange(other.mine_, false)) {}
  Polite& operator=(Polite&& other) noexcept {
    end();
    Process::operator=(std::move(other));
    mine_ = std::exchange(other.mine_, false);
    return *this;
  }
  ~Polite() { end(); }

 private:
  void end() noexcept {
    if (!std::exchange(mine_, false) || !kill(SIGTERM)) return;
    kill(SIGCONT);
    try {
      wait();
    } catch (const std::runtime_error& error) {
      WARN(error.what());
    }
  }
  bool mine_ = true;
};

[[nodiscard]] inline Finished run_bus(std::vector<std::string> words, std::string_view input = {}) {
  return run(bus_words(std::move(words)), input);
}

/// Waits until the program listens; the address that it says.
[[nodiscard]] inline std::string listening(Process& process) {
  static constexpr std::string_view kMark = "listening on ";
  const std::string text = process.wait_for_error([](const std::string& err) {
    const auto at = err.find(kMark);
    return at != std::string::npos && err.find('\n', at) != std::string::npos;
  });
  const auto begin = text.find(kMark) + kMark.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

/// Each line as an object; throws for one that is none.
[[nodiscard]] inline std::vector<Json> objects(const std::string& text) {
  std::vector<Json> result;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    REQUIRE(end != std::string::npos);
    result.push_back(Json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return result;
}

/// The last line of --json.
[[nodiscard]] inline Json summary_of(const std::string& out) {
  const std::vector<Json> all = objects(out);
  REQUIRE_FALSE(all.empty());
  REQUIRE(all.back().at("type") == "summary");
  return all.back();
}

[[nodiscard]] inline std::size_t lines_in(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

inline constexpr ExitStatus exited(int code) { return ExitStatus{code, 0}; }

}  // namespace bus::test
