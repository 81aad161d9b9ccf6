// transports/mq/link.cpp: names, sizes, and the bytes of the control socket.
#include "transports/mq/link.hpp"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "bus/core/fault_point.hpp"
#include "bus/core/os/local_socket.hpp"
#include "bus/core/os/pass_fd.hpp"
#include "bus/core/units.hpp"

namespace bus::mq {
namespace {

constexpr std::size_t kLeastDepth = 2;
constexpr std::size_t kUsualDepth = 16;                      // for messages of up to 1 MiB
constexpr std::size_t kUsualMemory = std::size_t{16} << 20;  // bytes that kUsualDepth may cost
constexpr std::size_t kDefaultMostDepth = 4096;
constexpr std::size_t kShare = 8;                            // a queue takes at most one in so many free bytes
constexpr std::size_t kMostMemory = Options::kMostCapacity;  // bytes of one queue

std::string hex(const Id& id) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : id) text.append({kDigits[byte >> 4], kDigits[byte & 15]});
  return text;
}

}  // namespace

Place::Place(const Address& address) : path(os::socket_path(address.host(), "mq", address.text())) {
  const std::string folder = os::runtime_directory();
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0) throw Error(last_system_error(), describe("stat", folder, last_system_error()));
  // Two runtime directories are two name spaces, and /dev/shm is one: the inode keeps their queues apart.
  std::array<char, 2 * sizeof info.st_ino> inode{};
  const auto end = std::to_chars(inode.data(), inode.data() + inode.size(), info.st_ino, 16).ptr;
  prefix = "ipcbus." + std::to_string(geteuid()) + "." + std::string(inode.data(), end) + "." + address.host() + ".";
}

std::string Place::up(const Id& token) const { return prefix + hex(token) + ".up"; }
std::string Place::down(const Id& token) const { return prefix + hex(token) + ".down"; }

void remove_leftovers(const Place& place) noexcept {
  try {
    for (const std::string& name : find_queues(place.prefix)) remove_queue(name);
  } catch (const std::bad_alloc&) {
    // They wait for the next one who looks.
  }
}

bool sweep(const Place& place) noexcept {
  try {
    // The names first: one that is there now belongs to a listener that lives now, or to a dead one. If no listener
    // lives after that, they are all of the dead. A new listener that comes meanwhile makes other names.
    const std::vector<std::string> names = find_queues(place.prefix);
    os::sweep(place.path);
    struct stat info {};
    if (lstat(place.path.c_str(), &info) == 0 || errno != ENOENT) return false;
    for (const std::string& name : names) remove_queue(name);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool has_ended(::pid_t pid) noexcept {
  // Of another process that has got the number meanwhile, this says that it lives: callers do not wait for it for ever.
  const os::Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended{fd.get(), POLLIN, 0};
  return !fd || poll(&ended, 1, 0) > 0;
}

Wish Wish::from(const Address& address, const Options& options) {
  Wish wish{options.max_message, options.capacity, 0};
  if (const std::string_view asked = options.get("depth", ""); !asked.empty()) {
    wish.depth = static_cast<std::uint32_t>(*parse_size(asked));  // checked by the option's spec
  }
  if (wish.depth > kMostMemory / slot_for(wish.max_message)) {
    throw Error(Errc::bad_address, address.text() + ": " + std::to_string(wish.depth) + " messages of " +
                                       format_size(wish.max_message) + " are more than the " +
                                       format_size(kMostMemory) +
                                       " that a queue may take; give a smaller depth or max_message");
  }
  return wish;
}

std::uint32_t depth_for(const Wish& wish) {
  const std::size_t slot = slot_for(wish.max_message);
  if (wish.depth != 0) {
    if (wish.depth > kMostMemory / slot) throw Error(Errc::no_room, "mq: the peer asks for too large a queue");
    return wish.depth;
  }
  const std::size_t least = std::clamp(kUsualMemory / slot, kLeastDepth, kUsualDepth);
  std::size_t depth = std::clamp<std::size_t>(wish.capacity / slot, least, kDefaultMostDepth);
  // Boost allocates all of it at once. A container's /dev/shm often has 64 MiB for everybody.
  struct statvfs shm {};
  if (statvfs("/dev/shm", &shm) == 0) {
    const std::size_t share = static_cast<std::size_t>(shm.f_bavail) * shm.f_frsize / kShare;
    while (depth > 1 && Queue::memory(depth, slot) > share) depth = (depth + 1) / 2;
  }
  return static_cast<std::uint32_t>(depth);
}

Id random_id() noexcept {
  Id id{};
  // 16 bytes are never cut short, and only a kernel that has just started waits. Source: getrandom(2).
  while (getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
  }
  return id;
}

std::error_code send_frame(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors) noexcept {
  BUS_FAULT_POINT();
  const std::error_code error = os::send_with_fds(socket, bytes, descriptors);
  return error == Errc::would_block ? make_error_code(Errc::no_room) : error;
}

std::error_code read_frame(int socket, std::span<std::byte> frame, std::size_t& have) noexcept {
  while (have < frame.size()) {
    const ssize_t got = recv(socket, frame.data() + have, frame.size() - have, MSG_DONTWAIT);
    if (got == 0) return Errc::peer_died;
    if (got > 0) {
      have += static_cast<std::size_t>(got);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return Errc::would_block;
    } else if (errno == ECONNRESET) {
      return Errc::peer_died;
    } else if (errno != EINTR) {
      return last_system_error();
    }
  }
  return {};
}

}  // namespace bus::mq
