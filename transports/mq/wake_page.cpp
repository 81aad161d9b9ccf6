// transports/mq/wake_page.cpp: making and mapping the page.
#include "transports/mq/wake_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "bus/core/errc.hpp"

namespace bus::mq {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[noreturn]] void fail(std::string_view what, std::error_code code) { throw Error(code, describe(what, "mq", code)); }

void* map_page(int fd) {
  void* const at = mmap(nullptr, WakePage::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) fail("mmap", last_system_error());
  return at;
}

}  // namespace

WakePage WakePage::make(os::Fd& descriptor) {
  descriptor = os::Fd(memfd_create("ipcbus-mq", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // Allocated at once: a page that cannot be had later would be a SIGBUS.
  if (!descriptor || fallocate(descriptor.get(), 0, 0, kBytes) != 0 ||
      fcntl(descriptor.get(), F_ADD_SEALS, kSeals) != 0) {
    fail("memfd", last_system_error());
  }
  return WakePage(static_cast<Words*>(map_page(descriptor.get())));
}

WakePage WakePage::map(const os::Fd& descriptor) {
  struct stat info {};
  const int seals = fcntl(descriptor.get(), F_GET_SEALS);
  if (fstat(descriptor.get(), &info) != 0 || info.st_size != off_t{kBytes} || seals < 0 || (seals & kSeals) != kSeals) {
    fail("wake page", Errc::corrupt);
  }
  return WakePage(static_cast<Words*>(map_page(descriptor.get())));
}

WakePage::WakePage(WakePage&& other) noexcept : words_(std::exchange(other.words_, nullptr)) {}

WakePage::~WakePage() {
  if (words_ != nullptr) munmap(words_, kBytes);
}

}  // namespace bus::mq
