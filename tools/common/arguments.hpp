// tools/common/arguments.hpp: the command line of a verb, read and checked against its table of options.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tools/common/verb.hpp"

namespace bus::tools {

/// The command line cannot be understood. what() says why, and what would be right.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Arguments {
 public:
  /// `words` is what follows the verb. Throws UsageError. With --help nothing else is checked.
  Arguments(const Verb& verb, std::span<const char* const> words);

  [[nodiscard]] const Verb& verb() const noexcept { return *verb_; }
  /// The whole command line behind the verb, as it was given.
  [[nodiscard]] const std::vector<std::string>& words() const noexcept { return words_; }
  [[nodiscard]] const std::vector<std::string>& positional() const noexcept { return positional_; }
  /// The first argument.
  [[nodiscard]] const std::string& address() const { return positional_.at(0); }

  /// Whether the user gave it; a default does not count.
  [[nodiscard]] bool given(std::string_view name) const noexcept { return given_.contains(name); }
  [[nodiscard]] bool flag(std::string_view name) const noexcept { return given(name); }

  // The value given, else the default of the table, else none. The option must be of that kind.
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const { return get<std::string>(name); }
  /// All that were given of an option that may be repeated, in their order.
  [[nodiscard]] const std::vector<std::string>& list(std::string_view name) const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view name) const { return get<std::uint64_t>(name); }
  /// The same of a count that has to fit 32 bits. Throws UsageError.
  [[nodiscard]] std::optional<std::uint32_t> small_number(std::string_view name) const;
  [[nodiscard]] std::optional<double> rate(std::string_view name) const { return get<double>(name); }
  [[nodiscard]] std::optional<std::chrono::nanoseconds> duration(std::string_view name) const {
    return get<std::chrono::nanoseconds>(name);
  }

  /// Throws UsageError when more than one of them was given.
  void at_most_one(std::initializer_list<std::string_view> names) const;

 private:
  using Value = std::variant<std::string, std::uint64_t, double, std::chrono::nanoseconds>;
  [[nodiscard]] Value read(const Option& option, const std::string& text) const;
  [[noreturn]] void fail(const std::string& text) const;

  template <class T>
  [[nodiscard]] std::optional<T> get(std::string_view name) const {
    const auto it = values_.find(name);
    if (it == values_.end()) return {};
    return std::get<T>(it->second);
  }

  const Verb* verb_;
  std::vector<std::string> words_;
  std::vector<std::string> positional_;
  std::map<std::string, Value, std::less<>> values_;
  std::map<std::string, std::vector<std::string>, std::less<>> lists_;
  std::map<std::string, bool, std::less<>> given_;
};

}  // namespace bus::tools
