// tools/measure/doctor_places.cpp: the checks on the places where names stand, and on what the dead left there.
//
// They look and touch nothing: the runtime directory is not made, a lock is asked about (F_OFD_GETLK) and not taken, no
// socket is connected to. Who lives is told by locks alone: bus/core/os/local_socket.hpp, transports/mq/link.hpp.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <set>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/local_socket.hpp"
#include "tools/common/lock_state.hpp"
#include "tools/measure/doctor_checks.hpp"

namespace bus::tools::measure {
namespace {

using namespace std::chrono_literals;

struct Place {
  std::string path;           // where local names stand, or would
  std::string base;           // the folder that it is in
  bool is_asked_for = false;  // by XDG_RUNTIME_DIR
};

/// As os::runtime_directory() chooses, which would make it.
Place runtime_place(const Examination& e) {
  if (e.machine.runtime_base.starts_with("/")) {
    return {e.machine.runtime_base + "/ipcbus", e.machine.runtime_base, true};
  }
  const std::string uid = std::to_string(e.machine.uid);
  if (e.files.has("/run/user/" + uid)) return {"/run/user/" + uid + "/ipcbus", "/run/user/" + uid, false};
  return {"/tmp/ipcbus-" + uid, "/tmp", false};
}

std::string octal(mode_t mode) {
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "%04o", static_cast<unsigned>(mode & 07777));
  return text.data();
}

void dev_shm(Examination& e) {
  const auto& room = e.machine.dev_shm;
  constexpr std::uint64_t kLeast = 128 * kMiB;
  if (!room) {
    e.add(Severity::problem, "there is no /dev/shm",
          "mq has its queues there: no mq channel can be opened. shm does not need it",
          e.as_root("mkdir -p /dev/shm") + " && " + e.as_root("mount -t tmpfs -o mode=1777 tmpfs /dev/shm"));
    return;
  }
  struct stat info {};
  const bool known = ::stat(e.files.real("/dev/shm").c_str(), &info) == 0;
  if (!room->writable) {
    e.add(Severity::problem,
          "/dev/shm cannot be written to" + (known ? " (mode " + octal(info.st_mode) + ")" : std::string()),
          "mq has its queues there: no mq channel can be opened. shm does not need it",
          e.as_root("mount -o remount,rw,mode=1777 /dev/shm"));
    return;
  }
  if (known && (info.st_mode & S_IWOTH) != 0 && (info.st_mode & S_ISVTX) == 0) {
    e.add(Severity::warning, "/dev/shm has the mode " + octal(info.st_mode) + ", without the sticky bit",
          "anybody can remove the queues of others while channels are opened", e.as_root("chmod 1777 /dev/shm"));
    return;
  }
  const std::string text = short_size(room->free) + " of " + short_size(room->total);
  if (room->free >= kLeast) {
    e.ok("/dev/shm has " + text + " free");
    return;
  }
  const bool is_docker = container_of(e.files) == "docker";
  e.add(Severity::warning, "/dev/shm has only " + text + " free",
        "an mq channel wants 32 MiB there with the usual max_message, and takes queues of fewer messages when there is "
        "less",
        is_docker ? "docker run --shm-size=1g ..." : e.as_root("mount -o remount,size=1g /dev/shm"));
}

void runtime_directory(Examination& e) {
  const Place place = runtime_place(e);
  const std::string name = quoted(place.path);
  const std::string why =
      "shm, unix and mq have their sockets there, and refuse it as it is: whoever could write there could "
      "take their names";
  struct stat base {
  }, info{};
  if (::stat(e.files.real(place.base).c_str(), &base) != 0 || !S_ISDIR(base.st_mode)) {
    e.add(
        Severity::problem, place.base + ", which XDG_RUNTIME_DIR names, is no folder",
        "shm, unix and mq cannot have their sockets there: they fail with permission_denied or an error of the system",
        place.is_asked_for ? "unset XDG_RUNTIME_DIR" : "");
    return;
  }
  if (::lstat(e.files.real(place.path).c_str(), &info) != 0) {
    const bool may = e.machine.uid == 0 || ((base.st_mode & S_IWUSR) != 0 && base.st_uid == e.machine.uid) ||
                     (base.st_mode & S_IWOTH) != 0;
    if (!may) {
      e.add(Severity::problem,
            place.path + " is not there and cannot be made: " + place.base + " belongs to another user",
            "shm, unix and mq need it for their sockets", "unset XDG_RUNTIME_DIR");
      return;
    }
  } else if (!S_ISDIR(info.st_mode)) {
    e.add(Severity::problem, place.path + " is no folder" + (S_ISLNK(info.st_mode) ? " but a symbolic link" : ""), why,
          "mv " + name + " " + quoted(place.path + ".aside"));
    return;
  } else if (info.st_uid != e.machine.uid) {
    e.add(Severity::problem, place.path + " belongs to the user " + std::to_string(info.st_uid), why,
          place.is_asked_for ? "unset XDG_RUNTIME_DIR" : e.as_root("mv " + name + " " + quoted(place.path + ".aside")));
    return;
  } else if ((info.st_mode & 077) != 0) {
    e.add(Severity::problem, place.path + " is open to other users (mode " + octal(info.st_mode) + ")", why,
          "chmod 700 " + name);
    return;
  }
  // A path in sockaddr_un is short (unix(7)); NAME.unix has to fit behind the folder.
  constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1, kEnding = 5, kFew = 24;
  const std::size_t used = place.path.size() + 1 + kEnding;
  const std::size_t left = used < kLongest ? kLongest - used : 0;
  if (left < kFew) {
    e.add(left < 8 ? Severity::problem : Severity::warning,
          place.path + " is so long that names may have " + std::to_string(left) + " characters",
          "the path of a socket has at most " + std::to_string(kLongest) + " characters: longer names are refused",
          "export XDG_RUNTIME_DIR=/run/user/$(id -u)");
    return;
  }
  if (place.base == "/tmp") {
    e.add(Severity::note, "local names stand in " + place.path,
          "XDG_RUNTIME_DIR is not set. Programs that have it set look elsewhere and find no peer; and some systems "
          "clean /tmp "
          "while sockets in it are in use",
          "");
    return;
  }
  e.ok("local names stand in " + place.path);
}

constexpr std::string_view kLock = os::kLockSuffix;

/// Sockets and locks in the runtime directory whose owner is dead.
void find_stale_names(const Examination& e, const std::string& folder, std::vector<std::string>& stale) {
  const std::vector<std::string> names = e.files.names(folder);
  const std::set<std::string> all(names.begin(), names.end());
  // Sockets that are bound in this network name space: the last word of a line. Source: proc(5), /proc/net/unix.
  const std::string bound = e.files.text("/proc/net/unix").value_or("");
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    struct stat info {};
    if (::lstat(e.files.real(path).c_str(), &info) != 0) continue;
    if (name.ends_with(kLock) && S_ISREG(info.st_mode)) {
      if (stays_held(e.files.real(path)) != false) continue;
      const std::string socket = name.substr(0, name.size() - kLock.size());
      if (all.contains(socket)) stale.push_back(folder + "/" + socket);
      stale.push_back(path);
    } else if (S_ISSOCK(info.st_mode) && !all.contains(name + std::string(kLock))) {
      // Ours always have a lock. Without one it may be a living socket of another name space: looked at with care.
      if (!bound.empty() && !e.files.has(path + std::string(kLock)) && bound.find(path) == std::string::npos) {
        stale.push_back(path);
      }
    }
  }
}

/// Queues in /dev/shm that nobody is going to open: "ipcbus.UID.INODE.NAME.TOKEN.up".
void find_stale_queues(const Examination& e, const std::string& folder, const std::vector<std::string>& queues,
                       std::vector<std::string>& stale) {
  constexpr std::size_t kToken = 32;
  struct stat info {};
  std::array<char, 2 * sizeof info.st_ino + 1> inode{};
  if (::stat(e.files.real(folder).c_str(), &info) == 0) {
    std::to_chars(inode.data(), inode.data() + inode.size() - 1, info.st_ino, 16);
  }
  const std::string ours = "ipcbus." + std::to_string(e.machine.uid) + ".";
  for (const std::string& queue : queues) {
    if (!queue.starts_with(ours)) continue;
    const std::string_view ending = queue.ends_with(".up") ? ".up" : queue.ends_with(".down") ? ".down" : "";
    const std::size_t dot = queue.find('.', ours.size());
    if (ending.empty() || dot == std::string::npos || queue.size() < dot + 1 + 1 + 1 + kToken + ending.size()) continue;
    const std::string name = queue.substr(dot + 1, queue.size() - ending.size() - kToken - 1 - (dot + 1));
    const std::string path = "/dev/shm/" + queue;
    if (queue.substr(ours.size(), dot - ours.size()) == inode.data()) {
      // The names were read before this: one that a listener has made since is not among them.
      const std::string lock = e.files.real(folder + "/" + name + ".mq" + std::string(kLock));
      if (stays_held(lock) == true || !e.files.has(path)) continue;
      stale.push_back(path);
    } else {
      // Of another runtime directory, whose locks are not known. A channel is set up in milliseconds, and its names go.
      struct stat age {};
      if (::stat(e.files.real(path).c_str(), &age) != 0) continue;
      const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
      if (now - age.st_mtime > 60) stale.push_back(path);
    }
  }
}

void leftovers(Examination& e) {
  const std::string folder = runtime_place(e).path;
  const std::vector<std::string> queues = e.files.names("/dev/shm");  // before any lock is looked at
  std::vector<std::string> stale;
  struct stat info {};
  if (::lstat(e.files.real(folder).c_str(), &info) == 0 && (!S_ISDIR(info.st_mode) || info.st_uid != e.machine.uid)) {
    e.ok("the runtime directory is not ours: nothing in it is looked at");
    return;
  }
  find_stale_names(e, folder, stale);
  find_stale_queues(e, folder, queues, stale);
  if (stale.empty()) {
    e.ok("no leftovers of dead programs");
    return;
  }
  std::string remove = "rm -f --", shown;
  for (const std::string& path : stale) remove.append(" ").append(quoted(path));
  for (std::size_t i = 0; i < stale.size() && i < 4; ++i) {
    shown.append(i > 0 ? ", " : "").append(stale[i].substr(stale[i].rfind('/') + 1));
  }
  if (stale.size() > 4) shown.append(", and " + std::to_string(stale.size() - 4) + " more");
  e.add(Severity::note,
        std::to_string(stale.size()) + (stale.size() == 1 ? " file" : " files") + " of dead programs: " + shown,
        "harmless: whoever listens or connects there next removes them. Queues keep their memory until then", remove);
}

}  // namespace

std::span<const Check> place_checks() noexcept {
  static constexpr std::array<Check, 3> kChecks{{
      {"dev-shm", dev_shm},
      {"runtime-directory", runtime_directory},
      {"leftovers", leftovers},
  }};
  return kChecks;
}

}  // namespace bus::tools::measure
