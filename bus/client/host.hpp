// bus/client/host.hpp: the broker that a node runs itself when nobody else does. Internal to bus/client.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "bus/broker/server.hpp"
#include "bus/core/channel.hpp"

namespace bus::client {

/// The bus's address, as channels know it, and whether a node may host its broker.
struct BusAddress {
  std::string channel;    // without the options that are the bus's own
  bool may_host = false;  // inproc, shm and unix, unless embed=never

  /// Throws Error(bad_address).
  [[nodiscard]] static BusAddress parse(std::string_view text);
};

/// Connects to whoever listens; no_peer at once if nobody does. Throws Error: as bus::connect().
[[nodiscard]] Channel reach(const std::string& address, Deadline);

/// A broker in a thread.
class Host {
 public:
  /// Null if somebody has the address already: the listener's lock in the kernel decides between those who try at the
  /// same time, and is free when its holder dies. Throws Error for anything else.
  [[nodiscard]] static std::unique_ptr<Host> try_start(const std::string& address);
  explicit Host(const std::string& address);
  /// Delivers what was accepted, until the deadline at the most. The destructor needs it to have returned.
  void drain(Deadline) noexcept;
  /// Says farewell to all, so that they find another at once.
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

 private:
  broker::Server server_;
  std::thread thread_;
};

}  // namespace bus::client
