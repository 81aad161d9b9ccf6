// tools/verbs/ping.cpp: bus ping: round trips to bus echo, timed one by one (a closed loop: MEASUREMENT of a service,
// not of a queue).
//
// A ping of S bytes is the lower-case hexadecimal number of the ping, 16 digits, of which the last S are sent if S is
// below 16, followed by letters a to z in turn. It is text, so that it passes through framing=line as well, and the
// answer must be the same to the byte.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "bus/core/units.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/histogram.hpp"
#include "tools/common/log.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/report.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kDigits = 16;

class Pinging {
 public:
  Pinging(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  enum class Answer : unsigned char { right, lost, over };

  void number_ping(std::uint64_t sequence) noexcept;
  [[nodiscard]] Answer round_trip(std::chrono::nanoseconds& rtt) noexcept;
  [[nodiscard]] std::error_code receive_answer(Deadline deadline) noexcept;
  [[nodiscard]] bool is_older(std::span<const std::byte> answer) const noexcept;
  void ping_all();
  void print(std::uint64_t sequence, Answer answer, std::chrono::nanoseconds rtt);
  void print_statistics();
  void report_summary();
  [[nodiscard]] Exit judge() const;

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& address_;
  const bool json_;
  const std::uint64_t count_;
  const std::chrono::nanoseconds interval_, timeout_;
  Output output_;
  Channel channel_;
  bool whole_messages_ = true;
  std::vector<std::byte> ping_;
  Histogram rtt_;
  std::uint64_t sent_ = 0, received_ = 0, damaged_ = 0;
  std::error_code failure_;
  Clock::time_point start_{}, last_{};
  Summary summary_;
};

Pinging::Pinging(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      address_(arguments.address()),
      json_(arguments.flag("json")),
      count_(arguments.number("count").value_or(std::numeric_limits<std::uint64_t>::max())),
      interval_(*arguments.duration("interval")),
      timeout_(*arguments.duration("timeout")),
      output_(signals),
      ping_(*arguments.number("size")) {
  for (std::size_t i = std::min(kDigits, ping_.size()); i < ping_.size(); ++i) {
    ping_[i] = static_cast<std::byte>('a' + (i - kDigits) % 26);
  }
}

void Pinging::number_ping(std::uint64_t sequence) noexcept {
  static constexpr char kHex[] = "0123456789abcdef";
  for (std::size_t i = std::min(kDigits, ping_.size()); i-- > 0; sequence >>= 4) {
    ping_[i] = static_cast<std::byte>(kHex[sequence & 15]);
  }
}

/// An answer to an earlier ping that was given up. With fewer digits the numbers come round again, but only after
/// more pings than can be under way at once matter to anybody.
bool Pinging::is_older(std::span<const std::byte> answer) const noexcept {
  if (answer.size() != ping_.size() || sent_ == received_ + 1) return false;
  const std::size_t digits = std::min(kDigits, ping_.size());
  return std::memcmp(answer.data() + digits, ping_.data() + digits, ping_.size() - digits) == 0 &&
         std::memcmp(answer.data(), ping_.data(), digits) != 0;
}

/// Waits for the answer to the ping in `ping_`. Errors: receive()'s, corrupt for an answer that is none of ours.
std::error_code Pinging::receive_answer(Deadline deadline) noexcept {
  std::size_t matched = 0;  // without boundaries the answer comes in pieces
  for (;;) {
    const Result<Message> message = channel_.receive(deadline);
    if (!message) return message.error();
    const std::span<const std::byte> bytes = message->bytes();
    if (whole_messages_) {
      if (bytes.size() == ping_.size() && std::equal(bytes.begin(), bytes.end(), ping_.begin())) return {};
      if (is_older(bytes)) continue;
      return Errc::corrupt;
    }
    if (bytes.size() > ping_.size() - matched || std::memcmp(bytes.data(), ping_.data() + matched, bytes.size()) != 0) {
      return Errc::corrupt;
    }
    matched += bytes.size();
    if (matched == ping_.size()) return {};
  }
}

Pinging::Answer Pinging::round_trip(std::chrono::nanoseconds& rtt) noexcept {
  const auto start = Clock::now();
  const Deadline deadline = timeout_ < forever - start ? start + timeout_ : forever;
  std::error_code error = channel_.send(ping_, deadline);
  if (!error) ++sent_;
  if (!error) error = receive_answer(deadline);
  last_ = Clock::now();
  rtt = last_ - start;
  if (!error) {
    ++received_;
    rtt_.add(rtt);
    return Answer::right;
  }
  if (error == Errc::timed_out && sent_ > 0) return Answer::lost;
  if (error == Errc::corrupt) ++damaged_;
  failure_ = error;
  return Answer::over;
}

void Pinging::print(std::uint64_t sequence, Answer answer, std::chrono::nanoseconds rtt) {
  std::array<char, 96> text{};
  if (json_) {
    const int length = answer == Answer::right
                           ? std::snprintf(text.data(), text.size(),
                                           "{\"type\":\"ping\",\"seq\":%llu,\"bytes\":%zu,\"rtt_ns\":%lld}\n",
                                           static_cast<unsigned long long>(sequence), ping_.size(),
                                           static_cast<long long>(rtt.count()))
                           : std::snprintf(text.data(), text.size(), "{\"type\":\"lost\",\"seq\":%llu}\n",
                                           static_cast<unsigned long long>(sequence));
    output_.write(std::string_view(text.data(), static_cast<std::size_t>(length)));
  } else if (answer == Answer::right) {
    const double us = std::chrono::duration<double, std::micro>(rtt).count();
    const int length =
        std::snprintf(text.data(), text.size(), ": seq=%llu time=%.*f %s\n", static_cast<unsigned long long>(sequence),
                      us < 100 ? 1 : (us < 1000 ? 0 : 2), us < 1000 ? us : us / 1000, us < 1000 ? "us" : "ms");
    output_.write(std::to_string(ping_.size()).append(" bytes from ").append(address_));
    output_.write(std::string_view(text.data(), static_cast<std::size_t>(length)));
  } else {
    output_.write("no answer from " + address_ + ": seq=" + std::to_string(sequence) + " within " +
                  format_duration(timeout_) + "\n");
  }
  output_.flush();
}

void Pinging::ping_all() {
  const bool flood = interval_ == 0ns;
  std::optional<Progress> progress;
  if (flood) progress.emplace("received");
  auto due = Clock::now();
  for (std::uint64_t i = 0; i < count_ && !signals_.stopped(); ++i) {
    number_ping(i + 1);
    std::chrono::nanoseconds rtt{};
    const Answer answer = round_trip(rtt);
    if (answer == Answer::over) return;
    if (flood) {
      progress->update(received_, received_ * ping_.size());
      continue;
    }
    print(i + 1, answer, rtt);
    // At a fixed beat. A ping that took longer than the interval moves the beat: there is one under way at a time.
    due = std::max(due + std::chrono::duration_cast<Clock::duration>(interval_), Clock::now());
    if (i + 1 < count_) signals_.sleep_until(due);
  }
}

void Pinging::print_statistics() {
  std::array<char, 256> text{};
  const std::uint64_t lost = sent_ - received_;
  std::snprintf(text.data(), text.size(), "%llu sent, %llu received, %llu lost (%.3g%%), %.3g s\n",
                static_cast<unsigned long long>(sent_), static_cast<unsigned long long>(received_),
                static_cast<unsigned long long>(lost),
                sent_ == 0 ? 0.0 : 100.0 * static_cast<double>(lost) / static_cast<double>(sent_),
                std::chrono::duration<double>(last_ - start_).count());
  output_.write("--- " + address_ + " ping statistics, " + std::to_string(ping_.size()) + " bytes ---\n");
  output_.write(text.data());
  if (rtt_.count() > 0) {
    const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1000; };
    std::snprintf(text.data(), text.size(), "rtt min/p50/p90/p99/p99.9/max = %.2f/%.2f/%.2f/%.2f/%.2f/%.2f us\n",
                  us(rtt_.least()), us(rtt_.quantile(0.5)), us(rtt_.quantile(0.9)), us(rtt_.quantile(0.99)),
                  us(rtt_.quantile(0.999)), us(rtt_.greatest()));
    output_.write(text.data());
  }
}

void Pinging::report_summary() {
  summary_.address = address_;
  summary_.sent = sent_;
  summary_.received = received_;
  summary_.bytes = sent_ * ping_.size();
  summary_.elapsed = last_ - start_;
  summary_.rtt = &rtt_;
  summary_.lost = sent_ - received_;
  report(summary_, arguments_, signals_, output_);
}

Exit Pinging::judge() const {
  if (failure_ && !signals_.stopped()) {
    if (damaged_ > 0) {
      log::error("ping " + address_ + ": an answer is not what was sent: is this an echo?");
      return Exit::loss;
    }
    if (failure_ == Errc::closed || failure_ == Errc::peer_died) {
      log::error("ping " + address_ + ": the peer " + (failure_ == Errc::closed ? "closed the channel" : "died"));
    } else if (failure_ == Errc::message_too_large) {
      log::error("ping " + address_ + ": --size " + format_size(ping_.size()) + " is more than the peer takes (" +
                 format_size(channel_.traits().max_message) + "): let it take more with max_message in its address");
    } else {
      log::error(describe("ping", address_, failure_));
    }
    return exit_of(failure_);
  }
  if (signals_.stopped()) return signals_.exit();
  if (received_ == 0 && sent_ > 0) {
    log::error("ping " + address_ + ": no answer: is a bus echo at the other end?");
    return Exit::timed_out;
  }
  if (sent_ > received_) {
    log::error("ping " + address_ + ": " + std::to_string(sent_ - received_) + " of " + counted(sent_, "ping") +
               " without an answer");
    return Exit::loss;
  }
  return Exit::ok;
}

Exit Pinging::run() {
  check_address(address_);
  channel_ = connect_or_stop(address_, *arguments_.duration("wait"), signals_, [this] { report_summary(); });
  const Traits traits = channel_.traits();
  whole_messages_ = traits.keeps_boundaries;
  if (!whole_messages_ && ping_.empty()) throw UsageError("ping: --size 0: this framing knows no empty message");
  if (whole_messages_) {
    check_accepts("ping " + address_ + ": --size " + format_size(ping_.size()), address_, ping_.size());
  }
  if (!traits.reliable && ping_.size() < kDigits) {
    throw UsageError("ping: --size " + std::to_string(ping_.size()) +
                     ": this transport may lose messages, and a number "
                     "that tells the answers apart needs " +
                     std::to_string(kDigits) + " bytes");
  }
  start_ = last_ = Clock::now();
  try {
    const Signals::OnStop guard(signals_, [this] { interrupt(channel_); });
    ping_all();
  } catch (const OutputStuck&) {
    // There was a signal: what is left to do is to end.
  }
  // What it says shows in the books, and a peer that has ended is in failure_ already.
  static_cast<void>(channel_.close(in(kCloseFor)));
  summary_.books.add(channel_.books());
  try {
    if (!json_) print_statistics();
  } catch (const OutputStuck&) {
    // There was a signal, and nobody reads: report() says so.
  }
  const Exit exit = judge();
  report_summary();
  return exit;
}

Exit run_ping(const Arguments& arguments, Signals& signals) { return Pinging(arguments, signals).run(); }

}  // namespace

const Verb& ping_verb() noexcept {
  static constexpr std::array<Option, 5> kOptions{{
      {'c', "count", Kind::count, "N", "end after so many pings (else a signal does)"},
      {'i', "interval", Kind::duration, "D", "from one ping to the next; 0: as fast as it can, and only the summary",
       "1s"},
      {'s', "size", Kind::size, "SIZE", "bytes of a ping", "64"},
      {'t', "timeout", Kind::duration, "D", "how long to wait for an answer before the ping counts as lost", "1s"},
      {0, "wait", Kind::duration, "D", "how long to wait for the peer to appear", "5s"},
  }};
  static constexpr std::array<Example, 4> kExamples{{
      {"bus ping shm://lab", "a line a second, until Ctrl-C"},
      {"bus ping shm://lab --count 100k --interval 0", "percentiles of a hundred thousand round trips"},
      {"bus ping tcp://host:7000 -c 5 -i 200ms -s 1KiB", "short forms as ping(8) has them"},
      {"bus ping 'udp://host:7000' --count 1k --interval 0 --json", "the summary as JSON"},
  }};
  static constexpr Verb kVerb{
      "ping",
      "times round trips to an echo, percentiles at the end",
      "ADDRESS",
      1,
      1,
      "Connects to a bus echo at ADDRESS, sends a ping, waits for its answer, and so on. The time is that of\n"
      "send() and receive() together, with one ping under way. Exit code 5 if an answer was missing or not what\n"
      "was sent, 3 if there was none at all, 4 if the peer went away.\n",
      kOptions,
      kExamples,
      run_ping,
  };
  return kVerb;
}

}  // namespace bus::tools
