// tools/measure/settings.cpp: from options to a plan, and from a result to files.
#include "tools/measure/settings.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "bus/core/errc.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/units.hpp"
#include "tools/common/log.hpp"
#include "tools/measure/clock.hpp"
#include "tools/measure/html.hpp"
#include "tools/measure/text.hpp"

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kLeastSize = 8;
constexpr std::uint64_t kMostSize = std::uint64_t{64} << 20;
constexpr auto kWorthSaying = 10s;

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

[[noreturn]] void fail(const Arguments& arguments, const std::string& why) {
  throw UsageError(std::string(arguments.verb().name) + ": " + why);
}

std::map<std::string, int> pins_of(const Arguments& arguments) {
  std::map<std::string, int> pins;
  const auto text = arguments.text("pin");
  if (!text) return pins;
  for (const std::string_view part : split(*text)) {
    const auto equals = part.find('=');
    const std::string role(part.substr(0, equals));
    int cpu = -1;
    if (equals != std::string_view::npos) {
      const auto [end, error] = std::from_chars(part.data() + equals + 1, part.data() + part.size(), cpu);
      if (error != std::errc{} || end != part.data() + part.size()) cpu = -1;
    }
    if ((role != "send" && role != "receive") || cpu < 0 || cpu >= 1024) {
      fail(arguments, "--pin " + *text + ": it is send=CPU,receive=CPU");
    }
    cpu_set_t usable;
    CPU_ZERO(&usable);
    if (::sched_getaffinity(0, sizeof usable, &usable) == 0 && !CPU_ISSET(static_cast<unsigned>(cpu), &usable)) {
      fail(arguments, "--pin " + *text + ": this process may not use CPU " + std::to_string(cpu));
    }
    pins[role] = cpu;
  }
  return pins;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(last_system_error(), "cannot write " + path + ": " + last_system_error().message());
}

void check_writable(const std::string& path) {
  const os::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  if (!file) throw Error(last_system_error(), "cannot write " + path + ": " + last_system_error().message());
}

[[noreturn]] void fail_without_page() {
  throw Error(Errc::not_supported, "--html: this program was built without npm, so it has no report page");
}

std::string left_text(std::chrono::nanoseconds left) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left).count();
  return seconds >= 120 ? std::to_string(seconds / 60) + " min" : std::to_string(seconds) + " s";
}

}  // namespace

std::vector<std::uint64_t> sizes_of(const Arguments& arguments) {
  std::vector<std::uint64_t> sizes;
  const std::string text = *arguments.text("sizes");
  for (const std::string_view part : split(text)) {
    const auto size = parse_size(part);
    if (!size || *size < kLeastSize || *size > kMostSize) {
      fail(arguments, "--sizes " + text + ": sizes from 8 to 64MiB, with commas between them");
    }
    sizes.push_back(*size);
  }
  return sizes;
}

RowOptions row_options(const Arguments& arguments) {
  RowOptions options;
  Conditions& c = options.conditions;
  c.wait = *arguments.text("wait");
  c.touch = *arguments.text("touch");
  c.copy = arguments.flag("copy");
  c.pin = pins_of(arguments);
  c.clock = *arguments.text("clock");
  if (c.clock == "tsc") options.clock = SampleClock::calibrate_counter();
  options.warm_up = *arguments.duration("warmup");
  options.timed = *arguments.duration("duration");
  if (options.timed <= 0ns || options.timed > 1h) fail(arguments, "--duration: from 1us to 1h");
  if (options.warm_up > 1h) fail(arguments, "--warmup: at most 1h");
  return options;
}

Plan plan_of(const Arguments& arguments, std::string kind) {
  Plan plan;
  // What could not be written at the end is said before half an hour of measuring.
  for (const char* const option : {"save", "html"}) {
    if (const auto path = arguments.text(option)) check_writable(*path);
  }
  if (arguments.given("html") && !html_report({})) fail_without_page();
  plan.command = {"bus", kind};
  for (const std::string& word : arguments.words()) plan.command.push_back(word);
  plan.kind = std::move(kind);
  plan.repetitions = *arguments.number("repetitions");
  if (plan.repetitions == 0 || plan.repetitions > 10'000) fail(arguments, "--repetitions: from 1 to 10000");
  plan.seed = *arguments.number("seed");
  plan.anonymise = arguments.flag("anonymise");
  return plan;
}

Result run(const Plan& plan, Signals& signals) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto whole = estimate(plan);
  if (whole >= kWorthSaying) {
    log::info(std::to_string(plan.rows.size()) + (plan.rows.size() == 1 ? " row, " : " rows, ") +
              std::to_string(plan.repetitions) + " repetitions each: about " + left_text(whole));
  }
  const auto began = Clock::now();
  const auto progress = [&](std::uint64_t number, std::uint64_t of, const Row& row) {
    if (!terminal) return;
    auto left = whole;
    if (number > 3) left = (Clock::now() - began) / static_cast<long>(number) * static_cast<long>(of - number);
    std::fprintf(stderr, "\r\033[K%s of %s, %s left: %s", std::to_string(number + 1).c_str(),
                 std::to_string(of).c_str(), left_text(left).c_str(), row.id.c_str());
  };
  const auto clear = [&] {
    if (terminal) std::fputs("\r\033[K", stderr);
  };
  try {
    Result result = run_plan(plan, signals, progress);
    clear();
    return result;
  } catch (...) {
    clear();
    throw;
  }
}

Exit publish(const Result& result, const Arguments& arguments, Output& output) {
  const std::string json = to_json(result);
  // The text first: a file that cannot be written does not take it along.
  if (arguments.flag("json")) {
    output.write(json);
    output.write("\n");
  } else {
    const char* const no_colour = std::getenv("NO_COLOR");
    output.write(to_text(result, output.is_terminal() && (no_colour == nullptr || *no_colour == '\0')));
  }
  output.flush();
  if (const auto path = arguments.text("save")) write_file(*path, json + "\n");
  if (const auto path = arguments.text("html")) {
    const auto page = html_report(std::span(&json, 1));
    if (!page) fail_without_page();
    write_file(*path, *page);
  }
  return result.is_valid() ? Exit::ok : Exit::loss;
}

}  // namespace bus::tools::measure
