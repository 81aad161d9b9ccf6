// bus/protocol/headers.cpp: pairs of key and value, to bytes and back.
#include "bus/protocol/headers.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "bus/core/os/bytes.hpp"

namespace bus::protocol {
namespace {

constexpr std::size_t kSizes = 4;                                            // bytes before the key
constexpr std::size_t kMaxPart = std::numeric_limits<std::uint16_t>::max();  // bytes of a key or value

/// The bytes of the pair at the front; 0 if there is none.
std::size_t pair_size(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < kSizes) return 0;
  const std::size_t key_size = os::get_u16(bytes.data());
  const std::size_t whole = kSizes + key_size + os::get_u16(bytes.data() + 2);
  return key_size != 0 && whole <= bytes.size() ? whole : 0;
}

std::byte* copy(std::string_view text, std::byte* to) noexcept {
  return std::transform(text.begin(), text.end(), to, [](char c) { return static_cast<std::byte>(c); });
}

}  // namespace

Headers::Iterator& Headers::Iterator::operator++() noexcept {
  const std::size_t whole = pair_size(rest_);
  if (whole == 0) {
    *this = {};
    return *this;
  }
  at_ = rest_.data();
  const auto* text = reinterpret_cast<const char*>(at_) + kSizes;
  const std::size_t key_size = os::get_u16(at_);
  header_ = {{text, key_size}, {text + key_size, whole - kSizes - key_size}};
  rest_ = rest_.subspan(whole);
  return *this;
}

Headers::Iterator Headers::Iterator::operator++(int) noexcept {
  const Iterator before = *this;
  ++*this;
  return before;
}

bool Headers::valid() const noexcept {
  if (bytes_.size() > kMaxHeaders) return false;
  for (auto rest = bytes_; !rest.empty();) {
    const std::size_t whole = pair_size(rest);
    if (whole == 0) return false;
    rest = rest.subspan(whole);
  }
  return true;
}

std::optional<std::string_view> Headers::find(std::string_view key) const noexcept {
  for (const Header& header : *this) {
    if (header.key == key) return header.value;
  }
  return std::nullopt;
}

HeaderBlock& HeaderBlock::add(std::string_view key, std::string_view value) {
  if (key.empty()) throw std::invalid_argument("a header needs a key");
  const std::size_t before = bytes_.size();
  // Each part against its own limit first, so that the sum cannot wrap.
  if (key.size() > kMaxPart || value.size() > kMaxPart || kSizes + key.size() + value.size() > kMaxHeaders - before) {
    throw std::invalid_argument("the headers of a message are at most 64 KiB in all");
  }
  bytes_.resize(before + kSizes + key.size() + value.size());
  std::byte* const to = bytes_.data() + before;
  os::put_u16(to, static_cast<std::uint16_t>(key.size()));
  os::put_u16(to + 2, static_cast<std::uint16_t>(value.size()));
  copy(value, copy(key, to + kSizes));
  return *this;
}

}  // namespace bus::protocol
