// tools/verbs/reply.cpp: bus reply: answers what is asked on a subject: with what was asked, a command's output, or
// text.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/bus.hpp"
#include "tools/common/command.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/log.hpp"
#include "tools/common/record.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kAnswerFor = 5s;          // an answer that the broker does not take for so long has failed
constexpr std::uint64_t kQuestions = 1;  // the number of the subscription in the record
constexpr auto kWatchEvery = 100ms;      // for the record, while no question comes: what does the node know?

class Replying {
 public:
  Replying(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  void check_options() const;
  [[nodiscard]] Result<Delivery> next_question();
  void answer(const Delivery& question);
  std::error_code publish(const std::string& subject, std::span<const std::byte> payload, const HeaderBlock& headers);
  void answer_all();
  void finish();
  void report_summary();

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& pattern_;
  const std::string command_;
  const std::uint64_t count_;
  Output output_;
  std::unique_ptr<Record> record_;
  std::optional<Node> node_;
  Subscription questions_;
  bool idle_ = false;           // nothing waited when it was last looked
  std::uint64_t sequence_ = 0;  // of the last answer
  std::uint64_t asked_ = 0, answered_ = 0, bytes_ = 0, failed_ = 0;
  std::error_code failure_;
  Clock::time_point start_{}, last_{};
  BusSummary summary_;
};

Replying::Replying(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      pattern_(arguments.positional().front()),
      command_(arguments.text("exec").value_or("")),
      count_(arguments.number("count").value_or(~std::uint64_t{0})),
      output_(signals) {}

void Replying::check_options() const {
  const auto fail = [](const std::string& text) { throw UsageError("reply: " + text + "; see bus help reply"); };
  require_pattern(arguments_, pattern_);
  const int ways =
      int{arguments_.flag("echo")} + int{arguments_.given("exec")} + int{arguments_.positional().size() > 1};
  if (ways != 1) fail("one of --echo, --exec COMMAND and TEXT says what to answer");
  if (arguments_.given("exec") && command_.empty()) fail("--exec: the command is empty");
  if (arguments_.text("queue")->size() > protocol::kMaxText) {
    fail("--queue: a name has at most " + std::to_string(protocol::kMaxText) + " bytes");
  }
}

/// With a record, what the node knows goes there meanwhile.
Result<Delivery> Replying::next_question() {
  if (!record_) return questions_.receive();
  Result<Delivery> question = questions_.try_receive();
  idle_ = !question && question.error() == Errc::would_block;
  while (!question && (question.error() == Errc::would_block || question.error() == Errc::timed_out)) {
    record_->watch(*node_);
    record_->flush();
    question = questions_.receive(in(kWatchEvery));
  }
  idle_ = idle_ && !question;
  if (question) record_->received(kQuestions, *question);
  return question;
}

void Replying::answer(const Delivery& question) {
  ++asked_;
  std::vector<std::byte> output;
  std::span<const std::byte> payload;
  HeaderBlock headers;
  if (!command_.empty()) {
    if (record_) record_->flush();  // it may take long
    Filtered filtered = filter_command(command_, question.bytes(), signals_, environment_about(question));
    output = std::move(filtered.output);
    payload = output;
    if (filtered.status != 0) {
      ++failed_;
      const std::string text = "the command ended with status " + std::to_string(filtered.status);
      log::warn(text + " for question " + std::to_string(asked_));
      headers.add("error", text);
    }
  } else if (arguments_.flag("echo")) {
    payload = question.bytes();
  } else {
    payload = bytes_of(arguments_.positional()[1]);
  }
  if (question.reply().empty()) {
    log::debug("message " + std::to_string(asked_) + " wants no answer");
    return;
  }
  const std::string subject(question.reply());
  if (publish(subject, payload, headers) != Errc::message_too_large) return;
  HeaderBlock instead;  // who asks need not wait for what cannot come
  instead.add("error", "the answer of " + std::to_string(payload.size()) + " B is too large for this bus");
  static_cast<void>(publish(subject, {}, instead));
}

std::error_code Replying::publish(const std::string& subject, std::span<const std::byte> payload,
                                  const HeaderBlock& headers) {
  PublishOptions options;
  if (!headers.bytes().empty()) options.headers = &headers;
  options.sequence = &sequence_;
  const std::int64_t time = record_ ? Record::now() : 0;
  const std::error_code error = until_stopped(signals_, in(kAnswerFor), [&](Deadline deadline) {
    const std::error_code outcome = node_->publish(subject, payload, options, deadline);
    if (outcome == Errc::timed_out && record_) record_->flush();
    return outcome;
  });
  if (error) {
    ++failed_;
    log::warn(describe("answer", subject, error));
    return error;
  }
  ++answered_;
  bytes_ += payload.size();
  if (!record_) return {};
  record_->published(sequence_, subject, payload, options.level, time);
  record_->watch(*node_);
  return {};
}

void Replying::answer_all() {
  // From another thread: wakes whoever waits for a question.
  const Signals::OnStop guard(signals_, [this] { questions_.close(); });
  while (asked_ < count_) {
    const Result<Delivery> question = next_question();
    if (!question) {
      if (!signals_.stopped()) failure_ = question.error();
      return;
    }
    answer(*question);
    if (record_) record_->flush();  // before it is acknowledged
    last_ = Clock::now();
  }
}

void Replying::finish() {
  questions_.close();
  const SubscriptionBooks books = questions_.books();
  const bool waited = books.dropped[static_cast<std::size_t>(Reason::closed)] > 0;
  summary_.subscriptions.emplace_back(pattern_, books);
  if (record_) record_->unsubscribed(kQuestions, books, idle_ && !waited);
  // What these say shows in the books.
  const std::error_code flushed =
      until_stopped(signals_, in(kCloseFor), [this](Deadline d) { return flush_all(*node_, d); });
  if (record_) {
    record_->look(*node_);
    if (!flushed && node_->books().lost == 0) record_->accepted(sequence_);
  }
  static_cast<void>(node_->close(in(kCloseFor)));
  summary_.books = node_->books();
  if (record_) record_->left(summary_.books);
}

void Replying::report_summary() {
  summary_.sent = answered_;
  summary_.received = asked_;
  summary_.bytes = bytes_;
  summary_.elapsed = last_ - start_;
  report(summary_, arguments_, signals_, output_);
}

Exit Replying::run() {
  check_options();
  signals_.end_on_hangup();
  summary_.bus = bus_of(arguments_);
  const auto nothing = [this] { report_summary(); };
  node_.emplace(join_or_stop(summary_.bus, arguments_, signals_, nothing));
  SubscribeOptions options;
  options.queue = *arguments_.text("queue");
  record_ = record_of(arguments_, *node_);
  start_ = last_ = Clock::now();
  try {
    questions_ = node_->subscribe(pattern_, options, in(*arguments_.duration("wait")));
  } catch (const Error&) {
    static_cast<void>(node_->close(in(kCloseFor)));
    if (record_) record_->left(node_->books());
    nothing();
    throw;
  }
  if (record_) record_->subscribed(kQuestions, pattern_, options);
  log::info("answering " + pattern_ + " on " + summary_.bus +
            (node_->hosts_broker() ? " (whose broker is in this process)" : ""));
  if (arguments_.flag("json")) {
    output_.write(joined_json(*node_));
    output_.flush();
  }
  start_ = last_ = Clock::now();
  answer_all();
  const std::string why = questions_.why();
  finish();
  log::info("answered " + std::to_string(answered_) + " of " + counted(asked_, "question"));
  Exit exit = signals_.exit();
  if (!signals_.stopped()) {
    if (failure_) {
      log::error("reply " + pattern_ + " on " + summary_.bus + ": " + (why.empty() ? failure_.message() : why));
      exit = exit_of(failure_);
    } else if (failed_ > 0) {
      log::error("reply " + pattern_ + " on " + summary_.bus + ": " + counted(failed_, "question") + " failed");
      exit = Exit::failed;
    }
  }
  report_summary();
  return exit;
}

Exit run_reply(const Arguments& arguments, Signals& signals) { return Replying(arguments, signals).run(); }

}  // namespace

const Verb& reply_verb() noexcept {
  static constexpr std::array<Option, 8> kOptions{{
      kBusOption,
      {0, "echo", Kind::flag, "", "answer with what was asked"},
      {'e', "exec", Kind::text, "COMMAND",
       "run it by /bin/sh for each question, which is its stdin; its stdout is the answer. BUS_SUBJECT, BUS_REPLY and "
       "BUS_HEADER_key are in its environment. If it fails, the answer has the header error"},
      {'q', "queue", Kind::text, "GROUP",
       "each question goes to one of those who answer it with the same group; '' for one of one's own", "service"},
      {'c', "count", Kind::count, "N", "end after so many questions"},
      kRecordOption,
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 5> kExamples{{
      {"bus reply math.double --exec 'expr 2 \\* $(cat)'", "bus request math.double 21 prints 42"},
      {"bus reply 'time.*' --exec date", "a subject may be a pattern; BUS_SUBJECT says which it was"},
      {"bus reply health ok", "always the same"},
      {"bus reply load --echo --bus tcp://host:4222", "for bus request load x --count 1k --interval 0"},
      {"bus reply load --echo --record reply.jsonl", "bus audit compares it with the record of who asked"},
  }};
  static constexpr Verb kVerb{
      "reply",
      "answers what bus request asks on a subject",
      "SUBJECT [TEXT]",
      1,
      2,
      "Answers every question on SUBJECT (or a pattern of subjects) with TEXT, with what was asked (--echo) or with\n"
      "what a command prints (--exec), one after the other, until a signal or --count. Several share the work.\n",
      kOptions,
      kExamples,
      run_reply,
  };
  return kVerb;
}

}  // namespace bus::tools
