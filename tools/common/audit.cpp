// tools/common/audit.cpp: see audit.hpp.
#include "tools/common/audit.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

#include "bus/core/errc.hpp"
#include "bus/protocol/subject.hpp"
#include "tools/common/json.hpp"

namespace bus::tools {

namespace {
constexpr std::size_t kExamples = 10;
constexpr std::int64_t kNever = 0;
}  // namespace

struct Audit::Published {
  std::uint64_t sequence;
  std::uint32_t subject, crc;
  std::uint64_t size;
  std::int64_t time;
  bool delivered;  // that level
};

struct Audit::Publisher {
  std::string id, name;
  bool recorded = false;              // there is a record of it
  bool left = false;                  // with an end
  std::int64_t reconnected = kNever;  // when last
  std::vector<Published> messages;    // by sequence
  struct Accepted {
    std::uint64_t up_to, from;  // all numbers above `from`
    std::int64_t time;          // when that was known
    friend bool operator<(const Accepted& a, const Accepted& b) noexcept {
      return std::tie(a.up_to, a.from, a.time) < std::tie(b.up_to, b.from, b.time);
    }
  };
  std::vector<Accepted> accepted;
};

struct Audit::Received {
  Publisher* publisher;
  std::uint64_t sequence;
  std::uint32_t subject, crc;
  std::uint64_t size;
  bool again, kept;
};

struct Audit::Subscriber {
  Publisher* node;
  std::uint64_t number;
  std::string pattern, queue;
  std::int64_t from = 0, until = kNever;  // until kNever: its record was cut
  bool idle = false;
  std::uint64_t missing = 0;
  std::map<std::string, std::uint64_t> dropped;
  std::vector<Received> received;
};

/// What is known of one group while it is checked.
struct Audit::Checking {
  AuditResult::Group result;
  std::unordered_map<const Publisher*, std::unordered_set<std::uint64_t>> seen;
  std::unordered_map<const Publisher*, std::unordered_set<std::uint64_t>> first_sent;  // neither sent again nor kept
  std::unordered_map<const Publisher*, std::uint64_t> highest;

  void example(std::string_view what, const Publisher& publisher, std::uint64_t sequence) {
    if (result.examples.size() >= kExamples) return;
    result.examples.push_back(std::string(what).append(": message ").append(std::to_string(sequence)) + " of " +
                              (publisher.name.empty() ? publisher.id : publisher.name + " " + publisher.id));
  }
};

AuditCounts& AuditCounts::operator+=(const AuditCounts& other) noexcept {
  for (std::uint64_t AuditCounts::*count :
       {&AuditCounts::expected, &AuditCounts::delivered, &AuditCounts::dropped, &AuditCounts::missing,
        &AuditCounts::in_flight, &AuditCounts::unknown, &AuditCounts::holes, &AuditCounts::received,
        &AuditCounts::unrecorded, &AuditCounts::again, &AuditCounts::duplicated, &AuditCounts::reordered,
        &AuditCounts::phantom, &AuditCounts::corrupt}) {
    this->*count += other.*count;
  }
  return *this;
}

Audit::Audit() = default;
Audit::~Audit() = default;

Audit::Publisher& Audit::publisher(const std::string& id) {
  auto& there = publishers_[id];
  if (!there) {
    there = std::make_unique<Publisher>();
    there->id = id;
  }
  return *there;
}

std::uint32_t Audit::subject(const std::string& text) {
  const auto [it, added] = subject_numbers_.try_emplace(text, static_cast<std::uint32_t>(subjects_.size()));
  if (added) subjects_.push_back(text);
  return it->second;
}

void Audit::read(std::string_view text, std::string_view name) {
  std::map<std::pair<std::string, std::uint64_t>, Subscriber*> mine;
  std::uint64_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      ++cut_lines_;
      return;
    }
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    try {
      const Json event = Json::parse(line);
      const std::string kind = event.at("event");
      Publisher& who = publisher(event.at("who"));
      const std::int64_t time = event.at("time_ns");
      const auto subscriber = [&]() -> Subscriber& {
        return *mine.at({who.id, event.at("subscription").get<std::uint64_t>()});
      };
      who.recorded = true;
      if (kind == "joined") {
        who.name = event.at("name");
      } else if (kind == "published") {
        who.messages.push_back({event.at("sequence"), subject(event.at("subject")), event.at("crc"), event.at("size"),
                                time, event.value("level", "") == "delivered"});
      } else if (kind == "accepted") {
        who.accepted.push_back({event.at("sequence"), event.value("from", std::uint64_t{0}), time});
      } else if (kind == "reconnected") {
        who.reconnected = time;
      } else if (kind == "left") {
        who.left = true;
        if (event.value("reconnects", 0) > 0 && who.reconnected == kNever) who.reconnected = time;
      } else if (kind == "subscribed") {
        auto made = std::make_unique<Subscriber>();
        made->node = &who;
        made->number = event.at("subscription");
        made->pattern = event.at("pattern");
        made->queue = event.value("queue", "");
        made->from = time;
        if (!mine.emplace(std::pair(who.id, made->number), made.get()).second) {
          throw Error(Errc::corrupt, "subscribed twice");
        }
        subscribers_.push_back(std::move(made));
      } else if (kind == "received") {
        subscriber().received.push_back({&publisher(event.at("publisher")), event.at("sequence"),
                                         subject(event.at("subject")), event.at("crc"), event.at("size"),
                                         event.value("again", false), event.value("kept", false)});
      } else if (kind == "dropped") {
        subscriber().dropped[event.at("reason")] += event.at("count").get<std::uint64_t>();
      } else if (kind == "unsubscribed") {
        Subscriber& over = subscriber();
        over.until = time;
        over.idle = event.at("idle");
        over.missing = event.at("missing");
      } else {
        throw Error(Errc::corrupt, "unknown event " + kind);
      }
    } catch (const std::exception& error) {
      throw Error(Errc::corrupt, "audit: " + std::string(name) + ", line " + std::to_string(number) +
                                     ": not a line of a record: " + error.what());
    }
  }
}

/// What came: was it published, and is it what was published, once and in order?
void Audit::check_received(const std::vector<const Subscriber*>& members, Checking& checking) const {
  AuditCounts& counts = checking.result.counts;
  for (const Subscriber* const member : members) {
    std::unordered_map<const Publisher*, std::uint64_t> highest;
    std::unordered_map<const Publisher*, std::unordered_set<std::uint64_t>> here;
    for (const Received& one : member->received) {
      ++counts.received;
      const bool new_here = one.again || here[one.publisher].insert(one.sequence).second;
      const bool new_in_group = checking.seen[one.publisher].insert(one.sequence).second;
      // Members are looked at one after the other: what was sent again to one may be seen before what another had.
      const bool twice =
          !one.again && (!new_here || (!one.kept && !checking.first_sent[one.publisher].insert(one.sequence).second));
      if (twice) {
        ++counts.duplicated;
        checking.example("duplicated", *one.publisher, one.sequence);
      } else if (!new_in_group && !one.kept) {
        ++counts.again;
      }
      std::uint64_t& most = highest[one.publisher];
      if (!one.again && !one.kept && one.sequence < most) ++counts.reordered;
      most = std::max(most, one.sequence);
      std::uint64_t& group_most = checking.highest[one.publisher];
      group_most = std::max(group_most, one.sequence);

      if (!one.publisher->recorded) {
        ++counts.unrecorded;
        continue;
      }
      const auto& all = one.publisher->messages;
      const auto it = std::lower_bound(all.begin(), all.end(), one.sequence,
                                       [](const Published& m, std::uint64_t s) { return m.sequence < s; });
      if (it == all.end() || it->sequence != one.sequence) {
        if (!one.publisher->left && it == all.end()) {
          ++counts.unrecorded;  // its record was cut before this
        } else {
          ++counts.phantom;
          checking.example("never published", *one.publisher, one.sequence);
        }
      } else if (it->crc != one.crc || it->size != one.size || it->subject != one.subject) {
        ++counts.corrupt;
        checking.example("damaged", *one.publisher, one.sequence);
      } else if (!protocol::matches(member->pattern, subjects_[one.subject])) {
        ++counts.phantom;
        checking.example("not on its pattern", *one.publisher, one.sequence);
      }
    }
  }
}

/// What should have come: did it, and if not, who counted it?
void Audit::check_expected(const std::vector<const Subscriber*>& members, std::chrono::nanoseconds margin,
                           Checking& checking) const {
  AuditCounts& counts = checking.result.counts;
  std::vector<std::vector<signed char>> matched(members.size(), std::vector<signed char>(subjects_.size(), -1));
  std::vector<std::pair<const Publisher*, std::uint64_t>> owed;
  for (const auto& [id, publisher] : publishers_) {
    const auto seen = checking.seen.find(publisher.get());
    const auto highest = checking.highest.find(publisher.get());
    const std::uint64_t most = highest == checking.highest.end() ? 0 : highest->second;
    std::size_t mark = 0;
    for (const Published& message : publisher->messages) {
      bool covered = false, cut = false, lasting = true;
      std::int64_t reconnected = publisher->reconnected;
      while (mark < publisher->accepted.size() && publisher->accepted[mark].up_to < message.sequence) ++mark;
      const std::optional<std::int64_t> accepted =
          mark < publisher->accepted.size() && publisher->accepted[mark].from < message.sequence
              ? std::optional(publisher->accepted[mark].time)
              : std::nullopt;
      for (std::size_t i = 0; i < members.size(); ++i) {
        const Subscriber& member = *members[i];
        if (message.time <= member.from || (member.until != kNever && message.time >= member.until)) continue;
        signed char& match = matched[i][message.subject];
        if (match < 0) match = protocol::matches(member.pattern, subjects_[message.subject]) ? 1 : 0;
        if (match == 0) continue;
        covered = true;
        if (member.until == kNever) cut = true;
        if (!member.idle || !accepted || *accepted + margin.count() >= member.until) lasting = false;
        reconnected = std::max(reconnected, member.node->reconnected);
      }
      // What has come was to come, also when it was published before the subscriber had written down that it was there.
      const bool came = seen != checking.seen.end() && seen->second.contains(message.sequence);
      if (!covered && !came) continue;
      ++counts.expected;
      if (came) {
        ++counts.delivered;
        continue;
      }
      // One subscription has its messages in order: what is behind others was owed.
      const bool behind = members.size() == 1 && message.sequence < most;
      if (!accepted || (cut && !behind) || (!message.delivered && reconnected >= message.time)) {
        ++counts.unknown;
      } else if (!behind && !lasting) {
        ++counts.in_flight;
      } else {
        owed.emplace_back(publisher.get(), message.sequence);
      }
    }
  }
  std::uint64_t dropped = 0, missing = 0;
  for (const Subscriber* const member : members) {
    missing += member->missing;
    for (const auto& [reason, count] : member->dropped) {
      if (reason == "closed") continue;  // left behind when it ended: in flight
      dropped += count;
      checking.result.dropped[reason] += count;
    }
  }
  std::uint64_t open = owed.size();
  const auto account = [](std::uint64_t& budget, std::uint64_t& left, std::uint64_t& as) {
    const std::uint64_t count = std::min(budget, left);
    budget -= count;
    left -= count;
    as += count;
  };
  for (std::uint64_t* const left : {&open, &counts.in_flight, &counts.unknown}) account(dropped, *left, counts.dropped);
  account(missing, open, counts.missing);
  counts.holes = open;
  if (open == 0) return;
  for (const auto& [publisher, sequence] : owed) {
    checking.example(open == owed.size() ? "hole" : "did not come", *publisher, sequence);
  }
}

AuditResult Audit::close(std::chrono::nanoseconds margin) const {
  AuditResult result;
  for (const auto& [id, publisher] : publishers_) {
    std::sort(publisher->messages.begin(), publisher->messages.end(),
              [](const Published& a, const Published& b) { return a.sequence < b.sequence; });
    std::sort(publisher->accepted.begin(), publisher->accepted.end());
    if (publisher->messages.empty()) continue;
    result.publishers.push_back({id, publisher->name, publisher->messages.size(),
                                 publisher->accepted.empty() ? 0 : publisher->accepted.back().up_to, publisher->left});
  }
  std::map<std::string, std::vector<const Subscriber*>> queues;
  std::vector<std::pair<std::string, std::vector<const Subscriber*>>> groups;
  for (const auto& subscriber : subscribers_) {
    if (subscriber->queue.empty()) {
      groups.push_back({subscriber->node->name + " " + subscriber->node->id, {subscriber.get()}});
    } else {
      queues[subscriber->queue].push_back(subscriber.get());
    }
  }
  for (auto& [queue, members] : queues) groups.emplace_back("queue " + queue, std::move(members));
  for (const auto& [name, members] : groups) {
    Checking checking;
    AuditResult::Group& group = checking.result;
    group.name = name;
    group.members = members.size();
    group.whole = true;
    std::vector<std::string> patterns;
    for (const Subscriber* const member : members) {
      if (std::find(patterns.begin(), patterns.end(), member->pattern) == patterns.end()) {
        patterns.push_back(member->pattern);
        group.patterns += (group.patterns.empty() ? "" : " ") + member->pattern;
      }
      group.whole = group.whole && member->until != kNever;
    }
    check_received(members, checking);
    check_expected(members, margin, checking);
    result.sum += group.counts;
    result.groups.push_back(std::move(group));
  }
  return result;
}

}  // namespace bus::tools
