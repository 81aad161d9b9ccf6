// tools/verbs/send.cpp: bus send: connects (or listens) and sends messages.
#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "bus/core/units.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/input.hpp"
#include "tools/common/log.hpp"
#include "tools/common/made_message.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/report.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr std::string_view kTooLargeAdvice =
    "a message on this channel has no more; send it in pieces with --chunk, or let the receiver take more with "
    "max_message in its address";
constexpr std::size_t kDefaultPiece = 64 << 10;  // of a file that is too large for one message
constexpr std::size_t kLongestAnswer = 1 << 20;  // where nothing else says where an answer ends
constexpr auto kQuiet = 100ms;                   // likewise
constexpr auto kLingerAfterSignal = 2s;

using Payload = std::span<const std::byte>;
/// Gives the next message, or none at the end.
using Source = std::function<std::optional<Payload>()>;

class Sending {
 public:
  Sending(const Arguments& arguments, Signals& signals);
  Exit run();

 private:
  void check_options() const;
  [[nodiscard]] bool makes_messages() const;
  [[nodiscard]] std::optional<Channel> open();
  [[nodiscard]] Source source();
  [[nodiscard]] Source data_source() const;
  [[nodiscard]] Source made_source();
  [[nodiscard]] Source file_source();

  void send_all();
  [[nodiscard]] bool wait_for_turn(std::uint64_t index);
  [[nodiscard]] std::error_code receive_answer(std::size_t sent_bytes);
  [[nodiscard]] Result<std::vector<std::byte>> answer_without_boundaries(std::size_t sent_bytes);
  void drop_answers() noexcept;
  [[nodiscard]] Exit finish();
  [[nodiscard]] Exit judge(std::error_code closing, const Books& books) const;
  void report_summary();

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& address_;
  const bool reply_;
  Output output_;
  Printer printer_;
  std::optional<Input> input_;
  const std::optional<double> rate_;
  const std::optional<std::chrono::nanoseconds> duration_;

  Channel channel_;
  std::vector<std::byte> made_;
  os::Fd peer_over_ = os::make_event();       // readable once the peer has ended the channel
  std::atomic<Errc> peer_end_{Errc::closed};  // how
  std::error_code failure_;                   // what ended the sending early
  std::string failure_text_;
  std::uint64_t sent_ = 0, bytes_ = 0, answers_ = 0;
  Clock::time_point start_{}, last_{};
  std::string listening_address_;
  Summary summary_;
};

Sending::Sending(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      address_(arguments.address()),
      reply_(arguments.flag("reply")),
      output_(signals),
      printer_(arguments.flag("json") ? Format::json : format_of(*arguments.text("format")), output_, "answer"),
      rate_(arguments.rate("rate")),
      duration_(arguments.duration("duration")) {}

bool Sending::makes_messages() const {
  return arguments_.positional().size() == 1 && !arguments_.given("file") && !arguments_.given("whole") &&
         !arguments_.given("chunk") &&
         (arguments_.given("size") || arguments_.given("count") || arguments_.given("duration"));
}

void Sending::check_options() const {
  const auto fail = [](const std::string& text) { throw UsageError("send: " + text + "; see bus help send"); };
  const bool has_data = arguments_.positional().size() > 1;
  if (has_data) {
    for (const std::string_view name : {"file", "whole", "chunk", "size"}) {
      if (arguments_.given(name)) fail("--" + std::string(name) + " and DATA exclude each other");
    }
  }
  arguments_.at_most_one({"whole", "chunk"});
  arguments_.at_most_one({"size", "file"});
  arguments_.at_most_one({"size", "whole"});
  arguments_.at_most_one({"size", "chunk"});
  if (!has_data && !makes_messages()) {
    for (const std::string_view name : {"count", "duration"}) {
      if (arguments_.given(name)) fail("--" + std::string(name) + " is for DATA and for made messages (--size)");
    }
  }
  if (!reply_ && (arguments_.given("format") || arguments_.given("timeout"))) {
    fail("--format and --timeout are for answers: add --reply");
  }
  if (arguments_.flag("json") && arguments_.given("format")) fail("--json and --format exclude each other");
  if (const auto chunk = arguments_.number("chunk"); chunk == 0u) fail("--chunk 0: a piece has at least 1 byte");
}

std::optional<Channel> Sending::open() {
  const auto nothing = [this] { report_summary(); };
  const auto wait = arguments_.duration("wait");
  if (!arguments_.flag("listen")) return connect_or_stop(address_, wait.value_or(5s), signals_, nothing);
  try {
    Listener listener = listen_and_say(address_, arguments_.flag("json") ? &output_ : nullptr);
    listening_address_ = listener.address();
    auto channel = accept_or_stop(listener, wait ? in(*wait) : forever, signals_);
    if (channel) log::info("the receiver came: " + describe_peer(channel->peer()));
    return channel;
  } catch (const Error&) {
    nothing();
    throw;
  }
}

Source Sending::data_source() const {
  const auto& words = arguments_.positional();
  const std::uint64_t words_count = words.size() - 1;
  const bool endless = duration_.has_value() && !arguments_.given("count");
  const std::uint64_t count = endless ? ~std::uint64_t{0} : arguments_.number("count").value_or(words_count);
  return [&words, words_count, count, i = std::uint64_t{0}]() mutable -> std::optional<Payload> {
    if (i == count) return {};
    return bytes_of(words[1 + i++ % words_count]);
  };
}

Source Sending::made_source() {
  const std::uint64_t size = arguments_.number("size").value_or(kDefaultMadeSize);
  if (size > channel_.traits().max_message) {
    failure_ = Errc::message_too_large;
    failure_text_ = "--size " + format_size(size) + " is more than the receiver takes (" +
                    format_size(channel_.traits().max_message) + "): let it take more with max_message in its address";
    return [] { return std::optional<Payload>(); };
  }
  if (size < kMadeHeaderBytes) {
    log::warn("--size " + std::to_string(size) + " has no room for a number and a checksum (" +
              std::to_string(kMadeHeaderBytes) + " bytes): recv --verify cannot check these messages");
  }
  made_.resize(size);
  const bool endless = (duration_ || rate_) && !arguments_.given("count");
  const std::uint64_t count = endless ? ~std::uint64_t{0} : arguments_.number("count").value_or(1);
  return [this, count, i = std::uint64_t{0}]() mutable -> std::optional<Payload> {
    if (i == count) return {};
    make_message(made_, i++);
    return std::span<const std::byte>(made_);
  };
}

Source Sending::file_source() {
  const std::size_t most = channel_.traits().max_message;
  std::optional<std::size_t> piece = arguments_.number("chunk");
  if (!piece && arguments_.given("file") && !arguments_.flag("whole") && (!input_->size() || *input_->size() > most)) {
    piece = std::min(kDefaultPiece, most);
    log::info("the file does not fit into one message: sending pieces of " + format_size(*piece));
  }
  if (piece) return [this, bytes = *piece] { return input_->piece(bytes); };
  if (arguments_.flag("whole") || arguments_.given("file")) {
    return [this, most, first = true]() mutable -> std::optional<Payload> {
      if (!first) return {};
      first = false;
      return input_->whole(most, kTooLargeAdvice);
    };
  }
  return [this] { return input_->line(); };
}

Source Sending::source() {
  if (arguments_.positional().size() > 1) return data_source();
  if (makes_messages()) return made_source();
  return file_source();
}

/// True when message number `index` is due; false when the sending is over.
bool Sending::wait_for_turn(std::uint64_t index) {
  if (duration_ && Clock::now() - start_ >= *duration_) return false;
  if (!rate_) return !signals_.stopped();
  // Message i is due at start + i / rate: who is late sends at once and skips nothing.
  const auto due = start_ + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(static_cast<double>(index) / *rate_));
  if (due <= Clock::now()) return !signals_.stopped();
  if (duration_ && due - start_ >= *duration_) {
    signals_.sleep_until(start_ + std::chrono::duration_cast<Clock::duration>(*duration_));
    return false;
  }
  // What it says shows in the next send.
  static_cast<void>(channel_.flush());
  return !signals_.sleep_until(due);
}

void Sending::send_all() {
  Progress progress("sent", input_ ? input_->size() : std::nullopt, !(reply_ && output_.is_terminal()));
  const Source next = source();
  for (std::uint64_t i = 0; !failure_ && wait_for_turn(i); ++i) {
    const std::optional<Payload> payload = next();
    if (!payload) break;
    failure_ = channel_.send(*payload);
    if (failure_) {
      if (failure_ == Errc::message_too_large) {
        failure_text_ = "message " + std::to_string(i + 1) + " has " + std::to_string(payload->size()) +
                        " bytes, and the receiver takes " + format_size(channel_.traits().max_message) +
                        ": let it take more with max_message in its address, or send pieces with --chunk";
      }
      break;
    }
    ++sent_;
    bytes_ += payload->size();
    progress.update(sent_, bytes_);
    if (reply_) failure_ = receive_answer(payload->size());
  }
  last_ = Clock::now();
}

Result<std::vector<std::byte>> Sending::answer_without_boundaries(std::size_t sent_bytes) {
  // Nothing says where the answer ends: at as many bytes as were sent (an echo), at the peer's end, or when
  // nothing more comes for a while.
  std::vector<std::byte> answer;
  Deadline deadline = in(*arguments_.duration("timeout"));
  for (;;) {
    Result<Message> message = channel_.receive(deadline);
    if (!message) {
      if (answer.empty()) return message.error();
      return answer;
    }
    const Payload bytes = message->bytes();
    answer.insert(answer.end(), bytes.begin(), bytes.end());
    if (answer.size() == sent_bytes || answer.size() >= kLongestAnswer) return answer;
    deadline = std::min(deadline, in(kQuiet));
  }
}

std::error_code Sending::receive_answer(std::size_t sent_bytes) {
  if (!channel_.traits().keeps_boundaries) {
    const auto answer = answer_without_boundaries(sent_bytes);
    if (!answer) return answer.error();
    printer_.print(1, ++answers_, *answer);
  } else {
    Result<Message> message = channel_.receive(in(*arguments_.duration("timeout")));
    if (!message) return message.error();
    printer_.print(1, ++answers_, message->bytes());
  }
  output_.flush();
  return {};
}

/// Runs in a thread of its own when nobody asked for answers: a peer that answers all the same must not get stuck,
/// and its end is noticed while we wait for input.
void Sending::drop_answers() noexcept {
  for (;;) {
    const Result<Message> message = channel_.receive();
    if (message) continue;
    peer_end_.store(message.error() == Errc::peer_died ? Errc::peer_died : Errc::closed);
    os::signal_event(peer_over_.get());
    return;
  }
}

Exit Sending::judge(std::error_code closing, const Books& books) const {
  if (signals_.stopped()) return signals_.exit();
  const std::uint64_t not_there = not_delivered(books);
  const auto say_loss = [&] {
    log::error("send " + address_ + ": " + std::to_string(not_there) + " of " + counted(books.accepted, "message") +
               " did not reach the receiver (it dropped " + std::to_string(books.peer_dropped) +
               "; lost: " + reasons_text(books.lost) + ")");
  };
  if (failure_) {
    if (!failure_text_.empty()) {
      log::error("send " + address_ + ": " + failure_text_);
    } else if (failure_ == Errc::peer_died) {
      log::error("send " + address_ + ": the receiver died; " + counted(sent_, "message") + " had been sent");
    } else if (failure_ == Errc::closed) {
      log::error("send " + address_ + ": the receiver closed the channel; " + counted(sent_, "message") +
                 " had been sent");
    } else if (failure_ == Errc::timed_out) {
      log::error("send " + address_ + ": no answer within " + format_duration(*arguments_.duration("timeout")));
    } else {
      log::error(describe("send", address_, failure_));
    }
    if (failure_ == Errc::closed && not_there > 0) {
      say_loss();
      return Exit::loss;
    }
    return exit_of(failure_);
  }
  if (closing == Errc::timed_out) {
    log::error("send " + address_ + ": sent, but the receiver has not said within " +
               format_duration(*arguments_.duration("linger")) + " that it has received everything");
    return Exit::timed_out;
  }
  if (closing == Errc::peer_died) {
    log::error("send " + address_ + ": the receiver died before it said that it had received everything");
    return Exit::no_peer;
  }
  if (not_there > 0) {
    say_loss();
    return Exit::loss;
  }
  if (closing && closing != Errc::closed) {
    log::error(describe("close", address_, closing));
    return exit_of(closing);
  }
  return Exit::ok;
}

void Sending::report_summary() {
  summary_.address = listening_address_.empty() ? address_ : listening_address_;
  summary_.sent = sent_;
  summary_.bytes = bytes_;
  summary_.elapsed = last_ - start_;
  report(summary_, arguments_, signals_, output_);
}

Exit Sending::finish() {
  std::error_code closing = close_or_stop(channel_, *arguments_.duration("linger"), kLingerAfterSignal, signals_);
  if (signals_.stopped() && closing == Errc::timed_out) closing = {};
  const Books books = channel_.books();
  summary_.books.add(books);
  summary_.received = books.received;
  const Exit exit = judge(closing, books);
  if (signals_.stopped() || makes_messages() || arguments_.given("file")) {
    log::info("sent " + amount_text(sent_, bytes_, last_ - start_));
  }
  report_summary();
  return exit;
}

Exit Sending::run() {
  check_options();
  check_address(address_);
  if (arguments_.positional().size() == 1 && !makes_messages()) {
    input_.emplace(signals_, arguments_.text("file").value_or("-"));
  }
  auto channel = open();
  start_ = last_ = Clock::now();
  if (!channel) {
    report_summary();
    return signals_.exit();
  }
  channel_ = std::move(*channel);
  if (input_) {
    // What it says shows in the next send.
    input_->before_waiting([this] { static_cast<void>(channel_.flush()); });
    input_->also_end_on(peer_over_.get());
  }
  const Signals::OnStop guard(signals_, [this] { interrupt(channel_); });
  std::jthread dropper;  // ends when the channel does, which each way out of here sees to
  if (!reply_) dropper = std::jthread([this] { drop_answers(); });
  try {
    send_all();
  } catch (const OutputStuck&) {
    // There was a signal: what is left to do is to end.
  } catch (...) {
    channel_.close();
    throw;
  }
  if (!failure_ && input_ && input_->was_cut_off() && !signals_.stopped()) failure_ = peer_end_.load();
  return finish();
}

Exit run_send(const Arguments& arguments, Signals& signals) { return Sending(arguments, signals).run(); }

}  // namespace

const Verb& send_verb() noexcept {
  static constexpr std::array<Option, 13> kOptions{{
      {'f', "file", Kind::text, "FILE", "send a file: as one message if it fits, else in pieces of 64KiB; - is stdin"},
      {0, "whole", Kind::flag, "", "send all of stdin, or of the file, as one message"},
      {0, "chunk", Kind::size, "SIZE", "send stdin or the file in pieces of this size"},
      {'s', "size", Kind::size, "SIZE",
       "make messages of this size (64 if only --count is given): numbered, with a "
       "checksum, as recv --verify checks them"},
      {'c', "count", Kind::count, "N",
       "messages in all: made ones (1, or without end if there is a rate or a "
       "duration), or the DATA over and over"},
      {'r', "rate", Kind::rate, "R", "messages a second: number i leaves at start + i/R, late ones at once"},
      {'d', "duration", Kind::duration, "D", "stop after this time"},
      {0, "reply", Kind::flag, "", "wait for an answer to each message and print it"},
      {0, "timeout", Kind::duration, "D", "how long to wait for an answer", "5s"},
      {0, "format", Kind::choice, kFormats, "how to print answers", "line"},
      {'l', "listen", Kind::flag, "", "listen, and send to the first peer that connects"},
      {0, "wait", Kind::duration, "D", "how long to wait for the peer (5s; with --listen without end)"},
      {0, "linger", Kind::duration, "D",
       "how long to wait at the end for the receiver's word that it has received "
       "everything",
       "30s"},
  }};
  static constexpr std::array<Example, 8> kExamples{{
      {"bus send shm://lab hello", "one message"},
      {"seq 1000000 | bus send unix://lab", "a message a line"},
      {"bus send tcp://host:7000 --file big.iso --chunk 64KiB", "a file in pieces; recv --output puts it together"},
      {"bus send shm://lab --size 64 --count 1M", "a million made messages, for recv --verify"},
      {"bus send 'udp://host:7000' --size 1KiB --rate 10k --duration 5s", "at a steady rate"},
      {"bus send tcp://host:7000 ping --reply", "prints the answer"},
      {"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | bus send 'tcp://host:80?framing=raw' --whole --reply",
       "talks to a program that knows nothing of ipcbus"},
      {"bus send shm://lab --listen --file f", "the other way round: bus recv shm://lab --connect"},
  }};
  static constexpr Verb kVerb{
      "send",
      "connects and sends messages: arguments, lines, files, or made ones",
      "ADDRESS [DATA...]",
      1,
      1'000'000,
      "Connects to ADDRESS, waiting for the listener to appear, and sends each DATA as one message. Without\n"
      "DATA a message is a line of stdin, without its newline. What the peer sends is dropped unless --reply.\n"
      "\n"
      "At the end it waits for the receiver's word on what became of the messages: exit code 5 if some were\n"
      "lost, 4 if the receiver went away before the end, 3 if there was no word or no answer in time.\n",
      kOptions,
      kExamples,
      run_send,
  };
  return kVerb;
}

}  // namespace bus::tools
