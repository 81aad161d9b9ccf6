// tools/verbs/list.cpp: bus list: who listens on this machine, and what dead ones left behind.
#include <dirent.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bus/core/os/local_socket.hpp"
#include "tools/common/arguments.hpp"
#include "tools/common/json.hpp"
#include "tools/common/lock_state.hpp"
#include "tools/common/log.hpp"
#include "tools/common/output.hpp"
#include "tools/common/terminal_text.hpp"
#include "tools/measure/table.hpp"
#include "tools/verbs/all.hpp"

namespace bus::tools {

namespace {

constexpr std::string_view kLock = os::kLockSuffix;

struct Endpoint {
  std::string address, path;
  std::string state;      // alive, stale, or unknown: its lock cannot be looked at
  std::uint64_t pid = 0;  // 0: not known
  std::string process;    // what the kernel calls it
};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const auto close = [](DIR* open) { ::closedir(open); };
  const std::unique_ptr<DIR, decltype(close)> directory(::opendir(folder.c_str()), close);
  if (!directory) return names;
  while (const dirent* const entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  std::sort(names.begin(), names.end());
  return names;
}

/// A local name is NAME.KIND, and beside it NAME.KIND.lock with the owner's pid, which he holds while he lives.
std::vector<Endpoint> endpoints_in(const std::string& folder) {
  std::vector<Endpoint> endpoints;
  for (const std::string& file : names_in(folder)) {
    if (!file.ends_with(kLock)) continue;
    const std::string socket = file.substr(0, file.size() - kLock.size());
    const std::size_t dot = socket.rfind('.');
    if (dot == std::string::npos || dot == 0) continue;
    Endpoint endpoint;
    std::string scheme = socket.substr(dot + 1);
    if (scheme == "sock") scheme = "unix";  // the kind that transports/unix gives its names
    endpoint.address = scheme + "://" + socket.substr(0, dot);
    endpoint.path = folder + "/" + socket;
    const auto held = stays_held(folder + "/" + file);
    endpoint.state = !held ? "unknown" : *held ? "alive" : "stale";
    const std::string pid = first_line(folder + "/" + file);
    std::from_chars(pid.data(), pid.data() + pid.size(), endpoint.pid);
    if (held == true && endpoint.pid != 0) {
      endpoint.process = harmless(first_line("/proc/" + std::to_string(endpoint.pid) + "/comm"));
    }
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

Exit run_list(const Arguments& arguments, Signals& signals) {
  const std::string folder = os::runtime_directory();
  const std::vector<Endpoint> endpoints = endpoints_in(folder);
  const auto stale = static_cast<std::uint64_t>(
      std::count_if(endpoints.begin(), endpoints.end(), [](const Endpoint& e) { return e.state == "stale"; }));
  Output output(signals);
  const auto write = [&output](const Json& object) { output.write(json_line(object)); };
  if (arguments.flag("json")) {
    for (const Endpoint& one : endpoints) {
      Json object{{"type", "endpoint"}, {"address", one.address}, {"state", one.state}, {"path", one.path}};
      if (one.pid != 0) object["pid"] = one.pid;
      if (!one.process.empty()) object["process"] = one.process;
      write(object);
    }
    write({{"type", "summary"}, {"directory", folder}, {"endpoints", endpoints.size()}, {"stale", stale}});
  } else if (!endpoints.empty()) {
    measure::Table table({{"address", false}, {"state", false}, {"pid"}, {"process", false}});
    for (const Endpoint& one : endpoints) {
      table.add({{harmless(one.address)},
                 {one.state},
                 {one.pid == 0 ? std::string() : std::to_string(one.pid)},
                 {one.process}});
    }
    winsize size{};
    const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    output.write(table.text(known ? size.ws_col : 120, false));
  }
  output.flush();
  if (endpoints.empty()) log::info("nobody listens on a local name in " + folder);
  if (stale > 0) {
    log::info(counted(stale, "name") +
              " of dead processes: the next listener of the same name takes its place; bus doctor "
              "says how to remove them");
  }
  return Exit::ok;
}

}  // namespace

const Verb& list_verb() noexcept {
  static constexpr std::array<Example, 2> kExamples{{
      {"bus list", "addresses, whether somebody is there, and his pid"},
      {"bus list --json | jq -r 'select(.state == \"alive\") | .address'", "the living ones, for a script"},
  }};
  static constexpr Verb kVerb{
      "list",
      "lists who listens on local names of this machine",
      "",
      0,
      0,
      "Lists the local names (shm, unix, mq) in the runtime directory of this user: their addresses, whether their\n"
      "owner lives (he holds a lock of the kernel), and his pid. Brokers show up as other listeners do. What listens\n"
      "on tcp and udp is the kernel's to tell: ss -lntup.\n",
      {},
      kExamples,
      run_list,
  };
  return kVerb;
}

}  // namespace bus::tools
