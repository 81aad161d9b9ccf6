// tools/verbs/recv.cpp: bus recv: listens (or connects) and prints what comes.
#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>

#include "bus/core/units.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/command.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/log.hpp"
#include "tools/common/made_message.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/report.hpp"
#include "tools/common/server.hpp"
#include "tools/common/stream_check.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kBatch = 256;  // messages of one sender before the others have their turn

struct Sender final : Client {
  using Client::Client;
  StreamCheck check;
};

class Receiving final : public Service {
 public:
  Receiving(const Arguments& arguments, Signals& signals);
  Exit run();

  [[nodiscard]] std::unique_ptr<Client> make_client(Channel channel, std::uint64_t number) override {
    return std::make_unique<Sender>(std::move(channel), number);
  }
  void came(Client& client) override;
  [[nodiscard]] std::error_code serve(Client& client) override;
  void went(Client& client, std::error_code reason) override;
  [[nodiscard]] bool done() const noexcept override { return done_.load(); }

 private:
  void check_options() const;
  [[nodiscard]] Format format() const;
  void take(Client& client, const Message& message);
  [[nodiscard]] std::error_code take_batch(Client& client, Message first);
  void event(const Event& event);
  void execute(std::span<const std::byte> payload);
  [[nodiscard]] Exit judge(Server::End end) const;
  void report_summary(std::chrono::nanoseconds elapsed);

  const Arguments& arguments_;
  Signals& signals_;
  const std::string& address_;
  const bool json_, verify_;
  const std::uint64_t count_;
  const std::string command_;
  bool once_ = false;
  std::string heard_address_;  // where we listen really

  std::mutex mutex_;               // the clients' threads take turns with what follows
  std::atomic<bool> done_{false};  // written with the mutex
  Output output_;                  // stdout: payloads unless there is a file; with --json events and the summary
  std::optional<Output> file_;
  Output* data_ = nullptr;  // where payloads go
  std::optional<Printer> printer_;
  std::optional<Progress> progress_;
  std::uint64_t received_ = 0, bytes_ = 0, surplus_ = 0, failed_commands_ = 0;

  // The server's thread alone.
  std::uint64_t died_ = 0, corrupt_ = 0;
  Summary summary_;
  StreamCounts verified_;
};

Receiving::Receiving(const Arguments& arguments, Signals& signals)
    : arguments_(arguments),
      signals_(signals),
      address_(arguments.address()),
      json_(arguments.flag("json")),
      verify_(arguments.flag("verify")),
      count_(arguments.number("count").value_or(~std::uint64_t{0})),
      command_(arguments.text("exec").value_or("")),
      heard_address_(address_),
      output_(signals) {
  const bool ends_by_itself = arguments.given("output") || arguments.flag("once") || arguments.flag("connect");
  once_ = ends_by_itself && !arguments.flag("keep");
}

void Receiving::check_options() const {
  const auto fail = [](const std::string& text) { throw UsageError("recv: " + text + "; see bus help recv"); };
  arguments_.at_most_one({"once", "keep"});
  arguments_.at_most_one({"connect", "keep"});
  if (json_ && !arguments_.given("output") && arguments_.given("format")) {
    const Format format = format_of(*arguments_.text("format"));
    if (format != Format::json && format != Format::none) {
      fail("--json and --format " + *arguments_.text("format") +
           " would mix on stdout: send the payloads to a file with --output");
    }
  }
  if (arguments_.given("wait") && !arguments_.flag("connect")) fail("--wait is for --connect; see --timeout");
  if (arguments_.given("exec") && command_.empty()) fail("--exec: the command is empty");
}

/// What fits the purpose, unless it was asked for: a file gets the bytes as they were, JSON objects, a command the
/// payload itself, and made messages are for checking, not for reading.
Format Receiving::format() const {
  if (arguments_.given("format")) return format_of(*arguments_.text("format"));
  if (arguments_.given("output")) return Format::raw;
  if (!command_.empty() || verify_) return Format::none;
  return json_ ? Format::json : Format::line;
}

void Receiving::event(const Event& event) {
  if (!json_) return;
  const std::lock_guard lock(mutex_);
  output_.write(event_json(event));
  output_.flush();
}

void Receiving::came(Client& client) {
  if (verify_ && !client.channel.traits().keeps_boundaries) {
    throw UsageError("recv: --verify needs messages, and this framing has none: " + address_);
  }
  log::info("sender " + std::to_string(client.number) + " came: " + client.description);
  Event e;
  e.type = "came";
  e.peer = client.number;
  e.peer_address = client.description;
  event(e);
}

std::error_code Receiving::serve(Client& client) {
  for (;;) {
    Result<Message> message = client.channel.receive();
    if (!message) return message.error();
    const std::error_code over = take_batch(client, std::move(*message));
    if (over != Errc::would_block) return over;
  }
}

/// Takes a message and those that wait behind it, as one piece of the output. Returns would_block when it is time to
/// wait for more, nothing when enough messages have come, else why the channel has ended.
std::error_code Receiving::take_batch(Client& client, Message first) {
  const std::lock_guard lock(mutex_);
  Result<Message> message = std::move(first);
  for (std::size_t n = 1; message; ++n) {
    if (done_) {
      ++surplus_;
      return {};
    }
    take(client, *message);
    done_ = received_ == count_;
    if (done_ || n == kBatch) break;
    message = client.channel.try_receive();
  }
  note_message();
  data_->flush();
  if (done_) return {};
  return message ? make_error_code(Errc::would_block) : message.error();
}

void Receiving::take(Client& client, const Message& message) {
  ++received_;
  bytes_ += message.size();
  if (verify_) static_cast<Sender&>(client).check.take(check_message(message.bytes()));
  printer_->print(client.number, received_, message.bytes());
  if (!command_.empty()) execute(message.bytes());
  if (progress_) progress_->update(received_, bytes_);
}

void Receiving::execute(std::span<const std::byte> payload) {
  data_->flush();  // what we print about a message stands before what the command prints
  output_.flush();
  const int status = run_command(command_, payload, json_, signals_);
  if (status == 0 || signals_.stopped()) return;
  ++failed_commands_;
  log::warn("the command ended with status " + std::to_string(status) + " for message " + std::to_string(received_));
}

void Receiving::went(Client& client, std::error_code reason) {
  const Books books = client.channel.books();
  summary_.books.add(books);
  if (verify_) {
    StreamCheck& check = static_cast<Sender&>(client).check;
    // What we ourselves did not take any more (--count, a signal) is not lost.
    check.end(reason ? books.peer_accepted : std::nullopt);
    verified_ += check.counts();
  }
  std::string text = "sender " + std::to_string(client.number);
  std::string_view word;
  if (!reason) {
    word = "dismissed";
    text.append(" was dismissed");
  } else if (reason == Errc::peer_died) {
    ++died_;
    word = "died";
    text.append(" died");
  } else if (reason == Errc::closed) {
    word = "closed";
    text.append(" went");
  } else {
    ++corrupt_;
    word = "corrupt";
    text.append(": ").append(reason.message());
  }
  text.append(": ").append(counted(books.received, "message")).append(" received");
  if (const std::uint64_t missing = missed(books); missing > 0) {
    text.append(", ")
        .append(std::to_string(missing))
        .append(" missing (")
        .append(reasons_text(books.dropped))
        .append(")");
  }
  if (reason == Errc::closed || !reason) {
    log::info(text);
  } else {
    log::warn(text);
  }
  Event e;
  e.type = "went";
  e.peer = client.number;
  e.reason = word;
  event(e);
}

Exit Receiving::judge(Server::End end) const {
  const std::uint64_t missing = missed(summary_.books.sum());
  if (verify_) {
    const StreamCounts& v = verified_;
    const std::string text = "checked " + counted(v.checked, "message") + ": " + std::to_string(v.lost) + " lost, " +
                             std::to_string(v.duplicated) + " duplicated, " + std::to_string(v.reordered) +
                             " reordered, " + std::to_string(v.damaged) + " damaged";
    if (!v.clean()) {
      log::error(text);
      return Exit::loss;
    }
    log::info(text);
  }
  if (end == Server::End::output_closed) return Exit::pipe_closed;
  if (signals_.stopped()) return signals_.exit();
  if (missing > 0 || corrupt_ > 0) {
    log::error("recv " + heard_address_ + ": " + counted(missing, "message") + " missing (" +
               reasons_text(summary_.books.sum().dropped) + ")");
    return Exit::loss;
  }
  if (end == Server::End::timed_out) {
    log::error("recv " + heard_address_ + ": nothing came for " + format_duration(*arguments_.duration("timeout")));
    return Exit::timed_out;
  }
  if (end == Server::End::all_gone && died_ > 0) {
    log::error("recv " + heard_address_ + ": " + counted(died_, "sender") +
               " died: what was received may not be all that there was");
    return Exit::no_peer;
  }
  if (failed_commands_ > 0) {
    log::error("recv " + heard_address_ + ": the command failed for " + counted(failed_commands_, "message"));
    return Exit::failed;
  }
  return Exit::ok;
}

void Receiving::report_summary(std::chrono::nanoseconds elapsed) {
  summary_.address = heard_address_;
  summary_.received = received_;
  summary_.bytes = bytes_;
  summary_.elapsed = elapsed;
  if (verify_) summary_.verified = verified_;
  report(summary_, arguments_, signals_, output_);
}

Exit Receiving::run() {
  check_options();
  signals_.end_on_hangup();
  Server::Options options;
  check_address(address_);
  options.once = once_;
  options.timeout = arguments_.duration("timeout");
  raise_descriptor_limit();

  // Endpoint first, file second: a typing error in the address empties no file.
  Listener listener;
  Channel channel;
  const auto nothing = [this] { report_summary(0ns); };
  if (arguments_.flag("connect")) {
    channel = connect_or_stop(address_, arguments_.duration("wait").value_or(5s), signals_, nothing);
  } else {
    try {
      listener = listen_and_say(address_, json_ ? &output_ : nullptr);
      heard_address_ = listener.address();
    } catch (const Error&) {
      nothing();
      throw;
    }
  }
  if (arguments_.given("output")) file_.emplace(signals_, *arguments_.text("output"));
  data_ = file_ ? &*file_ : &output_;
  printer_.emplace(format(), *data_);
  const bool prints = data_ == &output_ && format() != Format::none;
  progress_.emplace("received", std::nullopt, !(prints && output_.is_terminal()));
  options.output_fd = prints || json_ ? output_.watched_fd() : -1;

  Server server(signals_, *this, options);
  auto end = Server::End::done;
  try {
    if (arguments_.flag("connect")) {
      server.adopt(std::move(channel));
    } else {
      server.listen(std::move(listener));
    }
    note_message();  // --timeout counts from here
    end = server.run();
  } catch (const OutputClosed&) {
    end = Server::End::output_closed;
  } catch (const OutputStuck&) {
    end = Server::End::stopped;
  }
  {
    const std::lock_guard lock(mutex_);  // clients are still being received from
    progress_.reset();
  }
  try {
    server.close_all(in(kCloseFor));
  } catch (const OutputClosed&) {
    end = Server::End::output_closed;
  } catch (const OutputStuck&) {
    end = Server::End::stopped;
  }
  if (server.clients_ever() > 0) {
    log::info("received " + amount_text(received_, bytes_, server.elapsed()) + ", from " +
              counted(server.clients_ever(), "sender"));
  }
  if (surplus_ > 0) {
    log::warn(counted(surplus_, "message") +
              " of other senders came at the same time as the last one and beyond --count: "
              "left out");
  }
  const Exit exit = judge(end);
  if (end == Server::End::output_closed) return exit;
  report_summary(server.elapsed());
  return exit;
}

Exit run_recv(const Arguments& arguments, Signals& signals) { return Receiving(arguments, signals).run(); }

}  // namespace

const Verb& recv_verb() noexcept {
  static constexpr std::array<Option, 10> kOptions{{
      {0, "connect", Kind::flag, "", "connect instead of listening: the peer is bus send --listen"},
      {'c', "count", Kind::count, "N", "end after so many messages"},
      {'t', "timeout", Kind::duration, "D", "give up when nothing came for so long: exit code 3"},
      {'f', "format", Kind::choice, kFormats,
       "how messages are printed: payload and newline, payload alone, hexadecimal, JSON objects, not at all"},
      {'o', "output", Kind::text, "FILE",
       "write the payloads there, as they came (--format raw); ends when the last sender has gone (--once)"},
      {0, "once", Kind::flag, "", "end when all senders have gone, after the first has come"},
      {0, "keep", Kind::flag, "", "go on when all senders have gone, also with --output"},
      {'e', "exec", Kind::text, "COMMAND", "run it by /bin/sh for each message, with the payload as its stdin"},
      {0, "verify", Kind::flag, "",
       "check made messages (send --size): exit code 5 if one is lost, duplicated, "
       "reordered or damaged"},
      {0, "wait", Kind::duration, "D", "with --connect: how long to wait for the peer (5s)"},
  }};
  static constexpr std::array<Example, 7> kExamples{{
      {"bus recv shm://lab", "prints what any number of senders send, a line a message, until Ctrl-C"},
      {"bus recv tcp://127.0.0.1:7000 --output copy.iso", "puts together what bus send --file sends"},
      {"bus recv unix://lab --count 10 --timeout 5s", "ten messages, or exit code 3"},
      {"bus recv shm://lab --verify --once", "checks what bus send --size makes"},
      {"bus recv shm://lab --exec 'wc -c'", "a command for each message"},
      {"bus recv shm://lab --json | jq .", "objects: who came, messages, who went, and the summary"},
      {"bus recv 'tcp://127.0.0.1:7000?framing=line'",
       "from a program that knows nothing of ipcbus: nc 127.0.0.1 7000"},
  }};
  static constexpr Verb kVerb{
      "recv",
      "listens and prints messages, from any number of senders",
      "ADDRESS",
      1,
      1,
      "Listens on ADDRESS and prints the messages of all who connect; stderr says who came and went. It ends\n"
      "by --count, --timeout or a signal; with --output or --once also when the last sender has gone; with\n"
      "--connect when the peer has.\n"
      "\n"
      "Without --format: line; raw with --output; json with --json; none with --exec or --verify.\n"
      "Exit code 5: messages are missing or damaged. 4: a sender died, and --once or --output waited for it.\n",
      kOptions,
      kExamples,
      run_recv,
  };
  return kVerb;
}

}  // namespace bus::tools
