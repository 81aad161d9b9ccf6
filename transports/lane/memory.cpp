// transports/lane/memory.cpp: memfd_create, seals, mapping.
#include "transports/lane/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>

#include "bus/core/errc.hpp"
#include "bus/core/fault_point.hpp"

namespace bus::lane {
namespace {

namespace ip = boost::interprocess;

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;
// Since Linux 5.1: no new writable mapping, no write(); the maker's own mapping stays. Source: fcntl(2).
constexpr int kAllSeals = kSizeSeals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

/// What Boost.Interprocess maps: a descriptor.
struct Mappable {
  int fd;
  [[nodiscard]] ip::mapping_handle_t get_mapping_handle() const noexcept { return {fd, false}; }
};

[[noreturn]] void out_of_memory(std::size_t size, std::string_view what) {
  const std::error_code cause = last_system_error();
  throw Error(Errc::no_room, "shared memory of " + std::to_string(size) + " bytes: " + std::string(what) + ": " +
                                 cause.message() + "; lower capacity, or free memory or descriptors");
}

os::Fd make_memfd(std::size_t size) {
  BUS_FAULT_POINT();
  os::Fd fd(memfd_create("ipcbus", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) out_of_memory(size, "memfd_create");
  const auto length = static_cast<off_t>(size);
  // posix_fallocate would write pages by hand where the file system cannot allocate; fallocate fails instead.
  while (ftruncate(fd.get(), length) != 0 || fallocate(fd.get(), 0, 0, length) != 0) {
    if (errno != EINTR) out_of_memory(size, "fallocate");
  }
  return fd;
}

void seal(int fd, std::size_t size) {
  if (fcntl(fd, F_ADD_SEALS, kAllSeals) != 0) out_of_memory(size, "sealing");
}

/// Refuses what a peer passed unless it is memory of that size which can neither shrink nor has holes.
void check_memfd(int fd, std::size_t size) {
  constexpr std::size_t kStatBlock = 512;  // the unit of st_blocks; source: stat(3type)
  struct stat info {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || seals < 0 || (seals & kSizeSeals) != kSizeSeals ||
      info.st_size < 0 || static_cast<std::size_t>(info.st_size) != size ||
      static_cast<std::size_t>(info.st_blocks) * kStatBlock < size) {
    throw Error(Errc::corrupt, "the peer passed memory that is not sealed, not allocated or not of the agreed size");
  }
}

ip::mode_t mode(Access access) noexcept { return access == Access::read_write ? ip::read_write : ip::read_only; }

ip::mapped_region map_region(int fd, std::size_t size, Access access, void* address, int flags) {
  try {
    return {Mappable{fd}, mode(access), 0, size, address, flags};
  } catch (const ip::interprocess_exception& e) {
    errno = e.get_native_error();
    out_of_memory(size, "mmap");
  }
}

}  // namespace

Page Page::make() {
  Page page;
  page.memfd_ = make_memfd(kPageBytes);
  page.region_ = map_region(page.memfd_.get(), kPageBytes, Access::read_write, nullptr, MAP_POPULATE);
  seal(page.memfd_.get(), kPageBytes);
  page.status().version.store(kVersion, std::memory_order_relaxed);
  page.status().magic.store(kMagic, std::memory_order_release);
  return page;
}

Page Page::map(int memfd) {
  check_memfd(memfd, kPageBytes);
  Page page;
  page.region_ = map_region(memfd, kPageBytes, Access::read_only, nullptr, MAP_POPULATE);
  if (page.status().magic.load(std::memory_order_acquire) != kMagic) {
    throw Error(Errc::corrupt, "the peer's status page has no magic number");
  }
  if (const auto version = page.status().version.load(std::memory_order_relaxed); version != kVersion) {
    throw Error(Errc::version_mismatch,
                "memory layout: have " + std::to_string(kVersion) + ", peer " + std::to_string(version));
  }
  return page;
}

Ring::Ring(int memfd, std::size_t capacity, Access access) {
  // Reserve room for both, then put the mappings over it.
  void* const reserved = mmap(nullptr, 2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) out_of_memory(capacity, "mmap");
  base_ = static_cast<std::byte*>(reserved);
  try {
    first_ = map_region(memfd, capacity, access, base_, MAP_FIXED | MAP_POPULATE);
    second_ = map_region(memfd, capacity, access, base_ + capacity, MAP_FIXED | MAP_POPULATE);
  } catch (...) {
    // Nothing but this object's own mappings lies there: they are gone or go with it.
    if (first_.get_address() == nullptr) munmap(base_, capacity);
    munmap(base_ + capacity, capacity);
    throw;
  }
}

Ring Ring::make(std::size_t capacity) {
  os::Fd memfd = make_memfd(capacity);
  Ring ring(memfd.get(), capacity, Access::read_write);
  seal(memfd.get(), capacity);
  ring.memfd_ = std::move(memfd);
  return ring;
}

Ring Ring::map(int memfd, std::size_t capacity) {
  if (capacity < kPageBytes || !std::has_single_bit(capacity)) {
    throw Error(Errc::corrupt, "the peer's ring has an impossible size");
  }
  check_memfd(memfd, capacity);
  return {memfd, capacity, Access::read_only};
}

std::size_t ring_capacity(std::size_t wish) noexcept { return std::bit_ceil(std::max(wish, kPageBytes)); }

}  // namespace bus::lane
