// tools/common/record.cpp: see record.hpp.
#include "tools/common/record.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <optional>

#include "bus/core/crc32c.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"
#include "tools/common/bus.hpp"
#include "tools/common/json.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t kPiece = 32 << 10;
constexpr std::int64_t kLongest = 20'000'000;  // ns that a line may wait

/// Quotes and escapes; what is no UTF-8 is replaced, in the same way for everybody.
void append_quoted(std::string& to, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\';
  });
  if (plain) {
    to.append("\"").append(text).append("\"");
  } else {
    to.append(json_text(Json(std::string(text))));
  }
}

void append_number(std::string& to, std::uint64_t value) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  to.append(digits, end);
}

}  // namespace

Record::Record(const std::string& path) : path_(path) {
  file_ = os::Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666));
  if (!file_) {
    const std::error_code code = last_system_error();
    throw Error(code, "cannot write " + path + ": " + code.message());
  }
  buffer_.reserve(2 * kPiece);
  written_ = now();
}

Record::~Record() {
  try {
    flush();
  } catch (const Error&) {
    // Whoever wants to know calls flush() before.
  }
}

std::int64_t Record::now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void Record::begin(std::string_view event) {
  buffer_.append("{\"event\":\"").append(event).append("\",\"who\":\"").append(who_).append("\"");
}

void Record::add(std::string_view key, std::uint64_t value) {
  buffer_.append(",\"").append(key).append("\":");
  append_number(buffer_, value);
}

void Record::add(std::string_view key, std::string_view text) {
  buffer_.append(",\"").append(key).append("\":");
  append_quoted(buffer_, text);
}

void Record::add(std::string_view key, bool value) {
  buffer_.append(",\"").append(key).append(value ? "\":true" : "\":false");
}

void Record::end(std::int64_t time) {
  add("time_ns", static_cast<std::uint64_t>(time));
  buffer_.append("}\n");
  if (buffer_.size() >= kPiece || time - written_ >= kLongest) flush();
}

void Record::flush() {
  written_ = now();
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    BUS_FAULT_POINT();
    const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    const std::error_code code = last_system_error();
    buffer_.clear();  // not tried again
    throw Error(code, "cannot write " + path_ + ": " + code.message());
  }
  buffer_.clear();
}

void Record::joined(const Node& node, std::string_view name) {
  who_ = publisher_text(node.publisher());
  begin("joined");
  add("name", name);
  add("bus", node.bus());
  add("pid", static_cast<std::uint64_t>(::getpid()));
  end(now());
}

void Record::published(std::uint64_t sequence, std::string_view subject, std::span<const std::byte> payload,
                       Level level, std::int64_t time) {
  published_ = sequence;
  begin("published");
  add("publisher", std::string_view(who_));
  add("sequence", sequence);
  add("subject", subject);
  add("crc", std::uint64_t{crc32c(payload)});
  add("size", std::uint64_t{payload.size()});
  if (level == Level::delivered) add("level", std::string_view("delivered"));
  end(time);
}

void Record::accepted(std::uint64_t up_to) {
  if (up_to <= std::max(accepted_, from_)) return;  // it would say nothing new
  accepted_ = up_to;
  begin("accepted");
  add("publisher", std::string_view(who_));
  if (from_ > 0) add("from", from_);
  add("sequence", up_to);
  end(now());
}

void Record::watch(const Node& node) {
  const std::int64_t time = now();
  if (time - watched_ >= kLongest) look(node, time);
}

void Record::look(const Node& node, std::int64_t time) {
  watched_ = time;
  const NodeBooks books = node.books();
  if (books.reconnects != reconnects_) {
    reconnects_ = books.reconnects;
    from_ = published_;
    begin("reconnected");
    end(time);
  }
  // The count is a number only while nothing is missing among what was counted.
  if (books.reconnects == 0 && books.lost == 0) accepted(books.accepted);
}

void Record::subscribed(std::uint64_t subscription, std::string_view pattern, const SubscribeOptions& options) {
  begin("subscribed");
  add("subscription", subscription);
  add("pattern", pattern);
  if (!options.queue.empty()) add("queue", std::string_view(options.queue));
  add("full", protocol::name(options.full));
  end(now());
  flush();
}

void Record::received(std::uint64_t subscription, const Delivery& message) {
  begin("received");
  add("subscription", subscription);
  add("publisher", std::string_view(publisher_text(message.id().publisher)));
  add("sequence", message.id().sequence);
  add("subject", message.subject());
  add("crc", std::uint64_t{crc32c(message.bytes())});
  add("size", std::uint64_t{message.size()});
  if (message.again()) add("again", true);
  if (message.kept()) add("kept", true);
  end(now());
}

void Record::dropped(std::uint64_t subscription, const ReasonCounts& dropped) {
  ReasonCounts& said = dropped_[subscription];
  for (std::size_t i = 0; i < kReasons; ++i) {
    if (dropped[i] <= said[i]) continue;
    begin("dropped");
    add("subscription", subscription);
    add("reason", name(static_cast<Reason>(i)));
    add("count", dropped[i] - said[i]);
    end(now());
    said[i] = dropped[i];
  }
}

void Record::unsubscribed(std::uint64_t subscription, const SubscriptionBooks& books, bool idle) {
  dropped(subscription, books.dropped);
  begin("unsubscribed");
  add("subscription", subscription);
  add("received", books.received);
  add("missing", books.missing);
  add("duplicates", books.duplicates);
  add("idle", idle);
  end(now());
}

void Record::left(const NodeBooks& books) {
  begin("left");
  add("published", books.published);
  add("accepted", books.accepted);
  add("unreached", books.unreached);
  add("lost", books.lost);
  add("unknown_after_crash", books.unknown_after_crash);
  add("reconnects", books.reconnects);
  end(now());
  flush();
}

std::unique_ptr<Record> record_of(const Arguments& arguments, const Node& node) {
  const std::string verb(arguments.verb().name);
  std::optional<std::string> path = arguments.text("record");
  if (!path) {
    const char* const folder = std::getenv("BUS_RECORD");
    if (folder == nullptr || *folder == '\0') return nullptr;
    if (::mkdir(folder, 0777) != 0 && errno != EEXIST) {
      const std::error_code code = last_system_error();
      throw Error(code, "cannot make the folder " + std::string(folder) + " of BUS_RECORD: " + code.message());
    }
    path = std::string(folder) + "/" + verb + "-" + publisher_text(node.publisher()) + ".jsonl";
  }
  auto record = std::make_unique<Record>(*path);
  record->joined(node, arguments.text("name").value_or(verb));
  return record;
}

}  // namespace bus::tools
