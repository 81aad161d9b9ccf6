// bus/core/address.hpp: a parsed URL that names an endpoint.
//
//   scheme://host:port?option=value&...     tcp, udp; the host may be an IPv4, [IPv6] or a name
//   scheme://name?...                       inproc, shm, unix, mq
//   scheme:///path?...                      unix
//
// Parsing is Boost.URL's; this header does not include it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bus {

class Address {
 public:
  /// Throws Error(bad_address) that says which part is wrong. Knows nothing of transports: the scheme is
  /// looked up by find_transport(), options are checked by read_options().
  [[nodiscard]] static Address parse(std::string_view text);

  [[nodiscard]] const std::string& text() const noexcept { return text_; }      // as it was given
  [[nodiscard]] const std::string& scheme() const noexcept { return scheme_; }  // lower case
  [[nodiscard]] const std::string& host() const noexcept { return host_; }      // name or host, without brackets
  [[nodiscard]] const std::string& path() const noexcept { return path_; }      // "" or begins with /
  [[nodiscard]] std::optional<std::uint16_t> port() const noexcept { return port_; }
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& options() const noexcept { return options_; }
  [[nodiscard]] std::optional<std::string_view> option(std::string_view key) const noexcept;

  /// The same address with another port: what a listener on port 0 tells about itself.
  [[nodiscard]] Address with_port(std::uint16_t port) const;

 private:
  std::string text_, scheme_, host_, path_;
  bool host_is_ipv6_ = false;
  std::optional<std::uint16_t> port_;
  std::vector<std::pair<std::string, std::string>> options_;
};

/// The word of `allowed` that somebody who wrote `word` most likely meant; empty if none is near.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string_view>& allowed) noexcept;

/// For error texts: `unknown thing "x": allowed are a, b; did you mean a?`
[[nodiscard]] std::string unknown_word(std::string_view thing, std::string_view word,
                                       const std::vector<std::string_view>& allowed);

}  // namespace bus
