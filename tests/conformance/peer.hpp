// tests/conformance/peer.hpp: the test's side of bus_conformance_peer (peer_main.cpp has the protocol).
#pragma once

#include <map>
#include <string>

#include "tests/support/process.hpp"

namespace bus::test {

class Peer {
 public:
  using Env = std::map<std::string, std::string>;
  /// Starts it and does not wait for anything.
  [[nodiscard]] static Peer start(const std::string& role, const std::string& address, Env env = {});
  /// Starts a listening peer and waits until it listens.
  [[nodiscard]] static Peer listening(const std::string& address, Env env = {});

  /// Sends a command; its answer comes with expect().
  void tell(const std::string& command);
  /// The next line that it says, which has to begin with `beginning`. Throws if not, or at the deadline.
  std::string expect(const std::string& beginning);
  /// A command and its answer.
  std::string ask(const std::string& command, const std::string& beginning);
  /// The address that a listening peer told.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  /// Ends it in good order and requires that it did.
  void finish();

  [[nodiscard]] Process& process() noexcept { return process_; }

 private:
  explicit Peer(Process process) : process_(std::move(process)) {}
  Process process_;
  std::string address_;
  std::size_t lines_read_ = 0;
};

}  // namespace bus::test
