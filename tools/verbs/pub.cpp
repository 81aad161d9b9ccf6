// tools/verbs/pub.cpp: bus pub: publishes arguments, lines, a file or made messages on a subject of a bus.
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/core/units.hpp"
#include "tools/common/bus.hpp"
#include "tools/common/input.hpp"
#include "tools/common/log.hpp"
#include "tools/common/made_message.hpp"
#include "tools/common/message_line.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/record.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kFlushAfterSignal = 1s;
constexpr auto kLeaveAfterSignal = 100ms;

using Payload = std::span<const std::byte>;
using Source = std::function<std::optional<Payload>()>;  // none: there is no more

class Publishing {
 public:
  Publishing(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  [[nodiscard]] bool makes_messages() const {
    if (arguments_.positional().size() > 1 || arguments_.given("input")) return false;
    return arguments_.given("size") || (!arguments_.given("file") && !arguments_.flag("whole") &&
                                        (arguments_.given("count") || arguments_.given("duration")));
  }
  void check_options();
  [[nodiscard]] Source source();
  [[nodiscard]] Source data_source() const;
  [[nodiscard]] Source made_source();
  [[nodiscard]] std::optional<Payload> next_json();
  void address(const MessageLine& message);
  [[nodiscard]] bool wait_for_turn(std::uint64_t index);
  void publish(Payload payload);
  void publish_all();
  void warn_if_alone();
  void finish();
  [[nodiscard]] Deadline leaving(Deadline deadline) const;
  [[nodiscard]] Exit judge() const;
  void report_summary();

  const Arguments& arguments_;
  Signals& signals_;
  const bool has_subject_;    // one for all messages
  std::string_view subject_;  // else of the message at hand
  const std::optional<double> rate_;
  const std::optional<std::chrono::nanoseconds> duration_;
  Output output_;
  HeaderBlock headers_;
  PublishOptions options_;
  std::string reply_;
  std::uint64_t sequence_ = 0;
  std::optional<Input> input_;
  std::optional<MessageLine> line_;
  std::uint64_t line_number_ = 0;
  std::string bad_line_;  // what is wrong with the one that ended the work
  std::unique_ptr<Record> record_;
  std::optional<Node> node_;
  std::vector<std::byte> made_;
  std::uint64_t published_ = 0, bytes_ = 0;
  std::error_code failure_, finishing_;
  std::string failure_text_;
  bool said_alone_ = false;
  Clock::time_point start_{}, last_{};
  BusSummary summary_;
};

Publishing::Publishing(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      has_subject_(!arguments.positional().empty()),
      subject_(has_subject_ ? std::string_view(arguments.positional().front()) : std::string_view()),
      rate_(arguments.rate("rate")),
      duration_(arguments.duration("duration")),
      output_(signals) {}

void Publishing::check_options() {
  const auto fail = [](const std::string& text) { throw UsageError("pub: " + text + "; see bus help pub"); };
  const bool json_lines = *arguments_.text("input") == "json";
  if (has_subject_) {
    require_subject(arguments_, "subject", subject_);
  } else if (!json_lines) {
    fail("an argument is missing: write bus pub " + std::string(arguments_.verb().arguments));
  } else if (arguments_.given("wait-subs")) {
    fail("--wait-subs needs a SUBJECT");
  }
  const bool has_data = arguments_.positional().size() > 1;
  if (has_data) {
    for (const std::string_view name : {"file", "whole", "size", "input"}) {
      if (arguments_.given(name)) fail("--" + std::string(name) + " and DATA exclude each other");
    }
  }
  arguments_.at_most_one({"size", "file"});
  arguments_.at_most_one({"size", "whole", "input"});
  arguments_.at_most_one({"file", "input"});
  if (!has_data && !makes_messages()) {
    for (const std::string_view name : {"count", "duration"}) {
      if (arguments_.given(name)) fail("--" + std::string(name) + " is for DATA and for made messages (--size)");
    }
  }
  read_headers(arguments_, headers_);
  if (!headers_.bytes().empty()) options_.headers = &headers_;
  reply_ = arguments_.text("reply").value_or("");
  if (arguments_.given("reply")) require_subject(arguments_, "--reply", reply_);
  options_.reply = reply_;
  options_.level = *arguments_.text("level") == "delivered" ? Level::delivered : Level::accepted;
  options_.history = arguments_.small_number("history").value_or(0);
  static_cast<void>(arguments_.small_number("wait-subs"));
  options_.sequence = &sequence_;
}

Source Publishing::data_source() const {
  const auto& words = arguments_.positional();
  const std::uint64_t words_count = words.size() - 1;
  const bool endless = duration_.has_value() && !arguments_.given("count");
  const std::uint64_t count = endless ? ~std::uint64_t{0} : arguments_.number("count").value_or(words_count);
  return [&words, words_count, count, i = std::uint64_t{0}]() mutable -> std::optional<Payload> {
    if (i == count) return {};
    return bytes_of(words[1 + i++ % words_count]);
  };
}

Source Publishing::made_source() {
  made_.resize(arguments_.number("size").value_or(kDefaultMadeSize));
  const bool endless = (duration_ || rate_) && !arguments_.given("count");
  const std::uint64_t count = endless ? ~std::uint64_t{0} : arguments_.number("count").value_or(1);
  return [this, count, i = std::uint64_t{0}]() mutable -> std::optional<Payload> {
    if (i == count) return {};
    make_message(made_, i++);
    return Payload(made_);
  };
}

/// None also for a line that is wrong: what was published before it stays published.
std::optional<Payload> Publishing::next_json() {
  try {
    while (const auto line = input_->line()) {
      ++line_number_;
      line_ = read_message_line({reinterpret_cast<const char*>(line->data()), line->size()}, headers_);
      if (!line_) continue;
      address(*line_);
      return line_->payload;
    }
  } catch (const UsageError& error) {
    bad_line_ = "pub: stdin, line " + std::to_string(line_number_) + ": " + error.what();
  }
  return {};
}

/// What the command line says stands for all.
void Publishing::address(const MessageLine& message) {
  if (!has_subject_) subject_ = message.subject;
  if (subject_.empty()) throw UsageError("it has no \"subject\", and the command line has no SUBJECT");
  if (reply_.empty()) options_.reply = message.reply;
  options_.headers = message.headers.bytes().empty() ? nullptr : &message.headers;
}

Source Publishing::source() {
  if (arguments_.positional().size() > 1) return data_source();
  if (makes_messages()) return made_source();
  if (arguments_.flag("whole") || arguments_.given("file")) {
    return [this, first = true]() mutable -> std::optional<Payload> {
      if (!first) return {};
      first = false;
      return input_->whole(kLongestInput, kLongestInputAdvice);
    };
  }
  if (*arguments_.text("input") == "json") return [this] { return next_json(); };
  return [this] { return input_->line(); };
}

/// True when message number `index` is due; false when it is over.
bool Publishing::wait_for_turn(std::uint64_t index) {
  if (duration_ && Clock::now() - start_ >= *duration_) return false;
  if (!rate_) return !signals_.stopped();
  // Message i is due at start + i / rate: who is late publishes at once and skips nothing.
  const auto due = start_ + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(static_cast<double>(index) / *rate_));
  if (due <= Clock::now()) return !signals_.stopped();
  if (record_) {
    record_->watch(*node_);
    record_->flush();
  }
  if (duration_ && due - start_ >= *duration_) {
    signals_.sleep_until(start_ + std::chrono::duration_cast<Clock::duration>(*duration_));
    return false;
  }
  return !signals_.sleep_until(due);
}

void Publishing::publish(Payload payload) {
  const std::int64_t time = record_ ? Record::now() : 0;
  failure_ = node_->publish(subject_, payload, options_, Deadline{});
  if (failure_ == Errc::timed_out) {  // no room now
    failure_ = until_stopped(signals_, forever, [&](Deadline deadline) {
      const std::error_code error = node_->publish(subject_, payload, options_, deadline);
      if (error != Errc::timed_out) return error;
      if (record_) record_->flush();
      warn_if_alone();
      return error;
    });
  }
  if (failure_) {
    if (signals_.stopped() && failure_ == Errc::timed_out) failure_ = {};
    if (failure_ == Errc::message_too_large) {
      failure_text_ = "message " + std::to_string(published_ + 1) + " has " + std::to_string(payload.size()) +
                      " bytes, and the broker takes fewer (with subject and headers): let it take more with bus broker "
                      "--max-message";
    }
    return;
  }
  ++published_;
  bytes_ += payload.size();
  if (record_) {
    record_->published(sequence_, subject_, payload, options_.level, time);
    record_->watch(*node_);
  }
}

void Publishing::publish_all() {
  Progress progress("published", input_ ? input_->size() : std::nullopt);
  const Source next = source();
  for (std::uint64_t i = 0; !failure_ && wait_for_turn(i); ++i) {
    const std::optional<Payload> payload = next();
    if (!payload) break;
    publish(*payload);
    if (signals_.stopped()) break;
    progress.update(published_, bytes_);
  }
  last_ = Clock::now();
}

/// While it waits for a broker again: once, so that nobody wonders.
void Publishing::warn_if_alone() {
  if (node_->has_broker() || std::exchange(said_alone_, true)) return;
  log::warn("the broker on " + summary_.bus + " is gone; waiting for another");
}

/// Waits for the broker's word, and with `delivered` for everybody's.
void Publishing::finish() {
  const Deadline deadline = in(signals_.stopped() ? kFlushAfterSignal : *arguments_.duration("linger"));
  if (record_) record_->flush();  // whoever kills it now finds what it has published
  if (!failure_) {
    const auto watched = [this](std::error_code error) {
      if (error == Errc::timed_out) warn_if_alone();
      return error;
    };
    finishing_ = until_stopped(signals_, deadline, [&](Deadline d) { return watched(flush_all(*node_, d)); });
    if (!finishing_ && options_.level == Level::delivered) {
      if (record_) {
        record_->look(*node_);
        record_->flush();
      }
      finishing_ = until_stopped(signals_, deadline, [&](Deadline d) { return watched(node_->settled(d)); });
    }
  }
  const NodeBooks books = node_->books();
  if (record_) {
    record_->look(*node_);
    if (!finishing_ && !failure_ && books.lost == 0) record_->accepted(sequence_);
  }
  summary_.books = books;
  if (options_.level == Level::delivered) summary_.unacknowledged = books.published - books.settled;
  // What it says shows in the books.
  static_cast<void>(node_->close(leaving(deadline)));
  if (record_) record_->left(node_->books());
}

/// After a signal nobody's word is waited for, but a broker in this process hands on what it has.
Deadline Publishing::leaving(Deadline deadline) const {
  if (!signals_.stopped()) return deadline;
  return std::min(deadline, in(node_->hosts_broker() ? kFlushAfterSignal : kLeaveAfterSignal));
}

Exit Publishing::judge() const {
  const NodeBooks& books = summary_.books;
  if (published_ > 0 || !failure_) {
    std::string text = "published " + amount_text(published_, bytes_, last_ - start_) +
                       (has_subject_ ? " on " + std::string(subject_) : "") + ": " + std::to_string(books.accepted) +
                       " accepted";
    if (books.unreached > 0) text += ", " + std::to_string(books.unreached) + " reached nobody";
    if (summary_.unacknowledged > 0) text += ", " + std::to_string(summary_.unacknowledged) + " not acknowledged";
    if (books.copies_dropped > 0)
      text += ", " + std::to_string(books.copies_dropped) + " copies dropped where it was full";
    if (books.lost > 0) text += ", " + std::to_string(books.lost) + " lost on the way";
    if (books.unknown_after_crash > 0) {
      text += ", " + std::to_string(books.unknown_after_crash) + " in flight when the broker died";
    }
    log::info(text);
  }
  if (signals_.stopped()) return signals_.exit();
  if (failure_) {
    log::error(failure_text_.empty() ? describe("pub", summary_.bus, failure_)
                                     : "pub " + summary_.bus + ": " + failure_text_);
    return exit_of(failure_);
  }
  if (!bad_line_.empty()) {
    log::error(bad_line_);
    return Exit::usage;
  }
  if (finishing_ == Errc::timed_out) {
    log::error("pub " + summary_.bus + ": not all was " +
               (options_.level == Level::delivered ? "acknowledged" : "accepted") + " within " +
               format_duration(*arguments_.duration("linger")));
    return Exit::timed_out;
  }
  if (finishing_) {
    log::error(describe("pub", summary_.bus, finishing_));
    return exit_of(finishing_);
  }
  if (options_.level == Level::delivered && total(books.undelivered) > 0) {
    log::error("pub " + summary_.bus + ": " + counted(total(books.undelivered), "message") + " not delivered (" +
               reasons_text(books.undelivered) + ")");
    return Exit::loss;
  }
  if (books.lost > 0) {
    log::error("pub " + summary_.bus + ": " + counted(books.lost, "message") + " lost on the way to the broker");
    return Exit::loss;
  }
  if (books.unknown_after_crash > 0) {
    log::error("pub " + summary_.bus + ": nobody knows what became of " +
               counted(books.unknown_after_crash, "message") + " that the broker had when it died");
    return Exit::loss;
  }
  return Exit::ok;
}

void Publishing::report_summary() {
  summary_.sent = published_;
  summary_.bytes = bytes_;
  summary_.elapsed = last_ - start_;
  report(summary_, arguments_, signals_, output_);
}

Exit Publishing::run() {
  check_options();
  summary_.bus = bus_of(arguments_);
  if (arguments_.positional().size() <= 1 && !makes_messages()) {
    input_.emplace(signals_, arguments_.text("file").value_or("-"));
  }
  node_.emplace(join_or_stop(summary_.bus, arguments_, signals_, [this] { report_summary(); }));
  if (arguments_.flag("json")) {
    output_.write(joined_json(*node_));
    output_.flush();
  }
  record_ = record_of(arguments_, *node_);
  if (record_ && input_) {
    input_->before_waiting([this] {
      record_->watch(*node_);
      record_->flush();
    });
  }
  start_ = last_ = Clock::now();
  if (const auto count = arguments_.small_number("wait-subs")) {
    const auto timeout = arguments_.duration("timeout");
    const std::error_code error = until_stopped(signals_, timeout ? in(*timeout) : forever, [&](Deadline deadline) {
      return node_->wait_subscribers(subject_, *count, deadline);
    });
    if (error && !signals_.stopped()) {
      failure_ = error;
      if (error == Errc::timed_out) {
        failure_text_ = "fewer than " + counted(*count, "subscription") + " on " + std::string(subject_) + " within " +
                        format_duration(*timeout);
      }
    }
    start_ = last_ = Clock::now();
  }
  if (!failure_ && !signals_.stopped()) publish_all();
  finish();
  const Exit exit = judge();
  report_summary();
  return exit;
}

Exit run_pub(const Arguments& arguments, Signals& signals) { return Publishing(arguments, signals).run(); }

}  // namespace

const Verb& pub_verb() noexcept {
  static constexpr std::array<Option, 18> kOptions{{
      kBusOption,
      {'f', "file", Kind::text, "FILE", "publish a file as one message; - is stdin"},
      {0, "whole", Kind::flag, "", "publish all of stdin as one message"},
      {0, "input", Kind::choice, "lines|json",
       "what a line of stdin is: a payload; or a JSON object as bus sub --json prints it, with its own subject if "
       "SUBJECT is left out, reply and headers",
       "lines"},
      {'s', "size", Kind::size, "SIZE",
       "make messages of this size (64 if only --count is given): numbered, with a checksum"},
      {'c', "count", Kind::count, "N",
       "messages in all: made ones (1, or without end if there is a rate or a duration), or the DATA over and over"},
      {'r', "rate", Kind::rate, "R", "messages a second: number i leaves at start + i/R, late ones at once"},
      {'d', "duration", Kind::duration, "D", "stop after this time"},
      {'w', "wait-subs", Kind::count, "N", "wait until a message would reach so many before the first"},
      {'t', "timeout", Kind::duration, "D", "how long to wait for them (without end): exit code 3"},
      {'H', "header", Kind::list, "KEY:VALUE", "say this about each message; may be repeated"},
      {0, "level", Kind::choice, "accepted|delivered",
       "what is promised: the broker has it; or each subscription's handler has acknowledged it", "accepted"},
      {0, "history", Kind::count, "N", "the broker keeps the last N of this subject for those who come later"},
      {0, "reply", Kind::text, "SUBJECT", "where answers go"},
      {0, "linger", Kind::duration, "D", "how long to wait at the end for the broker's word", "30s"},
      kRecordOption,
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 7> kExamples{{
      {"bus pub sensors.kitchen 21.5", "one message; bus sub 'sensors.>' prints it"},
      {"seq 1000 | bus pub numbers --wait-subs 1", "a message a line, as soon as somebody has subscribed"},
      {"bus pub jobs.build --file job.json --level delivered", "exit code 5 unless each subscription has handled it"},
      {"bus pub state.door open --history 1", "those who subscribe later with --history 1 get it, too"},
      {"bus pub load --size 1KiB --rate 10k --duration 5s", "at a steady rate"},
      {"bus pub a.b hi --bus tcp://host:4222 -H lang:en", "on a broker of another machine, with a header"},
      {"bus sub 'a.>' --json | bus pub --input json --bus tcp://host:4222", "from one bus to another, as it was"},
  }};
  static constexpr Verb kVerb{
      "pub",
      "publishes on a subject of a bus",
      "SUBJECT [DATA...]",
      0,
      1'000'000,
      "Publishes each DATA as one message on SUBJECT; without DATA a message is a line of stdin. On a local bus\n"
      "(shm, unix) nobody has to start a broker: the first that joins hosts it.\n"
      "\n"
      "A line of --input json is an object with \"text\", or \"hex\" with two digits a byte, and may have "
      "\"subject\",\n"
      "\"reply\" and \"headers\": an object whose values are texts, {\"hex\":DIGITS}, or lists of these. Lines whose\n"
      "\"type\" is joined, listening, came, went or summary are left out. One that is wrong ends it: exit code 2.\n"
      "\n"
      "At the end it waits until the broker has accepted everything, and says what became of it. That nobody has\n"
      "subscribed is no failure, but with --level delivered: exit code 5 if a message was not delivered. So it is if\n"
      "a broker died with messages of level accepted: nobody knows what became of them.\n",
      kOptions,
      kExamples,
      run_pub,
  };
  return kVerb;
}

}  // namespace bus::tools
