// tools/common/command.hpp: runs a shell command with a message on its stdin.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "bus/client/node.hpp"
#include "tools/common/signals.hpp"

namespace bus::tools {

/// "NAME=VALUE" of a command, beside our own environment and instead of names that are the same.
using Environment = std::vector<std::string>;

/// BUS_SUBJECT, BUS_REPLY if answers are wanted, and BUS_HEADER_key for each header; what a shell cannot name is a '_'
/// in its key.
[[nodiscard]] Environment environment_about(const Delivery& message);

/// Runs `command` by /bin/sh, with `input` as its stdin, and waits for it. A signal that ends us (Signals) is passed on
/// to it as SIGTERM. Its stdout is ours, or our stderr with `to_stderr`.
/// Returns its exit status as a shell gives it: the code, or 128 + the signal. Throws Error when it cannot be run.
[[nodiscard]] int run_command(const std::string& command, std::span<const std::byte> input, bool to_stderr,
                              Signals& signals, const Environment& environment = {});

struct Filtered {
  int status = 0;
  std::vector<std::byte> output;
};
/// The same, and gives what it wrote to its stdout until it ended.
[[nodiscard]] Filtered filter_command(const std::string& command, std::span<const std::byte> input, Signals& signals,
                                      const Environment& environment = {});

}  // namespace bus::tools
