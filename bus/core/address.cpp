// bus/core/address.cpp: from text to Address, by Boost.URL.
#include "bus/core/address.hpp"

#include <algorithm>
#include <boost/url.hpp>
#include <charconv>
#include <numeric>

#include "bus/core/errc.hpp"

namespace bus {
namespace {

namespace urls = boost::urls;

constexpr std::string_view kForm =
    "an address is scheme://host:port or scheme://name, with ?option=value&... behind it";

constexpr std::string_view kPort = "a port is a number from 0 to 65535";

[[noreturn]] void bad(std::string_view text, std::string_view why) {
  std::string message;
  for (const char c : text) message += c >= ' ' && c <= '~' ? c : '?';  // it goes to a terminal
  if (message.empty()) message = "\"\"";
  throw Error(Errc::bad_address, message.append(": ").append(why));
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({above[j] + (a[i] == b[j] ? 0 : 1), above[j + 1] + 1, row[j] + 1});
      if (i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j]) row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
  }
  return row.back();
}

}  // namespace

Address Address::parse(std::string_view text) {
  constexpr std::size_t kLongest = 4096;
  if (text.size() > kLongest) bad(text.substr(0, 64), "longer than 4096 characters");
  const auto parsed = urls::parse_uri(urls::string_view(text.data(), text.size()));
  if (!parsed || !parsed->has_authority()) bad(text, kForm);
  const urls::url_view& url = *parsed;
  // Boost.URL 1.81 takes what follows host and port without a slash for a path.
  if (const auto path = url.encoded_path(); !path.empty() && path.front() != '/') {
    bad(text, url.has_port() ? kPort : kForm);
  }
  if (url.has_userinfo()) bad(text, "user and password have no place in an address");
  if (url.has_fragment()) bad(text, "a fragment (#...) has no place in an address; write %23 for the character");

  Address address;
  address.text_ = text;
  address.scheme_ = url.scheme();
  std::transform(address.scheme_.begin(), address.scheme_.end(), address.scheme_.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  address.host_ = url.host_address();
  address.host_is_ipv6_ = url.host_type() == urls::host_type::ipv6;
  address.path_ = url.path();
  if (address.path_ == "/" && !address.host_.empty()) address.path_.clear();
  if (url.has_port()) {
    const auto port = url.port();
    unsigned number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size() || number > 65535) {
      bad(text, kPort);
    }
    address.port_ = static_cast<std::uint16_t>(number);
  }
  for (const auto& param : url.params()) {
    const std::string key = param.key;
    if (!param.has_value) bad(text, "option " + key + " needs a value: " + key + "=...");
    if (address.option(key)) bad(text, "option " + key + " is given twice");
    address.options_.emplace_back(key, param.value);
  }
  return address;
}

std::optional<std::string_view> Address::option(std::string_view key) const noexcept {
  const auto it = std::find_if(options_.begin(), options_.end(), [key](const auto& o) { return o.first == key; });
  if (it == options_.end()) return {};
  return it->second;
}

Address Address::with_port(std::uint16_t port) const {
  urls::url url(text_);
  url.set_port_number(port);
  Address address = *this;
  address.text_ = std::string(url.buffer().data(), url.buffer().size());
  address.port_ = port;
  return address;
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& allowed) noexcept {
  std::string_view best;
  std::size_t least = std::max<std::size_t>(word.size() / 3, 1) + 1;
  for (const std::string_view candidate : allowed) {
    const std::size_t d = distance(word, candidate);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

std::string unknown_word(std::string_view thing, std::string_view word, const std::vector<std::string_view>& allowed) {
  std::string text = "unknown ";
  text.append(thing).append(" \"").append(word).append("\": allowed are ");
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (i != 0) text.append(", ");
    text.append(allowed[i]);
  }
  if (const auto near = nearest(word, allowed); !near.empty()) text.append("; did you mean ").append(near).append("?");
  return text;
}

}  // namespace bus
