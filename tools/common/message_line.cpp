// tools/common/message_line.cpp: see message_line.hpp.
#include "tools/common/message_line.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <utility>

#include "bus/core/units.hpp"
#include "bus/protocol/subject.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/json.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {
namespace {

[[noreturn]] void refuse(const std::string& text) { throw UsageError(harmless(text)); }

std::string quoted(std::string_view key) { return std::string("its \"").append(key).append("\" "); }

const Json* find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

const std::string& text_in(const Json& value, std::string_view key) {
  if (!value.is_string()) refuse(quoted(key) + "is no text");
  return value.get_ref<const std::string&>();
}

std::string bytes_of_hex(const std::string& digits, std::string_view key) {
  std::string bytes;
  for (std::size_t at = 0; at < digits.size(); at += 2) {
    unsigned char byte = 0;
    const char* const from = digits.data() + at;
    const char* const to = from + std::min<std::size_t>(2, digits.size() - at);
    const auto [end, error] = std::from_chars(from, to, byte, 16);
    if (error != std::errc() || end != from + 2) refuse(quoted(key) + "is not two hexadecimal digits for each byte");
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

bool tells_of_something_else(const Json& line) {
  static constexpr std::array<std::string_view, 5> kOthers{"joined", "listening", "came", "went", "summary"};
  const Json* const type = find(line, "type");
  return type != nullptr && type->is_string() &&
         std::find(kOthers.begin(), kOthers.end(), type->get_ref<const std::string&>()) != kOthers.end();
}

std::string subject_in(const Json& line, const char* key) {
  const Json* const value = find(line, key);
  if (value == nullptr) return {};
  const std::string& subject = text_in(*value, key);
  if (!protocol::valid_subject(subject)) refuse(quoted(key) + "is no subject: " + shortened(subject, 80));
  return subject;
}

std::vector<std::byte> payload_in(const Json& line) {
  const Json* const text = find(line, "text");
  const Json* const hex = find(line, "hex");
  if (text == nullptr && hex == nullptr) refuse("it has no payload: no \"text\" and no \"hex\"");
  if (text != nullptr && hex != nullptr) refuse("it has two payloads: \"text\" and \"hex\"");
  const std::string bytes = text != nullptr ? text_in(*text, "text") : bytes_of_hex(text_in(*hex, "hex"), "hex");
  const auto* const begin = reinterpret_cast<const std::byte*>(bytes.data());
  return {begin, begin + bytes.size()};
}

std::string header_value(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const Json* const hex = value.is_object() && value.size() == 1 ? find(value, "hex") : nullptr;
  if (hex == nullptr) refuse(quoted("headers") + R"(have a value that is neither a text nor {"hex":DIGITS})");
  return bytes_of_hex(text_in(*hex, "hex"), "headers");
}

void add_headers(const Json& line, HeaderBlock& headers) {
  const Json* const all = find(line, "headers");
  if (all == nullptr) return;
  if (!all->is_object()) refuse(quoted("headers") + "are no object");
  try {
    for (const auto& [key, value] : all->items()) {
      if (value.is_array()) {
        for (const Json& one : value) headers.add(key, header_value(one));
      } else {
        headers.add(key, header_value(value));
      }
    }
  } catch (const std::invalid_argument&) {
    refuse(quoted("headers") + "have an empty key, or more than " + format_size(protocol::kMaxHeaders));
  }
}

}  // namespace

std::optional<MessageLine> read_message_line(std::string_view line, const HeaderBlock& given) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) refuse("it is no JSON object");
  if (tells_of_something_else(json)) return {};
  MessageLine message{subject_in(json, "subject"), subject_in(json, "reply"), payload_in(json), given};
  add_headers(json, message.headers);
  return message;
}

}  // namespace bus::tools
