// bus/core/os/local_socket.cpp: locks before sockets.
#include "bus/core/os/local_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "bus/core/deadline.hpp"
#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"
#include "bus/core/wait.hpp"

namespace bus::os {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLongestPath = sizeof(sockaddr_un::sun_path) - 1;  // 107; source: unix(7)
constexpr auto kLockPatience = 200ms;                                    // a sweep holds the lock for microseconds

[[noreturn]] void fail(std::string_view what, std::string_view address, std::error_code code, std::string_view why) {
  std::string text(what);
  if (!address.empty()) text.append(" ").append(address);
  throw Error(code, text.append(": ").append(why));
}

[[noreturn]] void fail_system(std::string_view what, std::string_view address, const std::string& path) {
  const std::error_code system = last_system_error();
  const bool forbidden = system == std::errc::permission_denied || system == std::errc::operation_not_permitted;
  const std::error_code code = forbidden ? make_error_code(Errc::permission_denied) : system;
  if (system == std::errc::no_such_file_or_directory) {
    fail(what, address, code, "there is no folder " + path.substr(0, path.rfind('/')) + "; create it");
  }
  fail(what, address, code, path + ": " + system.message());
}

/// Makes `path` a private directory of ours, or says why it is not. False if it cannot be made there at all.
bool private_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return false;
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return false;
  const char* wrong = nullptr;
  if (!S_ISDIR(info.st_mode))
    wrong = "is no directory (a symbolic link is refused, too)";
  else if (info.st_uid != geteuid())
    wrong = "belongs to another user";
  else if ((info.st_mode & 077) != 0)
    wrong = "is open to other users; chmod it to 0700";
  if (wrong != nullptr) fail("runtime directory", path, Errc::permission_denied, wrong);
  return true;
}

sockaddr_un socket_address(const std::string& path) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), kLongestPath));
  return address;
}

std::string lock_path(const std::string& path) { return path + std::string(kLockSuffix); }

bool lock_whole(int fd) noexcept {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/// The lock is of use only while the name still leads to the file that is locked.
bool is_file_at(int fd, const std::string& path) noexcept {
  struct stat mine {
  }, there{};
  return fstat(fd, &mine) == 0 && lstat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
         mine.st_dev == there.st_dev;
}

Fd open_lock(const std::string& path, bool create) noexcept {
  return Fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600));
}

/// Whether an open file beside a socket is a lock as we make them: a regular file of ours that nobody else may open,
/// empty (its maker died before it wrote) or with a pid and a newline. Any other is a stranger's, whatever its name.
bool is_our_lock(int fd) noexcept {
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077) != 0 ||
      info.st_nlink > 1) {
    return false;
  }
  std::array<char, 16> text{};
  const ssize_t size = pread(fd, text.data(), text.size(), 0);
  if (size == 0) return true;
  if (size < 2 || static_cast<std::size_t>(size) == text.size() || text[static_cast<std::size_t>(size) - 1] != '\n') {
    return false;
  }
  return std::all_of(text.data(), text.data() + size - 1, [](char c) { return c >= '0' && c <= '9'; });
}

/// Whether nobody is behind a socket any more: the kernel refuses the connection. Whatever else it says, somebody may
/// be.
bool is_dead(const std::string& path) noexcept {
  const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un name = socket_address(path);
  return probe && connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 &&
         (errno == ECONNREFUSED || errno == ENOENT);
}

/// The same, patiently: of one who is just dying the kernel may free the lock a moment before it closes the socket.
bool becomes_dead(const std::string& path) noexcept {
  std::chrono::nanoseconds next = 1ms;
  for (const Deadline patience = in(kLockPatience); !is_dead(path); next *= 2) {
    if (Clock::now() >= patience) return false;
    WaitSet pause;
    pause.at_most(next);
    pause.sleep(patience);
  }
  return true;
}

/// Who wrote the lock file, 0 if nobody has.
::pid_t owner_of(int lock) {
  std::array<char, 16> digits{};
  const ssize_t size = pread(lock, digits.data(), digits.size() - 1, 0);
  ::pid_t pid = 0;
  if (size > 0) std::from_chars(digits.data(), digits.data() + size, pid);
  return pid;
}

bool lives(::pid_t pid) { return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM); }

std::string owner_text(int lock) {
  const ::pid_t pid = owner_of(lock);
  return pid > 0 ? "in use by process " + std::to_string(pid) : "in use by another process";
}

}  // namespace

std::string runtime_directory() {
  if (const char* base = std::getenv("XDG_RUNTIME_DIR"); base != nullptr && base[0] == '/') {
    std::string path = std::string(base) + "/ipcbus";
    if (private_directory(path)) return path;
    fail_system("runtime directory (XDG_RUNTIME_DIR)", "", path);
  }
  const std::string uid = std::to_string(geteuid());
  if (std::string path = "/run/user/" + uid + "/ipcbus"; private_directory(path)) return path;
  std::string path = "/tmp/ipcbus-" + uid;
  if (private_directory(path)) return path;
  fail_system("runtime directory", "", path);
}

void check_socket_path(const std::string& path, std::string_view address) {
  if (path.size() <= kLongestPath) return;
  fail("address", address, Errc::bad_address,
       "the socket's path has " + std::to_string(path.size()) + " characters, and at most " +
           std::to_string(kLongestPath) + " are possible: " + path + "; choose a shorter name");
}

std::string socket_path(std::string_view name, std::string_view kind, std::string_view address) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (name.empty() || name.front() == '.' || !std::all_of(name.begin(), name.end(), allowed)) {
    fail("address", address, Errc::bad_address,
         "a name has letters, digits, '.', '_' and '-', and does not begin with '.'");
  }
  std::string path = runtime_directory();
  path.append("/").append(name).append(".").append(kind);
  check_socket_path(path, address);
  return path;
}

LocalListener::LocalListener(std::string path, std::string_view address) : path_(std::move(path)), owner_(getpid()) {
  const std::string lock = lock_path(path_);
  // A sweep or a failing start may hold the lock for an instant: only one that stays held is an owner.
  for (const Deadline patience = in(kLockPatience);;) {
    BUS_FAULT_POINT();
    lock_ = open_lock(lock, true);
    // ELOOP: a symbolic link, ENXIO: a socket, EISDIR: a directory
    const bool strange = lock_ ? !is_our_lock(lock_.get()) : errno == ELOOP || errno == ENXIO || errno == EISDIR;
    if (strange) {
      fail("listen", address, Errc::address_in_use,
           lock + " is there and is no lock file of ours; it is left alone: choose another name or remove it");
    }
    if (!lock_) fail_system("listen", address, lock);
    const bool locked = lock_whole(lock_.get());
    if (locked && is_file_at(lock_.get(), lock)) break;
    // Whoever sweeps writes nothing: then it is the pid of somebody dead that stands there.
    if (!locked && (lives(owner_of(lock_.get())) || Clock::now() >= patience)) {
      fail("listen", address, Errc::address_in_use, owner_text(lock_.get()) + "; choose another name or stop it");
    }
    WaitSet pause;
    pause.at_most(1ms);
    pause.sleep(patience);
  }
  lock_line_.emplace(lock_.get());
  const std::string pid = std::to_string(owner_) + "\n";
  BUS_FAULT_POINT();
  if (ftruncate(lock_.get(), 0) != 0 || pwrite(lock_.get(), pid.data(), pid.size(), 0) < 0) {
    fail_system("listen", address, lock);
  }
  // We hold the lock: a socket that is there belongs to the dead, or to somebody who knows nothing of our locks. Only a
  // dead socket is ours to remove.
  struct stat info {};
  if (lstat(path_.c_str(), &info) == 0) {
    const char* const taken = !S_ISSOCK(info.st_mode) ? " is there and is no socket; it is left alone"
                              : !becomes_dead(path_)  ? " is in use by another program's socket; it is left alone"
                                                      : nullptr;
    if (taken != nullptr) {
      unlink(lock.c_str());
      fail("listen", address, Errc::address_in_use, path_ + taken);
    }
    BUS_FAULT_POINT();
    unlink(path_.c_str());
  }
  BUS_FAULT_POINT();
  socket_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un name = socket_address(path_);
  // The mode of the socket follows the descriptor's; the directory is the real boundary. Source: unix(7).
  if (!socket_ || fchmod(socket_.get(), 0600) != 0 ||
      bind(socket_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    const int saved = errno;
    unlink(lock.c_str());
    errno = saved;
    fail_system("listen", address, path_);
  }
  BUS_FAULT_POINT();
  if (lstat(path_.c_str(), &info) != 0 || chmod(path_.c_str(), 0600) != 0 || ::listen(socket_.get(), SOMAXCONN) != 0) {
    const int saved = errno;
    unlink(path_.c_str());
    unlink(lock.c_str());
    errno = saved;
    fail_system("listen", address, path_);
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
  socket_line_.emplace(socket_.get());
}

LocalListener::~LocalListener() {
  if (getpid() != owner_) return;  // a forked child's copy: the files are its parent's
  // What somebody has put in the place of our files is his.
  struct stat info {};
  BUS_FAULT_POINT();
  if (lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) unlink(path_.c_str());
  BUS_FAULT_POINT();
  const std::string lock = lock_path(path_);
  if (is_file_at(lock_.get(), lock)) unlink(lock.c_str());
}

Result<Fd> connect_local(const std::string& path) noexcept {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return last_system_error();
  const sockaddr_un name = socket_address(path);
  BUS_FAULT_POINT();
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0) return fd;
  switch (errno) {
    case ENOENT:
      return Errc::no_peer;
    case ECONNREFUSED:
      if (struct stat info{}; stat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
        return std::make_error_code(std::errc::not_a_socket);
      }
      sweep(path);
      return Errc::no_peer;
    case EAGAIN:
      return Errc::would_block;
    case EACCES:
    case EPERM:
      return Errc::permission_denied;
    default:
      return last_system_error();
  }
}

namespace {

/// False while somebody holds the lock, or has the socket.
bool try_sweep(const std::string& path) noexcept {
  try {
    const std::string lock = lock_path(path);
    const Fd fd = open_lock(lock, false);
    if (!fd || !is_our_lock(fd.get())) return true;
    if (!lock_whole(fd.get())) return false;
    if (!is_file_at(fd.get(), lock)) return true;
    struct stat info {};
    if (lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      if (!is_dead(path)) return false;
      unlink(path.c_str());
    }
    unlink(lock.c_str());
  } catch (const std::bad_alloc&) {
    // Nothing was touched; the next one sweeps.
  }
  return true;
}

}  // namespace

void sweep(const std::string& path) noexcept { static_cast<void>(try_sweep(path)); }

void sweep_after_death(const std::string& path) noexcept {
  for (const Deadline patience = in(20ms); !try_sweep(path) && Clock::now() < patience;) {
    WaitSet pause;
    pause.at_most(500us);
    pause.sleep(patience);
  }
}

std::optional<Credentials> peer_credentials(int fd) noexcept {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {};
  return Credentials{credentials.pid, credentials.uid, credentials.gid};
}

bool is_trusted(::uid_t uid) noexcept { return uid == geteuid() || uid == 0; }

}  // namespace bus::os
