// tools/common/verb.hpp: what the program knows of a verb: enough to find it, to read its options and to explain it.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "tools/common/exit_code.hpp"

namespace bus::tools {

class Arguments;
class Signals;

/// How the value of an option is read.
enum class Kind : unsigned char {
  flag,      // takes no value
  text,      // as it is
  list,      // the same, and may be given several times
  choice,    // one of the words of `value`, which are separated by |
  count,     // 1, 250, 10k
  size,      // 64, 64KiB, 1MiB
  duration,  // 0, 50us, 5s
  rate,      // a second: 250, 10k
};

struct Option {
  char letter;            // short form, or 0
  std::string_view name;  // long form, without the dashes
  Kind kind;
  std::string_view value;  // how help calls the value
  std::string_view help;
  std::string_view otherwise = {};  // the value that holds when the option is not given; empty: none
};

struct Example {
  std::string_view command;
  std::string_view meaning;
};

struct Verb {
  std::string_view name;
  std::string_view summary;    // a line, begins in lower case
  std::string_view arguments;  // for the usage line: "ADDRESS [DATA...]"
  std::size_t least_arguments, most_arguments;
  std::string_view description;  // lines of at most 100 columns
  std::span<const Option> options;
  std::span<const Example> examples;
  Exit (*run)(const Arguments&, Signals&);
};

/// The options that every verb has: --json, --books, --log-level, --log-format, --help.
[[nodiscard]] std::span<const Option> common_options() noexcept;

}  // namespace bus::tools
