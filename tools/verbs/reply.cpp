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
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kAnswerFor = 5s;  // an answer that the broker does not take for so long has failed

class Replying {
 public:
  Replying(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  void check_options() const;
  void answer(const Delivery& question);
  void answer_all();
  void report_summary();

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& pattern_;
  const std::string command_;
  const std::uint64_t count_;
  Output output_;
  std::optional<Node> node_;
  Subscription questions_;
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

void Replying::answer(const Delivery& question) {
  ++asked_;
  std::vector<std::byte> output;
  std::span<const std::byte> payload;
  HeaderBlock headers;
  if (!command_.empty()) {
    Filtered filtered =
        filter_command(command_, question.bytes(), signals_, {"BUS_SUBJECT=" + std::string(question.subject())});
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
  PublishOptions options;
  if (!headers.bytes().empty()) options.headers = &headers;
  const std::error_code error = until_stopped(signals_, in(kAnswerFor), [&](Deadline deadline) {
    return node_->publish(question.reply(), payload, options, deadline);
  });
  if (!error) {
    ++answered_;
    bytes_ += payload.size();
    return;
  }
  ++failed_;
  log::warn(describe("answer", question.reply(), error));
}

void Replying::answer_all() {
  // From another thread: wakes whoever waits for a question.
  const Signals::OnStop guard(signals_, [this] { questions_.close(); });
  while (asked_ < count_) {
    const Result<Delivery> question = questions_.receive();
    if (!question) {
      if (!signals_.stopped()) failure_ = question.error();
      return;
    }
    answer(*question);
    last_ = Clock::now();
  }
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
  summary_.bus = bus_of(arguments_);
  const auto nothing = [this] { report_summary(); };
  node_.emplace(join_or_stop(summary_.bus, arguments_, signals_, nothing));
  SubscribeOptions options;
  options.queue = *arguments_.text("queue");
  start_ = last_ = Clock::now();
  try {
    questions_ = node_->subscribe(pattern_, options, in(*arguments_.duration("wait")));
  } catch (const Error&) {
    nothing();
    throw;
  }
  log::info("answering " + pattern_ + " on " + summary_.bus +
            (node_->hosts_broker() ? " (whose broker is in this process)" : ""));
  if (arguments_.flag("json")) {
    output_.write(joined_json(*node_));
    output_.flush();
  }
  start_ = last_ = Clock::now();
  answer_all();
  const std::string why = questions_.why();
  questions_.close();
  summary_.subscriptions.emplace_back(pattern_, questions_.books());
  // What it says shows in the books.
  static_cast<void>(until_stopped(signals_, in(kCloseFor), [this](Deadline d) { return node_->flush(d); }));
  static_cast<void>(node_->close(in(kCloseFor)));
  summary_.books = node_->books();
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
  static constexpr std::array<Option, 7> kOptions{{
      kBusOption,
      {0, "echo", Kind::flag, "", "answer with what was asked"},
      {'e', "exec", Kind::text, "COMMAND",
       "run it by /bin/sh for each question, which is its stdin; its stdout is the answer. BUS_SUBJECT is in its "
       "environment. If it fails, the answer has the header error"},
      {'q', "queue", Kind::text, "GROUP",
       "each question goes to one of those who answer it with the same group; '' for one of one's own", "service"},
      {'c', "count", Kind::count, "N", "end after so many questions"},
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 4> kExamples{{
      {"bus reply math.double --exec 'expr 2 \\* $(cat)'", "bus request math.double 21 prints 42"},
      {"bus reply 'time.*' --exec date", "a subject may be a pattern; BUS_SUBJECT says which it was"},
      {"bus reply health ok", "always the same"},
      {"bus reply load --echo --bus tcp://host:4222", "for bus request load x --count 1k --interval 0"},
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
