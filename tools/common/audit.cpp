// tools/common/audit.cpp: see audit.hpp.
#include "tools/common/audit.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "bus/core/errc.hpp"
#include "bus/protocol/subject.hpp"
#include "tools/common/sequence_set.hpp"

namespace bus::tools {

namespace {
constexpr std::size_t kExamples = 10;
constexpr std::int64_t kNever = 0;
constexpr std::uint32_t kPublisherBits = 30;
}  // namespace

// There are many of these two: they are kept small. Sizes are of messages, which are far below 4 GiB.
struct Audit::Published {
  std::uint64_t sequence;
  std::int64_t time;
  std::uint32_t subject, crc, size;
  bool delivered;  // that level
};

struct Audit::Received {
  std::uint64_t sequence;
  std::uint32_t subject, crc, size;
  std::uint32_t publisher : kPublisherBits;  // its number
  bool again : 1, kept : 1;
};

struct Audit::Publisher {
  std::string id, name;
  std::uint32_t number = 0;
  bool recorded = false;              // there is a record of it
  bool joined = false;                // it has begun
  bool left = false;                  // with an end
  std::int64_t reconnected = kNever;  // when last
  std::deque<Published> messages;     // by sequence
  struct Accepted {
    std::uint64_t up_to, from;  // all numbers above `from`
    std::int64_t time;          // when that was known
    friend bool operator<(const Accepted& a, const Accepted& b) noexcept {
      return std::tie(a.up_to, a.from, a.time) < std::tie(b.up_to, b.from, b.time);
    }
  };
  std::vector<Accepted> accepted;

  [[nodiscard]] std::string title() const { return name.empty() ? id : name + " " + id; }

  /// The place of that message in `messages`, or of the first one behind it. `near`: of one that came shortly before.
  [[nodiscard]] std::size_t find(std::uint64_t sequence, std::size_t near) const {
    const auto is_before = [](const Published& message, std::uint64_t s) { return message.sequence < s; };
    const auto begin = messages.begin(), end = messages.end();
    if (near < messages.size() && messages[near].sequence <= sequence) {
      // Numbers differ: it is no farther away than its number is.
      const std::uint64_t reach =
          std::min(sequence - messages[near].sequence + 1, std::uint64_t{messages.size() - near});
      const auto from = begin + static_cast<std::ptrdiff_t>(near), to = from + static_cast<std::ptrdiff_t>(reach);
      const auto it = std::lower_bound(from, to, sequence, is_before);
      if (it != to) return static_cast<std::size_t>(it - begin);
    }
    return static_cast<std::size_t>(std::lower_bound(begin, end, sequence, is_before) - begin);
  }
};

struct Audit::Subscriber {
  Publisher* node;
  std::uint64_t number;
  std::string pattern, queue;
  std::int64_t from = 0, until = kNever;  // until kNever: its record was cut
  bool idle = false;
  std::uint64_t missing = 0;
  std::map<std::string, std::uint64_t> dropped;
  std::int64_t last_drop = 0;  // what was on its way when it ended is counted a moment later
  std::deque<Received> received;
};

/// What is known of one group while it is checked.
struct Audit::Checking {
  struct Came {
    SequenceSet seen;
    SequenceSet first_sent;  // neither sent again nor kept
    std::uint64_t highest = 0;
  };

  AuditResult::Group result;
  std::unordered_map<const Publisher*, Came> came;
  std::vector<std::vector<signed char>> matched;  // by member and subject; -1: not known yet

  Checking(std::size_t members, std::size_t subjects) : matched(members, std::vector<signed char>(subjects, -1)) {}

  [[nodiscard]] bool matches(std::size_t member, const std::string& pattern, std::uint32_t number,
                             const std::deque<std::string>& subjects) {
    signed char& match = matched[member][number];
    if (match < 0) match = protocol::matches(pattern, subjects[number]) ? 1 : 0;
    return match > 0;
  }

  void example(std::string_view what, const Publisher& publisher, std::uint64_t sequence) {
    if (result.examples.size() >= kExamples) return;
    result.examples.push_back(std::string(what).append(": message ").append(std::to_string(sequence)) + " of " +
                              publisher.title());
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

Audit::Publisher& Audit::publisher(std::string_view id) {
  const auto it = publishers_.find(id);
  if (it != publishers_.end()) return *it->second;
  auto& made = *publishers_.emplace(id, std::make_unique<Publisher>()).first->second;
  made.id = id;
  made.number = static_cast<std::uint32_t>(numbered_.size());  // memory holds far fewer than the bits can tell apart
  numbered_.push_back(&made);
  return made;
}

std::uint32_t Audit::subject(std::string_view text) {
  const auto it = subject_numbers_.find(text);
  if (it != subject_numbers_.end()) return it->second;
  const auto number = static_cast<std::uint32_t>(subjects_.size());
  subject_numbers_.emplace(subjects_.emplace_back(text), number);
  return number;
}

void Audit::read(std::string_view text, std::string_view name) { Reader(*this, std::string(name)).add(text); }

void Audit::Reader::add(std::string_view lines) {
  while (!lines.empty()) {
    ++number_;
    const std::size_t end = lines.find('\n');
    if (end == std::string_view::npos) {
      ++audit_.cut_lines_;
      return;
    }
    try {
      line_.read(lines.substr(0, end));
      take();
      ++lines_;
    } catch (const std::exception& error) {
      throw Error(Errc::corrupt, "audit: " + name_ + ", line " + std::to_string(number_) +
                                     ": not a line of a record: " + error.what());
    }
    lines.remove_prefix(end + 1);
  }
}

void Audit::Reader::take() {
  const auto kind = line_.at<std::string_view>("event");
  Publisher& who = audit_.publisher(line_.at<std::string_view>("who"));
  const auto time = line_.at<std::int64_t>("time_ns");
  if (time < 0) throw Error(Errc::corrupt, "its \"time_ns\" is negative");
  const auto number = [this](std::string_view key) { return line_.at<std::uint64_t>(key); };
  const auto small = [this](std::string_view key) { return line_.at<std::uint32_t>(key); };
  const auto text = [this](std::string_view key) { return line_.at<std::string_view>(key); };
  const auto subscriber = [&]() -> Subscriber& {
    const auto it = subscribers_.find({&who, number("subscription")});
    if (it == subscribers_.end()) throw Error(Errc::corrupt, "not subscribed before");
    return *it->second;
  };
  who.recorded = true;
  if (kind == "received") {
    Subscriber& to = subscriber();
    to.received.push_back({number("sequence"), audit_.subject(text("subject")), small("crc"), small("size"),
                           audit_.publisher(text("publisher")).number & ((1U << kPublisherBits) - 1),
                           line_.value("again", false), line_.value("kept", false)});
  } else if (kind == "published") {
    who.messages.push_back({number("sequence"), time, audit_.subject(text("subject")), small("crc"), small("size"),
                            line_.value<std::string_view>("level", "") == "delivered"});
  } else if (kind == "accepted") {
    who.accepted.push_back({number("sequence"), line_.value("from", std::uint64_t{0}), time});
  } else if (kind == "joined") {
    if (std::exchange(who.joined, true)) throw Error(Errc::corrupt, "joined before: a record counts once");
    who.name = text("name");
  } else if (kind == "reconnected") {
    who.reconnected = time;
  } else if (kind == "left") {
    who.left = true;
    if (line_.value("reconnects", std::uint64_t{0}) > 0 && who.reconnected == kNever) who.reconnected = time;
  } else if (kind == "subscribed") {
    auto made = std::make_unique<Subscriber>();
    made->node = &who;
    made->number = number("subscription");
    made->pattern = text("pattern");
    made->queue = line_.value<std::string_view>("queue", "");
    made->from = time;
    if (!subscribers_.emplace(std::pair(&who, made->number), made.get()).second) {
      throw Error(Errc::corrupt, "subscribed twice");
    }
    audit_.subscribers_.push_back(std::move(made));
  } else if (kind == "dropped") {
    Subscriber& one = subscriber();
    one.dropped[std::string(text("reason"))] += number("count");
    one.last_drop = std::max(one.last_drop, time);
  } else if (kind == "unsubscribed") {
    Subscriber& over = subscriber();
    over.until = time;
    over.idle = line_.at<bool>("idle");
    over.missing = number("missing");
  } else {
    throw Error(Errc::corrupt, "unknown event " + std::string(kind));
  }
}

/// What came: was it published, and is it what was published, once and in order?
void Audit::check_received(const std::vector<const Subscriber*>& members, Checking& checking) const {
  AuditCounts& counts = checking.result.counts;
  struct Here {
    SequenceSet seen;
    std::uint64_t highest = 0;
    std::size_t place = 0;  // of the last one among what was published
  };
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Subscriber& member = *members[i];
    std::unordered_map<const Publisher*, Here> by_publisher;
    const Publisher* publisher = nullptr;
    Checking::Came* came = nullptr;
    Here* here = nullptr;
    for (const Received& one : member.received) {
      ++counts.received;
      if (publisher != numbered_[one.publisher]) {
        publisher = numbered_[one.publisher];
        came = &checking.came[publisher];
        here = &by_publisher[publisher];
      }
      const bool new_here = one.again || here->seen.insert(one.sequence);
      const bool new_in_group = came->seen.insert(one.sequence);
      // Members are looked at one after the other: what was sent again to one may be seen before what another had.
      const bool twice = !one.again && (!new_here || (!one.kept && !came->first_sent.insert(one.sequence)));
      if (twice) {
        ++counts.duplicated;
        checking.example("duplicated", *publisher, one.sequence);
      } else if (!new_in_group && !one.kept) {
        ++counts.again;
      }
      if (!one.again && !one.kept && one.sequence < here->highest) ++counts.reordered;
      here->highest = std::max(here->highest, one.sequence);
      came->highest = std::max(came->highest, one.sequence);

      if (!publisher->recorded) {
        ++counts.unrecorded;
        continue;
      }
      const auto& all = publisher->messages;
      here->place = publisher->find(one.sequence, here->place);
      if (here->place == all.size() || all[here->place].sequence != one.sequence) {
        if (!publisher->left && here->place == all.size()) {
          ++counts.unrecorded;  // its record was cut before this
        } else {
          ++counts.phantom;
          checking.example("never published", *publisher, one.sequence);
        }
        continue;
      }
      const Published& message = all[here->place];
      if (message.crc != one.crc || message.size != one.size || message.subject != one.subject) {
        ++counts.corrupt;
        checking.example("damaged", *publisher, one.sequence);
      } else if (!checking.matches(i, member.pattern, one.subject, subjects_)) {
        ++counts.phantom;
        checking.example("not on its pattern", *publisher, one.sequence);
      }
    }
  }
}

/// What should have come: did it, and if not, who counted it?
void Audit::check_expected(const std::vector<const Subscriber*>& members, std::chrono::nanoseconds margin,
                           Checking& checking) const {
  AuditCounts& counts = checking.result.counts;
  struct Owed {
    const Publisher* publisher;
    const Published* message;
  };
  std::vector<Owed> owed;
  for (const auto& [id, publisher] : publishers_) {
    const auto received = checking.came.find(publisher.get());
    Checking::Came* const all = received == checking.came.end() ? nullptr : &received->second;
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
        if (!checking.matches(i, member.pattern, message.subject, subjects_)) continue;
        covered = true;
        if (member.until == kNever) cut = true;
        if (!member.idle || !accepted || *accepted >= member.until - margin.count()) lasting = false;
        reconnected = std::max(reconnected, member.node->reconnected);
      }
      // What has come was to come, also when it was published before the subscriber had written down that it was there.
      const bool came = all != nullptr && all->seen.contains(message.sequence);
      if (!covered && !came) continue;
      ++counts.expected;
      if (came) {
        ++counts.delivered;
        continue;
      }
      // One subscription has its messages in order: what is behind others was owed.
      const bool behind = members.size() == 1 && all != nullptr && message.sequence < all->highest;
      if (!accepted || (cut && !behind) || (!message.delivered && reconnected >= message.time)) {
        ++counts.unknown;
      } else if (!behind && !lasting) {
        ++counts.in_flight;
      } else {
        owed.push_back({publisher.get(), &message});
      }
    }
  }
  std::uint64_t dropped = 0, missing = 0;
  for (const Subscriber* const member : members) {
    missing += member->missing;
    for (const auto& [reason, count] : member->dropped) {
      if (reason == "closed") {
        // Left behind when it ended: in flight, unless others of its group are owed such messages. What was to be
        // delivered was handed on to them.
        if (members.size() == 1) continue;
        const auto is_left_behind = [&, left = count](const Owed& one) mutable {
          const Published& message = *one.message;
          if (left == 0 || message.delivered || message.time <= member->from || message.time >= member->last_drop) {
            return false;
          }
          --left;
          return true;
        };
        counts.dropped += std::erase_if(owed, is_left_behind);
      } else {
        dropped += count;
      }
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
  for (const Owed& one : owed) {
    checking.example(open == owed.size() ? "hole" : "did not come", *one.publisher, one.message->sequence);
  }
}

/// By sequence, as they mostly are. Throws Error(corrupt) if one is there twice.
void Audit::put_in_order(Publisher& publisher) {
  auto& messages = publisher.messages;
  const auto is_before = [](const Published& a, const Published& b) { return a.sequence < b.sequence; };
  const auto is_behind = [&](const Published& a, const Published& b) { return !is_before(a, b); };
  if (std::adjacent_find(messages.begin(), messages.end(), is_behind) == messages.end()) return;
  std::sort(messages.begin(), messages.end(), is_before);
  const auto twice = std::adjacent_find(messages.begin(), messages.end(), is_behind);
  if (twice == messages.end()) return;
  const std::string number = std::to_string(twice->sequence);
  throw Error(Errc::corrupt, "audit: message " + number + " of " + publisher.title() + " was published twice");
}

AuditResult Audit::close(std::chrono::nanoseconds margin) const {
  AuditResult result;
  for (const auto& [id, publisher] : publishers_) {
    put_in_order(*publisher);
    const auto& messages = publisher->messages;
    std::sort(publisher->accepted.begin(), publisher->accepted.end());
    if (messages.empty()) continue;
    result.publishers.push_back({id, publisher->name, messages.size(),
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
    Checking checking(members.size(), subjects_.size());
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
