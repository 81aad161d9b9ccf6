// tools/common/help.cpp: see help.hpp.
#include "tools/common/help.hpp"

#include <algorithm>
#include <vector>

#include "bus/core/address.hpp"
#include "bus/core/transport.hpp"
#include "bus/core/version.hpp"
#include "tools/common/terminal_text.hpp"

namespace bus::tools {
namespace {

constexpr std::size_t kColumns = 100;

std::string padded(std::string_view text, std::size_t width) {
  std::string result(text);
  if (result.size() < width) result.append(width - result.size(), ' ');
  return result;
}

void append_row(std::string& to, std::string_view left, std::string_view right, std::size_t width) {
  const std::size_t indent = width + 2;
  std::string line = padded(left, width);
  if (left.size() > width) {
    to.append(left).append("\n");
    line.assign(width, ' ');
  }
  to.append(line).append("  ");
  to.append(wrapped(right, kColumns, indent, indent));
}

void append_options(std::string& to, std::span<const Option> options) {
  for (const Option& option : options) {
    std::string left = option.letter != 0 ? std::string("  -") + option.letter + ", --" : std::string("      --");
    left.append(option.name);
    if (!option.value.empty()) left.append(" ").append(option.value);
    std::string right(option.help);
    if (!option.otherwise.empty()) right.append(" [").append(option.otherwise).append("]");
    append_row(to, left, right, 26);
  }
}

void append_transports(std::string& to) {
  to.append("\nAddresses are SCHEME://NAME?OPTION=VALUE&..., quoted for the shell:\n");
  for (const Transport* transport : transports()) {
    std::string right(transport->summary());
    for (const OptionSpec& option : transport->options()) {
      right.append(&option == transport->options().data() ? "; options: " : ", ");
      right.append(option.name).append("=").append(option.allowed);
    }
    append_row(to, "  " + std::string(transport->scheme()) + "://", right, 12);
  }
  append_row(to, "  all", "options: max_message=SIZE (what this end accepts), capacity=SIZE, wait=spin|hybrid|block",
             12);
}

std::vector<std::string_view> names_of(std::span<const Verb* const> verbs) {
  std::vector<std::string_view> names;
  for (const Verb* verb : verbs) names.push_back(verb->name);
  names.push_back("help");
  return names;
}

}  // namespace

std::string version_text() { return std::string("bus ").append(version()).append(" (").append(build()).append(")\n"); }

std::string overview(std::span<const Verb* const> verbs) {
  std::string text =
      "bus moves messages between processes: over shared memory, sockets or queues, by the address alone.\n"
      "\n"
      "Usage: bus VERB [ARGUMENTS] [OPTIONS]\n"
      "\n";
  for (const Verb* verb : verbs) append_row(text, "  " + std::string(verb->name), verb->summary, 12);
  append_row(text, "  help", "explains a verb: bus help VERB", 12);
  append_transports(text);
  text.append("\nTry (send and recv, echo and ping in two terminals):\n");
  for (const Verb* verb : verbs) {
    if (!verb->examples.empty()) text.append("  ").append(verb->examples.front().command).append("\n");
  }
  text.append(
      "\n"
      "Exit codes: 0 ok, 1 failed, 2 usage or bad address, 3 timed out, 4 no peer or refused, 5 messages lost or\n"
      "damaged or an invalid measurement, 6 slower than before, 130 and 143 ended by SIGINT and SIGTERM, 141 whoever\n"
      "read stdout has gone.\n");
  return text;
}

std::string help_of(const Verb& verb) {
  std::string text("Usage: bus ");
  text.append(verb.name).append(verb.arguments.empty() ? "" : " ").append(verb.arguments).append(" [OPTIONS]\n\n");
  text.append(verb.description);
  text.append("\nOptions:\n");
  append_options(text, verb.options);
  append_options(text, common_options());
  text.append("\nSizes are written 64, 64KiB, 1MiB; durations 50us, 100ms, 5s; counts and rates 250, 10k, 2M.\n");
  text.append("\nExamples:\n");
  for (const Example& example : verb.examples) {
    text.append("  ").append(example.command).append("\n");
    append_row(text, "     ", example.meaning, 5);
  }
  append_transports(text);
  return text;
}

const Verb* find_verb(std::span<const Verb* const> verbs, std::string_view name) noexcept {
  const auto it = std::find_if(verbs.begin(), verbs.end(), [name](const Verb* verb) { return verb->name == name; });
  return it == verbs.end() ? nullptr : *it;
}

std::string unknown_verb(std::span<const Verb* const> verbs, std::string_view name) {
  return unknown_word("verb", name, names_of(verbs)) + "; see bus help";
}

}  // namespace bus::tools
