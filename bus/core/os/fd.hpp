// bus/core/os/fd.hpp: the owner of a descriptor, and the small calls on descriptors that several places need.
#pragma once

#include <cstdint>
#include <utility>

namespace bus::os {

/// Owns a descriptor, or none (-1). Closes it, keeping errno.
class Fd {
 public:
  Fd() noexcept = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

/// Another descriptor of the same thing, close-on-exec. Throws Error.
[[nodiscard]] Fd duplicate(int fd);

/// A non-blocking, close-on-exec eventfd. Throws Error when there are no more descriptors.
[[nodiscard]] Fd make_event();
/// Makes an eventfd readable. Never blocks, keeps errno.
void signal_event(int fd) noexcept;
/// Makes an eventfd unreadable again. Keeps errno.
void clear_event(int fd) noexcept;

/// An epoll instance that is readable while any of its members is. Throws Error.
[[nodiscard]] Fd make_epoll();
/// Adds a member or changes what it waits for (EPOLLIN and the like). False on failure.
[[nodiscard]] bool epoll_set(int epoll, int fd, std::uint32_t events, std::uint64_t data) noexcept;
void epoll_remove(int epoll, int fd) noexcept;

}  // namespace bus::os
