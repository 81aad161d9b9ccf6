// tools/main.cpp: the bus program: finds the verb in the table, calls it, and turns every failure into one line.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>

#include "bus/core/errc.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/exit_code.hpp"
#include "tools/common/help.hpp"
#include "tools/common/log.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/measure/role.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {
namespace {

Exit print(Signals& signals, const std::string& text) {
  Output out(signals);
  out.write(text);
  out.flush();
  return Exit::ok;
}

Exit run_verb(const Verb& verb, std::span<const char* const> words, Signals& signals) {
  const Arguments arguments(verb, words);
  if (arguments.flag("help")) return print(signals, help_of(verb));
  log::set_up(*arguments.text("log-level"), arguments.text("log-format") == "json");
  return verb.run(arguments, signals);
}

Exit run(std::span<const char* const> words, Signals& signals) {
  if (words.empty()) throw UsageError("a verb is missing: bus VERB ...; see bus help");
  const std::string_view first = words.front();
  if (first == "--version" || first == "-V") return print(signals, version_text());
  if (first == "--help" || first == "-h" || (first == "help" && words.size() == 1)) {
    return print(signals, overview(verbs()));
  }
  const bool explain = first == "help";
  const std::string_view name = explain ? std::string_view(words[1]) : first;
  const Verb* const verb = find_verb(verbs(), name);
  if (verb == nullptr) throw UsageError(unknown_verb(verbs(), name));
  if (explain) return print(signals, help_of(*verb));
  return run_verb(*verb, words.subspan(1), signals);
}

/// Short of descriptors it can be any call that fails, before there is an endpoint that would name itself.
std::string text_of(const std::system_error& error, std::span<const char* const> words) {
  std::string text = error.what();
  if (error.code() != std::errc::too_many_files_open) return text;
  const auto is_address = [](std::string_view word) { return word.find("://") != std::string_view::npos; };
  const auto address = std::find_if(words.begin(), words.end(), is_address);
  if (address == words.end() || text.find(*address) != std::string::npos) return text;
  return describe(words.front(), *address, error.code());
}

Exit guarded_run(std::span<const char* const> words) {
  try {
    Signals signals;
    try {
      return run(words, signals);
    } catch (const OutputStuck&) {
      return signals.exit();  // there was one, and nobody reads what there would be to say
    }
  } catch (const OutputClosed&) {
    return Exit::pipe_closed;  // quietly: whoever read has what it wanted
  } catch (const UsageError& error) {
    log::error(error.what());
    return Exit::usage;
  } catch (const std::system_error& error) {
    log::error(text_of(error, words));
    return exit_of(error.code());
  } catch (const std::bad_alloc&) {
    log::error("out of memory");
    return Exit::failed;
  } catch (const std::exception& error) {
    log::error(error.what());
    return Exit::failed;
  }
}

}  // namespace
}  // namespace bus::tools

/// A closed stdin, stdout or stderr must not become the number of the next descriptor that is opened.
void reserve_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    while (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
      if (::open("/dev/null", O_RDWR) < 0) return;  // takes the lowest number that is free
    }
  }
}

int main(int argc, char** argv) {
  reserve_standard_descriptors();
  const std::span<const char* const> all(argv, static_cast<std::size_t>(argc));
  if (all.size() == 2 && std::string_view(all[1]) == bus::tools::measure::kRoleWord) {
    return bus::tools::measure::role_main();
  }
  return static_cast<int>(bus::tools::guarded_run(all.subspan(argc > 0 ? 1 : 0)));
}
