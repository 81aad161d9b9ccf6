// tests/bus/simulation/ledger.hpp: what was published, and what became of it.
#pragma once

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bus/protocol/frame.hpp"
#include "tests/bus/simulation/world.hpp"

namespace bus::simulation {

struct Published {
  std::string subject;
  protocol::Level level{};
  bool asked = false;  // for an outcome
  bool reliable = true;
  Time when{};
  std::optional<protocol::Outcome> outcome;
  unsigned handed = 0, acknowledged = 0;     // to and by applications
  std::map<std::string, unsigned> of_group;  // how often a member of this queue group got it for the first time
};

/// By publisher, then by sequence from 1.
struct Ledger {
  std::map<std::uint64_t, std::vector<Published>> publishers;

  Published* find(protocol::MessageId id) {
    const auto found = publishers.find(id.publisher);
    if (found == publishers.end() || id.sequence == 0 || id.sequence > found->second.size()) return nullptr;
    return &found->second[id.sequence - 1];
  }
};

/// A payload is a hash of the message's name: nobody can make one up, nor damage it unnoticed.
inline std::vector<std::byte> payload_of(protocol::MessageId id) {
  std::uint64_t state = id.publisher ^ (id.sequence * 0xd1342543de82ef95U);
  std::vector<std::byte> bytes(1 + id.sequence * 7 % 60);
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56U);
  }
  return bytes;
}

}  // namespace bus::simulation
