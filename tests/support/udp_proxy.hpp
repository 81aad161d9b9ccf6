// tests/support/udp_proxy.hpp: a bad network between one udp client and one udp listener, seeded, that says exactly
// what it did.
//
// The client connects to address(). The proxy understands the handshake, so that the channel's own port, too, is
// reached through it only. It harms what the client sends: each data datagram gets one fate; with `also_control`
// every other datagram in both directions may be lost, too. One thread; what the proxy did can be read after stop().
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bus/core/os/fd.hpp"
#include "transports/udp/endpoint.hpp"
#include "transports/udp/packet.hpp"

namespace bus::test {

class UdpProxy {
 public:
  /// Shares of the data datagrams, 0 to 1, in all at most 1.
  struct Faults {
    double drop = 0;
    double duplicate = 0;
    double reorder = 0;         // held back until the next one has passed
    double damage_payload = 0;  // a bit of it is turned, or of the header if there is no payload
    double damage_header = 0;
    double truncate = 0;        // behind the header
    bool also_control = false;  // of what is no data, the share `drop` is lost
    std::uint64_t seed = 1;
  };

  /// All counts are of data datagrams of the client.
  struct Done {
    std::uint64_t seen = 0;
    std::uint64_t dropped = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t overtaken = 0;  // arrived behind a sound one that was sent later
    std::uint64_t damaged_payloads = 0;
    std::uint64_t damaged_headers = 0;
    std::uint64_t truncated = 0;
    std::uint64_t control_dropped = 0;
    std::uint64_t overflowed = 0;         // lost in the proxy's own sockets: a test that sees this must fail
    std::set<std::uint64_t> hit;          // messages that miss a datagram
    std::set<std::uint64_t> hit_damaged;  // those of them whose datagram arrived damaged
  };

  /// `listener` is what Listener::address() gave.
  UdpProxy(const std::string& listener, const Faults& faults);
  ~UdpProxy();
  UdpProxy(const UdpProxy&) = delete;
  UdpProxy& operator=(const UdpProxy&) = delete;

  /// What a client connects to, with the listener's options.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  /// Ends the proxy's thread; what it did is final.
  [[nodiscard]] const Done& stop();

 private:
  using Bytes = std::vector<std::byte>;

  void run();
  [[nodiscard]] bool from_client();
  [[nodiscard]] bool from_server();
  void forward(std::span<const std::byte> datagram);
  void harm(const udp::Packet& packet, std::span<std::byte> datagram);
  void release_held();
  [[nodiscard]] bool lose_control();

  const Faults faults_;
  os::Fd front_, back_, stop_;
  udp::Endpoint client_, listener_, channel_;  // size() 0: not known yet
  std::string address_;
  std::mt19937_64 random_;
  Bytes held_;
  bool overtook_ = false;  // something sound has passed the held one
  Done done_;
  std::thread thread_;
};

}  // namespace bus::test
