// transports/tcp/port_owner.cpp: which process listens on a port. For error texts only: best effort.
//
// /proc/net/tcp and tcp6 have the inode of each listening socket, /proc/PID/fd the inodes that a process has open;
// those of other users are not shown to us. Source: proc(5).
#include <dirent.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <system_error>

#include "transports/tcp/endpoint.hpp"

namespace bus::tcp {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kListening = "0A";  // TCP_LISTEN, as the file prints it

std::set<std::string> listening_inodes(std::uint16_t port) {
  std::array<char, 8> wanted{};
  std::snprintf(wanted.data(), wanted.size(), ":%04X", static_cast<unsigned>(port));
  std::set<std::string> inodes;
  for (const char* file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);  // the heading
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
      if (state == kListening && local.ends_with(wanted.data())) inodes.insert("socket:[" + inode + "]");
    }
  }
  return inodes;
}

bool has_open(const fs::path& process, const std::set<std::string>& inodes) {
  std::error_code ignored;  // the process is another user's, or gone: it is passed over
  fs::directory_iterator fd(process / "fd", ignored);
  for (; fd != fs::directory_iterator(); fd.increment(ignored)) {
    std::error_code unreadable;
    if (inodes.contains(fs::read_symlink(fd->path(), unreadable).string())) return true;
    if (ignored) return false;
  }
  return false;
}

}  // namespace

::pid_t listener_on(const Endpoint& endpoint) noexcept {
  try {
    const auto inodes = listening_inodes(endpoint.port());
    if (inodes.empty()) return 0;
    std::error_code ignored;
    for (fs::directory_iterator it("/proc", ignored); it != fs::directory_iterator(); it.increment(ignored)) {
      const std::string name = it->path().filename().string();
      ::pid_t pid = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
      if (error == std::errc{} && end == name.data() + name.size() && has_open(it->path(), inodes)) return pid;
      if (ignored) break;
    }
  } catch (const std::exception&) {
    // out of memory, or /proc is not as we know it: nobody is named
  }
  return 0;
}

}  // namespace bus::tcp
