// tools/verbs/sub.cpp: bus sub: subscribes to patterns on a bus and prints what comes.
#include <poll.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "bus/core/units.hpp"
#include "tools/common/bus.hpp"
#include "tools/common/command.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/log.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/record.hpp"
#include "tools/common/summary.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr auto kLookEvery = 100ms;  // while nothing comes: has the reader of stdout gone, what does the node know?
constexpr std::size_t kTurn = 256;  // messages of one subscription before the others have their turn

class Subscribing {
 public:
  Subscribing(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  enum class End : unsigned char { done, stopped, timed_out, ended, output_closed, failed };

  void check_options();
  [[nodiscard]] Format format() const;
  void subscribe();
  [[nodiscard]] End receive_all();
  [[nodiscard]] bool take_batch(std::size_t index);
  [[nodiscard]] bool wait(Deadline deadline);
  [[nodiscard]] bool wait_for_one(Deadline deadline);
  void take(Delivery& message);
  void record_held();
  void give_back();
  void execute(Delivery& message);
  void finish();
  [[nodiscard]] Exit judge(End end);
  void report_summary();

  const Arguments& arguments_;
  Signals& signals_;
  const std::vector<std::string>& patterns_;
  const bool json_, subjects_;
  const std::uint64_t count_;
  const std::string command_;
  const std::optional<std::chrono::nanoseconds> timeout_;
  SubscribeOptions options_;
  Output output_;
  Printer printer_;
  std::unique_ptr<Record> record_;
  std::optional<Node> node_;
  std::vector<Subscription> subscriptions_;
  std::optional<Delivery> next_;  // of the first subscription: came while it waited
  std::vector<bool> idle_;        // nothing waited there when it was last looked at
  std::vector<Delivery> held_;    // printed, and acknowledged as soon as that is out
  std::size_t held_of_ = 0;       // their subscription
  std::uint64_t untaken_ = 0;     // of that: came, and is not known to be out
  std::optional<Progress> progress_;
  std::uint64_t received_ = 0, bytes_ = 0, failed_commands_ = 0;
  std::size_t over_ = 0;  // which subscription the broker has ended
  std::error_code over_why_;
  Clock::time_point start_{}, last_{};
  BusSummary summary_;
};

Subscribing::Subscribing(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      patterns_(arguments.positional()),
      json_(arguments.flag("json")),
      subjects_(arguments.flag("subjects")),
      count_(arguments.number("count").value_or(~std::uint64_t{0})),
      command_(arguments.text("exec").value_or("")),
      timeout_(arguments.duration("timeout")),
      output_(signals),
      printer_(format(), output_) {}

/// What fits the purpose, unless it was asked for.
Format Subscribing::format() const {
  if (arguments_.given("format")) return format_of(*arguments_.text("format"));
  if (arguments_.given("exec")) return Format::none;
  return arguments_.flag("json") ? Format::json : Format::line;
}

void Subscribing::check_options() {
  const auto fail = [](const std::string& text) { throw UsageError("sub: " + text + "; see bus help sub"); };
  for (const std::string& pattern : patterns_) require_pattern(arguments_, pattern);
  const Format chosen = format();
  if (json_ && chosen != Format::json && chosen != Format::none) {
    fail("--json and --format " + *arguments_.text("format") + " would mix on stdout");
  }
  if (subjects_ && chosen != Format::line && chosen != Format::hex) fail("--subjects is for --format line and hex");
  if (arguments_.given("exec") && command_.empty()) fail("--exec: the command is empty");
  options_.depth = *arguments_.small_number("depth");
  options_.history = arguments_.small_number("history").value_or(0);
  options_.queue = arguments_.text("queue").value_or("");
  if (options_.queue.size() > protocol::kMaxText) {
    fail("--queue: a name has at most " + std::to_string(protocol::kMaxText) + " bytes");
  }
  options_.full = full_of(*arguments_.text("full"));
}

void Subscribing::subscribe() {
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    subscriptions_.push_back(node_->subscribe(patterns_[i], options_, in(*arguments_.duration("wait"))));
    idle_.push_back(true);
    if (record_) record_->subscribed(i + 1, patterns_[i], options_);
    log::info("subscribed to " + patterns_[i] + " on " + summary_.bus +
              (node_->hosts_broker() ? " (whose broker is in this process)" : ""));
  }
  if (!json_) return;
  output_.write(joined_json(*node_));
  output_.flush();
}

void Subscribing::take(Delivery& message) {
  if (++received_ == 1) start_ = Clock::now();
  bytes_ += message.size();
  printer_.print(received_, message, subjects_);
  if (!command_.empty()) execute(message);
  if (progress_) progress_->update(received_, bytes_);
}

void Subscribing::execute(Delivery& message) {
  output_.flush();  // what we print about a message stands before what the command prints
  const int status = run_command(command_, message.bytes(), json_, signals_, environment_about(message));
  if (status == 0) return;
  message.reject();
  if (signals_.stopped()) return;
  ++failed_commands_;
  log::warn("the command ended with status " + std::to_string(status) + " for message " + std::to_string(received_));
}

/// They are out: a kill from here on finds them there.
void Subscribing::record_held() {
  if (options_.full != Full::block) record_->dropped(held_of_ + 1, subscriptions_[held_of_].books().dropped);
  for (const Delivery& message : held_) record_->received(held_of_ + 1, message);
  record_->flush();
}

/// After a failure: what is not known to be out was not received, and comes to others of the group.
void Subscribing::give_back() {
  for (Delivery& message : held_) {
    message.reject();
    bytes_ -= message.size();
  }
  received_ -= held_.size();
  untaken_ = held_.size();
  held_.clear();
}

/// Takes what waits, and prints it as one piece. True: it was something.
bool Subscribing::take_batch(std::size_t index) {
  held_of_ = index;
  for (std::size_t n = 0; n < kTurn && received_ < count_ && !signals_.stopped(); ++n) {
    Result<Delivery> message = next_ ? Result<Delivery>(std::move(*next_)) : subscriptions_[index].try_receive();
    next_.reset();
    idle_[index] = !message;
    if (!message) {
      if (message.error() != Errc::would_block && !over_why_) {
        over_ = index;
        over_why_ = message.error();
      }
      break;
    }
    // What was asked to be `delivered` is acknowledged when it is out.
    held_.push_back(std::move(*message));
    take(held_.back());
    if (!command_.empty()) break;
  }
  if (held_.empty()) return false;
  output_.flush();
  if (record_) record_held();
  held_.clear();
  last_ = Clock::now();
  return true;
}

/// The same for one subscription: its receive() looks for a moment before it sleeps, and nobody pays for a descriptor.
/// The signal closes the subscription.
bool Subscribing::wait_for_one(Deadline deadline) {
  for (;;) {
    const bool looks = record_ || output_.watched_fd() >= 0;
    Result<Delivery> message = subscriptions_.front().receive(looks ? std::min(deadline, in(kLookEvery)) : deadline);
    if (message) {
      next_.emplace(std::move(*message));
      return true;
    }
    if (message.error() != Errc::timed_out) return true;  // it will say so again
    if (Clock::now() >= deadline) return false;
    if (record_) record_->watch(*node_);
    pollfd reader{output_.watched_fd(), 0, 0};
    if (reader.fd >= 0 && ::poll(&reader, 1, 0) > 0 && (reader.revents & POLLERR) != 0) throw OutputClosed();
  }
}

/// Until something may have come, a signal or the deadline; false for the deadline.
bool Subscribing::wait(Deadline deadline) {
  if (record_) {
    record_->watch(*node_);
    record_->flush();
  }
  if (subscriptions_.size() == 1) return wait_for_one(deadline);
  std::vector<pollfd> fds;
  for (Subscription& subscription : subscriptions_) fds.push_back({subscription.readable_fd(), POLLIN, 0});
  fds.push_back({signals_.fd(), POLLIN, 0});
  if (output_.watched_fd() >= 0) fds.push_back({output_.watched_fd(), 0, 0});
  for (;;) {
    Deadline until = deadline;
    if (record_) until = std::min(until, in(kLookEvery));
    timespec limit{};
    if (until != forever) {
      const auto rest = std::max<std::chrono::nanoseconds>(until - Clock::now(), 0ns);
      limit.tv_sec = static_cast<time_t>(rest / 1s);
      limit.tv_nsec = static_cast<long>((rest % 1s).count());
    }
    const int ready = ::ppoll(fds.data(), fds.size(), until == forever ? nullptr : &limit, nullptr);
    if (ready > 0) break;
    if (ready == 0 && Clock::now() >= deadline) return false;
    if (record_) record_->watch(*node_);
  }
  if (output_.watched_fd() >= 0 && (fds.back().revents & POLLERR) != 0) throw OutputClosed();
  return true;
}

Subscribing::End Subscribing::receive_all() {
  std::fill(idle_.begin(), idle_.end(), true);
  for (;;) {
    bool any = false;
    for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
      any |= take_batch(i);
      if (received_ >= count_) return End::done;
      if (signals_.stopped()) return End::stopped;
    }
    if (any) continue;
    if (over_why_) return End::ended;
    const Deadline deadline = timeout_ && *timeout_ < forever - last_ ? last_ + *timeout_ : forever;
    if (!wait(deadline)) return End::timed_out;
  }
}

void Subscribing::finish() {
  if (next_) {  // it came together with a signal
    next_->reject();
    next_.reset();
    held_of_ = 0;
    untaken_ = 1;
  }
  if (untaken_ > 0) idle_[held_of_] = false;
  const auto books_of = [&](std::size_t i) {
    SubscriptionBooks books = subscriptions_[i].books();
    if (i == held_of_) {
      books.received -= untaken_;
      books.dropped[static_cast<std::size_t>(Reason::closed)] += untaken_;
    }
    return books;
  };
  for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
    subscriptions_[i].close();
    const SubscriptionBooks books = books_of(i);
    const bool waited = books.dropped[static_cast<std::size_t>(Reason::closed)] > 0;
    if (record_) record_->unsubscribed(i + 1, books, idle_[i] && !waited);
  }
  // What it says shows in the books, and so does the broker's last word on each.
  if (node_) static_cast<void>(node_->close(in(kCloseFor)));
  for (std::size_t i = 0; i < subscriptions_.size(); ++i) {
    const SubscriptionBooks books = books_of(i);
    summary_.subscriptions.emplace_back(patterns_[i], books);
    if (record_) record_->dropped(i + 1, books.dropped);
  }
  if (node_) summary_.books = node_->books();
  if (record_) record_->left(summary_.books);
}

Exit Subscribing::judge(End end) {
  SubscriptionBooks sum;
  for (const auto& [pattern, books] : summary_.subscriptions) {
    sum.missing += books.missing;
    for (std::size_t i = 0; i < kReasons; ++i) sum.dropped[i] += books.dropped[i];
  }
  if (received_ > 0) log::info("received " + amount_text(received_, bytes_, last_ - start_));
  // What came later than it was wanted is no loss.
  std::uint64_t& late = sum.dropped[static_cast<std::size_t>(Reason::closed)];
  if (late > 0 && end != End::done) log::info(counted(late, "message") + " came and were not taken any more");
  late = 0;
  if (total(sum.dropped) > 0) {
    log::warn(counted(total(sum.dropped), "message") + " dropped (" + reasons_text(sum.dropped) + "), as --full " +
              *arguments_.text("full") + " with --depth " + std::to_string(options_.depth) + " says");
  }
  if (end == End::output_closed) return Exit::pipe_closed;
  if (sum.missing > 0) {
    log::error("sub " + summary_.bus + ": " + counted(sum.missing, "message") + " missing: lost on the way");
    return signals_.stopped() ? signals_.exit() : Exit::loss;
  }
  if (signals_.stopped()) return signals_.exit();
  if (end == End::ended) {
    const std::string why = subscriptions_[over_].why();
    log::error("sub " + patterns_[over_] + " on " + summary_.bus + ": " +
               (why.empty() ? over_why_.message() : "the broker has ended it: " + why));
    return options_.full == Full::disconnect && over_why_ == Errc::no_room ? Exit::loss : exit_of(over_why_);
  }
  if (end == End::timed_out) {
    log::error("sub " + summary_.bus + ": nothing came for " + format_duration(*timeout_));
    return Exit::timed_out;
  }
  if (failed_commands_ > 0) {
    log::error("sub " + summary_.bus + ": the command failed for " + counted(failed_commands_, "message"));
    return Exit::failed;
  }
  return Exit::ok;
}

void Subscribing::report_summary() {
  summary_.received = received_;
  summary_.bytes = bytes_;
  summary_.elapsed = last_ - start_;
  report(summary_, arguments_, signals_, output_);
}

Exit Subscribing::run() {
  check_options();
  signals_.end_on_hangup();
  summary_.bus = bus_of(arguments_);
  const auto nothing = [this] { report_summary(); };
  node_.emplace(join_or_stop(summary_.bus, arguments_, signals_, nothing));
  record_ = record_of(arguments_, *node_);
  start_ = last_ = Clock::now();
  try {
    subscribe();
  } catch (const Error&) {
    finish();
    nothing();
    throw;
  }
  start_ = last_ = Clock::now();
  progress_.emplace("received", std::nullopt, !(format() != Format::none && output_.is_terminal()));
  auto end = End::done;
  std::exception_ptr failure;
  try {
    const Signals::OnStop guard(signals_, [this] {
      if (subscriptions_.size() == 1) subscriptions_.front().close();
    });
    end = receive_all();
  } catch (const OutputClosed&) {
    end = End::output_closed;
  } catch (const OutputStuck&) {
    end = End::stopped;
  } catch (...) {
    end = End::failed;
    failure = std::current_exception();
  }
  progress_.reset();
  give_back();
  finish();
  if (end == End::failed) {
    report_summary();
    std::rethrow_exception(failure);
  }
  const Exit exit = judge(end);
  if (end == End::output_closed) return exit;
  report_summary();
  return exit;
}

Exit run_sub(const Arguments& arguments, Signals& signals) { return Subscribing(arguments, signals).run(); }

}  // namespace

const Verb& sub_verb() noexcept {
  static constexpr std::array<Option, 13> kOptions{{
      kBusOption,
      {'c', "count", Kind::count, "N", "end after so many messages"},
      {'t', "timeout", Kind::duration, "D", "give up when nothing came for so long: exit code 3"},
      {'f', "format", Kind::choice, kFormats,
       "how messages are printed: payload and newline, payload alone, hexadecimal, JSON objects, not at all"},
      {'v', "subjects", Kind::flag, "", "begin each line with the message's subject"},
      {'q', "queue", Kind::text, "GROUP", "share the messages with all others of this group: each goes to one of them"},
      {0, "depth", Kind::count, "N", "messages that may be on the way and not taken yet", "4096"},
      {0, "full", Kind::choice, kFullRules,
       "what happens when there are as many: publishers wait, the new one or the oldest is dropped, this "
       "subscription ends",
       "block"},
      {0, "history", Kind::count, "N",
       "first the last N of each subject that were published with --history; with --queue if nobody else is in the "
       "group"},
      {'e', "exec", Kind::text, "COMMAND",
       "run it by /bin/sh for each message: payload on its stdin, BUS_SUBJECT, BUS_REPLY and BUS_HEADER_key in its "
       "environment; a message for which it fails is not acknowledged"},
      kRecordOption,
      kNameOption,
      kBusWaitOption,
  }};
  static constexpr std::array<Example, 6> kExamples{{
      {"bus sub 'sensors.>'", "prints what is published below sensors, until Ctrl-C"},
      {"bus sub '*.temp' alarms -v", "two patterns; each line begins with its subject"},
      {"bus sub jobs.build --queue workers --exec ./build.sh", "shares the work with others who say the same"},
      {"bus sub 'state.>' --history 1 --count 10 --timeout 5s",
       "the present state first; exit code 3 if it ends there"},
      {"bus sub load --depth 100 --full drop-old --books", "never slows the publisher; what was dropped is said"},
      {"bus sub '>' --json --bus tcp://host:4222 | jq .", "everything on a broker of another machine"},
  }};
  static constexpr Verb kVerb{
      "sub",
      "subscribes to subjects of a bus and prints what comes",
      "PATTERN...",
      1,
      1'000,
      "Subscribes to each PATTERN and prints the messages; stderr says when each is in force: nothing published\n"
      "after that is missed. '*' stands for one token of a subject, '>' at the end for all that follow. A message\n"
      "that two patterns match comes twice. On a local bus (shm, unix) nobody has to start a broker.\n"
      "\n"
      "Without --format: line; json with --json; none with --exec. Exit code 5 if messages were lost on the way;\n"
      "what its own --full rule dropped is said and is no failure.\n",
      kOptions,
      kExamples,
      run_sub,
  };
  return kVerb;
}

}  // namespace bus::tools
