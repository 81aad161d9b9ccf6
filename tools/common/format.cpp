// tools/common/format.cpp: see format.hpp.
#include "tools/common/format.hpp"
#include "tools/common/json.hpp"

#include <boost/locale/utf.hpp>

#include "tools/common/bus.hpp"

namespace bus::tools {
namespace {

bool is_utf8(std::string_view text) noexcept {
  namespace utf = boost::locale::utf;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (!utf::is_valid_codepoint(utf::utf_traits<char>::decode(at, end))) return false;
  }
  return true;
}

void append_hex(std::string& to, std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  const std::size_t before = to.size();
  to.resize(before + 2 * bytes.size());
  char* out = to.data() + before;
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    *out++ = kDigits[value >> 4];
    *out++ = kDigits[value & 15];
  }
}

std::string hex_of(std::span<const std::byte> bytes) {
  std::string hex;
  append_hex(hex, bytes);
  return hex;
}

void add_payload(Json& object, std::span<const std::byte> payload) {
  const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  if (is_utf8(text)) {
    object["text"] = std::string(text);
  } else {
    object["hex"] = hex_of(payload);
  }
}

Json header_json(std::string_view value) {
  if (is_utf8(value)) return std::string(value);
  return Json{{"hex", hex_of(std::as_bytes(std::span(value)))}};
}

Json headers_json(const Headers& headers) {
  Json object = Json::object();
  for (const auto& [key, value] : headers) {
    Json& there = object[std::string(key)];
    if (there.is_null()) {
      there = header_json(value);
    } else {
      if (!there.is_array()) there = Json::array({there});
      there.push_back(header_json(value));
    }
  }
  return object;
}

}  // namespace

Format format_of(std::string_view name) noexcept {
  if (name == "raw") return Format::raw;
  if (name == "hex") return Format::hex;
  if (name == "json") return Format::json;
  if (name == "none") return Format::none;
  return Format::line;
}

void Printer::print(std::uint64_t peer, std::uint64_t number, std::span<const std::byte> payload) {
  switch (format_) {
    case Format::none:
      return;
    case Format::raw:
      output_.write(payload);
      return;
    case Format::line:
      output_.write(payload);
      output_.write("\n");
      return;
    case Format::hex:
      line_.clear();
      append_hex(line_, payload);
      line_.push_back('\n');
      break;
    case Format::json: {
      Json object;
      object["type"] = type_;
      object["peer"] = peer;
      object["number"] = number;
      object["size"] = payload.size();
      add_payload(object, payload);
      line_ = json_text(object);
      line_.push_back('\n');
      break;
    }
  }
  output_.write(line_);
}

void Printer::print(std::uint64_t number, const Delivery& message, bool subjects) {
  if (format_ == Format::json) {
    Json object;
    object["type"] = type_;
    object["number"] = number;
    object["subject"] = std::string(message.subject());
    if (!message.reply().empty()) object["reply"] = std::string(message.reply());
    object["size"] = message.size();
    add_payload(object, message.bytes());
    if (!message.headers().empty()) object["headers"] = headers_json(message.headers());
    object["publisher"] = publisher_text(message.id().publisher);
    object["sequence"] = message.id().sequence;
    if (message.again()) object["again"] = true;
    if (message.kept()) object["kept"] = true;
    line_ = json_text(object);
    line_.push_back('\n');
    output_.write(line_);
    return;
  }
  if (subjects && (format_ == Format::line || format_ == Format::hex)) {
    output_.write(message.subject());
    output_.write(" ");
  }
  print(0, number, message.bytes());
}

std::string event_json(const Event& event) {
  Json object;
  object["type"] = event.type;
  if (!event.address.empty()) object["address"] = event.address;
  if (event.peer != 0) object["peer"] = event.peer;
  if (!event.peer_address.empty()) object["peer_address"] = event.peer_address;
  if (event.pid != 0) object["pid"] = event.pid;
  if (!event.reason.empty()) object["reason"] = event.reason;
  return json_line(object);
}

}  // namespace bus::tools
