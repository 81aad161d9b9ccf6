// tools/common/broker_config.cpp: TOML by toml++, checked against the table of keys.
#include "tools/common/broker_config.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "bus/core/address.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/os/fd.hpp"
#include "bus/core/units.hpp"
#include "bus/protocol/frame.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;

std::string place(const std::string& path, const toml::source_region& source) {
  return path + ":" + std::to_string(source.begin.line) + ":" + std::to_string(source.begin.column);
}

[[noreturn]] void fail(const std::string& where, const std::string& text) {
  throw UsageError(harmless(where + ": " + text));
}

/// What a value is, in the words of TOML.
std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

/// Keys with values, in the order of the file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  void read(const toml::table& table, BrokerConfig& config) {
    for (const auto& [key, node] : in_order(table, {"listen", "insecure", "drain", "name", "limits"}, "key")) {
      if (key == "listen") {
        read_listen(*node, config);
      } else if (key == "insecure") {
        const auto value = node->value_exact<bool>();
        if (!value) wrong(key, *node, "true or false, without quotes");
        config.insecure = *value;
      } else if (key == "drain") {
        const auto text = node->value_exact<std::string>();
        const auto value = text ? parse_duration(*text) : std::nullopt;
        if (!value) wrong(key, *node, "a duration such as \"100ms\" or \"5s\", in quotes");
        config.drain = *value;
      } else if (key == "name") {
        const auto value = node->value_exact<std::string>();
        if (!value || value->empty() || value->size() > protocol::kMaxText) {
          wrong(key, *node, "a text of 1 to " + std::to_string(protocol::kMaxText) + " bytes, in quotes");
        }
        config.name = *value;
      } else {
        const toml::table* const limits = node->as_table();
        if (limits == nullptr) wrong(key, *node, "a table: [limits], and a line for each limit");
        read_limits(*limits, config);
      }
    }
  }

 private:
  using Item = std::pair<std::string_view, const toml::node*>;

  std::vector<Item> in_order(const toml::table& table, const std::vector<std::string_view>& allowed,
                             std::string_view thing) const {
    struct Found {
      const toml::key* key;
      const toml::node* node;
    };
    std::vector<Found> found;
    for (auto&& [key, node] : table) found.push_back({&key, &node});
    std::sort(found.begin(), found.end(),
              [](const Found& a, const Found& b) { return a.key->source().begin < b.key->source().begin; });
    std::vector<Item> items;
    for (const Found& one : found) {
      const std::string_view name = one.key->str();
      if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
        fail(place(path_, one.key->source()), unknown_word(thing, name, allowed));
      }
      items.emplace_back(name, one.node);
    }
    return items;
  }

  [[noreturn]] void wrong(std::string_view key, const toml::node& node, const std::string& allowed) const {
    std::string value;
    if (const auto text = node.value_exact<std::string>()) {
      value = " \"" + shortened(*text, 40) + "\"";
    } else if (const auto number = node.value_exact<std::int64_t>()) {
      value = " " + std::to_string(*number);
    } else {
      value = " is " + kind_of(node);
    }
    fail(place(path_, node.source()), std::string(key) + value + ": allowed is " + allowed);
  }

  void read_listen(const toml::node& node, BrokerConfig& config) {
    static const std::string kAllowed = "an array of addresses: [\"shm://lab\", \"tcp://127.0.0.1:4222\"]";
    const toml::array* const addresses = node.as_array();
    if (addresses == nullptr) wrong("listen", node, kAllowed);
    for (const toml::node& one : *addresses) {
      const auto address = one.value_exact<std::string>();
      if (!address) wrong("listen", one, kAllowed);
      config.listen.push_back({*address, place(path_, one.source())});
    }
  }

  void read_limits(const toml::table& table, BrokerConfig& config) {
    std::vector<std::string_view> names;
    names.reserve(kBrokerLimits.size());
    for (const BrokerLimit& limit : kBrokerLimits) names.push_back(limit.name);
    for (const auto& [key, node] : in_order(table, names, "limit")) {
      const auto limit = std::find(names.begin(), names.end(), key) - names.begin();
      const bool is_size = kBrokerLimits.at(static_cast<std::size_t>(limit)).kind == Kind::size;
      const auto value = is_size ? size_of(*node) : count_of(*node);
      if (!value) {
        wrong(key, *node, is_size ? "a size such as 65536, \"64KiB\" or \"1MiB\"" : "a count such as 250 or \"10k\"");
      }
      broker::Limits scratch;
      if (const std::string allowed = set_limit(scratch, key, *value); !allowed.empty()) wrong(key, *node, allowed);
      config.limits.emplace(key, *value);
    }
  }

  static std::optional<std::uint64_t> number_of(const toml::node& node) {
    const auto number = node.value_exact<std::int64_t>();
    if (!number || *number < 0) return {};
    return static_cast<std::uint64_t>(*number);
  }
  static std::optional<std::uint64_t> size_of(const toml::node& node) {
    const auto text = node.value_exact<std::string>();
    return text ? parse_size(*text) : number_of(node);
  }
  static std::optional<std::uint64_t> count_of(const toml::node& node) {
    const auto text = node.value_exact<std::string>();
    if (!text) return number_of(node);
    const auto count = parse_rate(*text);  // the same form: 250, 10k, 2M
    if (!count || *count < 0 || *count != std::floor(*count) || *count > 1e15) return {};
    return static_cast<std::uint64_t>(*count);
  }

  const std::string& path_;
};

/// All of a regular file: a pipe could not be read again, and could keep us waiting.
std::string content_of(const std::string& path) {
  const auto fail_with = [&path](int error) { fail(path, std::system_category().message(error)); };
  const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) fail_with(errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_with(errno);
  if (!S_ISREG(info.st_mode)) fail(path, "it is no regular file; a configuration is one, so that it can be read again");
  std::string text;
  for (;;) {
    const std::size_t before = text.size();
    constexpr std::size_t kPiece = std::size_t{64} << 10;
    text.resize(before + kPiece);
    const ssize_t count = ::read(file.get(), text.data() + before, kPiece);
    if (count < 0 && errno != EINTR) fail_with(errno);
    text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) return text;
    if (text.size() > kLargestFile) fail(path, "it is larger than " + format_size(kLargestFile));
  }
}

}  // namespace

std::string set_limit(broker::Limits& limits, std::string_view name, std::uint64_t value) {
  const auto set = [value](auto& limit) -> std::string {
    using Limit = std::remove_reference_t<decltype(limit)>;
    constexpr auto kMost = std::numeric_limits<Limit>::max();
    if (value == 0 || value > kMost) return "1 to " + std::to_string(kMost);
    limit = static_cast<Limit>(value);
    return {};
  };
  if (name == "max-clients") return set(limits.clients);
  if (name == "max-message") return set(limits.max_payload);
  if (name == "max-subscriptions") return set(limits.subscriptions);
  if (name == "max-memory") return set(limits.memory);
  if (name == "max-history") return set(limits.history);
  return set(limits.window_messages);
}

BrokerConfig parse_broker_config(std::string_view text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    fail(place(path, parsed.error().source()), "this is no TOML: " + std::string(parsed.error().description()));
  }
  if (parsed.table().empty()) {
    fail(path + ":1:1", "it is empty; allowed are listen, insecure, drain, name and [limits]");
  }
  BrokerConfig config;
  Reader(path).read(parsed.table(), config);
  return config;
}

BrokerConfig read_broker_config(const std::string& path) { return parse_broker_config(content_of(path), path); }

}  // namespace bus::tools
