// tests/bus/protocol/golden.cpp: see golden.hpp.
#include "tests/bus/protocol/golden.hpp"

#include <algorithm>
#include <concepts>
#include <span>
#include <utility>
#include <variant>

namespace bus::test::frames {

namespace {

std::string to_text(std::string_view text) { return "'" + std::string(text) + "'"; }
std::string to_text(Bytes bytes) { return to_hex({bytes.begin(), bytes.end()}); }
std::string to_text(const Instance& instance) { return to_text(std::as_bytes(std::span(instance))); }
std::string to_text(const MessageId& id) { return std::to_string(id.publisher) + "/" + std::to_string(id.sequence); }
template <std::unsigned_integral Number>
std::string to_text(Number value) {
  return std::to_string(value);
}
std::string to_text(Full full) { return std::string(name(full)); }
std::string to_text(Level level) { return std::string(name(level)); }
std::string to_text(Reason reason) { return std::string(name(reason)); }
std::string to_text(Errc why) { return std::to_string(static_cast<int>(why)); }
template <>
std::string to_text(bool set) {
  return set ? "yes" : "no";
}

template <class... Parts>
std::string line(std::string_view type, const Parts&... parts) {
  std::string text(type);
  ((text += ' ', text += to_text(parts)), ...);
  return text;
}

// Each names every member: a new one does not compile until it is here.
struct Describe {
  std::string operator()(const Hello& f) const {
    const auto& [version, instance, publisher, sequence, called, again, subscribed] = f;
    return line("hello", version, instance, publisher, sequence, called, again, subscribed);
  }
  std::string operator()(const Subscribe& f) const {
    const auto& [subscription, pattern, queue, depth, full, history, again] = f;
    return line("subscribe", subscription, pattern, queue, depth, full, history, again);
  }
  std::string operator()(const Unsubscribe& f) const { return line("unsubscribe", f.subscription); }
  std::string operator()(const Publish& f) const {
    const auto& [sequence, level, tell, again, history, subject, reply, headers, payload] = f;
    return line("publish", sequence, level, tell, again, history, subject, reply, headers, payload);
  }
  std::string operator()(const PublishBatch& f) const {
    const auto& [sequence, count, subject, items] = f;
    return line("publish_batch", sequence, count, subject, items);
  }
  std::string operator()(const DeliverBatch& f) const {
    const auto& [subscription, index, message, count, subject, items] = f;
    return line("deliver_batch", subscription, index, message, count, subject, items);
  }
  std::string operator()(const Taken& f) const {
    const auto& [subscription, index, dropped] = f;
    return line("taken", subscription, index, dropped);
  }
  std::string operator()(const Acknowledge& f) const {
    const auto& [subscription, message, dropped] = f;
    return line("acknowledge", subscription, message, dropped);
  }
  std::string operator()(const Flush& f) const {
    const auto& [token, sequence] = f;
    return line("flush", token, sequence);
  }
  std::string operator()(const Watch& f) const {
    const auto& [token, count, subject] = f;
    return line("watch", token, count, subject);
  }
  std::string operator()(const Query& f) const {
    const auto& [token, what] = f;
    return line("query", token, what);
  }
  std::string operator()(const Bye& f) const { return line("bye", f.sequence, f.stays); }
  std::string operator()(const Welcome& f) const {
    const auto& [version, instance, window_messages, window_bytes, max_payload, subscriptions, called, subscribed] = f;
    return line("welcome", version, instance, window_messages, window_bytes, max_payload, subscriptions, called,
                subscribed);
  }
  std::string operator()(const Refused& f) const {
    const auto& [id, why, text] = f;
    return line("refused", id, why, text);
  }
  std::string operator()(const Subscribed& f) const { return line("subscribed", f.subscription); }
  std::string operator()(const Deliver& f) const {
    const auto& [subscription, index, message, acknowledge, again, kept, subject, reply, headers, payload] = f;
    return line("deliver", subscription, index, message, acknowledge, again, kept, subject, reply, headers, payload);
  }
  std::string operator()(const Progress& f) const {
    const auto& [subscription, index] = f;
    return line("progress", subscription, index);
  }
  std::string operator()(const Dropped& f) const {
    const auto& [subscription, reason, count] = f;
    return line("dropped", subscription, reason, count);
  }
  std::string operator()(const Receipt& f) const {
    const auto& [sequence, accepted, unreached, dropped] = f;
    return line("receipt", sequence, accepted, unreached, dropped);
  }
  std::string operator()(const Outcome& f) const {
    const auto& [sequence, reached, failed, reason] = f;
    return line("outcome", sequence, reached, failed, reason);
  }
  std::string operator()(const Flushed& f) const { return line("flushed", f.token); }
  std::string operator()(const Watched& f) const {
    const auto& [token, count] = f;
    return line("watched", token, count);
  }
  std::string operator()(const Answer& f) const {
    const auto& [token, payload] = f;
    return line("answer", token, payload);
  }
  std::string operator()(const Farewell& f) const {
    const auto& [accepted, delivered, stays] = f;
    return line("farewell", accepted, delivered, stays);
  }
};

const ByteVector kJson = bytes_of_text("{}");

}  // namespace

std::string describe(const Frame& frame) { return std::visit(Describe{}, frame); }

ByteVector encoded(const Frame& frame) {
  ByteVector bytes;
  encode(frame, bytes);
  return bytes;
}

std::string outcome(const ByteVector& bytes) {
  const Result<Frame> frame = decode(bytes);
  if (frame) return describe(*frame);
  if (frame.error() == Errc::corrupt) return "corrupt";
  if (frame.error() == Errc::version_mismatch) return "version_mismatch";
  return frame.error().message();
}

ByteVector first(const ByteVector& bytes, std::size_t size) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

std::vector<Golden> golden() {
  std::vector<Golden> all;
  all.push_back({"hello", Hello{1, kNode, kPublisher, 9, "cam"},
                 hex("01 00 03 00 69 70 63 62"
                     "01 00"
                     "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
                     "01 02 03 04 05 06 07 08"
                     "09 00 00 00 00 00 00 00  00 00 00 00"
                     "63 61 6d"),
                 0x04});
  all.push_back({"hello_again", Hello{1, kNode, kPublisher, 9, "cam", true, 5},
                 hex("01 04 03 00 69 70 63 62"
                     "01 00"
                     "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"
                     "01 02 03 04 05 06 07 08"
                     "09 00 00 00 00 00 00 00  05 00 00 00"
                     "63 61 6d"),
                 0x04});
  all.push_back({"subscribe", Subscribe{7, "a.*", "w", 1024, Full::drop_old, 5, true},
                 hex("02 04 03 00 07 00 00 00"
                     "00 04 00 00  05 00 00 00  02  01 00"
                     "61 2e 2a  77"),
                 0x04});
  all.push_back({"unsubscribe", Unsubscribe{7}, hex("03 00 00 00 07 00 00 00")});
  all.push_back({"publish", Publish{.sequence = 9, .subject = "a.b", .payload = kHi},
                 hex("04 00 03 00 00 00 00 00"
                     "09 00 00 00 00 00 00 00"
                     "61 2e 62  68 69"),
                 0x1f, 2});
  all.push_back({"publish_all",
                 Publish{.sequence = 0x0102030405060708,
                         .level = Level::delivered,
                         .tell = true,
                         .again = true,
                         .history = 3,
                         .subject = "a.b",
                         .reply = "r.1",
                         .headers = kPair,
                         .payload = kHi},
                 hex("04 1f 03 00 03 00 00 00"
                     "08 07 06 05 04 03 02 01"
                     "03 00  06 00 00 00"
                     "61 2e 62  72 2e 31  01 00 01 00 6b 76  68 69"),
                 0x1f, 2});
  all.push_back({"publish_batch", PublishBatch{9, 3, "a.b", kItems},
                 hex("0b 00 03 00 03 00 00 00"
                     "09 00 00 00 00 00 00 00"
                     "61 2e 62  02 00 68 69  00 00  01 00 79")});
  all.push_back({"taken", Taken{7, 16, 2},
                 hex("05 00 00 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00")});
  all.push_back({"acknowledge", Acknowledge{7, {kPublisher, 9}, true},
                 hex("06 40 00 00 07 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"),
                 0x40});
  all.push_back({"flush", Flush{21, 9}, hex("07 00 00 00 15 00 00 00  09 00 00 00 00 00 00 00")});
  all.push_back({"watch", Watch{22, 2, "a.b"}, hex("08 00 03 00 16 00 00 00  02 00 00 00  61 2e 62")});
  all.push_back({"unwatch", Watch{22, 0, "a.b"}, hex("08 00 03 00 16 00 00 00  00 00 00 00  61 2e 62")});
  all.push_back({"query", Query{23, "status"}, hex("09 00 06 00 17 00 00 00  73 74 61 74 75 73")});
  all.push_back({"bye", Bye{9, false}, hex("0a 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"bye_stays", Bye{9, true}, hex("0a 80 00 00 00 00 00 00  09 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"welcome", Welcome{1, kBroker, 4096, 8U << 20, 1U << 20, 512, "lab", 5},
                 hex("81 00 03 00 69 70 63 62"
                     "01 00"
                     "10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f"
                     "00 10 00 00  00 00 80 00  00 00 10 00  00 02 00 00  05 00 00 00"
                     "6c 61 62")});
  all.push_back({"refused", Refused{7, Errc::permission_denied, "no"}, hex("82 00 02 00 07 00 00 00  0b  6e 6f")});
  all.push_back({"subscribed", Subscribed{7}, hex("83 00 00 00 07 00 00 00")});
  all.push_back({"deliver",
                 Deliver{.subscription = 7, .index = 16, .message = {kPublisher, 9}, .subject = "a.b", .payload = kHi},
                 hex("84 00 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "61 2e 62  68 69"),
                 0x2f, 2});
  all.push_back({"deliver_all",
                 Deliver{.subscription = 7,
                         .index = 16,
                         .message = {kPublisher, 9},
                         .acknowledge = true,
                         .again = true,
                         .kept = true,
                         .subject = "a.b",
                         .reply = "r.1",
                         .headers = kPair,
                         .payload = kHi},
                 hex("84 2f 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "03 00  06 00 00 00"
                     "61 2e 62  72 2e 31  01 00 01 00 6b 76  68 69"),
                 0x2f, 2});
  all.push_back({"deliver_batch", DeliverBatch{7, 16, {kPublisher, 9}, 3, "a.b", kItems},
                 hex("8d 00 03 00 07 00 00 00"
                     "10 00 00 00 00 00 00 00"
                     "01 02 03 04 05 06 07 08  09 00 00 00 00 00 00 00"
                     "03 00 00 00"
                     "61 2e 62  02 00 68 69  00 00  01 00 79")});
  all.push_back({"progress", Progress{7, 16}, hex("85 00 00 00 07 00 00 00  10 00 00 00 00 00 00 00")});
  all.push_back(
      {"dropped", Dropped{7, Reason::expired, 2}, hex("86 00 00 00 07 00 00 00  02 00 00 00 00 00 00 00  08")});
  all.push_back({"receipt", Receipt{9, 8, 1, 2},
                 hex("87 00 00 00 00 00 00 00"
                     "09 00 00 00 00 00 00 00  08 00 00 00 00 00 00 00"
                     "01 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00")});
  all.push_back({"outcome", Outcome{9, 2, 1, Reason::closed},
                 hex("88 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00  02 00 00 00  01 00 00 00  03")});
  all.push_back({"flushed", Flushed{21}, hex("89 00 00 00 15 00 00 00")});
  all.push_back({"watched", Watched{22, 2}, hex("8a 00 00 00 16 00 00 00  02 00 00 00")});
  all.push_back({"answer", Answer{23, kJson}, hex("8b 00 00 00 17 00 00 00  7b 7d"), 0, 2});
  all.push_back({"farewell", Farewell{9, 16, false},
                 hex("8c 00 00 00 00 00 00 00  09 00 00 00 00 00 00 00  10 00 00 00 00 00 00 00"), 0x80});
  all.push_back({"farewell_stays", Farewell{9, 16, true},
                 hex("8c 80 00 00 00 00 00 00  09 00 00 00 00 00 00 00  10 00 00 00 00 00 00 00"), 0x80});
  return all;
}

const Golden& golden(std::string_view name) {
  static const std::vector<Golden> all = golden();
  return *std::find_if(all.begin(), all.end(), [&](const Golden& one) { return one.name == name; });
}

ByteVector with(ByteVector bytes, std::size_t at, const ByteVector& instead) {
  std::copy(instead.begin(), instead.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

}  // namespace bus::test::frames
