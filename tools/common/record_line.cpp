// tools/common/record_line.cpp: see record_line.hpp.
#include "tools/common/record_line.hpp"

#include <simdjson.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "bus/core/errc.hpp"

namespace bus::tools {

namespace {

namespace dom = simdjson::dom;

template <typename T>
std::optional<T> value_of(dom::element element) {
  if constexpr (std::same_as<T, bool> || std::same_as<T, std::string_view>) {
    T value;
    if (element.get(value) == simdjson::SUCCESS) return value;
  } else {
    std::uint64_t natural = 0;
    std::int64_t negative = 0;
    double real = 0;
    if (element.get(natural) == simdjson::SUCCESS) {
      if (std::in_range<T>(natural)) return static_cast<T>(natural);
    } else if (element.get(negative) == simdjson::SUCCESS) {
      if (std::in_range<T>(negative)) return static_cast<T>(negative);
    } else if (element.get(real) == simdjson::SUCCESS) {  // 1e9, as other programs write it
      if (real >= 0 && real < 0x1p63 && std::in_range<T>(static_cast<std::int64_t>(real))) return static_cast<T>(real);
    }
  }
  return {};
}

}  // namespace

struct RecordLine::Parser {
  dom::parser parser;
  dom::object fields;
};

RecordLine::RecordLine() : parser_(std::make_unique<Parser>()) {}
RecordLine::~RecordLine() = default;

void RecordLine::read(std::string_view line) {
  const auto error = parser_->parser.parse(line.data(), line.size()).get(parser_->fields);
  if (error == simdjson::INCORRECT_TYPE) throw Error(Errc::corrupt, "no JSON object");
  if (error != simdjson::SUCCESS) throw Error(Errc::corrupt, simdjson::error_message(error));
}

template <typename T>
std::optional<T> RecordLine::find(std::string_view key) const {
  dom::element element;
  if (parser_->fields.at_key(key).get(element) != simdjson::SUCCESS) return {};
  const std::optional<T> value = value_of<T>(element);
  if (!value) throw Error(Errc::corrupt, "its \"" + std::string(key) + "\" is of another type, or too large");
  return value;
}

template <typename T>
T RecordLine::at(std::string_view key) const {
  const std::optional<T> value = find<T>(key);
  if (!value) throw Error(Errc::corrupt, "it has no \"" + std::string(key) + "\"");
  return *value;
}

template <typename T>
T RecordLine::value(std::string_view key, T otherwise) const {
  return find<T>(key).value_or(otherwise);
}

template bool RecordLine::at(std::string_view) const;
template std::uint32_t RecordLine::at(std::string_view) const;
template std::uint64_t RecordLine::at(std::string_view) const;
template std::int64_t RecordLine::at(std::string_view) const;
template std::string_view RecordLine::at(std::string_view) const;
template bool RecordLine::value(std::string_view, bool) const;
template std::uint64_t RecordLine::value(std::string_view, std::uint64_t) const;
template std::string_view RecordLine::value(std::string_view, std::string_view) const;

}  // namespace bus::tools
