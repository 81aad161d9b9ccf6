// bus/core/traits.hpp: what a channel promises. Code branches on these, never on a scheme's name.
#pragma once

#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace bus {

struct Traits {
  bool reliable = true;           // while both ends live, nothing that was accepted is lost
  bool ordered = true;            // messages arrive in the order in which they were sent
  bool keeps_boundaries = true;   // a message arrives as it was sent; false for framing=raw on a stream
  bool exchanges_books = true;    // the two ends tell each other their counts at the end
  bool tells_death = true;        // a vanished peer is reported as peer_died
  bool crosses_processes = true;  // false: both ends are threads of one process
  bool survives_peer = true;      // a peer's death cannot damage this end; false: see the transport's README
  bool receives_in_place = true;  // a Message is a view into the incoming buffer, without a copy
  bool loans_in_place = true;     // a Loan is memory that the peer reads; false: it is copied once on publish
  std::size_t max_message = 0;    // bytes; the largest message that this channel can send
};

/// Who is at the other end, as far as the kernel or the handshake tell.
struct Peer {
  std::string address;         // what the peer can be called in a log
  std::optional<::uid_t> uid;  // from the kernel, where it tells
  std::optional<::gid_t> gid;
  std::optional<::pid_t> pid;               // as of connect; only for people to read
  std::array<std::uint8_t, 16> instance{};  // random, new for each endpoint; zero without a handshake
};

}  // namespace bus
