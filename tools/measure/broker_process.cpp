// tools/measure/broker_process.cpp: how each broker is started, and when it is ready.
#include "tools/measure/broker_process.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>

#include "bus/core/errc.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/transport.hpp"
#include "tools/measure/brokers.hpp"
#include "tools/measure/child.hpp"
#include "tools/measure/runner.hpp"
#if defined(BUS_HAS_ZMQ)
#include "tools/measure/ends/zmq_proxy_end.hpp"
#endif

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

constexpr auto kListensWithin = 10s;
constexpr int kPortAttempts = 4;                             // somebody may take a free port before the server does
constexpr std::uint64_t kHeaders = std::uint64_t{64} << 10;  // subject, protocol: more than any of them needs

/// Whether somebody accepts there. Not this very socket, to which a connection to a free port may lead.
bool somebody_listens(const sockaddr* address, socklen_t size) {
  const os::Fd socket(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), address, size) != 0) return false;
  if (address->sa_family != AF_INET) return true;
  sockaddr_in mine{};
  socklen_t length = sizeof mine;
  return ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&mine), &length) == 0 &&
         mine.sin_port != reinterpret_cast<const sockaddr_in*>(address)->sin_port;
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

bool listens(std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  return somebody_listens(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

bool listens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return somebody_listens(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

std::uint16_t free_port() {
  const os::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw Error(last_system_error(), "measure: no free port on 127.0.0.1");
  }
  return ntohs(address.sin_port);
}

/// A server that runs, and where.
struct Serving {
  std::unique_ptr<Child> child;
  std::string address;
};

Serving own_broker(const Job& job) {
  constexpr std::string_view kMark = "listening on ";
  const std::uint64_t most = std::max<std::uint64_t>(job.size, Options::kDefaultMaxMessage) + kHeaders;
  Serving made{std::make_unique<Child>("/proc/self/exe",
                                       std::vector<std::string>{"bus", "broker", "--listen", job.address, "--drain",
                                                                "100ms", "--max-message", std::to_string(most),
                                                                "--log-level", "info", "--log-format", "text"}),
               {}};
  made.child->wait_until(
      [&] {
        const std::string said = made.child->said();
        const auto begin = said.find(kMark);
        const auto end = said.find('\n', begin);
        if (begin == std::string::npos || end == std::string::npos) return false;
        made.address = said.substr(begin + kMark.size(), end - begin - kMark.size());
        return true;
      },
      in(kListensWithin));
  return made;
}

std::string configuration_of(std::string_view program, std::uint16_t port, const std::string& path, const Job& job) {
  const std::string at = std::to_string(port);
  if (program == "nats-server") {
    return "listen: \"127.0.0.1:" + at +
           "\"\nmax_payload: " + std::to_string(std::max<std::uint64_t>(job.size, Options::kDefaultMaxMessage)) +
           "\nmax_pending: 268435456\n";
  }
  if (program == "mosquitto") {
    return "listener " + at +
           " 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
           "max_queued_messages 0\nconnection_messages false\nlog_dest stderr\nlog_type error\n"
           // Started by root it would become another user, and no longer die with its parent. Source: prctl(2).
           "user root\n";
  }
  return (path.empty() ? "port " + at + "\nbind 127.0.0.1\n" : "port 0\nunixsocket " + path + "\n") +
         "save \"\"\nappendonly no\nclient-output-buffer-limit pubsub 0 0 0\n";
}

/// A server of somebody else's, on the socket `path`, or on a port of its own.
Serving server(const Broker& broker, const std::string& path, const Job& job) {
  const std::string program(broker.program);
  const auto file = find_program(program);
  if (!file) throw Error(Errc::not_supported, "measure: there is no program " + program);
  for (int attempt = 1;; ++attempt) {
    const std::uint16_t port = path.empty() ? free_port() : std::uint16_t{0};
    const MemoryFile configuration(configuration_of(program, port, path, job));
    std::vector<std::string> words{program};
    if (program != "redis-server") words.emplace_back("-c");
    words.push_back(configuration.path());
    auto child = std::make_unique<Child>(*file, std::move(words));
    try {
      child->wait_until([&] { return path.empty() ? listens(port) : listens(path); }, in(kListensWithin));
    } catch (const Error&) {
      if (attempt == kPortAttempts || !child->ended()) throw;
      continue;
    }
    return {std::move(child), path.empty() ? "127.0.0.1:" + std::to_string(port) : path};
  }
}

void say_failure(const std::string& why, Control& control) {
  Findings found;
  found.failure = why;
  control.say(to_json(found));
}

/// Waits for a word, or for the end of whoever would say it.
void await_end(Control& control) noexcept {
  try {
    static_cast<void>(control.hear());
  } catch (const std::exception&) {
    // The measuring process is gone: the same.
  }
}

void serve(const Job& job, Control& control) {
#if defined(BUS_HAS_ZMQ)
  if (job.crossing.starts_with("zmq-proxy")) {
    const bool has_path = !job.address.empty();
    const ZmqProxy proxy(has_path ? "ipc://" + job.address + "-in" : "tcp://127.0.0.1:*",
                         has_path ? "ipc://" + job.address + "-out" : "tcp://127.0.0.1:*");
    control.say(std::to_string(::getpid()) + " " + proxy.address());
    return await_end(control);
  }
#endif
  const Broker* const broker = find_broker(job.crossing);
  const Serving made = broker == nullptr ? own_broker(job) : server(*broker, job.address, job);
  control.say(std::to_string(made.child->pid()) + " " + made.address);
  std::array<pollfd, 2> fds{{{control.fd(), POLLIN, 0}, {made.child->end_fd(), POLLIN, 0}}};
  while (::poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
  }
  if (fds[1].revents != 0 && fds[0].revents == 0) say_failure(made.child->epitaph(), control);
  await_end(control);
}

}  // namespace

void serve_broker(const Job& job, Control& control) {
  try {
    serve(job, control);
  } catch (const Error& error) {
    say_failure(error.what(), control);
    await_end(control);
  }
  sweep_broker(job);
}

ServedBroker parse_served(const std::string& text) {
  ServedBroker served;
  const auto blank = text.find(' ');
  const auto [end, error] = std::from_chars(text.data(), text.data() + std::min(blank, text.size()), served.pid);
  if (blank == std::string::npos || error != std::errc{} || end != text.data() + blank || served.pid <= 0) {
    throw Error(Errc::corrupt, "measure: a broker did not say where it is");
  }
  served.address = text.substr(blank + 1);
  return served;
}

std::string broker_place(std::string_view crossing) {
  const bool has_path = crossing.ends_with("-unix") || crossing.ends_with("-ipc");
  return has_path ? os::runtime_directory() + "/" + fresh_name() : std::string();
}

void sweep_broker(const Job& job) noexcept {
  if (job.crossing == kOwnBroker || job.address.empty()) return;
  try {
    for (const char* const end : {"", "-in", "-out"}) ::unlink((job.address + end).c_str());
  } catch (const std::exception&) {
    // No memory for a path: bus doctor finds what is left.
  }
}

}  // namespace bus::tools::measure
