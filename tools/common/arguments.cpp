// tools/common/arguments.cpp: cxxopts reads the words, the table of the verb gives them their meaning.
#include "tools/common/arguments.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "bus/core/address.hpp"
#include "bus/core/units.hpp"

// DATA arguments may contain commas; no argument contains a NUL.
#define CXXOPTS_VECTOR_DELIMITER '\0'
#define CXXOPTS_NO_REGEX
#include <cxxopts.hpp>

namespace bus::tools {
namespace {

constexpr std::array<Option, 5> kCommon{{
    {0, "json", Kind::flag, "", "stdout is one JSON object a line; the last one is the summary"},
    {0, "books", Kind::flag, "", "print the account of every message to stderr at the end"},
    {0, "log-level", Kind::choice, "debug|info|warn|error|off", "least level of what is said on stderr", "info"},
    {0, "log-format", Kind::choice, "text|json", "form of what is said on stderr", "text"},
    {'h', "help", Kind::flag, "", "show this help"},
}};

constexpr const char* kPositional = "ARGUMENTS";

template <class F>
void for_each_option(const Verb& verb, F&& f) {
  for (const Option& option : verb.options) f(option);
  for (const Option& option : common_options()) f(option);
}

std::vector<std::string_view> split(std::string_view words) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto bar = words.find('|');
    parts.push_back(words.substr(0, bar));
    if (bar == std::string_view::npos) return parts;
    words.remove_prefix(bar + 1);
  }
}

/// "--coutn=3", "-z" or "z" as its bare name.
std::string_view bare(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  return word.substr(0, word.find('='));
}

}  // namespace

std::span<const Option> common_options() noexcept { return kCommon; }

void Arguments::fail(const std::string& text) const {
  throw UsageError(std::string(verb_->name).append(": ").append(text).append("; see bus help ").append(verb_->name));
}

Arguments::Arguments(const Verb& verb, std::span<const char* const> words)
    : verb_(&verb), words_(words.begin(), words.end()) {
  cxxopts::Options parser("bus", "");
  std::vector<std::string_view> names;
  for_each_option(verb, [&](const Option& option) {
    std::string name(option.name);
    if (option.letter != 0) name = std::string(1, option.letter) + "," + name;
    if (option.kind == Kind::flag) {
      parser.add_options()(name, "");
    } else if (option.kind == Kind::list) {
      parser.add_options()(name, "", cxxopts::value<std::vector<std::string>>());
    } else {
      parser.add_options()(name, "", cxxopts::value<std::string>());
    }
    names.push_back(option.name);
  });
  parser.add_options()(kPositional, "", cxxopts::value<std::vector<std::string>>());
  parser.parse_positional(kPositional);
  parser.allow_unrecognised_options();

  std::vector<const char*> argv{"bus"};
  argv.insert(argv.end(), words.begin(), words.end());
  try {
    const cxxopts::ParseResult parsed = parser.parse(static_cast<int>(argv.size()), argv.data());
    if (parsed.count("help") > 0) {
      given_["help"] = true;
      return;
    }
    if (!parsed.unmatched().empty()) {
      const std::string& word = parsed.unmatched().front();
      const std::string_view name = bare(word);
      std::string text = "unknown option " + (name.size() > 1 ? "--" + std::string(name) : word);
      const std::string_view near = name.size() > 1 ? nearest(name, names) : std::string_view{};
      if (!near.empty()) text.append(": did you mean --").append(near).append("?");
      text.append(" (DATA that begins with - goes after --)");
      fail(text);
    }
    for_each_option(verb, [&](const Option& option) {
      const std::string name(option.name);
      const bool here = parsed.count(name) > 0 && (option.kind != Kind::flag || parsed[name].as<bool>());
      if (here) given_[name] = true;
      if (option.kind == Kind::flag) return;
      if (option.kind == Kind::list) {
        if (here) lists_[name] = parsed[name].as<std::vector<std::string>>();
        return;
      }
      if (here) {
        values_[name] = read(option, parsed[name].as<std::string>());
      } else if (!option.otherwise.empty()) {
        values_[name] = read(option, std::string(option.otherwise));
      }
    });
    if (parsed.count(kPositional) > 0) positional_ = parsed[kPositional].as<std::vector<std::string>>();
  } catch (const cxxopts::exceptions::exception& error) {
    fail(error.what());
  }
  if (positional_.size() < verb.least_arguments || positional_.size() > verb.most_arguments) {
    const bool few = positional_.size() < verb.least_arguments;
    fail((few ? "an argument is missing" : "too many arguments: " + positional_.back()) + ": write bus " +
         std::string(verb.name) + (verb.arguments.empty() ? "" : " ") + std::string(verb.arguments));
  }
}

Arguments::Value Arguments::read(const Option& option, const std::string& text) const {
  const auto wrong = [&](std::string_view allowed) {
    fail("--" + std::string(option.name) + " " + text + ": allowed is " + std::string(allowed));
  };
  switch (option.kind) {
    case Kind::flag:
    case Kind::text:
    case Kind::list:
      break;
    case Kind::choice: {
      const auto allowed = split(option.value);
      if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
        fail(unknown_word("--" + std::string(option.name), text, allowed));
      }
      break;
    }
    case Kind::count: {
      const auto count = parse_rate(text);  // the same form: 250, 10k, 2M
      if (!count || *count < 1 || *count != std::floor(*count) || *count > 1e15) wrong("a count such as 1, 250 or 10k");
      return static_cast<std::uint64_t>(*count);
    }
    case Kind::size: {
      const auto size = parse_size(text);
      if (!size) wrong("a size such as 64, 64KiB or 1MiB");
      return *size;
    }
    case Kind::duration: {
      const auto duration = parse_duration(text);
      if (!duration) wrong("a duration such as 50us, 100ms or 5s");
      return *duration;
    }
    case Kind::rate: {
      const auto rate = parse_rate(text);
      if (!rate) wrong("a rate such as 250, 10k or 2M (a second)");
      return *rate;
    }
  }
  return text;
}

const std::vector<std::string>& Arguments::list(std::string_view name) const noexcept {
  static const std::vector<std::string> kNone;
  const auto it = lists_.find(name);
  return it == lists_.end() ? kNone : it->second;
}

std::optional<std::uint32_t> Arguments::small_number(std::string_view name) const {
  constexpr auto kMost = std::numeric_limits<std::uint32_t>::max();
  const auto given = number(name);
  if (!given) return {};
  if (*given > kMost) {
    fail("--" + std::string(name) + " " + std::to_string(*given) + ": allowed is 1 to " + std::to_string(kMost));
  }
  return static_cast<std::uint32_t>(*given);
}

void Arguments::at_most_one(std::initializer_list<std::string_view> names) const {
  std::string_view first;
  for (const std::string_view name : names) {
    if (!given(name)) continue;
    if (!first.empty()) fail("--" + std::string(first) + " and --" + std::string(name) + " exclude each other");
    first = name;
  }
}

}  // namespace bus::tools
