// tools/common/log.cpp: spdlog to stderr.
#include "tools/common/log.hpp"
#include "tools/common/json.hpp"

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>

namespace bus::tools::log {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kPlain = "\x1b[0m";

bool is_terminal() {
  static const bool answer = [] {
    const char* const no_color = std::getenv("NO_COLOR");
    const char* const term = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') &&
           (term == nullptr || std::string_view(term) != "dumb");
  }();
  return answer;
}

void append(spdlog::memory_buf_t& to, std::string_view text) { to.append(text.data(), text.data() + text.size()); }

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const bool terminal = is_terminal();
    const bool error = message.level >= spdlog::level::err;
    const bool warning = message.level == spdlog::level::warn;
    if (terminal && error) append(line, kRed);
    if (terminal && warning) append(line, kYellow);
    append(line, "bus: ");
    if (terminal && (error || warning)) append(line, kPlain);
    if (warning) append(line, "warning: ");
    append(line, {message.payload.data(), message.payload.size()});
    append(line, "\n");
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<TextFormatter>(); }
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(message.time);
    const auto micros =
        std::chrono::duration_cast<std::chrono::microseconds>(message.time.time_since_epoch()).count() % 1'000'000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char time[48];
    const std::size_t length = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    std::snprintf(time + length, sizeof time - length, ".%06dZ", static_cast<int>(micros));
    // block() has asked for a level that nothing but "off" silences; to a reader it is information.
    const auto level =
        spdlog::level::to_string_view(message.level == spdlog::level::critical ? spdlog::level::info : message.level);
    Json object;
    object["time"] = time;
    object["level"] = std::string(level.data(), level.size());
    object["text"] = std::string(message.payload.data(), message.payload.size());
    append(line, json_line(object));
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

// What cannot be written to stderr has nobody left to be told of.
void put(std::string_view text) { static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr)); }

struct State {
  std::mutex mutex;  // the progress line and the lines around it
  std::shared_ptr<spdlog::logger> logger;
  std::string progress;
  bool json = false;

  State() {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
    logger = std::make_shared<spdlog::logger>("bus", sink);
    logger->set_formatter(std::make_unique<TextFormatter>());
    logger->set_error_handler([](const std::string&) {});
  }

  void erase_progress() const {
    if (!progress.empty()) put(kEraseLine);
  }
  void draw_progress() const {
    if (!progress.empty()) put(progress);
  }
};

State& state() {
  static State instance;
  return instance;
}

void line(spdlog::level::level_enum level, std::string_view text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.logger->should_log(level)) return;
  s.erase_progress();
  s.logger->log(level, spdlog::string_view_t(text.data(), text.size()));
  s.draw_progress();
}

}  // namespace

void set_up(std::string_view level, bool json) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.logger->set_level(spdlog::level::from_str(std::string(level)));
  s.json = json;
  if (json) s.logger->set_formatter(std::make_unique<JsonFormatter>());
}

void debug(std::string_view text) { line(spdlog::level::debug, text); }
void info(std::string_view text) { line(spdlog::level::info, text); }
void warn(std::string_view text) { line(spdlog::level::warn, text); }
void error(std::string_view text) { line(spdlog::level::err, text); }

void block(std::string_view lines) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.logger->should_log(spdlog::level::critical)) return;
  s.erase_progress();
  if (s.json) {
    s.logger->log(spdlog::level::critical, spdlog::string_view_t(lines.data(), lines.size()));
  } else {
    put(lines);
  }
  s.draw_progress();
}

bool has_progress() { return is_terminal() && !state().json; }

void progress(std::string_view text) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.json || !is_terminal()) return;
  s.erase_progress();
  s.progress = text;
  s.draw_progress();
}

}  // namespace bus::tools::log
