// bus/core/os/local_socket.hpp: Unix domain stream sockets with a name in the file system, done safely.
//
// A name NAME is the socket DIRECTORY/NAME.KIND in the runtime directory; an explicit path is a socket anywhere. Beside
// it stands a lock file, the socket's path with ".ipcbus-lock" behind it. The listener holds an open-file-description
// lock on that for as long as it lives; the kernel drops it when the process dies. So: lock held = alive, never stolen;
// lock free and connections refused = stale, removed by whoever comes next: a new listener, a client that is refused,
// or a peer that sees the listener die (sweep()).
// What is not ours is never touched: a lock file is ours if it is a regular file of our user, open to nobody else,
// that is empty or holds a pid (for error messages); a socket at which somebody answers belongs to him, lock or not.
// The directory is $XDG_RUNTIME_DIR/ipcbus, else /run/user/UID/ipcbus, else /tmp/ipcbus-UID: made 0700, and
// refused unless it is a directory of ours that nobody else may write. No abstract sockets.
#pragma once

#include <sys/types.h>
#include <optional>
#include <string>
#include <string_view>

#include "bus/core/os/fd.hpp"
#include "bus/core/os/fork.hpp"
#include "bus/core/result.hpp"

namespace bus::os {

/// The checked runtime directory, made if needed. Throws Error(permission_denied) that says what is wrong with it.
[[nodiscard]] std::string runtime_directory();

/// The socket's path for a bare name. Throws Error(bad_address) for a name with other characters than
/// letters, digits, '.', '_', '-', or too long for a socket (the text has both lengths).
[[nodiscard]] std::string socket_path(std::string_view name, std::string_view kind, std::string_view address);
/// Checks the length of an explicit path. Throws Error(bad_address).
void check_socket_path(const std::string& path, std::string_view address);

/// Behind a socket's path: its lock file. Long, because sockets with a path of the user's stand among his files.
inline constexpr std::string_view kLockSuffix = ".ipcbus-lock";

/// A listening socket with its lock. Removes both files when destroyed (in the process that made it).
class LocalListener {
 public:
  /// Throws Error: address_in_use (names the pid, or what stands there that is not ours), permission_denied, or the
  /// system's.
  LocalListener(std::string path, std::string_view address);
  ~LocalListener();
  LocalListener(const LocalListener&) = delete;
  LocalListener& operator=(const LocalListener&) = delete;

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }  // non-blocking
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  Fd lock_, socket_;
  std::optional<Lifeline> lock_line_, socket_line_;  // a forked child must not hold the lock for its dead parent
  ::pid_t owner_;
  ::dev_t device_ = 0;  // of the socket's file, as we made it
  ::ino_t inode_ = 0;
};

/// A connected non-blocking socket. Errors: no_peer (no socket, or a stale one: it is swept), permission_denied,
/// would_block (the listener's queue is full: try again), not_a_socket (it is left alone), or the system's.
[[nodiscard]] Result<Fd> connect_local(const std::string& path) noexcept;

/// Removes the socket and its lock file if their owner is dead. Cheap; never harms a living listener.
void sweep(const std::string& path) noexcept;

/// The same for somebody who has just seen the owner die: the kernel may report that a moment before it frees the
/// lock, so this tries again for up to 20 ms while the lock is held.
void sweep_after_death(const std::string& path) noexcept;

struct Credentials {
  ::pid_t pid;
  ::uid_t uid;
  ::gid_t gid;
};
/// Who is at the other end, as of connect (SO_PEERCRED).
[[nodiscard]] std::optional<Credentials> peer_credentials(int fd) noexcept;
/// Our own user, or root.
[[nodiscard]] bool is_trusted(::uid_t uid) noexcept;

}  // namespace bus::os
