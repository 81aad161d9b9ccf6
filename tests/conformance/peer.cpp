// tests/conformance/peer.cpp: see peer.hpp.
#include "tests/conformance/peer.hpp"

#include <algorithm>
#include <stdexcept>

#include "tests/support/eventually.hpp"

namespace bus::test {

Peer Peer::start(const std::string& role, const std::string& address, Env env) {
  ProcessOptions options;
  options.stdin_pipe = true;
  options.env = std::move(env);
  return Peer(Process::start({helper_program("bus_conformance_peer"), role, address}, std::move(options)));
}

Peer Peer::listening(const std::string& address, Env env) {
  Peer peer = start("listen", address, std::move(env));
  const std::string beginning = "listening ";
  peer.address_ = peer.expect(beginning).substr(beginning.size());
  return peer;
}

void Peer::tell(const std::string& command) { process_.write_stdin(command + "\n", soon()); }

std::string Peer::expect(const std::string& beginning) {
  const auto lines_in = [](const std::string& text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  };
  const std::string all =
      process_.wait_for_output([&](const std::string& text) { return lines_in(text) > lines_read_; }, soon());
  std::size_t at = 0;
  for (std::size_t n = 0; n < lines_read_; ++n) at = all.find('\n', at) + 1;
  ++lines_read_;
  std::string line = all.substr(at, all.find('\n', at) - at);
  if (!line.starts_with(beginning)) {
    throw std::runtime_error("expected \"" + beginning + "\" from the peer, got \"" + line + "\"");
  }
  return line;
}

std::string Peer::ask(const std::string& command, const std::string& beginning) {
  tell(command);
  return expect(beginning);
}

void Peer::finish() {
  process_.close_stdin();
  const ExitStatus status = process_.wait(soon());
  if (status != ExitStatus{0, 0}) throw std::runtime_error("the peer did not end in good order:\n" + process_.err());
}

}  // namespace bus::test
