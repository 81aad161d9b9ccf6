// tools/verbs/echo.cpp: bus echo: returns each message to whoever sent it.
#include <array>
#include <string>
#include <utility>

#include "tools/common/arguments.hpp"
#include "tools/common/endpoint.hpp"
#include "tools/common/format.hpp"
#include "tools/common/log.hpp"
#include "tools/common/report.hpp"
#include "tools/common/server.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

using namespace std::chrono_literals;

namespace {

class Echoing final : public Service {
 public:
  Echoing(const Arguments& arguments, Signals& signals)
      : arguments_(arguments), signals_(signals), output_(signals), json_(arguments.flag("json")) {}
  Exit run();

  void came(Client& client) override;
  [[nodiscard]] std::error_code serve(Client& client) override;
  void went(Client& client, std::error_code reason) override;

 private:
  void event(const Event& event) {
    if (!json_) return;
    output_.write(event_json(event));
    output_.flush();
  }

  const Arguments& arguments_;
  Signals& signals_;
  Output output_;
  const bool json_;
  Summary summary_;
};

void Echoing::came(Client& client) {
  log::info("client " + std::to_string(client.number) + " came: " + client.description);
  Event e;
  e.type = "came";
  e.peer = client.number;
  e.peer_address = client.description;
  event(e);
}

std::error_code Echoing::serve(Client& client) {
  bool complained = false;
  for (;;) {
    const Result<Message> message = client.channel.receive();
    if (!message) return message.error();
    const std::error_code error = client.channel.send(message->bytes());
    if (error == Errc::message_too_large) {
      if (!std::exchange(complained, true)) {
        log::warn("client " + std::to_string(client.number) + " sent " + std::to_string(message->size()) +
                  " bytes and does not accept a message of that size: it gets no answer");
      }
    }
    // A client that has closed wants no more answers, but what it sent is received to the end; whatever else has
    // happened to the channel, the next receive() says so. The books have what was refused.
    note_message();
  }
}

void Echoing::went(Client& client, std::error_code reason) {
  const Books books = client.channel.books();
  summary_.books.add(books);
  const std::string text = "client " + std::to_string(client.number);
  const std::string amount = ": " + counted(books.accepted, "message") + " returned";
  Event e;
  e.type = "went";
  e.peer = client.number;
  if (reason == Errc::peer_died) {
    log::warn(text + " died" + amount);
    e.reason = "died";
  } else if (!reason) {
    log::info(text + " was dismissed" + amount);
    e.reason = "dismissed";
  } else if (reason == Errc::closed) {
    log::info(text + " went" + amount);
    e.reason = "closed";
  } else {
    log::warn(text + ": " + reason.message() + amount);
    e.reason = "corrupt";
  }
  event(e);
}

Exit Echoing::run() {
  const std::string& address = arguments_.address();
  Server::Options options;
  check_address(address);
  options.output_fd = json_ ? output_.watched_fd() : -1;
  raise_descriptor_limit();

  summary_.address = address;
  Server server(signals_, *this, options);
  auto end = Server::End::stopped;
  try {
    Listener listener = listen_and_say(address, json_ ? &output_ : nullptr);
    summary_.address = listener.address();
    server.listen(std::move(listener));
    end = server.run();
  } catch (const OutputClosed&) {
    end = Server::End::output_closed;
  } catch (const OutputStuck&) {
    end = Server::End::stopped;
  } catch (const Error&) {
    report(summary_, arguments_, signals_, output_);
    throw;
  }
  try {
    server.close_all(in(kCloseFor));
  } catch (const OutputClosed&) {
    end = Server::End::output_closed;
  } catch (const OutputStuck&) {
  }
  const Books& books = summary_.books.sum();
  if (server.clients_ever() > 0) {
    log::info("returned " + amount_text(books.accepted, books.bytes_sent, server.elapsed()) + ", to " +
              counted(server.clients_ever(), "client"));
  }
  if (end == Server::End::output_closed) return Exit::pipe_closed;
  summary_.sent = books.accepted;
  summary_.received = books.received;
  summary_.bytes = books.bytes_received;
  summary_.elapsed = server.elapsed();
  report(summary_, arguments_, signals_, output_);
  return signals_.exit();
}

Exit run_echo(const Arguments& arguments, Signals& signals) { return Echoing(arguments, signals).run(); }

}  // namespace

const Verb& echo_verb() noexcept {
  static constexpr std::array<Example, 4> kExamples{{
      {"bus echo shm://lab", "for bus ping shm://lab and bus send shm://lab hello --reply"},
      {"bus echo tcp://127.0.0.1:0", "any free port: stderr says which"},
      {"bus echo 'tcp://127.0.0.1:50000?framing=raw'", "serves any socket client: nc 127.0.0.1 50000"},
      {"bus echo 'unix:///tmp/echo?framing=line'", "a line at a time"},
  }};
  static constexpr Verb kVerb{
      "echo",
      "returns each message; any number of clients",
      "ADDRESS",
      1,
      1,
      "Listens on ADDRESS and returns each message to the client that sent it, until a signal. A client that\n"
      "does not take its answers is not read any more until it does; the others do not notice.\n",
      {},
      kExamples,
      run_echo,
  };
  return kVerb;
}

}  // namespace bus::tools
