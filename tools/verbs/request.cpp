// tools/verbs/request.cpp: bus request: asks on a subject of a bus and prints the answer; or asks again and again,
// timed.
#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "bus/core/units.hpp"
#include "tools/common/bus.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/input.hpp"
#include "tools/common/log.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/record.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kCloseForAfterSignal = 500ms;
constexpr std::uint64_t kAnswers = 1;  // the number of the inbox in the record

class Requesting {
 public:
  Requesting(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  [[nodiscard]] bool floods() const noexcept { return repeats_ && interval_ == std::chrono::nanoseconds(0); }
  void check_options();
  [[nodiscard]] RequestOptions options();
  [[nodiscard]] bool open_record();
  void ask();
  void ask_once();
  void ask_many();
  void ask_repeatedly();
  void take(const Delivery& answer);
  void print_round_trip(std::uint64_t number, bool answered, std::chrono::nanoseconds rtt);
  void print_statistics();
  void finish();
  void report_summary();
  [[nodiscard]] Exit judge() const;

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& subject_;
  const bool json_, many_, repeats_;
  const std::uint64_t count_;
  const std::chrono::nanoseconds timeout_, interval_;
  Output output_;
  Printer printer_;
  HeaderBlock headers_;
  const HeaderBlock* given_headers_ = nullptr;
  std::optional<Input> input_;
  std::span<const std::byte> question_;
  std::unique_ptr<Record> record_;
  std::optional<Node> node_;
  bool inbox_ = false;          // it is in the record
  std::uint64_t sequence_ = 0;  // of the last question
  Histogram rtt_;
  std::uint64_t asked_ = 0, answers_ = 0, bytes_ = 0;
  std::error_code failure_;
  std::string error_;  // what an answer says of a failure over there
  Clock::time_point start_{}, last_{};
  BusSummary summary_;
};

Requesting::Requesting(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      subject_(arguments.positional().front()),
      json_(arguments.flag("json")),
      many_(arguments.flag("many")),
      repeats_(arguments.given("count") || arguments.given("interval")),
      count_(arguments.number("count").value_or(std::numeric_limits<std::uint64_t>::max())),
      timeout_(*arguments.duration("timeout")),
      interval_(*arguments.duration("interval")),
      output_(signals),
      printer_(json_ ? Format::json : format_of(*arguments.text("format")), output_, "answer") {}

void Requesting::check_options() {
  require_subject(arguments_, "subject", subject_);
  arguments_.at_most_one({"many", "count"});
  arguments_.at_most_one({"many", "interval"});
  arguments_.at_most_one({"json", "format"});
  read_headers(arguments_, headers_);
  if (!headers_.bytes().empty()) given_headers_ = &headers_;
}

/// Of the next question. It is in the record before its answer is waited for.
RequestOptions Requesting::options() {
  RequestOptions options;
  options.headers = given_headers_;
  if (!record_) return options;
  options.on_asked = [this, time = Record::now()](std::uint64_t sequence) {
    sequence_ = sequence;
    record_->published(sequence, subject_, question_, Level::accepted, time);
    record_->watch(*node_);
    record_->flush();
  };
  return options;
}

/// Answers are expected from before the first question on. False: there is no inbox for them.
bool Requesting::open_record() {
  record_ = record_of(arguments_, *node_);
  if (!record_) return true;
  const Result<Inbox> inbox = node_->inbox(in(timeout_));
  if (!inbox) {
    failure_ = inbox.error();
    return false;
  }
  inbox_ = true;
  record_->subscribed(kAnswers, inbox->pattern, inbox->options);
  return true;
}

void Requesting::take(const Delivery& answer) {
  if (record_) {
    // Answers to earlier questions that nobody waited for any more came before this one.
    record_->dropped(kAnswers, node_->inbox(Deadline{})->books.dropped);
    record_->received(kAnswers, answer);
    if (!floods()) record_->flush();  // before it is printed
  }
  ++answers_;
  bytes_ += answer.size();
  last_ = Clock::now();
  if (const auto error = answer.headers().find("error")) error_ = *error;
}

void Requesting::ask_once() {
  ++asked_;
  const Result<Delivery> answer = node_->request(subject_, question_, in(timeout_), options());
  last_ = Clock::now();
  if (!answer) {
    failure_ = answer.error();
    return;
  }
  take(*answer);
  printer_.print(answers_, *answer, false);
  output_.flush();
}

void Requesting::ask_many() {
  ++asked_;
  failure_ = node_->request_many(
      subject_, question_,
      [this](Delivery&& answer) {
        take(answer);
        printer_.print(answers_, answer, false);
        output_.flush();
        return !signals_.stopped();
      },
      in(timeout_), options());
  if (!failure_ && answers_ == 0) failure_ = Errc::timed_out;
}

void Requesting::print_round_trip(std::uint64_t number, bool answered, std::chrono::nanoseconds rtt) {
  std::array<char, 96> text{};
  if (json_) {
    const int length = answered ? std::snprintf(text.data(), text.size(),
                                                "{\"type\":\"ping\",\"seq\":%llu,\"bytes\":%zu,\"rtt_ns\":%lld}\n",
                                                static_cast<unsigned long long>(number), question_.size(),
                                                static_cast<long long>(rtt.count()))
                                : std::snprintf(text.data(), text.size(), "{\"type\":\"lost\",\"seq\":%llu}\n",
                                                static_cast<unsigned long long>(number));
    output_.write(std::string_view(text.data(), static_cast<std::size_t>(length)));
  } else if (answered) {
    const double us = std::chrono::duration<double, std::micro>(rtt).count();
    const int length =
        std::snprintf(text.data(), text.size(), ": seq=%llu time=%.*f %s\n", static_cast<unsigned long long>(number),
                      us < 100 ? 1 : (us < 1000 ? 0 : 2), us < 1000 ? us : us / 1000, us < 1000 ? "us" : "ms");
    output_.write("answer from " + subject_);
    output_.write(std::string_view(text.data(), static_cast<std::size_t>(length)));
  } else {
    output_.write("no answer from " + subject_ + ": seq=" + std::to_string(number) + " within " +
                  format_duration(timeout_) + "\n");
  }
  output_.flush();
}

void Requesting::ask_repeatedly() {
  std::optional<Progress> progress;
  if (floods()) progress.emplace("received");
  auto due = Clock::now();
  for (std::uint64_t i = 0; i < count_ && !signals_.stopped(); ++i) {
    const auto start = Clock::now();
    ++asked_;
    const Result<Delivery> answer = node_->request(subject_, question_, in(timeout_), options());
    last_ = Clock::now();
    const auto rtt = last_ - start;
    if (answer) {
      take(*answer);
      rtt_.add(rtt);
    } else if (answer.error() != Errc::timed_out) {
      failure_ = answer.error();
      return;
    }
    if (floods()) {
      progress->update(answers_, bytes_);
      continue;
    }
    print_round_trip(i + 1, answer.has_value(), rtt);
    due = std::max(due + std::chrono::duration_cast<Clock::duration>(interval_), Clock::now());
    if (i + 1 < count_) signals_.sleep_until(due);
  }
}

void Requesting::print_statistics() {
  std::array<char, 256> text{};
  const std::uint64_t lost = asked_ - answers_;
  std::snprintf(text.data(), text.size(), "%llu asked, %llu answered, %llu not (%.3g%%), %.3g s\n",
                static_cast<unsigned long long>(asked_), static_cast<unsigned long long>(answers_),
                static_cast<unsigned long long>(lost),
                asked_ == 0 ? 0.0 : 100.0 * static_cast<double>(lost) / static_cast<double>(asked_),
                std::chrono::duration<double>(last_ - start_).count());
  output_.write("--- " + subject_ + " on " + summary_.bus + ", " + std::to_string(question_.size()) + " bytes ---\n");
  output_.write(text.data());
  if (rtt_.count() > 0) {
    const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1000; };
    std::snprintf(text.data(), text.size(), "rtt min/p50/p90/p99/p99.9/max = %.2f/%.2f/%.2f/%.2f/%.2f/%.2f us\n",
                  us(rtt_.least()), us(rtt_.quantile(0.5)), us(rtt_.quantile(0.9)), us(rtt_.quantile(0.99)),
                  us(rtt_.quantile(0.999)), us(rtt_.greatest()));
    output_.write(text.data());
  }
}

void Requesting::finish() {
  const Deadline deadline = in(signals_.stopped() ? Clock::duration(kCloseForAfterSignal) : kCloseFor);
  if (record_) {
    // What the broker has sent to the inbox so far comes before its word that it has accepted everything.
    const std::error_code flushed = flush_all(*node_, deadline);
    record_->look(*node_);
    if (!flushed && node_->books().lost == 0) record_->accepted(sequence_);
    if (inbox_) record_->unsubscribed(kAnswers, node_->inbox(Deadline{})->books, !flushed);
  }
  // What it says shows in the books.
  static_cast<void>(node_->close(deadline));
  summary_.books = node_->books();
  if (record_) record_->left(summary_.books);
  if (const Result<Inbox> inbox = node_->inbox(Deadline{})) {
    summary_.subscriptions.emplace_back(inbox->pattern, inbox->books);
  }
}

void Requesting::report_summary() {
  summary_.sent = asked_;
  summary_.received = answers_;
  summary_.bytes = bytes_;
  summary_.elapsed = last_ - start_;
  if (repeats_) {
    summary_.rtt = &rtt_;
    summary_.lost = asked_ - answers_;
  }
  report(summary_, arguments_, signals_, output_);
}

Exit Requesting::judge() const {
  if (signals_.stopped()) return signals_.exit();
  const std::string where = "request " + subject_ + " on " + summary_.bus + ": ";
  if (failure_ == Errc::no_subscriber) {
    log::error(where + "nobody answers there: start bus reply " + subject_);
    return Exit::no_peer;
  }
  if (failure_ == Errc::timed_out) {
    log::error(where + "no answer within " + format_duration(timeout_));
    return Exit::timed_out;
  }
  if (failure_ == Errc::message_too_large) {
    log::error(where + std::to_string(question_.size()) +
               " bytes are more than the broker takes: let it take more with bus broker --max-message");
    return Exit::failed;
  }
  if (failure_) {
    log::error(where + failure_.message());
    return exit_of(failure_);
  }
  if (repeats_ && answers_ == 0 && asked_ > 0) {
    log::error(where + "no answer within " + format_duration(timeout_));
    return Exit::timed_out;
  }
  if (repeats_ && answers_ < asked_) {
    log::error(where + std::to_string(asked_ - answers_) + " of " + counted(asked_, "question") + " without an answer");
    return Exit::loss;
  }
  if (!error_.empty()) {
    log::error(where + "who answered says: " + error_);
    return Exit::failed;
  }
  return Exit::ok;
}

void Requesting::ask() {
  if (many_) {
    ask_many();
  } else if (repeats_) {
    ask_repeatedly();
  } else {
    ask_once();
  }
}

Exit Requesting::run() {
  check_options();
  summary_.bus = bus_of(arguments_);
  if (arguments_.positional().size() > 1) {
    question_ = bytes_of(arguments_.positional()[1]);
  } else {
    input_.emplace(signals_, "-");
    const auto whole = input_->whole(kLongestInput, kLongestInputAdvice);
    if (!whole) return signals_.exit();
    question_ = *whole;
  }
  node_.emplace(join_or_stop(summary_.bus, arguments_, signals_, [this] { report_summary(); }));
  start_ = last_ = Clock::now();
  try {
    // From another thread: wakes whoever waits for an answer.
    const Signals::OnStop guard(signals_, [this] { static_cast<void>(node_->close(in(kCloseForAfterSignal))); });
    if (open_record()) ask();
  } catch (const OutputStuck&) {
    // There was a signal: what is left to do is to end.
  }
  finish();
  try {
    if (repeats_ && !json_) print_statistics();
  } catch (const OutputStuck&) {
    // There was a signal, and nobody reads: report() says so.
  }
  const Exit exit = judge();
  report_summary();
  return exit;
}

Exit run_request(const Arguments& arguments, Signals& signals) { return Requesting(arguments, signals).run(); }

}  // namespace

const Verb& request_verb() noexcept {
  static constexpr std::array<Option, 10> kOptions{{
      kBusOption,
      {'t', "timeout", Kind::duration, "D", "how long to wait for the answer: exit code 3", "5s"},
      {0, "many", Kind::flag, "", "print all answers that come until the timeout"},
      {'c', "count", Kind::count, "N", "ask so many times, and print times and percentiles instead of answers"},
      {'i', "interval", Kind::duration, "D",
       "the same: from one question to the next; 0: as fast as it can, and only the summary", "1s"},
      {'f', "format", Kind::choice, kFormats, "how answers are printed", "line"},
      {'H', "header", Kind::list, "KEY:VALUE", "say this about the question; may be repeated"},
      kRecordOption,
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 6> kExamples{{
      {"bus request math.double 21", "prints the answer of bus reply math.double"},
      {"bus request build < job.json --timeout 10m", "asks with all of stdin"},
      {"bus request health '' --many --timeout 1s", "everybody's answer, where each has a --queue of its own"},
      {"bus request load x --count 10k --interval 0", "percentiles of ten thousand round trips"},
      {"bus request load x --count 1k --interval 0 --record request.jsonl",
       "with bus reply ... --record reply.jsonl: bus audit request.jsonl reply.jsonl"},
      {"bus request load x --json | jq .", "objects: the answer, and the summary"},
  }};
  static constexpr Verb kVerb{
      "request",
      "asks on a subject of a bus and prints the answer",
      "SUBJECT [DATA]",
      1,
      2,
      "Asks with DATA, or with all of stdin, and prints one answer. Exit code 4 at once if nobody answers on\n"
      "SUBJECT, 3 if no answer comes in time, 1 if whoever answers says that it failed. With --count or --interval\n"
      "it asks again and again and prints round-trip times as ping does.\n",
      kOptions,
      kExamples,
      run_request,
  };
  return kVerb;
}

}  // namespace bus::tools
