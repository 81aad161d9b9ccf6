// bus/core/os/fd.cpp: small calls on descriptors.
#include "bus/core/os/fd.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "bus/core/errc.hpp"

namespace bus::os {
namespace {

Fd checked(int fd, const char* what) {
  if (fd >= 0) return Fd(fd);
  const std::error_code code = last_system_error();
  throw Error(code, describe(what, "", code));
}

}  // namespace

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) {
    const int saved = errno;
    ::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

Fd duplicate(int fd) { return checked(fcntl(fd, F_DUPFD_CLOEXEC, 0), "dup"); }

Fd make_event() { return checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"); }

void signal_event(int fd) noexcept {
  const int saved = errno;
  // EAGAIN means that the counter is full: it is readable then, which is all that was wanted.
  [[maybe_unused]] const int ignored = eventfd_write(fd, 1);
  errno = saved;
}

void clear_event(int fd) noexcept {
  const int saved = errno;
  eventfd_t value = 0;
  [[maybe_unused]] const int ignored = eventfd_read(fd, &value);  // EAGAIN: it was clear
  errno = saved;
}

Fd make_epoll() { return checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1"); }

bool epoll_set(int epoll, int fd, std::uint32_t events, std::uint64_t data) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
  return errno == EEXIST && epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

void epoll_remove(int epoll, int fd) noexcept {
  const int saved = errno;
  epoll_event unused{};
  epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &unused);  // ENOENT, EBADF: it is not in there, as wanted
  errno = saved;
}

}  // namespace bus::os
