// tests/bus/simulation/link.hpp: one connection between a node and the broker.
//
// Reliable: ordered, nothing is lost while both ends live, and so many frames fit. Lossy: as a network is. A link that
// is cut loses what is on the way, but for some that had arrived, and each end hears of it in its own time.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "bus/protocol/frame.hpp"
#include "tests/bus/simulation/world.hpp"

namespace bus::simulation {

struct LinkKind {
  bool reliable = true;
  std::size_t capacity = 64;               // frames, of a reliable one
  unsigned loss = 0, twice = 0, late = 0;  // percent, of a lossy one
};

class Link : public std::enable_shared_from_this<Link> {
 public:
  /// What the other end does with a frame, with the end (a null frame: whether the peer died), and with room.
  struct End {
    std::function<void(protocol::Bytes)> received;
    std::function<void(bool died)> ended;
    std::function<void()> room;
    std::function<bool()> stopped;  // takes nothing for now
  };
  enum Side : unsigned char { node = 0, broker = 1 };

  Link(World& world, const LinkKind& its_kind) : kind(its_kind), world_(world) {}
  LinkKind kind;
  End ends[2];

  /// False: no room now.
  bool send(Side from, protocol::Bytes head, protocol::Bytes tail) {
    Way& way = ways_[1 - from];
    if (cut_ || way.ended) return true;
    if (kind.reliable) {
      if (way.frames.size() >= kind.capacity) {
        way.wants_room = true;
        return false;
      }
      const Time least = way.frames.empty() ? world_.now() : way.frames.back().ready;
      const Nanos delay = world_.random.percent(3) ? world_.random.within(5ms) : world_.random.within(200us);
      way.frames.push_back({std::max(least, world_.now() + delay), joined(head, tail), false, false});
      pull_later(Side(1 - from));
      return true;
    }
    for (unsigned copies = world_.random.percent(kind.twice) ? 2 : 1; copies > 0; --copies) {
      if (world_.random.percent(kind.loss)) continue;
      const Nanos delay = world_.random.percent(kind.late) ? world_.random.within(30ms) : world_.random.within(200us);
      world_.after(delay, [self = shared_from_this(), from, bytes = joined(head, tail)]() mutable {
        Way& its = self->ways_[1 - from];
        if (self->cut_ || its.ended || its.frames.size() >= 256) return;
        its.frames.push_back({self->world_.now(), std::move(bytes), false, false});
        self->pull_later(Side(1 - from));
      });
    }
    return true;
  }

  /// This side sends no more; the other hears of it after everything that was sent.
  void close(Side from, bool died) { end(Side(1 - from), died, 0us); }

  /// Nothing passes any more. Some of what is on the way had arrived.
  void cut(Nanos node_hears, Nanos broker_hears) {
    if (cut_) return;
    for (Way& way : ways_) {
      const std::size_t sent = way.frames.size() - (way.ended ? 1 : 0);  // an end on the way comes in any case
      const auto lost = static_cast<std::ptrdiff_t>(world_.random.below(sent + 1));
      const auto end = way.frames.begin() + static_cast<std::ptrdiff_t>(sent);
      way.frames.erase(end - lost, end);
    }
    end(node, true, node_hears);
    end(broker, true, broker_hears);
    cut_ = true;
  }
  [[nodiscard]] bool is_cut() const noexcept { return cut_; }

  /// A stopped end goes on.
  void go_on(Side at) { pull_later(at); }

 private:
  struct Frame {
    Time ready;
    std::vector<std::byte> bytes;
    bool end, died;
  };
  struct Way {  // to one side
    std::deque<Frame> frames;
    bool wants_room = false, pulling = false, ended = false;
  };

  static std::vector<std::byte> joined(protocol::Bytes head, protocol::Bytes tail) {
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    return bytes;
  }

  void end(Side at, bool died, Nanos delay) {
    Way& way = ways_[at];
    if (way.ended) return;
    way.ended = true;
    const Time least = way.frames.empty() ? world_.now() : way.frames.back().ready;
    way.frames.push_back({std::max(least, world_.now() + delay), {}, true, died});
    pull_later(at);
  }

  void pull_later(Side at) {
    Way& way = ways_[at];
    if (way.pulling || way.frames.empty()) return;
    way.pulling = true;
    world_.at(way.frames.front().ready, [self = shared_from_this(), at] { self->pull(at); });
  }

  void pull(Side at) {
    Way& way = ways_[at];
    way.pulling = false;
    if (way.frames.empty() || ends[at].stopped()) return;
    if (way.frames.front().ready > world_.now()) {
      pull_later(at);
      return;
    }
    const Frame frame = std::move(way.frames.front());
    way.frames.pop_front();
    if (frame.end) {
      ends[at].ended(frame.died);
      return;
    }
    if (way.wants_room) {
      way.wants_room = false;
      world_.after(world_.random.within(100us), [self = shared_from_this(), at] { self->ends[1 - at].room(); });
    }
    pull_later(at);
    ends[at].received(frame.bytes);
  }

  World& world_;
  Way ways_[2];
  bool cut_ = false;
};

}  // namespace bus::simulation
