// tools/common/progress.cpp: see progress.hpp.
#include "tools/common/progress.hpp"

#include "tools/common/log.hpp"
#include "tools/common/summary.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {
constexpr auto kFirst = 500ms;  // what is done sooner needs no progress
constexpr auto kEvery = 200ms;
}  // namespace

Progress::Progress(std::string what, std::optional<std::uint64_t> whole, bool wanted)
    : what_(std::move(what)),
      whole_(whole),
      shown_(wanted && log::has_progress()),
      start_(Clock::now()),
      next_(start_ + kFirst) {}

Progress::~Progress() {
  if (shown_) log::progress("");
}

void Progress::look(std::uint64_t messages, std::uint64_t bytes) {
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + kEvery;
  std::string text = what_ + " " + amount_text(messages, bytes, now - start_);
  if (whole_ && *whole_ > 0) text.append(", ").append(std::to_string(bytes * 100 / *whole_)).append(" %");
  log::progress(text);
}

}  // namespace bus::tools
